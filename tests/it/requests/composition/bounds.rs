//! What the types can be used for, as far as the compiler can tell.

use std::convert::Infallible;
use std::future::Ready;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use rolescope::auth::{Access, Bearer, JwtAuth};
use rolescope::role::{RoleNameError, RolePath};
use rolescope::scope::{
    PoolStatus, RoleScopeService, RoleScopedPoolBuilder, Savepoint, ScopedBody,
};
use rolescope::{
    AccessMode, Claims, Error, ErrorKind, Isolation, JwtAuthLayer, JwtVerifier, ResponseBody,
    RoleName, RolePolicy, RoleScope, RoleScopeLayer, RoleScopedConnection, RoleScopedPool,
    SetupError,
};
use tower::Service;

fn send_and_sync<T: Send + Sync + 'static>() {}
fn cloneable<T: Clone + Send + Sync + 'static>() {}

#[test]
fn what_a_service_keeps_is_send_sync_and_static() {
    cloneable::<JwtVerifier>();
    cloneable::<JwtAuthLayer>();
    cloneable::<RoleScopedPool>();
    cloneable::<RoleScopeLayer>();
    cloneable::<RolePolicy>();
    cloneable::<RoleName>();
    cloneable::<RoleNameError>();
    cloneable::<RoleScope>();
    cloneable::<RoleScopedConnection>();
    cloneable::<Claims>();
    cloneable::<Access>();
    cloneable::<Bearer>();
    cloneable::<Error>();
    cloneable::<ErrorKind>();
    cloneable::<AccessMode>();
    cloneable::<Isolation>();
    cloneable::<PoolStatus>();
    cloneable::<RoleScopedPoolBuilder>();
    send_and_sync::<SetupError>();
    send_and_sync::<RolePath>();
    send_and_sync::<Savepoint>();
    send_and_sync::<ResponseBody<String>>();
    send_and_sync::<ScopedBody<String>>();
}

type Inner = Router;

/// What a user's inner service lacks, the layers do not ask for: no `Body`, an error of its own. `JwtAuth` asks for `Clone`.
#[derive(Clone)]
struct Bare;

impl Service<Request<Vec<u8>>> for Bare {
    type Response = Response<String>;
    type Error = u8;
    type Future = Ready<Result<Response<String>, u8>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), u8>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Vec<u8>>) -> Self::Future {
        std::future::ready(Ok(Response::new(String::new())))
    }
}

#[test]
fn services_and_their_futures_are_what_axum_asks_of_them() {
    fn axums<S>()
    where
        S: Service<Request<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
    }
    axums::<JwtAuth<Inner>>();
    axums::<RoleScopeService<Inner>>();
    axums::<JwtAuth<RoleScopeService<Inner>>>();
    axums::<RoleScopeService<JwtAuth<Inner>>>();
}

#[test]
fn a_bare_service_keeps_its_error_and_its_body() {
    fn keeps<S>()
    where
        S: Service<
                Request<Vec<u8>>,
                Error = u8,
                Response = Response<ResponseBody<ScopedBody<String>>>,
            >,
    {
    }
    keeps::<JwtAuth<RoleScopeService<Bare>>>();
}

#[test]
fn what_a_handler_awaits_can_move_between_threads() {
    fn moves<F: Future + Send>(_: impl FnOnce(RoleScopedConnection) -> F) {}
    moves(|db| async move { db.query("", &[]).await });
    moves(|db| async move { db.query_one("", &[]).await });
    moves(|db| async move { db.query_opt("", &[]).await });
    moves(|db| async move { db.query_scalar::<i32>("", &[&1]).await });
    moves(|db| async move { db.query_one_scalar::<i32>("", &[&1]).await });
    moves(|db| async move { db.query_opt_scalar::<String>("", &[&"a"]).await });
    moves(|db| async move { db.execute("", &[]).await });
    moves(|db| async move { db.query_typed("", &[]).await });
    moves(|db| async move { db.execute_typed("", &[]).await });
    moves(|db| async move { db.batch_execute("").await });
    moves(|db| async move { db.query_stream("", &[]).await?.next().await.transpose() });
    moves(|db| async move { db.copy_out("").await?.next().await.transpose() });
    moves(|db| async move { db.copy_in("").await?.finish().await });
    moves(|db| async move { db.commit().await });
    moves(|db| async move { db.rollback().await });
    moves(|db| async move { db.savepoint().await?.rollback().await });
}
