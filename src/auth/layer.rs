//! The tower layer: it lets a request through with what it found out about it, or refuses it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::request::Parts;
use http::{HeaderMap, HeaderName, Request, Response, header};
use pin_project::pin_project;
use tower::{Layer, Service};

use super::access::Access;
use super::bearer::Bearer;
use super::jwt::{Claims, JwtVerifier, TokenError};
use super::source::{TokenSource, TokenSourceError};
use crate::error::{Error, ErrorKind};
use crate::wire::{self, Protocol, ResponseBody};

/// Verifies the token of each request and leaves its [`Claims`] in the request's extensions.
///
/// A request without a token goes on as anonymous; one with a token that is not acceptable is refused. See the
/// [module](super) for the answers, and for where this layer belongs among others.
///
/// It fits every tower service of HTTP requests: `axum`, plain `hyper`, `tonic`. The inner service is neither cloned nor
/// boxed, and its errors are its own.
///
/// # Examples
///
/// ```
/// use http::{Request, Response, StatusCode};
/// use rolescope::auth::{Access, JwtAuthLayer};
/// use rolescope::{Error, JwtVerifier};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let secret = "a secret of thirty-two bytes at least";
/// let verifier = JwtVerifier::builder().hs256(secret)?.build()?;
/// let service = ServiceBuilder::new()
///     .layer(JwtAuthLayer::new(verifier))
///     .service(service_fn(async |request: Request<()>| {
///         let access = Access::from_extensions(request.extensions())?;
///         Ok::<_, Error>(Response::new(format!("anonymous: {}", access.is_anonymous())))
///     }));
///
/// let anonymous = service.clone().oneshot(Request::new(())).await?;
/// assert_eq!(anonymous.status(), StatusCode::OK);
///
/// let garbage = Request::builder().header("authorization", "Bearer garbage").body(())?;
/// assert_eq!(service.oneshot(garbage).await?.status(), StatusCode::UNAUTHORIZED);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct JwtAuthLayer {
    verifier: JwtVerifier,
    source: Arc<dyn TokenSource>,
    sensitive: Arc<[HeaderName]>,
    require_token: bool,
    invalid_is_anonymous: bool,
}

impl JwtAuthLayer {
    /// Creates a layer that takes the token from the `Authorization` header and lets anonymous requests through.
    pub fn new(verifier: JwtVerifier) -> Self {
        Self {
            verifier,
            source: Arc::new(Bearer),
            sensitive: Arc::new([header::AUTHORIZATION]),
            require_token: false,
            invalid_is_anonymous: false,
        }
    }

    /// Refuses requests without a token: 401 with `WWW-Authenticate: Bearer`. Defaults to letting them through.
    #[must_use]
    pub fn require_token(mut self) -> Self {
        self.require_token = true;
        self
    }

    /// Takes a request whose token is not acceptable for an anonymous one. Defaults to refusing it with 401.
    ///
    /// PostgREST once worked like this. A client whose token has expired is not told so then: it sees what
    /// strangers see. [`Access::token_sent`] tells the two apart. [`require_token`](Self::require_token) undoes this.
    #[must_use]
    pub fn treat_invalid_token_as_anonymous(mut self) -> Self {
        self.invalid_is_anonymous = true;
        self
    }

    /// Sets where the token comes from. Defaults to [`Bearer`].
    #[must_use]
    pub fn token_source(mut self, source: impl TokenSource) -> Self {
        self.sensitive = [vec![header::AUTHORIZATION], source.headers()]
            .concat()
            .into();
        self.source = Arc::new(source);
        self
    }

    fn check(&self, request: &Parts) -> Result<Access, Error> {
        let token = match self.source.token(request) {
            Ok(Some(token)) => token,
            Ok(None) if self.require_token => return Err(missing_token()),
            Ok(None) => return Ok(Access::anonymous(false)),
            Err(TokenSourceError::Ambiguous) => return Err(ambiguous_token()),
            Err(TokenSourceError::Malformed) => return self.invalid(TokenError::Malformed),
        };
        match self.verifier.verify(token.expose()) {
            Ok(claims) => Ok(Access::verified(claims)),
            Err(error) => self.invalid(error),
        }
    }

    fn invalid(&self, error: TokenError) -> Result<Access, Error> {
        if self.invalid_is_anonymous && !self.require_token {
            Ok(Access::anonymous(true))
        } else {
            Err(error.into())
        }
    }
}

fn missing_token() -> Error {
    Error::new(ErrorKind::MissingToken, "the request needs a token")
}

fn ambiguous_token() -> Error {
    Error::new(
        ErrorKind::InvalidRequest,
        "the request has more than one token or Authorization header",
    )
}

impl<S> Layer<S> for JwtAuthLayer {
    type Service = JwtAuth<S>;

    fn layer(&self, inner: S) -> JwtAuth<S> {
        JwtAuth {
            inner,
            layer: self.clone(),
        }
    }
}

impl fmt::Debug for JwtAuthLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtAuthLayer")
            .field("verifier", &self.verifier)
            .field("require_token", &self.require_token)
            .field("invalid_is_anonymous", &self.invalid_is_anonymous)
            .finish_non_exhaustive()
    }
}

/// Verifies the token of each request before the inner service sees it. Made by [`JwtAuthLayer`].
#[derive(Clone, Debug)]
pub struct JwtAuth<S> {
    inner: S,
    layer: JwtAuthLayer,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for JwtAuth<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
{
    type Response = Response<ResponseBody<ResB>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let protocol = Protocol::of(&parts.headers);
        let access = match self.layer.check(&parts) {
            Ok(access) => access,
            Err(error) => {
                return ResponseFuture(Kind::Refused { error, protocol });
            }
        };
        mark_sensitive(&mut parts.headers, &self.layer.sensitive);
        // What an outer layer left there is not what this one found.
        match access.claims() {
            Some(claims) => parts.extensions.insert(claims.clone()),
            None => parts.extensions.remove::<Claims>(),
        };
        parts.extensions.insert(access);
        let future = self.inner.call(Request::from_parts(parts, body));
        ResponseFuture(Kind::Inner { future, protocol })
    }
}

fn mark_sensitive(headers: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        // Looked up where that is enough. An entry would make room for one more header, which panics where there is none.
        if headers.get_all(name).iter().nth(1).is_none() {
            if let Some(value) = headers.get_mut(name) {
                value.set_sensitive(true);
            }
        } else {
            headers
                .iter_mut()
                .filter(|(known, _)| *known == name)
                .for_each(|(_, value)| value.set_sensitive(true));
        }
    }
}

/// Is the response of [`JwtAuth`]: the inner service's, or the refusal.
#[derive(Debug)]
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<F>(#[pin] Kind<F>);

#[derive(Debug)]
#[pin_project(project = KindProj)]
enum Kind<F> {
    Inner {
        #[pin]
        future: F,
        protocol: Protocol,
    },
    Refused {
        error: Error,
        protocol: Protocol,
    },
}

impl<F, ResB, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<ResB>, E>>,
{
    type Output = Result<Response<ResponseBody<ResB>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().0.project() {
            KindProj::Inner { future, protocol } => {
                let response = ready!(future.poll(cx))?;
                Poll::Ready(Ok(wire::pass(response, *protocol)))
            }
            KindProj::Refused { error, protocol } => {
                Poll::Ready(Ok(wire::respond(error, *protocol)))
            }
        }
    }
}
