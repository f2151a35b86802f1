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
use super::challenge;
use super::challenge::{ResourceMetadata, ResourceMetadataError};
use super::jwt::{Claims, JwtVerifier, Pending, TokenError, Verdict};
use super::source::{TokenSource, TokenSourceError};
use crate::error::{Error, ErrorKind};
use crate::wire::{self, Protocol, ResponseBody};

/// Verifies the token of each request and leaves its [`Claims`] in the request's extensions.
///
/// A request without a token goes on as anonymous; one with a token that is not acceptable is refused. See the
/// [module](super) for the answers, and for where this layer belongs among others.
///
/// It fits every tower service of HTTP requests that can be cloned: `axum`, plain `hyper`, `tonic`. The inner service is not
/// boxed, and cloned only where a request has to wait for its issuer's keys; its errors are its own.
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
    metadata: Option<ResourceMetadata>,
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
            metadata: None,
        }
    }

    /// Tells clients where the service says which authorization servers it trusts: the URL of its protected resource
    /// metadata (RFC 9728).
    ///
    /// Each `Bearer` challenge that leaves through this layer then has `resource_metadata=".."`, its own refusals' and
    /// those of what stands further in: a 401 for a privilege that a stranger lacks, a 403 for a scope. gRPC has no
    /// challenges. The document is the service's to serve, usually at `/.well-known/oauth-protected-resource`.
    ///
    /// Defaults to none.
    ///
    /// # Errors
    ///
    /// The URL is not an absolute `https` one (`http` on a loopback host will do as well), or has a user, a fragment, or
    /// a character that does not belong into a URL.
    pub fn resource_metadata(mut self, url: &str) -> Result<Self, ResourceMetadataError> {
        self.metadata = Some(ResourceMetadata::parse(url)?);
        Ok(self)
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

    fn check(&self, request: &Parts) -> Check {
        let token = match self.source.token(request) {
            Ok(Some(token)) => token,
            Ok(None) if self.require_token => return Check::Done(Err(missing_token())),
            Ok(None) => return Check::Done(Ok(Access::anonymous(false))),
            Err(TokenSourceError::Ambiguous) => return Check::Done(Err(ambiguous_token())),
            Err(TokenSourceError::Malformed) => {
                return Check::Done(self.access(Err(TokenError::Malformed)));
            }
        };
        match self.verifier.verdict(token.expose()) {
            Verdict::Known(verified) => Check::Done(self.access(verified)),
            Verdict::Pending(pending) => Check::Pending(pending),
        }
    }

    fn access(&self, verified: Result<Claims, TokenError>) -> Result<Access, Error> {
        match verified {
            Ok(claims) => Ok(Access::verified(claims)),
            // Nobody knows yet whether it is invalid.
            Err(error @ (TokenError::KeysUnavailable | TokenError::RevocationsUnavailable)) => {
                Err(error.into())
            }
            Err(_) if self.invalid_is_anonymous && !self.require_token => {
                Ok(Access::anonymous(true))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes down what was found out, and hides the token from what prints headers.
    fn admit(&self, parts: &mut Parts, access: Access) {
        mark_sensitive(&mut parts.headers, &self.sensitive);
        // What an outer layer left there is not what this one found.
        match access.claims() {
            Some(claims) => parts.extensions.insert(claims.clone()),
            None => parts.extensions.remove::<Claims>(),
        };
        parts.extensions.insert(access);
    }
}

/// What is known of a request's token.
enum Check {
    Done(Result<Access, Error>),
    Pending(Pending),
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
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
{
    type Response = Response<ResponseBody<ResB>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqB>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let protocol = Protocol::of(&parts.headers);
        let metadata = self.layer.metadata.clone();
        let kind = match self.layer.check(&parts) {
            Check::Done(Ok(access)) => {
                self.layer.admit(&mut parts, access);
                let future = self.inner.call(Request::from_parts(parts, body));
                Kind::Inner { future, protocol }
            }
            Check::Done(Err(error)) => Kind::Refused { error, protocol },
            Check::Pending(pending) => {
                // The one that is ready is the one that will be called.
                let next = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, next);
                Kind::Pending {
                    pending,
                    waiting: Some(Box::new(Waiting {
                        request: Request::from_parts(parts, body),
                        inner,
                        layer: self.layer.clone(),
                    })),
                    protocol,
                }
            }
        };
        ResponseFuture { kind, metadata }
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
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<S: Service<Request<B>>, B> {
    #[pin]
    kind: Kind<S, B>,
    metadata: Option<ResourceMetadata>,
}

#[pin_project(project = KindProj)]
enum Kind<S: Service<Request<B>>, B> {
    /// The token's keys are being fetched.
    Pending {
        pending: Pending,
        waiting: Option<Box<Waiting<S, B>>>,
        protocol: Protocol,
    },
    Inner {
        #[pin]
        future: S::Future,
        protocol: Protocol,
    },
    Refused {
        error: Error,
        protocol: Protocol,
    },
}

/// A request that waits for its keys, and who it is for.
struct Waiting<S, B> {
    request: Request<B>,
    inner: S,
    layer: JwtAuthLayer,
}

impl<S, ReqB, ResB> Future for ResponseFuture<S, ReqB>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
{
    type Output = Result<Response<ResponseBody<ResB>>, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let this = self.as_mut().project();
            let next = match this.kind.project() {
                KindProj::Pending {
                    pending,
                    waiting,
                    protocol,
                } => {
                    let verified = ready!(pending.as_mut().poll(cx));
                    // It is taken once, and another kind put in its place.
                    let Some(waiting) = waiting.take() else {
                        return Poll::Pending;
                    };
                    waiting.goes_on(verified, *protocol)
                }
                KindProj::Inner { future, protocol } => {
                    let response = ready!(future.poll(cx))?;
                    let response = wire::pass(response, *protocol);
                    return Poll::Ready(Ok(challenge::complete(response, this.metadata)));
                }
                KindProj::Refused { error, protocol } => {
                    let response = wire::respond(error, *protocol);
                    return Poll::Ready(Ok(challenge::complete(response, this.metadata)));
                }
            };
            self.as_mut().project().kind.set(next);
        }
    }
}

impl<S: Service<Request<B>>, B> Waiting<S, B> {
    fn goes_on(self, verified: Result<Claims, TokenError>, protocol: Protocol) -> Kind<S, B> {
        let Self {
            request,
            mut inner,
            layer,
        } = self;
        match layer.access(verified) {
            Ok(access) => {
                let (mut parts, body) = request.into_parts();
                layer.admit(&mut parts, access);
                let future = inner.call(Request::from_parts(parts, body));
                Kind::Inner { future, protocol }
            }
            Err(error) => Kind::Refused { error, protocol },
        }
    }
}

impl<S: Service<Request<B>>, B> fmt::Debug for ResponseFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
