//! How a request ends: as honestly, and in as few round trips, as without a pooler.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use rolescope::scope::Pooler;
use rolescope::{Error, ErrorKind, RoleScopedConnection};

use crate::support::database;
use crate::support::proxy::{Cut, Proxy, within};
use crate::support::service::{self, service};
use crate::{ONE_SERVER_CONNECTION, Pooled, scope};

const SETUP: &str = "CREATE TABLE t (x int UNIQUE DEFERRABLE INITIALLY DEFERRED);
    GRANT SELECT, INSERT ON t TO anon, web_user";

#[tokio::test]
async fn the_answer_to_commit_decides_the_response() {
    let pooled = Pooled::start(ONE_SERVER_CONNECTION).await;
    pooled.database.execute(SETUP).await;
    let pool = pooled.pool().await;
    let insert = async |db: RoleScopedConnection| {
        db.execute("INSERT INTO t VALUES (1)", &[]).await?;
        Ok::<_, Error>(StatusCode::CREATED)
    };
    let ignored = async |db: RoleScopedConnection| {
        db.execute("INSERT INTO t VALUES (2)", &[]).await?;
        let _ = db.execute("SELECT 1 / 0", &[]).await;
        Ok::<_, Error>(StatusCode::CREATED)
    };
    let left = async |db: RoleScopedConnection| {
        db.batch_execute("COMMIT; BEGIN").await?;
        Ok::<_, Error>(StatusCode::CREATED)
    };
    let routes = Router::new()
        .route("/insert", post(insert))
        .route("/ignored", post(ignored))
        .route("/left", post(left));
    let app = service(&pool, routes);
    let status = async |uri| within(service::post(&app, uri, None)).await;
    assert_eq!(status("/insert").await.status, 201);
    assert_eq!(status("/insert").await.status, 409);
    assert_eq!(
        status("/ignored").await.kind(),
        ErrorKind::TransactionAborted
    );
    assert_eq!(status("/left").await.kind(), ErrorKind::ScopeLeft);
    let admin = pooled.database.admin().await;
    let stored = "SELECT array_agg(x)::text FROM t";
    let stored = admin.query_one(stored, &[]).await.expect("it answers");
    assert_eq!(stored.get::<_, &str>(0), "{1}");
}

#[tokio::test]
async fn a_last_statement_is_committed_or_its_failure_told() {
    let pooled = Pooled::start(ONE_SERVER_CONNECTION).await;
    pooled.database.execute(SETUP).await;
    let pool = pooled.pool().await;
    let last = async |db: RoleScopedConnection| {
        db.execute_and_commit("INSERT INTO t VALUES (1)", &[])
            .await?;
        Ok::<_, Error>(StatusCode::CREATED)
    };
    let ignored = async |db: RoleScopedConnection| {
        db.execute("INSERT INTO t VALUES (2)", &[]).await?;
        let _ = db.execute_and_commit("SELECT 1 / 0", &[]).await;
        let error = db.execute("INSERT INTO t VALUES (3)", &[]).await;
        error.map(|_| StatusCode::CREATED)
    };
    let routes = Router::new()
        .route("/last", post(last))
        .route("/ignored", post(ignored));
    let app = service(&pool, routes);
    let send = async |uri| within(service::post(&app, uri, None)).await;
    assert_eq!(send("/last").await.status, 201);
    assert_eq!(send("/last").await.status, 409);
    assert_eq!(send("/ignored").await.kind(), ErrorKind::Finished);
    let admin = pooled.database.admin().await;
    let stored = "SELECT array_agg(x)::text FROM t";
    let stored = admin.query_one(stored, &[]).await.expect("it answers");
    assert_eq!(stored.get::<_, &str>(0), "{1}");
}

#[tokio::test]
async fn a_read_is_one_round_trip_and_a_write_two() {
    let database = database().await;
    database.execute(SETUP).await;
    let proxy = Proxy::start(&database);
    let pool = proxy.pool_builder().pooler(Pooler::Transaction);
    let pool = pool.build().await.expect("it is built");
    let (read, write) = ("SELECT x FROM t WHERE x = $1", "INSERT INTO t VALUES ($1)");
    let learn = pool.begin(&scope("web_user"));
    within(learn.query(read, &[&1])).await.expect("it runs");
    within(learn.query(write, &[&1])).await.expect("it runs");
    within(learn.rollback()).await.expect("it ends");
    proxy.rests().await;
    proxy.hold();

    let db = pool.begin(&scope("web_user"));
    db.read_only().expect("it has not begun");
    let reading = tokio::spawn(async move { db.query(read, &[&1]).await.map(|_| drop(db)) });
    // BEGIN, the settings of the session, the switch and the statement.
    proxy.flight(&["Q", "PBDE", "PBDE", "PBDE"]).await;
    within(reading).await.expect("no panic").expect("it runs");
    proxy.flight(&["PBDE", "Q"]).await;

    let db = pool.begin(&scope("web_user"));
    let writing = tokio::spawn(async move {
        db.query(write, &[&1]).await?;
        db.commit().await
    });
    proxy.flight(&["Q", "PBDE", "PBDE", "PBDE"]).await;
    // What a rollback would not undo, the check, and COMMIT with the reset.
    proxy.flight(&["Q", "PBDE", "Q"]).await;
    within(writing)
        .await
        .expect("no panic")
        .expect("it commits");
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_unknown() {
    let database = database().await;
    database.execute(SETUP).await;
    let proxy = Proxy::start(&database);
    let pool = proxy.pool_builder().pooler(Pooler::Transaction);
    let pool = pool.build().await.expect("it is built");
    for lost in ["COMMIT", "SELECT pg_catalog.pg_advisory_unlock_all()"] {
        let db = pool.begin(&scope("web_user"));
        let insert = "INSERT INTO t SELECT count(*) FROM t";
        within(db.execute(insert, &[])).await.expect("it runs");
        proxy.cut_at(Cut::Unanswered, lost);
        let error = within(db.commit()).await.expect_err("nobody knows");
        assert_eq!(error.kind(), ErrorKind::CommitUnknown, "{lost}");
    }
}
