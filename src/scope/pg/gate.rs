//! The gate that every message of a statement passes: nothing follows the end onto a session that may already serve
//! somebody else.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio_postgres::Error as PgError;

use super::attempts::Failure;
use super::connection::{Session, is_about_prepared};
use super::ending::BeginError;
use super::transaction::{State, Transaction, finished};
use crate::error::{Error, ErrorKind};

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
    /// A COPY from the client, behind which the driver sends nothing until it is finished. Where it does not begin, the
    /// driver ends it by one Sync too many: each later answer would be taken for that of the message before.
    CopyIn,
}

/// A message on its way. Dropped before it is answered, it leaves the transaction with a statement that still runs.
pub(super) struct Running<'a> {
    pub(super) transaction: &'a Transaction,
    session: Arc<Session>,
    message: Message,
    counted: bool,
    unsent: bool,
    answered: bool,
}

impl<'a> Running<'a> {
    pub(super) fn new(
        transaction: &'a Transaction,
        session: &Arc<Session>,
        message: Message,
    ) -> Self {
        Self {
            transaction,
            session: Arc::clone(session),
            message,
            counted: false,
            unsent: false,
            answered: false,
        }
    }

    pub(super) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Leaves the counting to a stream: what was sent still runs.
    pub(super) fn goes_on(mut self) {
        self.counted = false;
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        if self.answered {
            if let Some(open) = self.transaction.lock().open_on(&self.session) {
                open.running -= 1;
            }
        } else if self.message == Message::Preparation {
            self.session.doubt();
        } else if self.message == Message::CopyIn {
            self.transaction.break_off(&self.session);
        }
    }
}

impl Transaction {
    /// Sends what `future` sends, unless the transaction has ended by then.
    pub(super) async fn send_gated<F: Future>(
        &self,
        running: &mut Running<'_>,
        mut future: Pin<&mut F>,
        gate: Gate,
    ) -> Result<F::Output, Failure> {
        poll_fn(|cx| {
            if !running.counted {
                return match self.poll_first(&mut self.lock(), running, future.as_mut(), cx) {
                    Ok(poll) => poll.map(Ok),
                    Err(failure) => Poll::Ready(Err(failure)),
                };
            }
            if gate == Gate::EveryPoll {
                let mut state = self.lock();
                let revoked = state.revoked;
                if revoked || state.open_on(&running.session).is_none() {
                    return Poll::Ready(Err(finished().into()));
                }
                return future.as_mut().poll(cx).map(Ok);
            }
            future.as_mut().poll(cx).map(Ok)
        })
        .await
    }

    /// Polls a future that sends for the first time, with the transaction's state locked.
    pub(super) fn poll_first<F: Future>(
        &self,
        state: &mut State,
        running: &mut Running<'_>,
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Result<Poll<F::Output>, Failure> {
        let revoked = state.revoked;
        let Some(open) = state.open_on(&running.session).filter(|_| !revoked) else {
            return Err(finished().into());
        };
        if open.copying {
            return Err(copy_is_open().into());
        }
        open.copying = running.message == Message::CopyIn;
        running.counted = true;
        open.statements += u32::from(running.message != Message::Execution);
        open.running += 1;
        open.opened.may_have_ended |= running.message == Message::Batch;
        open.opened.unknown |= running.message == Message::Batch;
        let poll = future.poll(cx);
        // Where it is an error of the driver's own, it was not sent.
        running.unsent |= poll.is_ready();
        Ok(poll)
    }

    /// Notes that a statement was answered, and how.
    pub(super) fn settle<T>(
        &self,
        running: &mut Running<'_>,
        begun: Result<(), BeginError>,
        result: Result<T, PgError>,
    ) -> Result<T, Failure> {
        running.answered = true;
        self.settle_head(running, begun, result)
    }

    /// Notes how the answer to a statement begins. Where that is an error, it is also its end.
    pub(super) fn settle_head<T>(
        &self,
        running: &mut Running<'_>,
        begun: Result<(), BeginError>,
        result: Result<T, PgError>,
    ) -> Result<T, Failure> {
        let failure = match (begun, result) {
            (Ok(()), Ok(head)) => return Ok(head),
            (Err(failure), _) => Failure::from(failure),
            (Ok(()), Err(error)) => {
                if error.code().map_or(!running.unsent, is_about_prepared) {
                    running.session.doubt();
                }
                Failure::from(Error::from(error))
            }
        };
        running.answered = true;
        if let Some(open) = self.lock().open_on(&running.session) {
            open.opened.failed = true;
        }
        Err(failure)
    }
}

fn copy_is_open() -> Error {
    Error::new(
        ErrorKind::Statement,
        "a COPY from the client is open, and nothing can be sent behind it: finish it first",
    )
}
