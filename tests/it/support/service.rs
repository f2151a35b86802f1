//! A service as a user would build it, called without a socket in between.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use rolescope::scope::{Pooler, RoleScopedPoolBuilder};
use rolescope::{JwtAuthLayer, JwtVerifier, RoleScopeLayer, RoleScopedPool};
use tower::ServiceExt;

use super::Database;
pub(crate) use crate::auth::mint::{SECRET, sign};

/// Makes a token that holds for the life of a test.
pub(crate) fn token(claims: &str) -> String {
    let claims = claims.strip_prefix('{').expect("claims are an object");
    let comma = if claims.trim_start().starts_with('}') {
        ""
    } else {
        ","
    };
    sign(&format!(r#"{{"exp":4102444800{comma}{claims}"#))
}

/// The layer that accepts [`token`]s.
pub(crate) fn auth() -> JwtAuthLayer {
    let verifier = JwtVerifier::builder()
        .hs256(SECRET)
        .expect("the secret is long enough")
        .any_audience()
        .build()
        .expect("there is a crypto backend");
    JwtAuthLayer::new(verifier)
}

impl Database {
    /// A pool builder as `authenticator`, with `anon` as the anonymous role.
    pub(crate) fn pool_builder(&self) -> RoleScopedPoolBuilder {
        self.pool_builder_for("authenticator")
            .anonymous_role("anon")
    }

    /// A pool builder for a login role of one's own.
    pub(crate) fn pool_builder_for(&self, login: &str) -> RoleScopedPoolBuilder {
        let url = self.url(login);
        let (url, pooler) = match self.pgbouncer() {
            None => (url, None),
            Some(pgbouncer) => (pgbouncer.url(&url), Some(Pooler::Transaction)),
        };
        RoleScopedPool::builder(&url)
            .expect("the URL can be read")
            .pooler(pooler)
    }

    /// A pool of that kind.
    pub(crate) async fn pool(&self) -> RoleScopedPool {
        self.pool_builder()
            .build()
            .await
            .expect("the pool is built")
    }

    /// A pool of that kind with one connection, so that each request follows the last one's traces.
    pub(crate) async fn pool_of_one(&self) -> RoleScopedPool {
        self.pool_builder()
            .max_size(1)
            .build()
            .await
            .expect("the pool is built")
    }
}

/// Puts routes behind both layers.
pub(crate) fn service(pool: &RoleScopedPool, routes: Router) -> Router {
    routes
        .layer(RoleScopeLayer::new(pool.clone()))
        .layer(auth())
}

/// A response, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) error: Option<rolescope::Error>,
    pub(crate) body: String,
}

impl Reply {
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert!(self.status.is_success(), "{self:?}");
        self.body
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The kind of the error that made this response.
    #[track_caller]
    pub(crate) fn kind(&self) -> rolescope::ErrorKind {
        self.error
            .as_ref()
            .unwrap_or_else(|| panic!("no error: {self:?}"))
            .kind()
    }
}

/// Sends a request, with a token where there are claims.
pub(crate) async fn call(app: &Router, method: Method, uri: &str, claims: Option<&str>) -> Reply {
    let bearer = claims.map(|claims| format!("Bearer {}", token(claims)));
    let authorization = bearer.as_deref();
    send(app, request(method, uri, authorization.as_slice())).await
}

/// Sends a GET request, with a token where there are claims.
pub(crate) async fn get(app: &Router, uri: &str, claims: Option<&str>) -> Reply {
    call(app, Method::GET, uri, claims).await
}

/// Sends a POST request, with a token where there are claims.
pub(crate) async fn post(app: &Router, uri: &str, claims: Option<&str>) -> Reply {
    call(app, Method::POST, uri, claims).await
}

/// Sends any request.
pub(crate) async fn send(app: &Router, request: Request<Body>) -> Reply {
    let response = app
        .clone()
        .oneshot(request)
        .await
        .unwrap_or_else(|infallible| match infallible {});
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("the body is whole").to_bytes();
    Reply {
        status: parts.status,
        headers: parts.headers,
        error: parts.extensions.get().cloned(),
        body: String::from_utf8_lossy(&body).into_owned(),
    }
}

/// Makes a request without a body, with as many `Authorization` headers as there are values.
pub(crate) fn request(method: Method, uri: &str, authorization: &[&str]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(uri);
    for value in authorization {
        request = request.header("authorization", *value);
    }
    request
        .body(Body::empty())
        .expect("the request is well formed")
}
