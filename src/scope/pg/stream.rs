//! Streams of a handler, of rows or of COPY, which belong to the transaction: it knows them and can take them away.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio_postgres::{CopyInSink, CopyOutStream, Error as PgError, RowStream, Statement};

use super::attempts::Failure;
use super::copy_in::CopyIn;
use super::gate::{Gate, Message, Running};
use super::lease::Reset;
use super::session::{self, FirstWord};
use super::statement::{Flow, Params, behind};
use super::transaction::{Current, Phase, Transaction, finished};
use crate::error::{Error, ErrorKind};

/// How many items of a stream that is given up are looked at: its end has often arrived already.
const LAST_LOOK: usize = 64;

/// A stream that a transaction can take away from whoever holds it.
pub(crate) trait Revocable: Send + Sync {
    fn revoke(&self) -> Left;
}

/// How a stream was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// All of it was answered.
    Complete,
    /// The server answered with an error, or will: the transaction has failed.
    Failed,
    /// The transaction has failed, and the answers to what follows may not be those of what was sent.
    OutOfStep,
    /// The server still sends.
    Unread,
}

/// One of the driver's streams.
pub(crate) trait DriverStream: Send + 'static {
    /// Whether the driver sends nothing else while it is open.
    const BLOCKS: bool = false;

    /// Gives it up, after a look at whether it has ended already.
    fn leave(self: Pin<&mut Self>) -> Left;
}

/// The place of a driver's stream. It is empty when the stream has ended or was taken away.
struct Slot<S>(Mutex<Option<Pin<Box<S>>>>);

impl<S> Slot<S> {
    fn lock(&self) -> MutexGuard<'_, Option<Pin<Box<S>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: DriverStream> Revocable for Slot<S> {
    fn revoke(&self) -> Left {
        match self.lock().take() {
            Some(mut stream) => stream.as_mut().leave(),
            // Its holder is about to say how it ended.
            None => Left::Unread,
        }
    }
}

/// A stream that its transaction knows of.
pub(crate) struct OpenStream<S: DriverStream> {
    transaction: Arc<Transaction>,
    slot: Arc<Slot<S>>,
    over: bool,
}

impl Transaction {
    /// Runs one statement whose rows are read one by one.
    pub(crate) async fn rows(
        self: &Arc<Self>,
        sql: &str,
        params: Params<'_>,
    ) -> Result<OpenStream<RowStream>, Error> {
        let Flow { running, rows } = self.flow(sql, params).await?;
        self.hold(running, rows)
    }

    /// Runs `COPY .. TO STDOUT`.
    pub(crate) async fn copy_out(
        self: &Arc<Self>,
        sql: &str,
    ) -> Result<OpenStream<CopyOutStream>, Error> {
        let current = self.copy_begins(sql).await?;
        let copied = async {
            let statement = self.copy_statement(&current, sql).await?;
            let mut running = Running::new(self, &current.session, Message::Execution);
            let copy = pin!(current.session.client.copy_out(&statement));
            let sent = self.send_gated(&mut running, copy, Gate::FirstPoll);
            let (begun, copy) = behind(&current, sent).await?;
            let copy = copy?;
            let out_of_step = copy.as_ref().is_err_and(|error| error.code().is_none());
            let copy = self.settle_head(&mut running, begun, copy);
            if out_of_step {
                self.break_off(&current.session);
            }
            Ok((running, copy?))
        };
        let (running, copy) = copied
            .await
            .map_err(|failure: Failure| failure.told_to(self.scope()))?;
        self.hold(running, copy)
    }

    /// Runs `COPY .. FROM STDIN`.
    pub(crate) async fn copy_in(self: &Arc<Self>, sql: &str) -> Result<OpenStream<CopyIn>, Error> {
        let current = self.copy_begins(sql).await?;
        let copied = async {
            let statement = self.copy_statement(&current, sql).await?;
            let mut running = Running::new(self, &current.session, Message::CopyIn);
            let copy = pin!(current.session.client.copy_in(&statement));
            let sent = self.send_gated(&mut running, copy, Gate::FirstPoll);
            let (begun, copy) = behind(&current, sent).await?;
            let copy = self.settle_head(&mut running, begun, copy?);
            if copy.is_err() {
                self.break_off(&current.session);
            }
            Ok((running, copy?))
        };
        let (running, copy) = copied
            .await
            .map_err(|failure: Failure| failure.told_to(self.scope()))?;
        let copy = CopyIn::new(copy, running.session());
        self.hold(running, copy)
    }

    async fn copy_begins(&self, sql: &str) -> Result<Current, Error> {
        if session::first_word(sql) != FirstWord::Copy {
            return Err(Error::new(
                ErrorKind::Statement,
                "only COPY can be run by copy_in and copy_out",
            ));
        }
        self.open(Reset::Answered).await
    }

    async fn copy_statement(&self, current: &Current, sql: &str) -> Result<Statement, Failure> {
        self.rested(current).await?;
        match current.session.statements.get(self.scope().role(), sql) {
            Some(statement) => Ok(statement),
            None => {
                let statement = self.prepare(current, sql, &[]).await?;
                self.keep(current, sql, &statement);
                Ok(statement)
            }
        }
    }

    /// Makes a driver's stream known to the transaction, unless that has ended meanwhile.
    fn hold<S: DriverStream>(
        self: &Arc<Self>,
        running: Running<'_>,
        stream: S,
    ) -> Result<OpenStream<S>, Error> {
        let slot = Arc::new(Slot(Mutex::new(Some(Box::pin(stream)))));
        let mut state = self.lock();
        let Some(open) = state.open_on(running.session()) else {
            return Err(finished());
        };
        open.streams.push(Arc::clone(&slot) as Arc<dyn Revocable>);
        running.goes_on();
        drop(state);
        Ok(OpenStream {
            transaction: Arc::clone(self),
            slot,
            over: false,
        })
    }
}

impl<S: DriverStream> OpenStream<S> {
    /// Has the driver's stream do something, and notes how it ends.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<Step<T>>,
    ) -> Poll<Result<Option<T>, Error>> {
        if self.over {
            return Poll::Ready(Ok(None));
        }
        let mut slot = self.slot.lock();
        let Some(stream) = slot.as_mut() else {
            self.over = true;
            return Poll::Ready(Err(finished()));
        };
        let (left, result) = match ready!(poll(stream.as_mut(), cx)) {
            Step::Goes(item) => return Poll::Ready(Ok(Some(item))),
            Step::Ends(item) => (Left::Complete, Ok(item)),
            Step::Fails(error) => (Left::Failed, Err(error)),
            Step::Breaks(error) => (Left::OutOfStep, Err(error)),
        };
        *slot = None;
        drop(slot);
        self.over = true;
        let lost = matches!(&result, Err(error) if error.code().is_none());
        self.ended(left, lost);
        Poll::Ready(
            result.map_err(|error| {
                Error::from(error).token_sent(self.transaction.scope().token_sent())
            }),
        )
    }

    fn ended(&self, left: Left, lost: bool) {
        let mut state = self.transaction.lock();
        let Phase::Open(open) = &mut state.phase else {
            return;
        };
        let before = open.streams.len();
        open.streams
            .retain(|stream| !std::ptr::addr_eq(Arc::as_ptr(stream), Arc::as_ptr(&self.slot)));
        if open.streams.len() == before {
            return;
        }
        if S::BLOCKS {
            open.copying = false;
        }
        if lost {
            open.opened.lease.doubt();
        }
        open.ended(left);
        if left == Left::OutOfStep {
            let session = Arc::clone(&open.opened.lease);
            drop(state);
            self.transaction.break_off(&session);
        }
    }
}

impl<S: DriverStream> Drop for OpenStream<S> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let stream = self.slot.lock().take();
        if let Some(mut stream) = stream {
            let left = stream.as_mut().leave();
            drop(stream);
            self.ended(left, false);
        }
    }
}

/// What one poll of a driver's stream has come to.
pub(super) enum Step<T> {
    Goes(T),
    Ends(Option<T>),
    Fails(PgError),
    /// It failed, and the answers to what follows may not be those of what was sent.
    Breaks(PgError),
}

impl<T> From<Option<Result<T, PgError>>> for Step<T> {
    fn from(item: Option<Result<T, PgError>>) -> Self {
        match item {
            Some(Ok(item)) => Self::Goes(item),
            Some(Err(error)) => Self::Fails(error),
            None => Self::Ends(None),
        }
    }
}

/// A stream that the server sends.
impl<S: DriverStream + Stream<Item = Result<T, PgError>>, T> OpenStream<S> {
    pub(crate) fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Error>>> {
        self.poll(cx, |stream, cx| stream.poll_next(cx).map(Step::from))
            .map(Result::transpose)
    }
}

/// A stream that the client sends.
impl OpenStream<CopyIn> {
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_sink(cx, Sink::poll_ready)
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_sink(cx, Sink::poll_flush)
    }

    pub(crate) fn start_send(&mut self, data: Bytes) -> Result<(), Error> {
        match self.slot.lock().as_mut() {
            Some(copy) => Ok(copy.sink.as_mut().start_send(data)?),
            None => Err(finished()),
        }
    }

    /// Sends what is left, and returns the number of rows once the server has taken them all.
    pub(crate) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<u64, Error>> {
        self.poll(cx, |mut copy, cx| copy.poll_finish(cx))
            .map(|rows| rows?.ok_or_else(finished))
    }

    fn poll_sink(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut CopyInSink<Bytes>>, &mut Context<'_>) -> Poll<Result<(), PgError>>,
    ) -> Poll<Result<(), Error>> {
        self.poll(cx, |mut copy, cx| {
            poll(copy.sink.as_mut(), cx).map(|done| match done {
                Ok(()) => Step::Goes(()),
                Err(error) => Step::Fails(error),
            })
        })
        .map(|done| done?.ok_or_else(finished))
    }
}

impl DriverStream for RowStream {
    fn leave(self: Pin<&mut Self>) -> Left {
        last_look(self)
    }
}

impl DriverStream for CopyOutStream {
    fn leave(self: Pin<&mut Self>) -> Left {
        last_look(self)
    }
}

fn last_look<T>(mut stream: Pin<&mut impl Stream<Item = Result<T, PgError>>>) -> Left {
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..LAST_LOOK {
        match stream.as_mut().poll_next(&mut cx) {
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(Some(Err(_))) => return Left::Failed,
            Poll::Ready(None) => return Left::Complete,
            Poll::Pending => break,
        }
    }
    Left::Unread
}
