//! Scopes for whole routes: RFC 6750 section 3.1.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project::pin_project;
use tower::{Layer, Service};

use super::access::Access;
use crate::error::Error;
use crate::wire::{self, Protocol, ResponseBody};

/// Refuses requests whose token does not grant some scopes: 403 with `error="insufficient_scope"`.
///
/// An anonymous request is 401. It stands inside of [`JwtAuthLayer`](super::JwtAuthLayer), around the routes that need the
/// scopes; where that layer is missing, the answer is 500. [`Access::require_scopes`] does the same in a handler.
///
/// # Examples
///
/// ```
/// use axum::{Router, routing::get};
/// use rolescope::auth::{JwtAuthLayer, RequireScopeLayer};
/// use rolescope::JwtVerifier;
///
/// # let secret = "a secret of thirty-two bytes at least";
/// let verifier = JwtVerifier::builder().hs256(secret)?.audience("todos").build()?;
/// let app: Router = Router::new()
///     .route("/admin", get(async || "hello"))
///     .route_layer(RequireScopeLayer::new(["todos:admin"])?)
///     .route("/", get(async || "hello, stranger"))
///     .layer(JwtAuthLayer::new(verifier));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct RequireScopeLayer {
    scopes: Arc<[Box<str>]>,
}

/// Says that a text cannot be a scope, or that a layer was given none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScopeError(());

impl RequireScopeLayer {
    /// Creates a layer that requires all of these scopes.
    ///
    /// # Errors
    ///
    /// There is none, or one has a character that RFC 6749 section 3.3 does not allow in a scope: a space or a quote, for
    /// example.
    pub fn new<I>(scopes: I) -> Result<Self, ScopeError>
    where
        I: IntoIterator<Item: Into<Box<str>>>,
    {
        let scopes: Arc<[Box<str>]> = scopes.into_iter().map(Into::into).collect();
        if scopes.is_empty() || !scopes.iter().all(|scope| is_scope(scope)) {
            return Err(ScopeError(()));
        }
        Ok(Self { scopes })
    }

    fn check<B>(&self, request: &Request<B>) -> Result<(), Error> {
        let scopes: Vec<&str> = self.scopes.iter().map(|scope| &**scope).collect();
        let access = Access::from_extensions(request.extensions())?;
        access.require_scopes(&scopes).map(drop)
    }
}

/// `scope-token` of RFC 6749 section 3.3.
pub(super) fn is_scope(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    !text.is_empty() && text.bytes().all(allowed)
}

impl<S> Layer<S> for RequireScopeLayer {
    type Service = RequireScope<S>;

    fn layer(&self, inner: S) -> RequireScope<S> {
        RequireScope {
            inner,
            layer: self.clone(),
        }
    }
}

/// Lets only requests with some scopes pass to the inner service. Made by [`RequireScopeLayer`].
#[derive(Clone, Debug)]
pub struct RequireScope<S> {
    inner: S,
    layer: RequireScopeLayer,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for RequireScope<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
{
    type Response = Response<ResponseBody<ResB>>;
    type Error = S::Error;
    type Future = RequireScopeFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        RequireScopeFuture(match self.layer.check(&request) {
            Ok(()) => Kind::Inner(self.inner.call(request)),
            Err(error) => Kind::Refused(error, Protocol::of(request.headers())),
        })
    }
}

/// Is the response of [`RequireScope`]: the inner service's, or the refusal.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct RequireScopeFuture<F>(#[pin] Kind<F>);

#[pin_project(project = KindProj)]
enum Kind<F> {
    Inner(#[pin] F),
    Refused(Error, Protocol),
}

impl<F, E, B> Future for RequireScopeFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project().0.project() {
            KindProj::Inner(future) => {
                ready!(future.poll(cx)).map(|response| response.map(ResponseBody::inner))
            }
            KindProj::Refused(error, protocol) => Ok(wire::respond(error, *protocol)),
        })
    }
}

impl<F> fmt::Debug for RequireScopeFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireScopeFuture").finish_non_exhaustive()
    }
}

impl fmt::Display for ScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "scopes are missing, or one is not printable ASCII without space, `\"` and `\\`: give each scope by itself",
        )
    }
}

impl StdError for ScopeError {}
