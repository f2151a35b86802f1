//! The layer as a good citizen among tower's services: readiness, and errors that are not its own.

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use rolescope::scope::RoleScopeService;
use rolescope::{RoleScopeLayer, RoleScopedConnection};
use tower::{Layer, ServiceExt, service_fn};
use tower_test::mock;

use crate::support::database;
use crate::support::service::auth;

type Mock = mock::Mock<Request<Body>, Response<Body>>;

#[tokio::test]
async fn an_error_of_the_inner_service_is_passed_on_and_rolls_back() {
    let database = database().await;
    database
        .execute("CREATE TABLE t (x int); GRANT SELECT, INSERT ON t TO anon")
        .await;
    let pool = database.pool_of_one().await;
    let inner = service_fn(async |request: Request<Body>| {
        let db = RoleScopedConnection::from_extensions(request.extensions()).expect("a connection");
        db.execute("INSERT INTO t VALUES (1)", &[])
            .await
            .expect("it is inserted");
        Err::<Response<Body>, _>("the inner service's own")
    });
    let service = auth().layer(RoleScopeLayer::new(pool.clone()).layer(inner));
    let post = Request::post("/").body(Body::empty());
    let error = service
        .oneshot(post.expect("the request is well formed"))
        .await;
    assert_eq!(error.err(), Some("the inner service's own"));
    let rows: i64 = database
        .admin()
        .await
        .query_one_scalar("SELECT count(*) FROM t", &[])
        .await
        .expect("it can be counted");
    assert_eq!(rows, 0);
    assert_eq!(pool.status().in_use, 0);
}

#[tokio::test]
async fn inner_readiness_is_passed_through() {
    let database = database().await;
    let layer = RoleScopeLayer::new(database.pool().await);
    let (mut service, mut handle): (mock::Spawn<RoleScopeService<Mock>>, _) =
        mock::spawn_layer(layer);
    handle.allow(0);
    assert!(service.poll_ready::<Request<Body>>().is_pending());
    handle.allow(1);
    assert!(service.is_woken());
    assert!(service.poll_ready::<Request<Body>>().is_ready());
    // No layer before it has said who is asking: the inner service is not reached.
    let refused = service.call(Request::new(Body::empty())).await;
    let refused = refused.expect("a response");
    assert_eq!(refused.status(), StatusCode::INTERNAL_SERVER_ERROR);
}
