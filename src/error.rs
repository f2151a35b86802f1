//! One error for the whole crate. `answer/` maps it to what the client is told.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use http::StatusCode;
#[cfg(feature = "postgres")]
use tokio_postgres::error::{DbError, SqlState};

/// Says why a request was refused or why its transaction failed.
///
/// [`kind`](Self::kind) tells failures apart, [`status`](Self::status) and [`grpc_code`](Self::grpc_code) are what the
/// client is answered. `Display` is for the operator and says one thing; [`source`](StdError::source) has the rest.
/// It is cheap to clone, and every response that this crate makes from an `Error` carries it in its extensions.
///
/// The body of such a response is `{"code","message","details","hint"}`. Below 500 it says what the database said; from
/// 500 on it says nothing that came from the database.
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
    /// Decides between 401 and 403 where the database denied a privilege.
    #[cfg(feature = "postgres")]
    token_sent: bool,
}

struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    /// Of a refusal: what the log may say of the source.
    reason: Option<&'static str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Tells the failures of this crate apart.
///
/// | kind | HTTP | gRPC | what cures it |
/// |---|---|---|---|
/// | [`InvalidRequest`](Self::InvalidRequest) | 400 | 16 | one token, in one place |
/// | [`MissingToken`](Self::MissingToken) | 401 | 16 | a token; for strangers an anonymous role, and no `require_token` |
/// | [`InvalidToken`](Self::InvalidToken) | 401 | 16 | another token: the challenge says what is wrong with this one |
/// | [`KeysUnavailable`](Self::KeysUnavailable) | 503 | 14 | try again; the log says why the issuer's keys could not be fetched |
/// | [`RevocationsUnavailable`](Self::RevocationsUnavailable) | 503 | 14 | try again; the log says why it is not known what is revoked |
/// | [`NoRole`](Self::NoRole) | 403 | 7 | a role claim, where [`RolePolicy`](crate::RolePolicy) looks for it, or a role for tokens without |
/// | [`RoleRefused`](Self::RoleRefused) | 403 | 7 | a GRANT to the login role, or the allow-list: a warning in the log says which |
/// | [`InsufficientScope`](Self::InsufficientScope) | 403 | 7 | a token with the scopes that the challenge names |
/// | [`Database`](Self::Database) | by SQLSTATE | by SQLSTATE | see below |
/// | [`Statement`](Self::Statement) | 500 | 13 | a handler that expects what its SQL returns: the log says what did not fit |
/// | [`TransactionAborted`](Self::TransactionAborted) | 500 | 13 | return a statement's error, or set a savepoint before it |
/// | [`StreamOpen`](Self::StreamOpen) | 500 | 13 | read it to its end, or say `commit_at_end_of_body` |
/// | [`ScopeLeft`](Self::ScopeLeft) | 500 | 13 | no COMMIT, ROLLBACK or SET ROLE in handlers' SQL |
/// | [`CommitUnknown`](Self::CommitUnknown) | 500 | 2 | look whether it was stored, before doing it again |
/// | [`ConnectionLost`](Self::ConnectionLost) | 503 | 14 | try again: nothing was stored |
/// | [`Unavailable`](Self::Unavailable) | 503 | 14 | try again; the log has the cause |
/// | [`PoolExhausted`](Self::PoolExhausted) | 503 | 14 | try again; a larger pool, or shorter transactions |
/// | [`PoolClosed`](Self::PoolClosed) | 503 | 14 | ask another instance: this one ends |
/// | [`Finished`](Self::Finished) | 500 | 13 | no statement after `commit` or `rollback`, nor after the answer in a task that goes on |
/// | [`MissingLayer`](Self::MissingLayer) | 500 | 13 | the [order of layers](crate#the-order-of-layers) |
///
/// 401, `InvalidRequest` and `InsufficientScope` come with `WWW-Authenticate`, 503 with `Retry-After: 1`. On gRPC, `grpc-message` has the words of
/// `message`.
///
/// # What PostgreSQL reports
///
/// | SQLSTATE | HTTP | gRPC |
/// |---|---|---|
/// | 42501 insufficient privilege, a policy's `WITH CHECK` among it | 403; 401 where no token was sent | 7; 16 |
/// | 23505 unique violation | 409 | 6 |
/// | 23503 foreign key violation | 409 | 9 |
/// | 40001 serialization failure, 40P01 deadlock | 503 | 10 |
/// | 25P03 idle in transaction, 55P03 lock not available, 57P01 to 57P03 shutdown, class 08 connection | 503 | 14 |
/// | class 53 insufficient resources | 503 | 8; 14 for 53000 |
/// | 57014 statement timeout, or cancelled; 25P04 transaction timeout | 504 | 4 |
/// | classes 0L, 0P, 28: grants, roles, logins | 403 | 7 |
/// | P0001 `RAISE EXCEPTION` | 400 | 3 |
/// | `PT400` to `PT599` | the status in it | the status' own |
/// | `PGRST` with a status of 400 to 599 in its `DETAIL` | that one, with its body and allowed headers | the status' own |
/// | what is wrong with the service's SQL or the server: 21000, all others of 25, 40, 55, 57, P0, and the classes 09, 0A, 26, 2D, 34, 38, 39, 3B, 3F, 42, 54, 58, F0, HV, XX | 500 | 13 |
/// | all else: wrong values (22), broken constraints (23, 44) .. | 400 | 3 |
///
/// A status' own gRPC code: 401 is 16, 403 7, 404 and 410 5, 405 and 501 12, 408 and 504 4, 409 10, 412 9, 429 8, 503 14; other
/// 4xx are 3, other 5xx 13.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is malformed: it has two `Authorization` headers, for example. 400.
    InvalidRequest,
    /// The request needs a token and has none. 401.
    MissingToken,
    /// The token is not acceptable. 401.
    InvalidToken,
    /// The token's issuer is known, and its keys could not be fetched. 503.
    KeysUnavailable,
    /// The token is good unless it was revoked, and that is not known. 503.
    RevocationsUnavailable,
    /// The token is valid and names no role, and there is no anonymous role to fall back to. 403.
    NoRole,
    /// The token's role is not one that this service may act as. 403.
    RoleRefused,
    /// The token is valid and does not grant the scopes that are needed. 403.
    InsufficientScope,
    /// PostgreSQL answered with an error. The status follows its SQLSTATE.
    Database,
    /// The driver could not do what was asked: wrong number of rows, a value that does not fit its type. 500.
    Statement,
    /// The transaction had failed before it was to be committed: a statement's error was ignored. Or the response to a gRPC
    /// request was a success that its client cannot read as one. 500.
    TransactionAborted,
    /// A stream of rows or of COPY was open when the handler answered, in a transaction that may write. 500.
    StreamOpen,
    /// The handler's SQL left the transaction or the role that it was given. 500.
    ScopeLeft,
    /// The connection was lost after COMMIT was sent, or not even `BEGIN` was answered in time: nobody knows whether the
    /// transaction was committed. 500.
    CommitUnknown,
    /// The connection was lost, and with it the transaction. 503.
    ConnectionLost,
    /// No connection to the database could be made, or it did not answer in time. 503.
    Unavailable,
    /// All connections of the pool were in use until the deadline. 503.
    PoolExhausted,
    /// The pool was closed. 503.
    PoolClosed,
    /// The connection was used after its transaction had ended. 500.
    Finished,
    /// A layer is missing or stands in the wrong place. 500.
    MissingLayer,
}

impl ErrorKind {
    /// Returns the word that stands for this kind in the `code` member of a response's body.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::MissingToken => "missing_token",
            Self::InvalidToken => "invalid_token",
            Self::KeysUnavailable => "keys_unavailable",
            Self::RevocationsUnavailable => "revocations_unavailable",
            Self::NoRole => "no_role",
            Self::RoleRefused => "role_refused",
            Self::InsufficientScope => "insufficient_scope",
            Self::Database => "database_error",
            Self::Statement => "statement_error",
            Self::TransactionAborted => "transaction_aborted",
            Self::StreamOpen => "stream_open",
            Self::ScopeLeft => "scope_left",
            Self::CommitUnknown => "commit_unknown",
            Self::ConnectionLost => "connection_lost",
            Self::Unavailable => "database_unavailable",
            Self::PoolExhausted => "pool_exhausted",
            Self::PoolClosed => "pool_closed",
            Self::Finished => "transaction_finished",
            Self::MissingLayer => "missing_layer",
        }
    }
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self::build(kind, message.into(), None, None)
    }

    pub(crate) fn with_source(
        kind: ErrorKind,
        message: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::build(kind, message.into(), None, Some(source.into()))
    }

    /// An error whose source says what the log must not: a reason stands in for it.
    pub(crate) fn with_reason(
        kind: ErrorKind,
        message: &'static str,
        reason: &'static str,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::build(kind, message.into(), Some(reason), Some(source.into()))
    }

    fn build(
        kind: ErrorKind,
        message: Cow<'static, str>,
        reason: Option<&'static str>,
        source: Option<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        let inner = Inner {
            kind,
            message,
            reason,
            source,
        };
        Self {
            inner: Arc::new(inner),
            #[cfg(feature = "postgres")]
            token_sent: false,
        }
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn token_sent(mut self, token_sent: bool) -> Self {
        self.token_sent = token_sent;
        self
    }

    pub(crate) fn reason(&self) -> Option<&'static str> {
        self.inner.reason
    }

    pub(crate) fn message(&self) -> &Cow<'static, str> {
        &self.inner.message
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn has_token_sent(&self) -> bool {
        self.token_sent
    }

    /// Returns the kind of this error.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Returns the SQLSTATE, where PostgreSQL reported the error.
    #[cfg(feature = "postgres")]
    #[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
    pub fn code(&self) -> Option<&SqlState> {
        self.as_db_error().map(DbError::code)
    }

    /// Returns all that PostgreSQL said, where it reported the error.
    #[cfg(feature = "postgres")]
    #[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
    pub fn as_db_error(&self) -> Option<&DbError> {
        self.source_as::<tokio_postgres::Error>()?.as_db_error()
    }

    /// Returns the HTTP status that stands for this error.
    pub fn status(&self) -> StatusCode {
        self.answer().status
    }

    /// Returns the gRPC status code that stands for this error.
    pub fn grpc_code(&self) -> i32 {
        self.answer().grpc_code
    }

    pub(crate) fn source_as<E: StdError + 'static>(&self) -> Option<&E> {
        self.inner.source.as_deref()?.downcast_ref()
    }
}

/// The scopes that a token would have to grant, with a space between them.
#[derive(Debug)]
pub(crate) struct NeededScopes(pub(crate) String);

impl fmt::Display for NeededScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the scopes needed are: {}", self.0)
    }
}

impl StdError for NeededScopes {}

/// An error and its sources, as one line.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.inner.kind)
            .field("message", &self.inner.message)
            .field("source", &self.inner.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.inner.source {
            Some(source) => Some(&**source),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table in the documentation of [`ErrorKind`] says what clients are told.
    #[test]
    fn the_table_of_kinds_is_true() {
        use ErrorKind as K;
        let own = include_str!("error.rs");
        let rows: Vec<&str> = own
            .lines()
            .filter(|line| line.contains("(Self::"))
            .collect();
        let kinds = [
            K::InvalidRequest,
            K::MissingToken,
            K::InvalidToken,
            K::KeysUnavailable,
            K::RevocationsUnavailable,
            K::NoRole,
            K::RoleRefused,
            K::InsufficientScope,
            K::Statement,
            K::TransactionAborted,
            K::StreamOpen,
            K::ScopeLeft,
            K::CommitUnknown,
            K::ConnectionLost,
            K::Unavailable,
            K::PoolExhausted,
            K::PoolClosed,
            K::Finished,
            K::MissingLayer,
        ];
        for kind in kinds {
            let error = Error::new(kind, "");
            let row = format!(
                "/// | [`{kind:?}`](Self::{kind:?}) | {} | {} | ",
                error.status().as_u16(),
                error.grpc_code()
            );
            assert!(rows.iter().any(|found| found.starts_with(&row)), "{row}");
        }
        // That of `Database` says where to look.
        let documented = rows.iter().filter(|row| row.starts_with("/// | [`"));
        assert_eq!(documented.count(), kinds.len() + 1);
    }
}
