//! [`ScopedBody`]: the response's body, which ends a transaction that outlives the response's head.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio_postgres::error::SqlState;
use tower::BoxError;
use tower_http::classify::ClassifyEos;

use super::guard::OpenScope;
use super::outcome::Eos;
use super::pg::ending::Verdict;
use super::pg::finish::Finish;
use crate::error::Error;
use crate::wire::{self, ResponseBody};

/// Carries the body of a response behind [`RoleScopeLayer`](super::RoleScopeLayer).
///
/// Where the transaction ends with the body, the body's own end is passed on only when the COMMIT was answered. If that
/// fails, the body ends with an error, or a gRPC response with the error's status in its trailers. A body that fails, or is
/// dropped before its end, rolls back.
#[pin_project]
pub struct ScopedBody<B> {
    #[pin]
    body: ResponseBody<B>,
    end: End,
}

enum End {
    /// The transaction has ended, if there was one.
    Before,
    With {
        scope: OpenScope,
        eos: Eos,
    },
    Committing {
        // Never locked: a `Mutex` is `Sync`, as `http_body_util`'s `boxed` wants the body to be, and a future is not.
        outcome: Mutex<BoxFuture<'static, Result<(), Error>>>,
        trailers: Option<HeaderMap>,
        eos: Eos,
    },
    /// Body and transaction have ended.
    Over,
}

impl<B> ScopedBody<B> {
    /// A body that has no part in its transaction's end.
    pub(super) fn ended(body: ResponseBody<B>) -> Self {
        Self {
            body,
            end: End::Before,
        }
    }

    /// A body that ends its transaction.
    pub(super) fn ending(body: ResponseBody<B>, scope: OpenScope, eos: Eos) -> Self {
        Self {
            body,
            end: End::With { scope, eos },
        }
    }
}

impl<B: Default> Default for ScopedBody<B> {
    fn default() -> Self {
        Self::ended(ResponseBody::default())
    }
}

impl<B> Body for ScopedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        loop {
            match this.end {
                End::Before => return this.body.poll_frame(cx).map_err(Into::into),
                End::Over => return Poll::Ready(None),
                End::Committing {
                    outcome,
                    trailers,
                    eos,
                } => {
                    let outcome = outcome.get_mut().unwrap_or_else(PoisonError::into_inner);
                    let end = match ready!(outcome.as_mut().poll(cx)) {
                        Ok(()) => trailers
                            .take()
                            .map(|trailers| Ok(Frame::trailers(trailers))),
                        Err(error) => Some(refusal(error, *eos)),
                    };
                    *this.end = End::Over;
                    return Poll::Ready(end);
                }
                End::With { scope, eos } => {
                    let trailers = match ready!(this.body.as_mut().poll_frame(cx)) {
                        Some(Ok(frame)) => match frame.into_trailers() {
                            Ok(trailers) => Some(trailers),
                            Err(frame) => return Poll::Ready(Some(Ok(frame))),
                        },
                        Some(Err(error)) => {
                            let error = error.into();
                            report(&*error);
                            // Dropping the scope rolls back.
                            *this.end = End::Over;
                            return Poll::Ready(Some(Err(error)));
                        }
                        None => None,
                    };
                    let commits = eos.classify_eos(trailers.as_ref()).is_ok();
                    let eos = *eos;
                    let finish = if commits {
                        scope.finish(Verdict::Commit)
                    } else {
                        // The client is told of a failure whatever becomes of the rollback.
                        drop(scope.finish(Verdict::Rollback));
                        Finish::Done(Ok(()))
                    };
                    let token_sent = scope.token_sent();
                    let outcome: BoxFuture<'static, _> = match finish {
                        Finish::Done(result) => Box::pin(std::future::ready(result)),
                        Finish::Ending(ending) => Box::pin(ending.outcome()),
                    };
                    *this.end = End::Committing {
                        outcome: Mutex::new(Box::pin(async move {
                            outcome.await.map_err(|error| error.token_sent(token_sent))
                        })),
                        trailers,
                        eos,
                    };
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.end {
            End::Before => self.body.is_end_stream(),
            End::With { .. } | End::Committing { .. } => false,
            End::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.end {
            End::Before => self.body.size_hint(),
            // An HTTP/1 server reads a body of known length no further than that, and would never come to its end.
            End::With { .. } | End::Committing { .. } => {
                let mut hint = SizeHint::new();
                hint.set_lower(self.body.size_hint().lower());
                hint
            }
            End::Over => SizeHint::with_exact(0),
        }
    }
}

/// What a body ends with whose COMMIT failed.
fn refusal(error: Error, eos: Eos) -> Result<Frame<Bytes>, BoxError> {
    match eos {
        Eos::Http => {
            report(&error);
            Err(error.into())
        }
        Eos::Grpc => {
            let answer = error.answer();
            error.report(&answer);
            Ok(Frame::trailers(wire::grpc_headers(&answer)))
        }
    }
}

/// Tells the operator of an error of this crate that a body ends with. The client cannot be told: its response has long
/// begun.
fn report(error: &(dyn StdError + 'static)) {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<Error>() {
            let answer = error.answer();
            error.report(&answer);
            if !answer.status.is_server_error() {
                tracing::warn!(
                    kind = error.kind().as_str(),
                    sqlstate = error.code().map(SqlState::code),
                    "a response's body ended with an error: {error}"
                );
            }
            return;
        }
        next = error.source();
    }
}

impl<B> fmt::Debug for ScopedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedBody").finish_non_exhaustive()
    }
}
