//! A timeout that fires while a statement runs.

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use rolescope::{Error, RoleScopeLayer, RoleScopedConnection, RoleScopedPool};
use tower_http::timeout::TimeoutLayer;

use crate::support::service::{self, auth, service};
use crate::support::{Database, database};

async fn add_and_sleep(db: RoleScopedConnection) -> Result<(), Error> {
    db.execute("INSERT INTO notes VALUES (1)", &[]).await?;
    db.execute("SELECT pg_sleep(600)", &[]).await.map(|_| ())
}

async fn count(db: RoleScopedConnection) -> Result<String, Error> {
    db.query_one_scalar("SELECT count(*)::text FROM notes", &[])
        .await
}

async fn prepared() -> Database {
    let database = database().await;
    database
        .execute("CREATE TABLE notes (id int); GRANT SELECT, INSERT ON notes TO anon")
        .await;
    database
}

fn routes() -> Router {
    Router::new().route("/", post(add_and_sleep))
}

fn timeout() -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, Duration::from_millis(300))
}

/// The request's future is dropped: the statement is cancelled, and the place in the pool is free for the next request.
#[tokio::test]
async fn outside_of_the_scope_it_rolls_back_and_the_pool_serves_again() {
    let database = prepared().await;
    let pool = database.pool_of_one().await;
    let app = routes()
        .layer(RoleScopeLayer::new(pool.clone()))
        .layer(auth())
        .layer(timeout());
    check(&app, &pool).await;
}

/// The layer sees a response with 408, and a statement that nobody waits for.
#[tokio::test]
async fn inside_of_the_scope_it_rolls_back_and_the_pool_serves_again() {
    let database = prepared().await;
    let pool = database.pool_of_one().await;
    let app = routes()
        .layer(timeout())
        .layer(RoleScopeLayer::new(pool.clone()))
        .layer(auth());
    check(&app, &pool).await;
}

async fn check(app: &Router, pool: &RoleScopedPool) {
    let counting = service(pool, Router::new().route("/", get(count)));
    for _ in 0..3 {
        assert_eq!(service::post(app, "/", None).await.status, 408);
        // In the one place that there is, and long before the ten minutes are over.
        assert_eq!(service::get(&counting, "/", None).await.ok(), "0");
    }
    let status = pool.status();
    assert_eq!(status.connections_discarded, 3, "{status:?}");
    assert_eq!(status.connections, 1, "{status:?}");
}
