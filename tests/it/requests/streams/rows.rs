//! Rows as a stream.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::{Method, StatusCode};
use axum::routing::{any, get, post};
use futures_util::{StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use rolescope::scope::RowStream;
use rolescope::{Error, ErrorKind, Isolation, RoleScopedConnection};

use super::{SCHEMA, anon, count, head, lines, read, serves};
use crate::requests::scope::cancel::until;
use crate::support::database;
use crate::support::events::Recorder;
use crate::support::proxy::{Proxy, within};
use crate::support::service::{self, service};

/// More than any buffer between the server and a client holds.
const ENDLESS: &str = "SELECT repeat('x', 1000) FROM (SELECT generate_series(1, 100000000)) AS s";
const TEN: &str = "SELECT i::text FROM generate_series(1, 10) AS i";
const TEN_LINES: &str = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n";

#[tokio::test]
async fn a_read_streams_its_rows_and_ends_with_its_body() {
    let database = database().await;
    let pool = database.pool_of_one().await;
    let routes = Router::new().route(
        "/",
        get(async |db: RoleScopedConnection| {
            let sql = "SELECT current_user || i FROM generate_series(1, $1) AS i";
            Ok::<_, Error>(lines(db.query_stream(sql, &[&3_i32]).await?))
        }),
    );
    let app = service(&pool, routes);
    for _ in 0..3 {
        let response = head(&app, Method::GET, "/").await;
        assert_eq!(response.status(), StatusCode::OK);
        until(
            &database,
            "state = 'idle in transaction' OR state = 'active'",
            1,
        )
        .await;
        let read = read(response).await;
        assert_eq!((&*read.text, read.error), ("anon1\nanon2\nanon3\n", None));
        until(&database, "state = 'idle'", 1).await;
    }
    assert_eq!(pool.status().connections_created, 1, "it is reused");
}

#[tokio::test]
async fn a_stream_takes_no_more_round_trips_than_a_query() {
    let database = database().await;
    let proxy = Proxy::start(&database);
    let pool = proxy.pool_builder().build().await.expect("it is built");
    let routes = Router::new().route(
        "/",
        get(async |db: RoleScopedConnection| {
            Ok::<_, Error>(lines(db.query_stream(TEN, &[]).await?))
        }),
    );
    let app = service(&pool, routes);
    assert_eq!(service::get(&app, "/", None).await.ok(), TEN_LINES);
    proxy.rests().await;
    proxy.hold();
    let reply = tokio::spawn({
        let app = app.clone();
        async move { service::get(&app, "/", None).await }
    });
    proxy.flight(&["Q", "BE", "BE"]).await;
    let reply = within(reply).await.expect("no panic");
    assert_eq!(reply.ok(), TEN_LINES);
    proxy.sees(&["Q"]).await;
}

#[tokio::test]
async fn a_write_with_an_open_stream_is_refused_and_rolled_back() {
    let database = database().await;
    database.execute(SCHEMA).await;
    let pool = database.pool_of_one().await;
    let routes = Router::new().route(
        "/",
        post(async |db: RoleScopedConnection| {
            let sql = "INSERT INTO t SELECT generate_series(1, 100000) RETURNING x::text";
            Ok::<_, Error>(lines(db.query_stream(sql, &[]).await?))
        }),
    );
    let recorder = Recorder::start();
    let reply = service::post(&service(&pool, routes), "/", None).await;
    assert_eq!(reply.status, 500);
    assert_eq!(reply.kind(), ErrorKind::StreamOpen);
    assert!(!reply.body.contains("commit_at"), "{reply:?}");
    let errors = recorder.errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].message().contains("commit_at_end_of_body()"));
    assert_eq!(count(&database, "t").await.expect("it is there"), 0);
    serves(&pool).await.expect("it serves");
}

#[tokio::test]
async fn a_write_whose_stream_was_read_to_its_end_commits() {
    let database = database().await;
    database.execute(SCHEMA).await;
    let pool = database.pool_of_one().await;
    let routes = Router::new()
        .route(
            "/all",
            post(async |db: RoleScopedConnection| {
                let sql = "INSERT INTO t SELECT generate_series(1, 1000) RETURNING x";
                let mut rows = db.query_stream(sql, &[]).await?;
                let mut sum = 0;
                while let Some(row) = rows.next().await {
                    sum += row?.try_get::<_, i32>(0)?;
                }
                assert!(rows.next().await.is_none(), "it stays over");
                Ok::<_, Error>(sum.to_string())
            }),
        )
        .route(
            // Who reads one row where there is one has read all of it.
            "/exactly",
            post(async |db: RoleScopedConnection| {
                let mut rows = db
                    .query_stream("INSERT INTO t VALUES (0) RETURNING x::text", &[])
                    .await?;
                let row = rows.next().await.expect("there is one")?;
                Ok::<_, Error>(row.try_get::<_, String>(0)?)
            }),
        );
    let app = service(&pool, routes);
    assert_eq!(service::post(&app, "/all", None).await.ok(), "500500");
    assert_eq!(service::post(&app, "/exactly", None).await.ok(), "0");
    assert_eq!(count(&database, "t").await.expect("it is there"), 1001);
    assert_eq!(pool.status().connections_created, 1);
}

#[tokio::test]
async fn who_has_read_all_rows_has_read_the_end_too() {
    let database = database().await;
    let pool = database.pool_of_one().await;
    let routes = Router::new().route(
        "/",
        get(async |db: RoleScopedConnection| {
            let mut rows = db.query_stream("SELECT 'one'", &[]).await?;
            let row = rows.next().await.expect("there is one")?;
            row.try_get::<_, String>(0).map_err(Error::from)
        }),
    );
    let app = service(&pool, routes);
    for _ in 0..3 {
        assert_eq!(service::get(&app, "/", None).await.ok(), "one");
    }
    let status = pool.status();
    assert_eq!(status.connections_created, 1, "{status:?}");
}

#[tokio::test]
async fn an_error_of_a_stream_that_a_read_ignores_is_told() {
    let database = database().await;
    let pool = database.pool_of_one().await;
    let routes = Router::new().route(
        "/",
        get(async |db: RoleScopedConnection| {
            let sql = "SELECT 1 / (5 - i) FROM generate_series(1, 10) AS i";
            let mut rows = db.query_stream(sql, &[]).await?;
            while let Some(Ok(_)) = rows.next().await {}
            Ok::<_, Error>("all is well")
        }),
    );
    let reply = service::get(&service(&pool, routes), "/", None).await;
    assert_eq!(reply.kind(), ErrorKind::TransactionAborted);
    serves(&pool).await.expect("it serves");
}

#[tokio::test]
async fn a_client_that_leaves_in_mid_stream_frees_the_backend() {
    let database = database().await;
    let pool = database.pool_of_one().await;
    let routes = Router::new().route(
        "/",
        any(async |db: RoleScopedConnection| {
            db.commit_at_end_of_body()?;
            Ok::<_, Error>(lines(db.query_stream(ENDLESS, &[]).await?))
        }),
    );
    let app = service(&pool, routes);
    for method in [Method::GET, Method::POST] {
        let mut body = head(&app, method, "/").await.into_body();
        let some = body.frame().await.expect("it has rows");
        assert!(some.is_ok());
        until(&database, "query LIKE '%repeat%'", 1).await;
        drop(body);
        until(&database, "query LIKE '%repeat%'", 0).await;
        serves(&pool).await.expect("it serves");
    }
}

#[tokio::test]
async fn a_read_does_not_wait_for_the_rest_of_a_stream_that_was_dropped() {
    let database = database().await;
    let pool = database.pool_of_one().await;
    let routes = Router::new().route(
        "/",
        get(async |db: RoleScopedConnection| {
            let mut rows = db.query_stream(ENDLESS, &[]).await?;
            let first = rows.next().await.expect("it has rows")?;
            Ok::<_, Error>(first.try_get::<_, String>(0)?.len().to_string())
        }),
    );
    let reply = within(service::get(&service(&pool, routes), "/", None)).await;
    assert_eq!(reply.ok(), "1000");
    until(&database, "query LIKE '%repeat%'", 0).await;
    serves(&pool).await.expect("it serves");
}

#[tokio::test]
async fn a_failure_stops_a_stream_that_is_open() {
    let database = database().await;
    database.execute(SCHEMA).await;
    let pool = database.pool_of_one().await;
    let routes = Router::new().route(
        "/",
        any(async |db: RoleScopedConnection| {
            db.commit_at_end_of_body()?;
            if db.read_write().is_ok() {
                db.execute("INSERT INTO t VALUES (1)", &[]).await?;
            }
            let rows = db.query_stream(ENDLESS, &[]).await?;
            Ok::<_, Error>((StatusCode::CONFLICT, lines(rows)))
        }),
    );
    let app = service(&pool, routes);
    let response = head(&app, Method::POST, "/").await;
    assert_eq!(response.status(), StatusCode::CONFLICT);
    let read = within(read(response)).await;
    assert!(read.error.is_some(), "the rows are not all there");
    until(&database, "query LIKE '%repeat%'", 0).await;
    assert_eq!(count(&database, "t").await.expect("it is there"), 0);
    serves(&pool).await.expect("it serves");
}

#[tokio::test]
async fn an_error_in_mid_stream_ends_the_body_with_an_error() {
    let database = database().await;
    database.execute(SCHEMA).await;
    let pool = database.pool_of_one().await;
    let routes = Router::new().route(
        "/",
        any(async |db: RoleScopedConnection| {
            db.commit_at_end_of_body()?;
            let sql = "SELECT (1000 / (20000 - i))::text FROM generate_series(1, 30000) AS i";
            Ok::<_, Error>(lines(db.query_stream(sql, &[]).await?))
        }),
    );
    let app = service(&pool, routes);
    for method in [Method::GET, Method::POST] {
        let recorder = Recorder::start();
        let response = head(&app, method, "/").await;
        assert_eq!(response.status(), StatusCode::OK);
        let read = read(response).await;
        assert!(read.text.lines().count() < 20000);
        let error = read.error.expect("it ends with an error");
        assert!(!error.contains("zero"), "{error}");
        let mut lines = recorder.take();
        lines.retain(|line| line.target.starts_with("rolescope"));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0].get("sqlstate"), Some("22012"));
        serves(&pool).await.expect("it serves");
    }
}

#[tokio::test]
async fn statements_behind_a_dropped_stream_are_answered_in_order() {
    let database = database().await;
    database.execute(SCHEMA).await;
    let pool = database.pool_of_one().await;
    let routes = Router::new().route(
        "/",
        post(async |db: RoleScopedConnection| {
            let sql = "SELECT repeat('x', 1000) FROM generate_series(1, 20000)";
            let mut rows = db.query_stream(sql, &[]).await?;
            rows.next().await.expect("it has rows")?;
            drop(rows);
            db.execute("INSERT INTO t VALUES (7)", &[]).await?;
            let x: i32 = db.query_one_scalar("SELECT x FROM t", &[]).await?;
            Ok::<_, Error>(x.to_string())
        }),
    );
    let reply = service::post(&service(&pool, routes), "/", None).await;
    assert_eq!(reply.ok(), "7");
    assert_eq!(count(&database, "t").await.expect("it is there"), 1);
    serves(&pool).await.expect("it serves");
}

#[tokio::test]
async fn a_stream_that_outlives_its_transaction_yields_an_error() {
    let database = database().await;
    let pool = database.pool_of_one().await;
    let kept: Arc<Mutex<Option<RowStream>>> = Arc::default();
    let keeps = Arc::clone(&kept);
    let routes = Router::new().route(
        "/",
        get(async move |db: RoleScopedConnection| {
            *keeps.lock().expect("no panic") = Some(db.query_stream(ENDLESS, &[]).await?);
            Ok::<_, Error>("it is kept elsewhere")
        }),
    );
    let reply = within(service::get(&service(&pool, routes), "/", None)).await;
    assert_eq!(reply.ok(), "it is kept elsewhere");
    until(&database, "query LIKE '%repeat%'", 0).await;
    let mut rows = kept.lock().expect("no panic").take().expect("it was kept");
    let error = rows
        .next()
        .await
        .expect("it says so")
        .expect_err("it is over");
    assert_eq!(error.kind(), ErrorKind::Finished);
    assert!(rows.next().await.is_none());
    serves(&pool).await.expect("it serves");
}

#[tokio::test]
async fn the_handles_of_a_read_are_revoked_while_its_stream_goes_on() {
    let database = database().await;
    let pool = database.pool_of_one().await;
    let kept: Arc<Mutex<Option<RoleScopedConnection>>> = Arc::default();
    let keeps = Arc::clone(&kept);
    let routes = Router::new().route(
        "/",
        get(async move |db: RoleScopedConnection| {
            *keeps.lock().expect("no panic") = Some(db.clone());
            Ok::<_, Error>(lines(db.query_stream(TEN, &[]).await?))
        }),
    );
    let response = head(&service(&pool, routes), Method::GET, "/").await;
    let db = kept.lock().expect("no panic").take().expect("it was kept");
    let error = db.query("SELECT 1", &[]).await.expect_err("it is revoked");
    assert_eq!(error.kind(), ErrorKind::Finished);
    assert_eq!(read(response).await.text, TEN_LINES);
}

#[tokio::test]
async fn a_serializable_read_is_awaited_at_the_end_of_its_body() {
    let database = database().await;
    let proxy = Proxy::start(&database);
    let pool = proxy.pool_builder().build().await.expect("it is built");
    let routes = Router::new().route(
        "/",
        get(async |db: RoleScopedConnection| {
            db.isolation(Isolation::Serializable)?;
            Ok::<_, Error>(lines(db.query_stream(TEN, &[]).await?))
        }),
    );
    let app = service(&pool, routes);
    let mut body = head(&app, Method::GET, "/").await.into_body();
    for _ in 0..10 {
        body.frame().await.expect("a row").expect("it is one");
    }
    proxy.hold();
    let end = tokio::spawn(async move { body.frame().await.is_none() });
    proxy.sees(&["BE", "Q", "Q"]).await;
    assert!(!end.is_finished());
    proxy.release();
    assert!(within(end).await.expect("no panic"), "it ends cleanly");
}

#[tokio::test]
async fn outside_of_requests_a_stream_is_read_in_the_same_way() {
    let database = database().await;
    let pool = database.pool_of_one().await;
    let rows = anon(&pool).query_stream(TEN, &[]).await.expect("it runs");
    // The stream alone keeps the transaction.
    let texts: Vec<String> = rows
        .and_then(async |row| Ok(row.try_get(0)?))
        .try_collect()
        .await
        .expect("all are read");
    assert_eq!(texts.len(), 10);
    let typed = anon(&pool);
    let rows = typed
        .query_typed_stream(
            "SELECT i FROM generate_series(1, $1) AS i",
            &[(&2_i32, tokio_postgres::types::Type::INT4)],
        )
        .await
        .expect("it runs");
    assert_eq!(rows.count().await, 2);
    let error = typed
        .query_stream("COPY t TO STDOUT", &[])
        .await
        .expect_err("COPY has ways of its own");
    assert!(error.to_string().contains("copy_out"), "{error}");
}

#[tokio::test]
async fn an_empty_body_keeps_nobody_waiting() {
    let database = database().await;
    database.execute(SCHEMA).await;
    let pool = database.pool_of_one().await;
    let routes = Router::new().route(
        "/",
        any(async |method: Method, db: RoleScopedConnection| {
            db.commit_at_end_of_body()?;
            db.execute("INSERT INTO t VALUES (1)", &[]).await?;
            let body = if method == Method::PUT { "some" } else { "" };
            Ok::<_, Error>((StatusCode::NO_CONTENT, Body::from(body)))
        }),
    );
    let app = service(&pool, routes);
    // Nobody reads these bodies: what was stored is stored when the head is there.
    for (method, stored) in [(Method::POST, 1), (Method::PUT, 2)] {
        let response = head(&app, method, "/").await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(count(&database, "t").await.expect("it is there"), stored);
    }
}
