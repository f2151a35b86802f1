//! The data of a `COPY .. FROM STDIN`, and whether the session's answers are in step behind one that failed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use tokio_postgres::{CopyInSink, Error as PgError, SimpleQueryStream};

use super::connection::Session;
use super::stream::{DriverStream, Left, Step};

/// The driver's sink.
///
/// The driver sends a Sync with the COPY and one behind its data. The server passes over the first one as it begins to
/// read; where it refuses the COPY before that, for a view or by a trigger of the statement, it answers both. From then on
/// each answer would be taken for that of the message before.
pub(crate) struct CopyIn {
    pub(super) sink: Pin<Box<CopyInSink<Bytes>>>,
    session: Arc<Session>,
    failed: Option<(PgError, Pin<Box<SimpleQueryStream>>)>,
}

impl CopyIn {
    pub(super) fn new(sink: CopyInSink<Bytes>, session: &Arc<Session>) -> Self {
        Self {
            sink: Box::pin(sink),
            session: Arc::clone(session),
            failed: None,
        }
    }

    /// Ends the data. Behind a failure it asks what has an answer of its own: an empty query.
    pub(super) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Step<u64>> {
        let (error, mut answer) = match self.failed.take() {
            Some(failed) => failed,
            None => match ready!(self.sink.as_mut().poll_finish(cx)) {
                Ok(rows) => return Poll::Ready(Step::Ends(Some(rows))),
                Err(error) => match self.session.send("") {
                    Ok(answer) if error.code().is_some() => (error, Box::pin(answer)),
                    _ => return Poll::Ready(Step::Breaks(error)),
                },
            },
        };
        match answer.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(_))) => Poll::Ready(Step::Fails(error)),
            Poll::Ready(_) => Poll::Ready(Step::Breaks(error)),
            Poll::Pending => {
                self.failed = Some((error, answer));
                Poll::Pending
            }
        }
    }
}

impl DriverStream for CopyIn {
    const BLOCKS: bool = true;

    // Dropped, it tells the server to give the COPY up; whether the server had refused it before is not known.
    fn leave(self: Pin<&mut Self>) -> Left {
        Left::OutOfStep
    }
}
