//! Handlers that swallow that there was no connection to be had.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use rolescope::{Error, ErrorKind, RoleName, RoleScope, RoleScopedConnection, RoleScopedPool};

use super::lies::{INSERT, prepared, take_stored};
use crate::support::Database;
use crate::support::proxy::{Cut, Proxy, within};
use crate::support::service::{self, Reply, service};

const USER: Option<&str> = Some(r#"{"role":"web_user"}"#);

/// Whoever keeps the pool's one connection from others.
type Holder = Arc<Mutex<Option<RoleScopedConnection>>>;

async fn exhausted(database: &Database) -> (RoleScopedPool, Holder) {
    let pool = database
        .pool_builder()
        .max_size(1)
        .acquire_timeout(Duration::from_millis(200));
    let pool = pool.build().await.expect("it is built");
    let db = pool.begin(&RoleScope::for_role(
        RoleName::parse("anon").expect("a good name"),
    ));
    within(db.query("SELECT 1", &[])).await.expect("it serves");
    (pool, Arc::new(Mutex::new(Some(db))))
}

async fn swallow(db: RoleScopedConnection) -> &'static str {
    db.execute(INSERT, &[]).await.expect_err("nothing is there");
    "stored"
}

#[track_caller]
fn unavailable(reply: &Reply, kind: ErrorKind) {
    assert_eq!((reply.status.as_u16(), reply.kind()), (503, kind));
    assert_eq!(reply.headers["retry-after"], "1");
}

#[tokio::test]
async fn it_is_no_success() {
    let database = prepared().await;
    let (pool, _holder) = exhausted(&database).await;
    let commits = async |db: RoleScopedConnection| {
        db.execute(INSERT, &[]).await.expect_err("nothing is there");
        let error = db.commit().await.expect_err("there is nothing to commit");
        assert_eq!(error.kind(), ErrorKind::PoolExhausted);
        let error = db.commit().await.expect_err("it has ended");
        assert_eq!(error.kind(), ErrorKind::Finished);
        "stored"
    };
    let routes = Router::new()
        .route("/", get(swallow).post(swallow))
        .route("/commits", post(commits));
    let app = service(&pool, routes);
    for uri in ["/", "/commits"] {
        let reply = within(service::post(&app, uri, USER)).await;
        unavailable(&reply, ErrorKind::PoolExhausted);
    }
    let reply = within(service::get(&app, "/", USER)).await;
    unavailable(&reply, ErrorKind::PoolExhausted);
    let scope = RoleScope::for_role(RoleName::parse("web_user").expect("a good name"));
    let job = pool.begin(&scope);
    job.execute(INSERT, &[])
        .await
        .expect_err("nothing is there");
    let error = job.commit().await.expect_err("there is nothing to commit");
    assert_eq!(error.kind(), ErrorKind::PoolExhausted);
}

#[tokio::test]
async fn whoever_tries_again_and_gets_one_has_success() {
    let database = prepared().await;
    let (pool, holder) = exhausted(&database).await;
    let again = async move |db: RoleScopedConnection| {
        db.execute(INSERT, &[]).await.expect_err("nothing is there");
        drop(holder.lock().expect("no panic").take());
        db.execute(INSERT, &[]).await?;
        Ok::<_, Error>("stored")
    };
    let app = service(&pool, Router::new().route("/", post(again)));
    within(service::post(&app, "/", USER)).await.ok();
    assert_eq!(take_stored(&database.admin().await).await, 1);
}

/// For a service that has something to answer with all the same.
#[tokio::test]
async fn whoever_says_rollback_can_do_without() {
    let database = prepared().await;
    let (pool, _holder) = exhausted(&database).await;
    let without = async |db: RoleScopedConnection| {
        db.query("SELECT x FROM t", &[])
            .await
            .expect_err("nothing is there");
        db.rollback().await?;
        Ok::<_, Error>("what was kept from before")
    };
    let app = service(&pool, Router::new().route("/", get(without)));
    within(service::get(&app, "/", USER)).await.ok();
}

#[tokio::test]
async fn a_database_that_is_away_is_no_success_either() {
    let database = prepared().await;
    let mut proxy = Proxy::start(&database);
    let pool = within(proxy.pool_builder().build())
        .await
        .expect("it is built");
    let app = service(&pool, Router::new().route("/", post(swallow)));
    // The first session dies before BEGIN is answered, and there is no other to send it again on.
    proxy.refuse().await;
    proxy.cut_at(Cut::Unsent, "BEGIN");
    for _ in 0..2 {
        let reply = within(service::post(&app, "/", USER)).await;
        unavailable(&reply, ErrorKind::Unavailable);
    }
    assert_eq!(take_stored(&database.admin().await).await, 0);
}

/// It is refused before anything is asked of the database.
#[tokio::test]
async fn the_login_role_is_no_success_either() {
    let database = prepared().await;
    let pool = database.pool_builder().build_lazy().expect("it is built");
    let app = service(&pool, Router::new().route("/", post(swallow)));
    let reply = within(service::post(
        &app,
        "/",
        Some(r#"{"role":"authenticator"}"#),
    ))
    .await;
    assert_eq!(
        (reply.status.as_u16(), reply.kind()),
        (403, ErrorKind::RoleRefused)
    );
}
