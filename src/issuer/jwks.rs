//! Serves the public keys.

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use sha2::{Digest, Sha256};
use tower::Service;

use super::key::base64;

/// Serves an issuer's public keys as a JWKS (RFC 7517), at whatever path it is mounted: `Router::route_service` of axum.
///
/// GET and HEAD are answered, with `application/jwk-set+json`, `Cache-Control: public, max-age=..` and an `ETag`; a request whose
/// `If-None-Match` has that is answered 304. Other methods are answered 405. It has no state, and clones are cheap.
///
/// Of an issuer that signs with an HMAC secret alone the set is empty: a secret is never published.
///
/// ```
/// # #[cfg(all(feature = "axum", any(feature = "aws-lc-rs", feature = "rust-crypto")))] {
/// # use rolescope::issuer::{SigningKey, TokenIssuer};
/// # fn example(issuer: TokenIssuer) -> axum::Router {
/// axum::Router::new().route_service("/.well-known/jwks.json", issuer.jwks_service())
/// # }
/// # }
/// ```
#[derive(Clone)]
pub struct JwksService(Arc<Document>);

struct Document {
    body: Bytes,
    tag: HeaderValue,
    cache: HeaderValue,
}

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/jwk-set+json");

impl JwksService {
    pub(super) fn new(document: String, max_age: Duration) -> Self {
        let hash = base64(&Sha256::digest(&document));
        let value = |text: String| {
            HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("no-store"))
        };
        Self(Arc::new(Document {
            tag: value(format!("\"{hash}\"")),
            cache: value(format!("public, max-age={}", max_age.as_secs())),
            body: document.into(),
        }))
    }

    fn answer(&self, method: &Method, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let Document { body, tag, cache } = &*self.0;
        let mut response = Response::new(Full::default());
        if !matches!(*method, Method::GET | Method::HEAD) {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(header::ALLOW, allowed);
            return response;
        }
        let sent = response.headers_mut();
        sent.insert(header::CACHE_CONTROL, cache.clone());
        sent.insert(header::ETAG, tag.clone());
        if has_current(headers, tag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        sent.insert(header::CONTENT_TYPE, MEDIA_TYPE);
        sent.insert(header::CONTENT_LENGTH, body.len().into());
        if *method == Method::GET {
            *response.body_mut() = Full::new(body.clone());
        }
        response
    }
}

/// RFC 9110 section 13.1.2, by the weak comparison.
fn has_current(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).into_iter();
    let mut known = known.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    known.any(|known| {
        let known = known.trim_ascii();
        known == b"*" || known.strip_prefix(b"W/").unwrap_or(known) == tag.as_bytes()
    })
}

impl<B> Service<Request<B>> for JwksService {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.answer(request.method(), request.headers())))
    }
}

impl fmt::Debug for JwksService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwksService").finish_non_exhaustive()
    }
}
