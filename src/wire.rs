//! Turns an [`Error`] into an answer of the shape that the client speaks: HTTP or gRPC.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::answer::Answer;
use crate::error::Error;

/// The protocol that a client expects its answer in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Grpc,
    /// gRPC for browsers: what are trailers elsewhere is the end of the body.
    GrpcWeb,
    /// The same with its body in base64.
    GrpcWebText,
}

impl Protocol {
    /// Reads the protocol off a `content-type`, as gRPC defines it.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let Some(content_type) = headers.get(header::CONTENT_TYPE) else {
            return Self::Http;
        };
        let starts_with = |prefix: &str| {
            let start = content_type.as_bytes().get(..prefix.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
        };
        if starts_with("application/grpc-web-text") {
            Self::GrpcWebText
        } else if starts_with("application/grpc-web") {
            Self::GrpcWeb
        } else if starts_with("application/grpc") {
            Self::Grpc
        } else {
            Self::Http
        }
    }

    /// The `content-type` of an answer without a message.
    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Http => "application/json",
            Self::Grpc => "application/grpc",
            Self::GrpcWeb => "application/grpc-web+proto",
            Self::GrpcWebText => "application/grpc-web-text+proto",
        })
    }
}

/// Carries the body of a response behind a layer of this crate: the inner service's own, or the layer's refusal.
#[derive(Debug)]
#[pin_project]
pub struct ResponseBody<B>(#[pin] Kind<B>);

#[derive(Debug)]
#[pin_project(project = KindProj)]
enum Kind<B> {
    Inner(#[pin] B),
    Own(#[pin] Full<Bytes>),
}

impl<B> ResponseBody<B> {
    pub(crate) fn inner(body: B) -> Self {
        Self(Kind::Inner(body))
    }

    fn own(bytes: Bytes) -> Self {
        Self(Kind::Own(Full::new(bytes)))
    }
}

impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::inner(B::default())
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().0.project() {
            KindProj::Inner(body) => body.poll_frame(cx),
            KindProj::Own(body) => body
                .poll_frame(cx)
                .map_err(|infallible| match infallible {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Inner(body) => body.is_end_stream(),
            Kind::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Inner(body) => body.size_hint(),
            Kind::Own(body) => body.size_hint(),
        }
    }
}

/// Makes the response that tells a client of `error`, and reports it to the operator where it is the server's fault.
pub(crate) fn respond<B>(error: &Error, protocol: Protocol) -> Response<ResponseBody<B>> {
    let answer = error.answer();
    error.report(&answer);
    shape(error, answer, protocol).map(ResponseBody::own)
}

/// Lets an inner service's response through. An error of this crate that a handler answered with becomes gRPC for a gRPC
/// client: the handler's framework knows HTTP only.
pub(crate) fn pass<B>(response: Response<B>, protocol: Protocol) -> Response<ResponseBody<B>> {
    #[cfg(feature = "tonic")]
    let response = crate::grpc::with_error(response);
    if is_http_to_grpc(&response, protocol)
        && let Some(error) = response.extensions().get::<Error>()
    {
        return shape(error, error.answer(), protocol).map(ResponseBody::own);
    }
    response.map(ResponseBody::inner)
}

/// Whether a gRPC client is answered in HTTP's words, and so with no `grpc-status`.
pub(crate) fn is_http_to_grpc<B>(response: &Response<B>, protocol: Protocol) -> bool {
    protocol != Protocol::Http && Protocol::of(response.headers()) == Protocol::Http
}

fn shape(error: &Error, answer: Answer, protocol: Protocol) -> Response<Bytes> {
    let mut response = match protocol {
        Protocol::Http => {
            // A struct of strings always serialises.
            let body = serde_json::to_vec(&answer.body).unwrap_or_default();
            let mut response = Response::new(Bytes::from(body));
            *response.status_mut() = answer.status;
            *response.headers_mut() = answer.headers;
            response
        }
        Protocol::Grpc | Protocol::GrpcWeb | Protocol::GrpcWebText => {
            let mut response = Response::new(Bytes::new());
            *response.headers_mut() = grpc_headers(&answer);
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, protocol.content_type());
    response.extensions_mut().insert(error.clone());
    response
}

/// The status of a gRPC response, which stands in its trailers or, where it has nothing else, in its headers.
pub(crate) fn grpc_headers(answer: &Answer) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", HeaderValue::from(answer.grpc_code));
    if let Ok(message) = HeaderValue::from_str(&percent_encode(&answer.body.message)) {
        headers.insert("grpc-message", message);
    }
    headers
}

/// Encodes a `grpc-message`: printable ASCII but `%` stays, the rest becomes `%XX`.
///
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses>
fn percent_encode(text: &str) -> String {
    use std::fmt::Write;

    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x20..=0x7e).contains(&byte) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

impl Error {
    /// Makes the response that tells an HTTP client of this error, and reports it to the operator where it is the server's
    /// fault: one event for each call.
    ///
    /// It is for services on plain hyper or tower, whose handlers make their responses themselves. A gRPC client gets it as
    /// gRPC: the layers of this crate turn it around on its way.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "postgres")] {
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use http_body_util::Full;
    /// use rolescope::{Error, RoleScopedConnection};
    ///
    /// async fn handle<B>(request: Request<B>) -> Response<Full<Bytes>> {
    ///     tasks(request).await.unwrap_or_else(|error| error.to_response())
    /// }
    ///
    /// async fn tasks<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Error> {
    ///     let db = RoleScopedConnection::from_extensions(request.extensions())?;
    ///     let tasks: Vec<String> = db.query_scalar("SELECT task FROM todos", &[]).await?;
    ///     Ok(Response::new(Full::from(tasks.join("\n"))))
    /// }
    /// # }
    /// ```
    pub fn to_response<B: From<Bytes>>(&self) -> Response<B> {
        let answer = self.answer();
        self.report(&answer);
        shape(self, answer, Protocol::Http).map(B::from)
    }
}

#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl axum_core::response::IntoResponse for Error {
    fn into_response(self) -> axum_core::response::Response {
        self.to_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_messages_are_percent_encoded() {
        assert_eq!(percent_encode("100 % of ü\n"), "100 %25 of %C3%BC%0A");
    }
}
