//! What becomes of a transaction whose request nobody waits for any more.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::{get, post};
use rolescope::{Error, RoleName, RoleScope, RoleScopedConnection};
use tower::ServiceExt;

use crate::support::service::{service, token};
use crate::support::{Database, database};

fn request(method: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri("/")
        .header(
            "authorization",
            format!("Bearer {}", token(r#"{"role":"web_user"}"#)),
        )
        .body(Body::empty())
        .expect("the request is well formed")
}

/// Waits until as many sessions of the pool's user match as expected.
pub(in crate::requests) async fn until(database: &Database, condition: &str, expected: i64) {
    let admin = database.admin().await;
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND usename = 'authenticator' AND ({condition})"
    );
    let seen = async {
        loop {
            let count: i64 = admin
                .query_one_scalar(&*sql, &[])
                .await
                .expect("it can be counted");
            if count == expected {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), seen)
        .await
        .unwrap_or_else(|_| panic!("{condition} was not seen {expected} times"));
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_backend_and_its_place_in_the_pool() {
    let database = database().await;
    let pool = database.pool_of_one().await;
    let app = service(
        &pool,
        Router::new().route(
            "/",
            get(async |db: RoleScopedConnection| {
                db.query("SELECT pg_sleep(30)", &[]).await?;
                Ok::<_, Error>("slept")
            }),
        ),
    );
    for _ in 0..3 {
        let response = tokio::spawn(app.clone().oneshot(request("GET")));
        until(&database, "state = 'active' AND query LIKE '%pg_sleep%'", 1).await;
        response.abort();
        until(&database, "state = 'active'", 0).await;
        let db = pool.begin(&RoleScope::for_role(
            RoleName::parse("anon").expect("a good name"),
        ));
        let one: i32 = db
            .query_one_scalar("SELECT 1", &[])
            .await
            .expect("it serves");
        assert_eq!(one, 1);
    }
    drop(app);
    assert_eq!(
        pool.status().connections_discarded,
        3,
        "closed: a late cancel request would hit the next user"
    );
}

#[tokio::test]
async fn a_future_dropped_between_statements_rolls_back() {
    let database = database().await;
    database
        .execute("CREATE TABLE t (x int); GRANT ALL ON t TO web_user")
        .await;
    let pool = database.pool_of_one().await;
    let (inserted, was_inserted) = tokio::sync::oneshot::channel::<()>();
    let inserted = std::sync::Arc::new(std::sync::Mutex::new(Some(inserted)));
    let app = service(
        &pool,
        Router::new().route(
            "/",
            post(move |db: RoleScopedConnection| {
                let inserted = inserted.lock().expect("no panic").take();
                async move {
                    db.execute("INSERT INTO t VALUES (1)", &[]).await?;
                    if let Some(inserted) = inserted {
                        let _ = inserted.send(());
                    }
                    std::future::pending::<()>().await;
                    Ok::<_, Error>("never")
                }
            }),
        ),
    );
    let response = tokio::spawn(app.oneshot(request("POST")));
    was_inserted.await.expect("the handler gets there");
    response.abort();
    let db = pool.begin(&RoleScope::for_role(
        RoleName::parse("web_user").expect("a good name"),
    ));
    let rows: i64 = db
        .query_one_scalar("SELECT count(*) FROM t", &[])
        .await
        .expect("it serves");
    assert_eq!(rows, 0);
    assert_eq!(pool.status().connections_created, 1);
}

/// Polls a future a number of times and drops it.
async fn dropped_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        if let std::task::Poll::Ready(output) = futures_util::poll!(&mut future) {
            return Some(output);
        }
        // The driver's task, the pool's and the runtime's own get their turns.
        tokio::task::yield_now().await;
    }
    None
}

#[tokio::test]
async fn a_request_dropped_after_any_poll_leaves_a_clean_session() {
    let database = database().await;
    database
        .execute("CREATE TABLE t (x int); GRANT ALL ON t TO web_user")
        .await;
    let pool = database.pool_of_one().await;
    let app = service(
        &pool,
        Router::new().route(
            "/",
            post(async |db: RoleScopedConnection| {
                db.batch_execute("SET app.kept = 'behind'").await?;
                db.execute("INSERT INTO t VALUES ($1)", &[&1]).await?;
                Ok::<_, Error>("stored")
            }),
        ),
    );
    let mut completed = 0;
    let mut polls = 0;
    while completed < 3 {
        polls += 1;
        assert!(polls < 10_000, "the request never completes");
        if let Some(response) = dropped_after(polls, app.clone().oneshot(request("POST"))).await {
            let response = response.unwrap_or_else(|infallible| match infallible {});
            assert_eq!(
                response.status(),
                200,
                "after {polls} polls: {:?}",
                response.extensions().get::<Error>()
            );
            completed += 1;
        }
        let db = pool.begin(&RoleScope::for_role(
            RoleName::parse("anon").expect("a good name"),
        ));
        let left: String = db
            .query_one_scalar(
                "SELECT concat(current_user, current_setting('app.kept', true), \
                 current_setting('request.jwt.claims'))",
                &[],
            )
            .await
            .unwrap_or_else(|error| panic!("after {polls} polls: {error:?}"));
        assert_eq!(left, r#"anon{"role":"anon"}"#, "after {polls} polls");
    }
    until(&database, "state LIKE 'idle in transaction%'", 0).await;
    let stored: i64 = database
        .admin()
        .await
        .query_one_scalar("SELECT count(*) FROM t", &[])
        .await
        .expect("it can be counted");
    // A COMMIT that was sent is not taken back, whoever goes away.
    assert!(stored >= 3, "{stored}");
}
