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

/// The check divides by zero where transaction or role are not what they were.
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
    let code = code.code();
    code.starts_with("57P") || code.starts_with("08") || matches!(code, "25P03" | "25P04")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_postgres::{Config, NoTls};

    use super::*;
    use ErrorKind as K;

    /// The driver's error for a statement whose answer is an error of this SQLSTATE, or no answer at all.
    ///
    /// No real server gives each of them at will.
    async fn answered(sqlstate: Option<&str>) -> PgError {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let answer = sqlstate.map(|sqlstate| {
            let fields = format!("SERROR\0VERROR\0C{sqlstate}\0Mrefused\0\0");
            let mut answer = vec![b'E'];
            answer.extend(((fields.len() + 4) as i32).to_be_bytes());
            answer.extend(fields.as_bytes());
            answer.extend(b"Z\0\0\0\x05I");
            answer
        });
        let server = async move {
            let length = theirs.read_i32().await.unwrap();
            let mut startup = vec![0; length as usize - 4];
            theirs.read_exact(&mut startup).await.unwrap();
            theirs
                .write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I")
                .await
                .unwrap();
            assert_eq!(theirs.read_u8().await.unwrap(), b'Q');
            if let Some(answer) = answer {
                theirs.write_all(&answer).await.unwrap();
            }
        };
        let statement = async {
            let mut config = Config::new();
            let (client, connection) = config.user("x").connect_raw(ours, NoTls).await.unwrap();
            let driver = tokio::spawn(connection);
            let error = client.batch_execute("COMMIT").await.unwrap_err();
            driver.abort();
            error
        };
        let ((), error) = tokio::join!(server, statement);
        assert_eq!(error.code().map(SqlState::code), sqlstate);
        error
    }

    async fn answer(row: &str) -> Result<(), PgError> {
        match row {
            "ok" => Ok(()),
            "lost" => Err(answered(None).await),
            sqlstate => Err(answered(Some(sqlstate)).await),
        }
    }

    fn kind(result: Result<(), Error>) -> Option<ErrorKind> {
        result.err().map(|error| error.kind())
    }

    #[tokio::test]
    async fn only_a_good_check_and_a_good_commit_are_a_commit() {
        let rows = [
            // check, end, what a READ WRITE transaction came to, what a READ ONLY one
            ("ok", "ok", None, None),
            (
                "25P02",
                "25P02",
                Some(K::TransactionAborted),
                Some(K::TransactionAborted),
            ),
            (
                "25P02",
                "ok",
                Some(K::TransactionAborted),
                Some(K::TransactionAborted),
            ),
            ("22012", "25P02", Some(K::ScopeLeft), Some(K::ScopeLeft)),
            ("22012", "ok", Some(K::ScopeLeft), Some(K::ScopeLeft)),
            ("42501", "ok", Some(K::Database), Some(K::Database)),
            (
                "lost",
                "ok",
                Some(K::CommitUnknown),
                Some(K::ConnectionLost),
            ),
            (
                "lost",
                "lost",
                Some(K::CommitUnknown),
                Some(K::ConnectionLost),
            ),
            (
                "ok",
                "lost",
                Some(K::CommitUnknown),
                Some(K::ConnectionLost),
            ),
            (
                "ok",
                "57P01",
                Some(K::CommitUnknown),
                Some(K::ConnectionLost),
            ),
            (
                "ok",
                "57P03",
                Some(K::CommitUnknown),
                Some(K::ConnectionLost),
            ),
            (
                "ok",
                "08006",
                Some(K::CommitUnknown),
                Some(K::ConnectionLost),
            ),
            (
                "ok",
                "25P03",
                Some(K::CommitUnknown),
                Some(K::ConnectionLost),
            ),
            (
                "ok",
                "25P04",
                Some(K::CommitUnknown),
                Some(K::ConnectionLost),
            ),
            ("ok", "23505", Some(K::Database), Some(K::Database)),
            ("ok", "40001", Some(K::Database), Some(K::Database)),
            ("ok", "57014", Some(K::Database), Some(K::Database)),
        ];
        for (check, end, writing, reading) in rows {
            for (mode, expected) in [
                (AccessMode::ReadWrite, writing),
                (AccessMode::ReadOnly, reading),
            ] {
                let result = committed(
                    Ok(()),
                    Verdict::Commit,
                    answer(check).await,
                    answer(end).await,
                    mode,
                );
                assert_eq!(kind(result), expected, "{check}, {end}, {mode:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_transaction_that_may_have_begun_may_have_been_committed() {
        let lost = || Error::new(K::Unavailable, "not answered");
        let refused = Error::from(answered(Some("53300")).await);
        let unanswered = BeginError::unanswered;
        let rows = [
            (
                unanswered(lost()),
                Verdict::Commit,
                AccessMode::ReadWrite,
                K::CommitUnknown,
            ),
            (
                unanswered(lost()),
                Verdict::Commit,
                AccessMode::ReadOnly,
                K::Unavailable,
            ),
            (
                unanswered(lost()),
                Verdict::Rollback,
                AccessMode::ReadWrite,
                K::Unavailable,
            ),
            (
                BeginError::answered(lost()),
                Verdict::Commit,
                AccessMode::ReadWrite,
                K::Unavailable,
            ),
            (
                unanswered(refused.clone()),
                Verdict::Commit,
                AccessMode::ReadWrite,
                refused.kind(),
            ),
        ];
        for (begun, sent, mode, expected) in rows {
            let told = format!("{begun:?}, {sent:?}, {mode:?}");
            let result = committed(Err(begun), sent, Ok(()), Ok(()), mode);
            assert_eq!(kind(result), Some(expected), "{told}");
        }
    }

    #[tokio::test]
    async fn a_rollback_is_one_unless_its_session_was_lost_or_left() {
        let rows = [
            ("ok", "ok", None),
            ("25P02", "ok", None),
            ("25P02", "lost", Some(K::ConnectionLost)),
            ("22012", "ok", Some(K::ScopeLeft)),
            ("42501", "ok", Some(K::Database)),
            ("lost", "lost", Some(K::ConnectionLost)),
            ("ok", "lost", Some(K::ConnectionLost)),
            ("ok", "57014", Some(K::Database)),
        ];
        for (check, end, expected) in rows {
            let result = rolled_back(answer(check).await, answer(end).await);
            assert_eq!(kind(result), expected, "{check}, {end}");
        }
    }

    #[tokio::test]
    async fn what_was_not_cleared_was_not_stored_unless_nobody_can_tell() {
        let rows = [
            ("42501", AccessMode::ReadWrite, K::Statement),
            ("42501", AccessMode::ReadOnly, K::Statement),
            ("57P01", AccessMode::ReadWrite, K::CommitUnknown),
            ("57P01", AccessMode::ReadOnly, K::ConnectionLost),
            ("lost", AccessMode::ReadWrite, K::CommitUnknown),
            ("lost", AccessMode::ReadOnly, K::ConnectionLost),
        ];
        for (row, mode, expected) in rows {
            let error = answer(row).await.unwrap_err();
            assert_eq!(not_cleared(error, mode).kind(), expected, "{row}, {mode:?}");
        }
    }
}
