//! The response's way back: it ends its transaction, or takes it along to the end of its body.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Response, StatusCode, Version, header};
use hyper::body::Body;
use pin_project::pin_project;
use tower_http::classify::{ClassifiedResponse, ClassifyResponse};

use super::body::ScopedBody;
use super::guard::OpenScope;
use super::outcome::{Eos, Outcome, RollBack};
use super::pg::ending::Verdict;
use super::pg::finish::{EndsWith, Finish};
use crate::error::{Error, ErrorKind};
use crate::wire::{self, Protocol};

/// What is remembered of a request until its response is there.
pub(super) struct Exchange {
    pub(super) protocol: Protocol,
    pub(super) version: Version,
    /// It was a HEAD request.
    pub(super) head: bool,
}

/// Is the response of [`RoleScopeService`](super::RoleScopeService), behind the end of its transaction.
///
/// Waiting for that end is a boxed future, made only where there is an end to wait for.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<F, B> {
    #[pin]
    state: State<F, B>,
    exchange: Exchange,
}

impl<F, B> ResponseFuture<F, B> {
    pub(super) fn refused(error: Error, exchange: Exchange) -> Self {
        Self {
            state: State::Refused { error },
            exchange,
        }
    }

    pub(super) fn new(future: F, scope: Option<OpenScope>, exchange: Exchange) -> Self {
        Self {
            state: State::Inner { future, scope },
            exchange,
        }
    }
}

#[pin_project(project = StateProj)]
enum State<F, B> {
    Inner {
        #[pin]
        future: F,
        scope: Option<OpenScope>,
    },
    Ending {
        outcome: BoxFuture<'static, Result<(), Error>>,
        response: Option<Response<B>>,
        verdict: Verdict,
        token_sent: bool,
    },
    Refused {
        error: Error,
    },
}

/// What becomes of the transaction when the response's head is there.
enum Fate {
    Ends(Verdict),
    EndsWithBody(Eos),
    Refused(Error),
}

impl Fate {
    fn of<B: Body>(scope: &OpenScope, response: &Response<B>, exchange: &Exchange) -> Self {
        // Nobody reads such a body to its end.
        let no_body = response.body().is_end_stream()
            || exchange.head
            || matches!(
                response.status(),
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        let is_open = scope.transaction().is_open();
        let is_grpc = Protocol::of(response.headers()) != Protocol::Http;
        let http_to_grpc = wire::is_http_to_grpc(response, exchange.protocol);
        let has_error = response.extensions().get::<Error>().is_some();
        match Outcome.classify_response(response) {
            ClassifiedResponse::Ready(Err(RollBack::Told)) => Self::Ends(Verdict::Rollback),
            ClassifiedResponse::Ready(Err(RollBack::Unread))
            | ClassifiedResponse::RequiresEos(_)
                if no_body =>
            {
                Self::Ends(Verdict::Rollback)
            }
            ClassifiedResponse::Ready(Err(RollBack::Unread)) if is_open => {
                Self::Refused(status_in_body())
            }
            ClassifiedResponse::Ready(Err(RollBack::Unread)) => Self::Ends(Verdict::Commit),
            // The client is shown that error, whatever the status beside it is.
            ClassifiedResponse::Ready(Ok(())) if http_to_grpc && has_error => {
                Self::Ends(Verdict::Rollback)
            }
            ClassifiedResponse::Ready(Ok(())) if http_to_grpc && is_open => {
                Self::Refused(status_missing())
            }
            ClassifiedResponse::Ready(Ok(())) if is_grpc && is_open && !no_body => {
                Self::Refused(status_before_body())
            }
            ClassifiedResponse::Ready(Ok(())) => match scope.transaction().ends_with() {
                EndsWith::Neither => Self::Refused(stream_open()),
                EndsWith::Body if no_body => Self::Ends(Verdict::Commit),
                EndsWith::Body
                    if exchange.version < Version::HTTP_11 && scope.transaction().end_matters() =>
                {
                    Self::Refused(body_without_end())
                }
                EndsWith::Body => Self::EndsWithBody(Eos::Http),
                EndsWith::Head => Self::Ends(Verdict::Commit),
            },
            ClassifiedResponse::RequiresEos(eos) => Self::EndsWithBody(eos),
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<ScopedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let protocol = this.exchange.protocol;
        loop {
            let (result, response, verdict) = match this.state.as_mut().project() {
                StateProj::Refused { error } => return Poll::Ready(Ok(respond(error, protocol))),
                StateProj::Inner { future, scope } => {
                    let response = ready!(future.poll(cx))?;
                    let Some(scope) = scope.take() else {
                        return Poll::Ready(Ok(pass(response, protocol)));
                    };
                    let verdict = match Fate::of(&scope, &response, this.exchange) {
                        Fate::Ends(verdict) => verdict,
                        Fate::EndsWithBody(eos) => {
                            let mut response = wire::pass(response, protocol);
                            // The body has no known length any more: its end waits for COMMIT.
                            response.headers_mut().remove(header::CONTENT_LENGTH);
                            let response =
                                response.map(|body| ScopedBody::ending(body, scope, eos));
                            return Poll::Ready(Ok(response));
                        }
                        Fate::Refused(error) => {
                            drop(scope.finish(Verdict::Rollback));
                            return Poll::Ready(Ok(respond(&error, protocol)));
                        }
                    };
                    match scope.finish(verdict) {
                        Finish::Done(result) => (result, response, verdict),
                        Finish::Ending(ending) => {
                            let token_sent = scope.token_sent();
                            this.state.set(State::Ending {
                                outcome: Box::pin(ending.outcome()),
                                response: Some(response),
                                verdict,
                                token_sent,
                            });
                            continue;
                        }
                    }
                }
                StateProj::Ending {
                    outcome,
                    response,
                    verdict,
                    token_sent,
                } => {
                    let result = ready!(outcome.as_mut().poll(cx))
                        .map_err(|error| error.token_sent(*token_sent));
                    match response.take() {
                        Some(response) => (result, response, *verdict),
                        None => panic!("`ResponseFuture` was polled after it was ready"),
                    }
                }
            };
            return Poll::Ready(Ok(match result {
                Err(error)
                    if verdict == Verdict::Commit || error.kind() == ErrorKind::ScopeLeft =>
                {
                    respond(&error, protocol)
                }
                _ => pass(response, protocol),
            }));
        }
    }
}

fn respond<B>(error: &Error, protocol: Protocol) -> Response<ScopedBody<B>> {
    wire::respond(error, protocol).map(ScopedBody::ended)
}

fn pass<B>(response: Response<B>, protocol: Protocol) -> Response<ScopedBody<B>> {
    wire::pass(response, protocol).map(ScopedBody::ended)
}

impl<F, B> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

fn stream_open() -> Error {
    Error::new(
        ErrorKind::StreamOpen,
        "a stream was open when the handler answered, in a transaction that may write: \
         read it to its end, say read_only(), or say commit_at_end_of_body()",
    )
}

fn status_in_body() -> Error {
    Error::new(
        ErrorKind::MissingLayer,
        "a gRPC-Web response has its status in its body, where RoleScopeLayer does not read it: \
         add GrpcWebLayer outside of JwtAuthLayer and RoleScopeLayer",
    )
}

fn status_missing() -> Error {
    Error::new(
        ErrorKind::TransactionAborted,
        "a gRPC request was answered with success in the words of HTTP, which its client takes for a failure: \
         answer it with content-type application/grpc and a grpc-status",
    )
}

fn status_before_body() -> Error {
    Error::new(
        ErrorKind::TransactionAborted,
        "a gRPC response said grpc-status 0 before its body, which may yet fail: say it in the trailers",
    )
}

fn body_without_end() -> Error {
    Error::new(
        ErrorKind::StreamOpen,
        "commit_at_end_of_body() takes HTTP/1.1 at least, since an HTTP/1.0 client cannot tell that a body ended with an \
         error: a proxy in between may speak 1.0 (nginx: proxy_http_version 1.1)",
    )
}
