//! What is asked for: the kinds of requests, how often each is sent, and by whom.

use std::time::Duration;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

pub(crate) const ROLES: u8 = 8;
pub(crate) const TENANTS: i32 = 200;
const USERS_OF_A_TENANT: u8 = 5;

/// A client that leaves does so within this time.
const LEAVES_WITHIN_MICROS: u64 = 20_000;

/// One kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// All rows that the caller may see, the newest first.
    List,
    /// The same as a stream.
    Stream,
    /// Who am I, and what did others leave behind?
    Probe,
    /// Two reads of one snapshot.
    Snapshot,
    /// A read without a token, which sees nothing.
    AnonymousList,
    /// One row; the layer commits.
    Write,
    /// One row by `execute_and_commit`.
    WriteLast,
    /// Two rows, with one between them that a savepoint takes back.
    WriteTwo,
    /// One row, returned as a stream at whose end the COMMIT is.
    WriteStream,
    /// One row, and something on the session that nobody else may see.
    Leave,
    /// A row, and one that a CHECK refuses.
    BreaksCheck,
    /// A row, and a table that the role may not read.
    Forbidden,
    /// A row for another tenant.
    OtherTenant,
    /// A row that a deferred constraint refuses at COMMIT.
    Deferred,
    /// The same by `execute_and_commit`.
    DeferredLast,
    /// A row, and a division by zero.
    DividesByZero,
    /// The same, but the handler ignores the error and answers 201.
    Swallows,
    /// GET that writes.
    GetWrites,
    /// A row, and `SET ROLE`.
    LeavesRole,
    /// A row, without a token.
    AnonymousWrite,
    /// A row, and a query that takes a while. Sent only by clients that leave.
    Slow,
}

use Kind as K;

/// How many of 1000 requests are of which kind: 700 reads, 200 writes, 50 that run into an error.
const MIX: [(Kind, u32); 20] = [
    (K::List, 380),
    (K::Stream, 120),
    (K::Probe, 100),
    (K::Snapshot, 60),
    (K::AnonymousList, 40),
    (K::Write, 70),
    (K::WriteLast, 60),
    (K::WriteTwo, 30),
    (K::WriteStream, 20),
    (K::Leave, 20),
    (K::BreaksCheck, 7),
    (K::Forbidden, 5),
    (K::OtherTenant, 5),
    (K::Deferred, 6),
    (K::DeferredLast, 5),
    (K::DividesByZero, 6),
    (K::Swallows, 5),
    (K::GetWrites, 4),
    (K::LeavesRole, 4),
    (K::AnonymousWrite, 3),
];

/// What is sent by the other 50, whose clients leave.
const LEFT: [Kind; 7] = [
    K::Write,
    K::WriteLast,
    K::WriteTwo,
    K::WriteStream,
    K::Leave,
    K::Slow,
    K::Stream,
];

impl Kind {
    /// The path of the request, without its slash.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::List | Self::AnonymousList => "list",
            Self::Stream => "stream",
            Self::Probe => "probe",
            Self::Snapshot => "snapshot",
            Self::Write | Self::AnonymousWrite => "write",
            Self::WriteLast => "write_last",
            Self::WriteTwo => "write_two",
            Self::WriteStream => "write_stream",
            Self::Leave => "leave",
            Self::BreaksCheck => "breaks_check",
            Self::Forbidden => "forbidden",
            Self::OtherTenant => "other_tenant",
            Self::Deferred => "deferred",
            Self::DeferredLast => "deferred_last",
            Self::DividesByZero => "divides_by_zero",
            Self::Swallows => "swallows",
            Self::GetWrites => "get_writes",
            Self::LeavesRole => "leaves_role",
            Self::Slow => "slow",
        }
    }

    /// The name in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AnonymousList => "anonymous_list",
            Self::AnonymousWrite => "anonymous_write",
            other => other.path(),
        }
    }

    /// The status that it is answered with when nothing is in the way.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::List | Self::Stream | Self::Probe | Self::Snapshot | Self::AnonymousList => 200,
            Self::Write | Self::WriteLast | Self::WriteTwo | Self::WriteStream | Self::Leave => 201,
            Self::Slow => 201,
            Self::BreaksCheck | Self::DividesByZero => 400,
            Self::AnonymousWrite => 401,
            Self::Forbidden | Self::OtherTenant => 403,
            Self::Deferred | Self::DeferredLast => 409,
            Self::Swallows | Self::GetWrites | Self::LeavesRole => 500,
        }
    }

    pub(crate) fn is_get(self) -> bool {
        matches!(
            self,
            Self::List
                | Self::Stream
                | Self::Probe
                | Self::Snapshot
                | Self::AnonymousList
                | Self::GetWrites
        )
    }

    pub(crate) fn has_token(self) -> bool {
        !matches!(self, Self::AnonymousList | Self::AnonymousWrite)
    }

    /// How many rows it stores where it succeeds; `None` where it writes nothing.
    pub(crate) fn rows(self) -> Option<u8> {
        match self {
            Self::List | Self::Stream | Self::Probe | Self::Snapshot | Self::AnonymousList => None,
            Self::WriteTwo => Some(2),
            _ => Some(1),
        }
    }
}

/// One request: what is sent, by whom, and whether its client waits for the answer.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    pub(crate) asked: Asked,
    /// When the client leaves, if it does.
    pub(crate) leaves_after: Option<Duration>,
}

/// What the client asks for. It is sent beside the token, so that the row says both.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) request: i64,
    pub(crate) role: String,
    pub(crate) sub: String,
    pub(crate) tenant: i32,
    /// Which of its kind's ways.
    pub(crate) way: u8,
}

impl Plan {
    /// Draws the next request.
    pub(crate) fn draw(random: &mut Rng, request: i64) -> Self {
        let tenant = random.i32(0..TENANTS);
        let asked = Asked {
            request,
            role: format!("clerk_{}", random.u8(0..ROLES)),
            sub: format!("t{tenant}-u{}", random.u8(0..USERS_OF_A_TENANT)),
            tenant,
            way: random.u8(..),
        };
        let mut at = random.u32(0..1000);
        for (kind, share) in MIX {
            if at < share {
                return Self {
                    kind,
                    asked,
                    leaves_after: None,
                };
            }
            at -= share;
        }
        Self {
            kind: LEFT[random.usize(0..LEFT.len())],
            asked,
            leaves_after: Some(Duration::from_micros(random.u64(0..LEAVES_WITHIN_MICROS))),
        }
    }
}
