//! How a transaction ends: check, COMMIT or ROLLBACK, reset, all in one flight.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Instant, SystemTime};

use futures_util::future::{BoxFuture, Shared};
use futures_util::{FutureExt, TryStreamExt};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error as PgError, SimpleQueryMessage, SimpleQueryStream};

use super::connection::{Farewell, drain, leaves_doubt};
use super::control::Control;
use super::judgement::{committed, ends_session, had_failed, not_cleared, rolled_back, unanswered};
use super::lease::Lease;
use super::mode::AccessMode;
use super::recent_writes::Writer;
use super::session;
use crate::error::{Error, ErrorKind, chain};
use crate::role::RoleName;

/// The answers to `BEGIN` and the switch, for all who wait for them.
pub(crate) type Begun = Shared<BoxFuture<'static, Result<Began, BeginError>>>;

/// When a transaction began, by PostgreSQL's clock: no other one on its session did then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Began(pub(crate) SystemTime);

/// Why a transaction could not begin.
#[derive(Clone, Debug)]
pub(crate) struct BeginError {
    pub(crate) error: Error,
    /// `BEGIN` was not answered, or in a way by which nothing behind it has had an effect.
    pub(crate) begin_unanswered: bool,
}

impl BeginError {
    pub(crate) fn unanswered(error: Error) -> Self {
        Self {
            error,
            begin_unanswered: true,
        }
    }

    pub(crate) fn answered(error: Error) -> Self {
        Self {
            error,
            begin_unanswered: false,
        }
    }

    /// Nothing was answered in time: what was sent behind `BEGIN` will not be answered either.
    pub(crate) fn is_silence(&self) -> bool {
        self.error.kind() == ErrorKind::Unavailable
    }
}

/// What becomes of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Commit,
    Rollback,
}

/// What the end of a transaction needs to know of it.
pub(crate) struct Opened {
    pub(crate) lease: Lease,
    pub(crate) begun: Begun,
    pub(crate) role: RoleName,
    pub(crate) mode: AccessMode,
    /// Whose reads are to see what a COMMIT has stored, where somebody asked for that.
    pub(crate) writer: Option<Writer>,
    pub(crate) failed: bool,
    /// SQL ran that can have changed anything on the session, its prepared statements too.
    pub(crate) unknown: bool,
    /// Such SQL can have ended the transaction: several statements in one text, or one that says COMMIT or the like.
    pub(crate) may_have_ended: bool,
}

impl Opened {
    /// There is no COMMIT for what is known not to have begun.
    fn what_to_send(&self, verdict: Verdict) -> Verdict {
        match self.begun.peek() {
            Some(Err(_)) => Verdict::Rollback,
            _ => verdict,
        }
    }

    /// The reset that is sent as a message of its own, and the one behind a ROLLBACK in its message.
    fn resets(&self) -> (&'static str, &'static str) {
        match self.begun.peek() {
            Some(Err(failure)) if failure.error.kind() == ErrorKind::RoleRefused => {
                (session::RESET_OF_REFUSED, session::ROLLBACK_AND_RESET)
            }
            _ if self.unknown => (
                session::RESET_OF_UNKNOWN,
                session::ROLLBACK_AND_RESET_OF_UNKNOWN,
            ),
            _ => (session::RESET, session::ROLLBACK_AND_RESET),
        }
    }
}

/// An end that has been sent.
///
/// Dropping it gives the session back to the pool, and whoever takes it next reads the answers. So a COMMIT is never
/// cancelled, whoever goes away.
pub(crate) struct Ending {
    lease: Lease,
    farewell: Option<Farewell>,
    /// When a ROLLBACK has to be answered. A COMMIT is waited for as long as it takes.
    answered_by: Option<Instant>,
}

impl Ending {
    /// Sends the end. `awaited` sends the reset as a message of its own, so that the answer to COMMIT need not wait for it.
    /// A COMMIT that is not awaited is one of a transaction that has nothing to tell.
    pub(crate) fn send(opened: Opened, verdict: Verdict, awaited: bool) -> Self {
        if opened.lease.is_pooled() {
            return Self::send_pooled(opened, verdict, awaited);
        }
        let session = Arc::clone(&opened.lease);
        let sent = opened.what_to_send(verdict);
        let (reset, rollback_and_reset) = opened.resets();
        let reset_and_commit = if session.reads_only_read {
            session::RESET_AND_COMMIT
        } else {
            session::RESET_AND_COMMIT_UP_TO_15
        };
        let (checks_itself, end, reset) = match (sent, awaited) {
            (Verdict::Commit, true) => (false, session::COMMIT, Some(reset)),
            (Verdict::Rollback, true) => (false, session::ROLLBACK, Some(reset)),
            (Verdict::Commit, false) => (true, reset_and_commit, None),
            (Verdict::Rollback, false) => (false, rollback_and_reset, None),
        };
        let check = (!checks_itself).then(|| send_check(&opened, verdict));
        let writer = opened.writer.filter(|_| sent == Verdict::Commit);
        if let Some(writer) = &writer {
            // Perhaps nobody will learn how it ends.
            writer.wrote();
        }
        let end = session.send(end);
        let reset = reset.map(|reset| session.send(reset));
        let mode = opened.mode;
        let begun = opened.begun;
        let outcome = async move {
            let begun = begun.await.map(|_| ());
            if let Err(failure) = &begun
                && failure.is_silence()
            {
                return Err(unanswered(sent, mode, failure));
            }
            let check = match check {
                Some(check) => Some(check.await),
                None => None,
            };
            // A message that was not even sent did nothing.
            let end = match end {
                Ok(answers) => drain(answers).await,
                Err(error) => return Err(error),
            };
            let (check, end) = match (check, end) {
                (Some(check), end) => (check, end),
                // Its check is the first that the message does.
                (None, Err(error)) if error.code().is_some_and(|code| !ends_session(code)) => {
                    (Err(error), Ok(()))
                }
                (None, end) => (Ok(()), end),
            };
            if let Some(writer) = writer {
                // The time counts from the answer on.
                writer.wrote();
            }
            match verdict {
                Verdict::Commit => committed(begun, sent, check, end, mode),
                Verdict::Rollback => rolled_back(check, end),
            }
        };
        let reset: BoxFuture<'static, Result<(), Error>> = match reset {
            Some(Ok(answers)) => Box::pin(async move { Ok(drain(answers).await?) }),
            Some(Err(error)) => Box::pin(ready(Err(error))),
            None => Box::pin(ready(Ok(()))),
        };
        Self {
            answered_by: rollback_deadline(sent, &opened.lease),
            lease: opened.lease,
            farewell: Some(Farewell {
                outcome: Some(Box::pin(outcome)),
                joined: !awaited,
                quiet: !awaited,
                reset,
            }),
        }
    }

    /// Sends the end in one message with the reset: behind it, the pooler lends the server connection to others.
    fn send_pooled(opened: Opened, verdict: Verdict, awaited: bool) -> Self {
        let session = Arc::clone(&opened.lease);
        let sent = opened.what_to_send(verdict);
        let clear = (sent == Verdict::Commit).then(|| session.send(session::CLEAR_BEFORE_COMMIT));
        let check = send_check(&opened, verdict);
        let end = session.send(match sent {
            Verdict::Commit => session::COMMIT_AND_RESET_POOLED,
            Verdict::Rollback => session::ROLLBACK_AND_RESET_POOLED,
        });
        let mode = opened.mode;
        let begun = opened.begun;
        let in_doubt = Arc::clone(&session);
        let outcome = async move {
            let begun = begun.await.map(|_| ());
            if let Err(failure) = &begun
                && failure.is_silence()
            {
                return Err(unanswered(sent, mode, failure));
            }
            let cleared = match clear {
                Some(Ok(answers)) => drain(answers).await,
                Some(Err(error)) => return Err(error),
                None => Ok(()),
            };
            let check = check.await;
            let end = match first_answer(end?).await {
                Ok(rest) => {
                    // It came with the answer: PostgreSQL sends what it has at a message's end.
                    if let Err(error) = drain(rest).await {
                        in_doubt.doubt();
                        tracing::warn!(
                            "a session could not be reset, so that it is closed, and its server connection by the pooler: {}",
                            chain(&error)
                        );
                    }
                    Ok(())
                }
                Err(error) => Err(error),
            };
            match (verdict, cleared) {
                (Verdict::Commit, Err(error)) if !had_failed(&error) && begun.is_ok() => {
                    Err(not_cleared(error, mode))
                }
                (Verdict::Commit, _) => committed(begun, sent, check, end, mode),
                (Verdict::Rollback, _) => rolled_back(check, end),
            }
        };
        let reset = async move {
            if session.is_usable() {
                Ok(())
            } else {
                Err(Error::new(
                    ErrorKind::Statement,
                    "the session could not be reset",
                ))
            }
        };
        Self {
            answered_by: rollback_deadline(sent, &opened.lease),
            lease: opened.lease,
            farewell: Some(Farewell {
                outcome: Some(Box::pin(outcome)),
                joined: !awaited,
                quiet: false,
                reset: Box::pin(reset),
            }),
        }
    }

    /// Waits until it is certain how the transaction ended. The reset goes on behind the answer.
    pub(crate) async fn outcome(mut self) -> Result<(), Error> {
        let Some(farewell) = &mut self.farewell else {
            return Ok(());
        };
        let Some(outcome) = &mut farewell.outcome else {
            return Ok(());
        };
        let result = match self.answered_by {
            None => outcome.await,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), outcome)
                .await
                .unwrap_or_else(|elapsed| Err(rollback_unanswered(elapsed))),
        };
        farewell.outcome = None;
        match &result {
            Err(error) if leaves_doubt(error) => self.lease.doubt(),
            // The reset was part of the transaction that has failed.
            Err(_) if farewell.joined && !self.lease.is_pooled() => {
                let cleared = self.lease.send(session::ROLLBACK_AND_RESET);
                farewell.reset = Box::pin(async move { Ok(drain(cleared?).await?) });
            }
            _ => {}
        }
        result
    }

    /// Waits until the session is clean, before it goes back to the pool.
    pub(crate) async fn settle(mut self, deadline: Instant) {
        if let Some(farewell) = self.farewell.take() {
            self.lease.leave(farewell);
            // Where this fails, the session is in doubt and the pool closes it.
            let _ = self.lease.settle(deadline).await;
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(farewell) = self.farewell.take() {
            self.lease.leave(farewell);
        }
    }
}

/// A ROLLBACK that is not answered is done when the session is closed, at the latest: nobody has to wait for that.
fn rollback_deadline(sent: Verdict, lease: &Lease) -> Option<Instant> {
    (sent == Verdict::Rollback).then(|| lease.reset_deadline())
}

fn rollback_unanswered(elapsed: tokio::time::error::Elapsed) -> Error {
    Error::with_source(
        ErrorKind::Unavailable,
        "the database did not answer ROLLBACK in time",
        elapsed,
    )
}

/// Waits for the answer to the first statement of a message. The rest is left to be read.
async fn first_answer(answers: SimpleQueryStream) -> Result<Pin<Box<SimpleQueryStream>>, PgError> {
    let mut answers = Box::pin(answers);
    while let Some(answer) = answers.try_next().await? {
        if matches!(answer, SimpleQueryMessage::CommandComplete(_)) {
            break;
        }
    }
    Ok(answers)
}

fn send_check(opened: &Opened, verdict: Verdict) -> BoxFuture<'static, Result<(), PgError>> {
    let session = Arc::clone(&opened.lease);
    let role = opened.role.clone();
    let unknown = opened.unknown;
    let began = match opened.begun.peek() {
        Some(Ok(Began(time))) => Some(*time),
        // What has not been told yet cannot be compared. It need not be where nothing can have ended the transaction.
        _ if verdict == Verdict::Commit && opened.may_have_ended => Some(SystemTime::UNIX_EPOCH),
        _ => None,
    };
    let stays_read_only = match opened.mode {
        AccessMode::ReadOnly if !session.reads_only_read => "on",
        AccessMode::ReadOnly | AccessMode::ReadWrite => "off",
    };
    sent(async move {
        let role = role.as_str();
        let values: [&(dyn ToSql + Sync); 3] = [&began, &role, &stays_read_only];
        let answer = if unknown {
            session.control_unnamed(Control::Check, values).await
        } else {
            session.control(Control::Check, values).await
        };
        answer.map(|_| ())
    })
}

/// Has a driver's future send its message now, at its first poll. The answer is read later.
pub(crate) fn sent<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> BoxFuture<'static, T> {
    let mut future = future.boxed();
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(output) => Box::pin(ready(output)),
        Poll::Pending => future,
    }
}
