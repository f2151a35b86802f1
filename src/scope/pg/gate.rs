//! The gate that every message of a statement passes: nothing follows the end onto a session that may already serve
//! somebody else.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use tokio_postgres::Error as PgError;

use super::connection::is_about_prepared;
use super::ending::BeginError;
use super::statement::Failure;
use super::transaction::{Current, Transaction, finished};
use crate::error::Error;

/// How closely a future that sends is watched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// It sends all that it sends at its first poll.
    FirstPoll,
    /// It may send more later: the driver asks for types that it does not know yet, of parameters or of columns.
    EveryPoll,
}

/// What is sent for a statement of the handler.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    /// All of it, since it was prepared before or is not to be.
    Statement,
    /// Its preparation. Where nobody waits for the answer, it stays on the server with no one to close it.
    Preparation,
    /// Its execution, after the preparation.
    Execution,
    /// A text of several statements.
    Batch,
}

/// A message on its way. Dropped before it is answered, it leaves the transaction with a statement that still runs.
pub(super) struct Running<'a> {
    transaction: &'a Transaction,
    current: &'a Current,
    message: Message,
    counted: bool,
    unsent: bool,
    answered: bool,
}

impl<'a> Running<'a> {
    pub(super) fn new(
        transaction: &'a Transaction,
        current: &'a Current,
        message: Message,
    ) -> Self {
        Self {
            transaction,
            current,
            message,
            counted: false,
            unsent: false,
            answered: false,
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        if self.answered {
            if let Some(open) = self.transaction.lock().open_on(&self.current.session) {
                open.running -= 1;
            }
        } else if self.message == Message::Preparation {
            self.current.session.doubt();
        }
    }
}

impl Transaction {
    /// Sends what `future` sends, unless the transaction has ended by then.
    pub(super) async fn send_gated<F: Future>(
        &self,
        running: &mut Running<'_>,
        future: F,
        gate: Gate,
    ) -> Result<F::Output, Failure> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if !running.counted || gate == Gate::EveryPoll {
                let mut state = self.lock();
                let Some(open) = state.open_on(&running.current.session) else {
                    return Poll::Ready(Err(finished().into()));
                };
                let first = !running.counted;
                if first {
                    running.counted = true;
                    open.statements += u32::from(running.message != Message::Execution);
                    open.running += 1;
                    open.batch |= running.message == Message::Batch;
                }
                let poll = future.as_mut().poll(cx);
                // No answer is there before the message is sent: it was not.
                running.unsent |= first && poll.is_ready();
                return poll.map(Ok);
            }
            future.as_mut().poll(cx).map(Ok)
        })
        .await
    }

    /// Notes that a statement was answered, and how.
    pub(super) fn settle<T>(
        &self,
        running: &mut Running<'_>,
        begun: Result<(), BeginError>,
        result: Result<T, PgError>,
    ) -> Result<T, Failure> {
        running.answered = true;
        let failure = match (begun, result) {
            (Ok(()), Ok(value)) => return Ok(value),
            (Err(failure), _) => Failure::from(failure),
            (Ok(()), Err(error)) => {
                if !running.unsent && error.code().is_none_or(is_about_prepared) {
                    running.current.session.doubt();
                }
                Failure::from(Error::from(error))
            }
        };
        if let Some(open) = self.lock().open_on(&running.current.session) {
            open.opened.failed = true;
        }
        Err(failure)
    }
}
