//! Why there is no role to run as: one text for the client, another one for the operator.

use std::error::Error as StdError;
use std::fmt;

use super::super::name::{RoleName, RoleNameError};
use super::super::named::NoName;
use super::super::path::RoleClaimError;
use crate::error::{Error, ErrorKind};

/// All that a client learns, so that it cannot find out which roles exist.
pub(super) const REFUSED: &str = "the token's role is not accepted here";

pub(super) type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a role was refused: for the operator only.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    NotAName(RoleNameError),
    LoginRole(RoleName),
    NotAllowed(RoleName),
    Several,
    UncheckedIssuer,
}

/// Why there is no role to run as: for the operator only.
#[derive(Debug, PartialEq)]
pub(super) enum NoRole {
    Anonymous,
    InToken,
}

/// The one error for every role that is not accepted, so that no answer differs from another by its reason.
pub(super) fn role_refused(source: impl Into<BoxError>) -> Error {
    let source = source.into();
    Error::with_reason(
        ErrorKind::RoleRefused,
        REFUSED,
        refusal_reason(&*source),
        source,
    )
}

/// As [`role_refused`], where the database says why.
#[cfg(feature = "postgres")]
pub(crate) fn role_refused_by_database(
    reason: &'static str,
    source: tokio_postgres::Error,
) -> Error {
    Error::with_reason(ErrorKind::RoleRefused, REFUSED, reason, source)
}

/// Why a role was refused, for the log: without the role's name, which is a claim.
fn refusal_reason(source: &(dyn StdError + 'static)) -> &'static str {
    if let Some(refusal) = source.downcast_ref::<Refusal>() {
        return match refusal {
            Refusal::NotAName(_) => "what the token names cannot be a role",
            Refusal::LoginRole(_) => {
                "it is the role that the service logs in as: no request runs as it"
            }
            Refusal::NotAllowed(_) => {
                "it is not in the policy's allow-list: add it to RolePolicy::allow if tokens may name it"
            }
            Refusal::Several => SEVERAL,
            Refusal::UncheckedIssuer => UNCHECKED_ISSUER,
        };
    }
    if source.is::<RoleClaimError>() {
        return "the token's role claim is not a string";
    }
    "the policy's function refused"
}

const SEVERAL: &str =
    "the token names several roles: say to RolePolicy::prefer which of them goes first";
const UNCHECKED_ISSUER: &str = "the policy has rules for an issuer, and the verifier does not check `iss`: say JwtVerifierBuilder::issuer";

pub(super) fn not_a_role(reason: NoName) -> BoxError {
    match reason {
        NoName::Claim(reason) => reason.into(),
        NoName::Name(reason) => Refusal::NotAName(reason).into(),
        NoName::Several => Refusal::Several.into(),
    }
}

/// Lets no role pass that is the one that the service logs in as.
pub(crate) fn not_login(role: RoleName, login: Option<&str>) -> Result<RoleName, Error> {
    if login == Some(role.as_str()) {
        Err(role_refused(Refusal::LoginRole(role)))
    } else {
        Ok(role)
    }
}

pub(super) fn no_role(reason: NoRole) -> Error {
    let text = reason.as_str();
    Error::with_reason(ErrorKind::NoRole, "the token names no role", text, reason)
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAName(_) => f.write_str("what the token names cannot be a role"),
            Self::LoginRole(role) => write!(
                f,
                "{:?} is the role that the service logs in as, no request runs as it: name another one",
                role.as_str()
            ),
            Self::NotAllowed(role) => write!(
                f,
                "{:?} is not in the policy's allow-list: add it to RolePolicy::allow if tokens may name it",
                role.as_str()
            ),
            Self::Several => f.write_str(SEVERAL),
            Self::UncheckedIssuer => f.write_str(UNCHECKED_ISSUER),
        }
    }
}

impl StdError for Refusal {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::NotAName(reason) => Some(reason),
            _ => None,
        }
    }
}

impl NoRole {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Anonymous => {
                "there is no anonymous role: set one on the pool if requests without a token are to be served"
            }
            Self::InToken => {
                "there is nothing at the policy's claim that names a role: let the issuer write it, correct RolePolicy::claim, prefer or map, or set RolePolicy::authenticated_role or an anonymous role"
            }
        }
    }
}

impl fmt::Display for NoRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl StdError for NoRole {}
