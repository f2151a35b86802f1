//! What the answers to a transaction's end say of it.

use std::error::Error as StdError;

use tokio_postgres::{Error as PgError, error::SqlState};

use super::ending::{BeginError, Verdict};
use super::mode::AccessMode;
use crate::error::{Error, ErrorKind};

/// What became of a transaction whose COMMIT was asked for.
pub(super) fn committed(
    begun: Result<(), BeginError>,
    sent: Verdict,
    check: Result<(), PgError>,
    end: Result<(), PgError>,
    mode: AccessMode,
) -> Result<(), Error> {
    begun.map_err(|failure| match failure.error.code() {
        None if failure.begin_unanswered => unanswered(sent, mode, &failure),
        // Refused, or the server has said in place of an answer that the session was at its end.
        _ => failure.error,
    })?;
    match check {
        Ok(()) => {}
        Err(error) => {
            return Err(match error.code() {
                Some(_) if had_failed(&error) => Error::with_source(
                    ErrorKind::TransactionAborted,
                    "the transaction had failed before it was to be committed: \
                     a statement's error was ignored, so nothing was stored",
                    error,
                ),
                Some(code) if *code == SqlState::DIVISION_BY_ZERO => scope_left(error),
                Some(_) => error.into(),
                None => lost(error, mode),
            });
        }
    }
    match end {
        Ok(()) => Ok(()),
        Err(error) if error.code().is_none_or(ends_session) => Err(lost(error, mode)),
        Err(error) => Err(error.into()),
    }
}

/// What became of a transaction whose ROLLBACK was asked for.
pub(super) fn rolled_back(
    check: Result<(), PgError>,
    end: Result<(), PgError>,
) -> Result<(), Error> {
    match check {
        Ok(()) => {}
        Err(error) => match error.code() {
            Some(_) if had_failed(&error) => {}
            Some(code) if *code == SqlState::DIVISION_BY_ZERO => return Err(scope_left(error)),
            _ => return Err(error.into()),
        },
    }
    Ok(end?)
}

/// Whether a statement was refused since one before it had failed.
pub(super) fn had_failed(error: &PgError) -> bool {
    error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION)
}

/// What kept a session's traces from being cleared has kept the transaction from being committed.
pub(super) fn not_cleared(error: PgError, mode: AccessMode) -> Error {
    if error.code().is_none_or(ends_session) {
        return lost(error, mode);
    }
    Error::with_source(
        ErrorKind::Statement,
        "behind a pooler a session is cleared before COMMIT, and that was refused, so nothing was stored: \
         every role must be able to execute pg_advisory_unlock_all()",
        error,
    )
}

/// The check divides by zero where marker or role are not what they were.
fn scope_left(error: PgError) -> Error {
    Error::with_source(
        ErrorKind::ScopeLeft,
        "the handler's SQL left its transaction or its role: \
         it may run no COMMIT, ROLLBACK, SET ROLE or RESET ROLE of its own",
        error,
    )
}

/// Nobody can tell what became of a COMMIT whose answer is missing.
fn lost(error: impl Into<Box<dyn StdError + Send + Sync>>, mode: AccessMode) -> Error {
    match mode {
        AccessMode::ReadWrite => Error::with_source(
            ErrorKind::CommitUnknown,
            "the connection was lost during COMMIT: it is unknown whether the transaction was committed",
            error,
        ),
        AccessMode::ReadOnly => Error::with_source(
            ErrorKind::ConnectionLost,
            "the connection to the database was lost",
            error,
        ),
    }
}

/// What is known of the end of a transaction whose `BEGIN` was not answered: the server may do all of it all the same.
pub(super) fn unanswered(sent: Verdict, mode: AccessMode, failure: &BeginError) -> Error {
    match (sent, mode) {
        (Verdict::Commit, AccessMode::ReadWrite) => lost(failure.error.clone(), mode),
        _ => failure.error.clone(),
    }
}

/// Whether the server ended the session with this: the error says so, not what became of the transaction.
pub(super) fn ends_session(code: &SqlState) -> bool {
    code.code().starts_with("57P") || code.code().starts_with("08") || code.code() == "25P03"
}
