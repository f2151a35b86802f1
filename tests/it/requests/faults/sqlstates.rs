//! Errors that pass: each costs its own request, and nothing of the pool. `errors/real.rs` provokes most of them for real.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use axum::routing::post;
use rolescope::{Error, RoleScopedConnection};

use crate::support::database;
use crate::support::service::{send, service};

async fn raise(db: RoleScopedConnection, state: String) -> Result<(), Error> {
    db.execute("INSERT INTO t VALUES ('x')", &[]).await?;
    db.execute("SELECT raise($1)", &[&state]).await?;
    Ok(())
}

#[tokio::test]
async fn an_error_that_passes_leaves_the_session_to_the_next() {
    let database = database().await;
    database
        .execute(
            "CREATE TABLE t (x text); GRANT SELECT, INSERT ON t TO anon;
             CREATE FUNCTION raise(state text) RETURNS void LANGUAGE plpgsql AS $$
             BEGIN RAISE EXCEPTION USING ERRCODE = state; END $$",
        )
        .await;
    let pool = database.pool_of_one().await;
    let app = service(&pool, Router::new().route("/", post(raise)));
    for (state, status) in [
        ("40001", 503),
        ("40P01", 503),
        ("53000", 503),
        // The disk is full.
        ("53100", 503),
        ("53200", 503),
        ("53300", 503),
        ("55P03", 503),
        ("57014", 504),
        ("58030", 500),
    ] {
        let request = Request::builder().method(Method::POST).uri("/");
        let request = request.body(Body::from(state)).expect("it is well formed");
        let reply = send(&app, request).await;
        assert_eq!(reply.status, status, "{state}: {reply:?}");
        let retry = reply.headers.get("retry-after");
        assert_eq!(retry.is_some(), status == 503, "{state}: {reply:?}");
        // By the one session that there is, which still serves.
        let now = pool.status();
        assert_eq!(
            (now.connections, now.idle_connections, now.in_use),
            (1, 1, 0),
            "{state}: {now:?}"
        );
        assert_eq!(
            (now.connections_created, now.connections_discarded),
            (1, 0),
            "{state}: {now:?}"
        );
    }
    let admin = database.admin().await;
    let rows = admin.query_one("SELECT count(*) FROM t", &[]).await;
    assert_eq!(rows.expect("it is counted").get::<_, i64>(0), 0);
}
