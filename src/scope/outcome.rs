//! What a response says about its transaction: commit or roll back.

use std::fmt::Display;

use http::{HeaderMap, Response};
use tower_http::classify::{ClassifiedResponse, ClassifyEos, ClassifyResponse};

use super::pg::ending::Verdict;
use crate::wire::Protocol;

/// Reads the verdict off the head of a response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome;

/// Says that a response does not ask for its transaction to be committed.
#[derive(Clone, Copy, Debug)]
pub(super) struct RollBack;

/// No response is left to be judged by its trailers.
pub(super) enum Never {}

impl Outcome {
    pub(super) fn verdict<B>(response: &Response<B>) -> Verdict {
        match Self.classify_response(response) {
            ClassifiedResponse::Ready(Ok(())) => Verdict::Commit,
            ClassifiedResponse::Ready(Err(RollBack)) => Verdict::Rollback,
            ClassifiedResponse::RequiresEos(never) => match never {},
        }
    }
}

/// Whether a gRPC response says only in its trailers how it went, after the transaction has ended.
pub(super) fn tells_later<B>(response: &Response<B>) -> bool {
    Protocol::of(response.headers()) == Protocol::Grpc
        && response.status().is_success()
        && !response.headers().contains_key("grpc-status")
}

impl ClassifyResponse for Outcome {
    type FailureClass = RollBack;
    type ClassifyEos = Never;

    fn classify_response<B>(self, response: &Response<B>) -> ClassifiedResponse<RollBack, Never> {
        let status = response.status();
        let commits = match Protocol::of(response.headers()) {
            Protocol::Http => status.is_success() || status.is_redirection(),
            // The HTTP status says nothing there. A code that is missing or malformed is not a success.
            Protocol::Grpc => {
                status.is_success()
                    && response
                        .headers()
                        .get("grpc-status")
                        .is_some_and(|code| code.as_bytes() == b"0")
            }
        };
        ClassifiedResponse::Ready(if commits { Ok(()) } else { Err(RollBack) })
    }

    fn classify_error<E: Display + 'static>(self, _: &E) -> RollBack {
        RollBack
    }
}

impl ClassifyEos for Never {
    type FailureClass = RollBack;

    fn classify_eos(self, _: Option<&HeaderMap>) -> Result<(), RollBack> {
        match self {}
    }

    fn classify_error<E: Display + 'static>(self, _: &E) -> RollBack {
        match self {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, headers: &[(&str, &str)]) -> Verdict {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        Outcome::verdict(&response.body(()).expect("the response is well formed"))
    }

    #[test]
    fn success_and_redirection_commit_and_nothing_else_does() {
        for status in [200, 201, 204, 299, 302, 304, 399] {
            assert_eq!(verdict(status, &[]), Verdict::Commit, "{status}");
        }
        for status in [100, 101, 400, 401, 404, 499, 500, 503, 599, 600, 999] {
            assert_eq!(verdict(status, &[]), Verdict::Rollback, "{status}");
        }
    }

    #[test]
    fn grpc_commits_on_status_zero_only() {
        let grpc = ("content-type", "application/grpc+proto");
        assert_eq!(verdict(200, &[grpc, ("grpc-status", "0")]), Verdict::Commit);
        for code in ["", "00", "1", "7", "13", "OK", "-0"] {
            assert_eq!(
                verdict(200, &[grpc, ("grpc-status", code)]),
                Verdict::Rollback,
                "{code:?}"
            );
        }
        assert_eq!(verdict(200, &[grpc]), Verdict::Rollback, "missing");
    }
}
