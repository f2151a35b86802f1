//! [`AccessMode`] as a layer: how the transactions of one route run.

use std::task::{Context, Poll};

use http::Request;
use tower::{Layer, Service};

use super::RoleScopedConnection;
use super::pg::ending::Verdict;
use super::pg::mode::AccessMode;

/// As a layer on a route, it says how the route's transactions run.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "axum")]
/// # fn example() -> axum::Router {
/// use axum::{Router, routing::post};
/// use rolescope::AccessMode;
/// # async fn search() {}
///
/// Router::new().route("/search", post(search).layer(AccessMode::ReadOnly))
/// # }
/// ```
impl<S> Layer<S> for AccessMode {
    type Service = WithAccessMode<S>;

    fn layer(&self, inner: S) -> WithAccessMode<S> {
        WithAccessMode { inner, mode: *self }
    }
}

/// Sets the access mode of each request's transaction. Made by [`AccessMode`] as a layer.
#[derive(Clone, Debug)]
pub struct WithAccessMode<S> {
    inner: S,
    mode: AccessMode,
}

impl<S, B> Service<Request<B>> for WithAccessMode<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        if let Some(connection) = request.extensions().get::<RoleScopedConnection>()
            && let Err(error) = connection.transaction().set_mode(self.mode)
        {
            tracing::error!("an AccessMode layer came too late for its request: {error}");
            // Every later statement is an error: none runs in another mode than the route was given.
            drop(connection.transaction().finish(Verdict::Rollback));
        }
        // For a RoleScopeLayer further in.
        request.extensions_mut().insert(self.mode);
        self.inner.call(request)
    }
}
