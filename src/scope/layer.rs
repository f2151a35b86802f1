//! [`RoleScopeLayer`]: gives each request its transaction and ends it with the response.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri, header};
use hyper::body::Body;
use tower::{Layer, Service};

use super::body::ScopedBody;
use super::connection::{Refused, RoleScopedConnection};
use super::guard::OpenScope;
use super::pg::mode::AccessMode;
use super::pg::pool::RoleScopedPool;
use super::pg::switch::RequestSettings;
use super::pg::transaction::Transaction;
use super::response::{Exchange, ResponseFuture};
use crate::auth::Access;
use crate::error::{Error, ErrorKind};
use crate::role::RolePolicy;
use crate::wire::Protocol;

/// Gives each request a [`RoleScopedConnection`] and ends its transaction with the response.
///
/// It stands inside of [`JwtAuthLayer`](crate::JwtAuthLayer) and outside of the handlers; see the
/// [crate's documentation](crate) for its place among other layers. It decides the request's role and takes nothing from
/// the pool: the connection is lazy. When the response's head is ready, every handle is revoked and the transaction is
/// committed (2xx, 3xx) or rolled back (everything else). A response with success is not let through before its COMMIT
/// has been answered; where that fails, an error takes its place.
///
/// # Examples
///
/// ```no_run
/// # #[cfg(feature = "axum")]
/// # async fn example(auth: rolescope::JwtAuthLayer) -> Result<(), Box<dyn std::error::Error>> {
/// use rolescope::{RolePolicy, RoleScopeLayer, RoleScopedPool};
/// use tower::ServiceBuilder;
///
/// let pool = RoleScopedPool::builder("postgres://authenticator@localhost/app")?
///     .anonymous_role("anon")
///     .build()
///     .await?;
/// let scope = RoleScopeLayer::new(pool)
///     .roles(RolePolicy::new().claim(".realm_access.roles[0]")?.allow(["web_user"])?);
/// let app: axum::Router = axum::Router::new().layer(ServiceBuilder::new().layer(auth).layer(scope));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RoleScopeLayer {
    pool: RoleScopedPool,
    policy: RolePolicy,
    access_mode: AccessModeOf,
    request_headers: bool,
    request_cookies: bool,
}

type AccessModeOf = Arc<dyn Fn(&Method, &Uri) -> AccessMode + Send + Sync>;

impl RoleScopeLayer {
    /// Creates a layer that takes the role from the token's claim `role`.
    pub fn new(pool: RoleScopedPool) -> Self {
        Self {
            pool,
            policy: RolePolicy::new(),
            access_mode: Arc::new(|method, _| by_method(method)),
            request_headers: false,
            request_cookies: false,
        }
    }

    /// Sets how a request's role is decided. Defaults to the claim `role`.
    #[must_use]
    pub fn roles(mut self, policy: RolePolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets how the access mode follows from a request's method and URI. Defaults to `READ ONLY` for GET, HEAD and OPTIONS
    /// and to `READ WRITE` for the rest.
    ///
    /// For one route, put [`AccessMode`] on it as a layer; for one request, say
    /// [`read_only`](RoleScopedConnection::read_only) in the handler.
    ///
    /// # Examples
    ///
    /// Every gRPC request is a POST; its path names the method:
    ///
    /// ```
    /// # fn example(scope: rolescope::RoleScopeLayer) -> rolescope::RoleScopeLayer {
    /// use rolescope::AccessMode;
    ///
    /// scope.access_mode(|_, uri| match uri.path() {
    ///     "/todos.Todos/List" => AccessMode::ReadOnly,
    ///     _ => AccessMode::ReadWrite,
    /// })
    /// # }
    /// ```
    #[must_use]
    pub fn access_mode(
        mut self,
        mode: impl Fn(&Method, &Uri) -> AccessMode + Send + Sync + 'static,
    ) -> Self {
        self.access_mode = Arc::new(mode);
        self
    }

    /// Also sets `request.headers`, the request's headers as a JSON object with lower-case names. Defaults to false.
    ///
    /// Left out are `Authorization`, `Cookie` and every header that is marked sensitive, as the one that carried the
    /// token is. Of a header that was given several times all values are joined by commas.
    #[must_use]
    pub fn request_headers(mut self, yes: bool) -> Self {
        self.request_headers = yes;
        self
    }

    /// Leaves `Cookie` among the [`request_headers`](Self::request_headers), unless the token came by it. Defaults to false.
    ///
    /// All SQL of the request can read it then: a session's cookie is a secret too.
    #[must_use]
    pub fn request_cookies(mut self, yes: bool) -> Self {
        self.request_cookies = yes;
        self
    }

    fn open_scope<B>(&self, request: &Request<B>) -> Result<RoleScopedConnection, Error> {
        let access = Access::from_extensions(request.extensions())?;
        let scope = self
            .policy
            .decide(access, self.pool.anonymous_role(), self.pool.login())?;
        let settings = RequestSettings {
            method: request.method().as_str().to_owned(),
            path: request.uri().path().to_owned(),
            headers: self
                .request_headers
                .then(|| headers_json(request.headers(), self.request_cookies)),
        };
        let mode = match request.extensions().get::<AccessMode>() {
            Some(mode) => *mode,
            None => (self.access_mode)(request.method(), request.uri()),
        };
        Ok(RoleScopedConnection::new(Arc::new(Transaction::new(
            self.pool.clone(),
            scope,
            settings,
            mode,
        ))))
    }
}

fn by_method(method: &Method) -> AccessMode {
    if [Method::GET, Method::HEAD, Method::OPTIONS].contains(method) {
        AccessMode::ReadOnly
    } else {
        AccessMode::ReadWrite
    }
}

fn headers_json(headers: &HeaderMap, with_cookies: bool) -> String {
    let secret = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION];
    let mut members = serde_json::Map::new();
    for name in headers.keys() {
        if secret.contains(name) || (name == header::COOKIE && !with_cookies) {
            continue;
        }
        let values: Vec<_> = headers
            .get_all(name)
            .iter()
            .filter(|value| !value.is_sensitive())
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        if !values.is_empty() {
            members.insert(name.as_str().to_owned(), values.join(", ").into());
        }
    }
    serde_json::Value::Object(members).to_string()
}

impl<S> Layer<S> for RoleScopeLayer {
    type Service = RoleScopeService<S>;

    fn layer(&self, inner: S) -> RoleScopeService<S> {
        RoleScopeService {
            inner,
            layer: self.clone(),
        }
    }
}

impl fmt::Debug for RoleScopeLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleScopeLayer")
            .field("pool", &self.pool)
            .field("policy", &self.policy)
            .field("request_headers", &self.request_headers)
            .finish_non_exhaustive()
    }
}

/// Ends each request's transaction with its response. Made by [`RoleScopeLayer`].
#[derive(Clone, Debug)]
pub struct RoleScopeService<S> {
    inner: S,
    layer: RoleScopeLayer,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for RoleScopeService<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    ResB: Body<Data = Bytes>,
{
    type Response = Response<ScopedBody<ResB>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResB>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let exchange = Exchange {
            protocol: Protocol::of(request.headers()),
            version: request.version(),
            head: request.method() == Method::HEAD,
        };
        let scope = match self.layer.open_scope(&request) {
            Ok(connection) => {
                let transaction = Arc::clone(connection.transaction());
                // What a layer of this kind further out left there is not for this one's handlers.
                request.extensions_mut().remove::<Refused>();
                request.extensions_mut().insert(connection);
                Some(OpenScope::new(transaction))
            }
            Err(error) if error.kind() == ErrorKind::MissingLayer => {
                return ResponseFuture::refused(error, exchange);
            }
            Err(error) => {
                request.extensions_mut().remove::<RoleScopedConnection>();
                request.extensions_mut().insert(Refused(error));
                None
            }
        };
        ResponseFuture::new(self.inner.call(request), scope, exchange)
    }
}
