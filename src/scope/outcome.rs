//! What a response says about its transaction: commit or roll back.

use std::fmt::Display;

use http::{HeaderMap, Response};
use tower_http::classify::{ClassifiedResponse, ClassifyEos, ClassifyResponse};

use crate::wire::Protocol;

/// Reads the verdict off the head of a response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome;

/// Says that a response does not ask for its transaction to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RollBack {
    /// The client reads that it is no success.
    Told,
    /// The end of the body tells, in words that only a client reads.
    Unread,
}

/// Reads the verdict off the end of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Eos {
    /// A body that has come to its end without an error is a success.
    Http,
    /// The trailers tell.
    Grpc,
}

impl ClassifyResponse for Outcome {
    type FailureClass = RollBack;
    type ClassifyEos = Eos;

    fn classify_response<B>(self, response: &Response<B>) -> ClassifiedResponse<RollBack, Eos> {
        let status = response.status();
        let protocol = Protocol::of(response.headers());
        let commits = match (protocol, grpc_status(response.headers())) {
            (Protocol::Http, _) => status.is_success() || status.is_redirection(),
            // The HTTP status says nothing there.
            (_, Some(zero)) => status.is_success() && zero,
            (_, None) if !status.is_success() => false,
            (Protocol::Grpc, None) => return ClassifiedResponse::RequiresEos(Eos::Grpc),
            (Protocol::GrpcWeb | Protocol::GrpcWebText, None) => {
                return ClassifiedResponse::Ready(Err(RollBack::Unread));
            }
        };
        ClassifiedResponse::Ready(commits.then_some(()).ok_or(RollBack::Told))
    }

    fn classify_error<E: Display + 'static>(self, _: &E) -> RollBack {
        RollBack::Told
    }
}

impl ClassifyEos for Eos {
    type FailureClass = RollBack;

    fn classify_eos(self, trailers: Option<&HeaderMap>) -> Result<(), RollBack> {
        match self {
            Self::Http => Ok(()),
            Self::Grpc if trailers.and_then(grpc_status) == Some(true) => Ok(()),
            Self::Grpc => Err(RollBack::Told),
        }
    }

    fn classify_error<E: Display + 'static>(self, _: &E) -> RollBack {
        RollBack::Told
    }
}

/// Whether a `grpc-status` means success. A code that is malformed, or said twice, does not.
fn grpc_status(headers: &HeaderMap) -> Option<bool> {
    let mut codes = headers.get_all("grpc-status").iter();
    let code = codes.next()?;
    Some(code.as_bytes() == b"0" && codes.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classify(status: u16, headers: &[(&str, &str)]) -> Option<bool> {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response = response.body(()).expect("the response is well formed");
        match Outcome.classify_response(&response) {
            ClassifiedResponse::Ready(result) => Some(result.is_ok()),
            ClassifiedResponse::RequiresEos(_) => None,
        }
    }

    #[test]
    fn success_and_redirection_commit_and_nothing_else_does() {
        for status in [200, 201, 204, 299, 302, 304, 399] {
            assert_eq!(classify(status, &[]), Some(true), "{status}");
        }
        for status in [100, 101, 400, 401, 404, 499, 500, 503, 599, 600, 999] {
            assert_eq!(classify(status, &[]), Some(false), "{status}");
        }
    }

    #[test]
    fn grpc_commits_on_status_zero_only() {
        let grpc = ("content-type", "application/grpc+proto");
        let zero = ("grpc-status", "0");
        assert_eq!(classify(200, &[grpc, zero]), Some(true));
        assert_eq!(classify(200, &[grpc, zero, zero]), Some(false), "twice");
        assert_eq!(classify(500, &[grpc, zero]), Some(false));
        for code in ["", "00", "1", "7", "13", "OK", "-0"] {
            assert_eq!(
                classify(200, &[grpc, ("grpc-status", code)]),
                Some(false),
                "{code:?}"
            );
        }
        assert_eq!(classify(200, &[grpc]), None, "the trailers tell");
        assert_eq!(classify(500, &[grpc]), Some(false));
        for web in ["application/grpc-web", "application/grpc-web-text+proto"] {
            let web = ("content-type", web);
            assert_eq!(classify(200, &[web]), Some(false), "the body tells");
            assert_eq!(classify(200, &[web, zero]), Some(true));
        }
    }

    #[test]
    fn grpc_trailers_commit_on_status_zero_only() {
        let trailers = |code: &str| {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", code.parse().expect("a header's value"));
            trailers
        };
        assert!(Eos::Grpc.classify_eos(Some(&trailers("0"))).is_ok());
        for code in ["", "00", "2", "OK"] {
            assert!(
                Eos::Grpc.classify_eos(Some(&trailers(code))).is_err(),
                "{code:?}"
            );
        }
        assert!(Eos::Grpc.classify_eos(None).is_err());
        assert!(Eos::Grpc.classify_eos(Some(&HeaderMap::new())).is_err());
        assert!(Eos::Http.classify_eos(None).is_ok());
    }
}
