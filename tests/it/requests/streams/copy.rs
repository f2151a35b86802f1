//! COPY in both directions.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, StatusCode};
use axum::routing::{get, post};
use futures_util::{SinkExt, stream};
use rolescope::{Error, ErrorKind, RoleScopedConnection, RoleScopedPool};

use super::{SCHEMA, anon, count, head, read, serves};
use crate::support::proxy::{Proxy, within};
use crate::support::service::{self, service};
use crate::support::{Database, database};

const IN: &str = "COPY t FROM STDIN";
const OUT: &str = "COPY t TO STDOUT";

async fn prepared() -> (Database, RoleScopedPool) {
    let database = database().await;
    database.execute(SCHEMA).await;
    let pool = database.pool_of_one().await;
    (database, pool)
}

#[tokio::test]
async fn data_copied_in_is_stored_once_the_request_commits() {
    let (database, pool) = prepared().await;
    let routes = Router::new()
        .route(
            "/send",
            post(async |db: RoleScopedConnection| {
                let mut copy = db.copy_in(IN).await?;
                for x in 0..1000 {
                    copy.send(format!("{x}\n")).await?;
                }
                Ok::<_, Error>(copy.finish().await?.to_string())
            }),
        )
        .route(
            "/sink",
            post(async |db: RoleScopedConnection| {
                let mut copy = db.copy_in(IN).await?;
                let mut lines =
                    stream::iter([b"1\n", b"2\n"].map(|line| Ok(Bytes::from_static(line))));
                copy.send_all(&mut lines).await?;
                SinkExt::close(&mut copy).await?;
                Ok::<_, Error>("closed".to_owned())
            }),
        )
        .route(
            "/refused",
            post(async |db: RoleScopedConnection| {
                let mut copy = db.copy_in(IN).await?;
                copy.send("3\n").await?;
                let rows = copy.finish().await?;
                Ok::<_, Error>((StatusCode::CONFLICT, rows.to_string()))
            }),
        );
    let app = service(&pool, routes);
    assert_eq!(service::post(&app, "/send", None).await.ok(), "1000");
    assert_eq!(count(&database, "t").await.expect("it is there"), 1000);
    assert_eq!(service::post(&app, "/sink", None).await.ok(), "closed");
    assert_eq!(count(&database, "t").await.expect("it is there"), 1002);
    assert_eq!(service::post(&app, "/refused", None).await.body, "1");
    assert_eq!(count(&database, "t").await.expect("it is there"), 1002);
    assert_eq!(pool.status().connections_created, 1);
}

#[tokio::test]
async fn a_copy_that_is_not_finished_is_never_stored() {
    let (database, pool) = prepared().await;
    let routes = Router::new()
        .route(
            "/dropped",
            post(async |db: RoleScopedConnection| {
                db.execute("INSERT INTO t VALUES (0)", &[]).await?;
                let mut copy = db.copy_in(IN).await?;
                copy.send("1\n").await?;
                drop(copy);
                Ok::<_, Error>("dropped")
            }),
        )
        .route(
            "/committed",
            post(async |db: RoleScopedConnection| {
                let mut copy = db.copy_in(IN).await?;
                copy.send("1\n").await?;
                let committed = db.commit().await;
                assert_eq!(
                    copy.finish().await.expect_err("it is over").kind(),
                    ErrorKind::Finished
                );
                committed.map(|()| "committed")
            }),
        );
    let app = service(&pool, routes);
    for path in ["/dropped", "/committed"] {
        let reply = within(service::post(&app, path, None)).await;
        assert_eq!(reply.status, 500, "{path}");
        assert_eq!(reply.kind(), ErrorKind::TransactionAborted, "{path}");
    }
    assert_eq!(count(&database, "t").await.expect("it is there"), 0);
    serves(&pool).await.expect("it serves");
}

#[tokio::test]
async fn a_copy_left_open_is_refused_at_the_end() {
    let (database, pool) = prepared().await;
    let routes = Router::new().route(
        "/",
        post(async |db: RoleScopedConnection| {
            let mut copy = db.copy_in(IN).await?;
            copy.send("1\n").await?;
            let body = stream::once(async move { copy.finish().await.map(|n| n.to_string()) });
            Ok::<_, Error>(Body::from_stream(body))
        }),
    );
    let reply = within(service::post(&service(&pool, routes), "/", None)).await;
    assert_eq!(reply.kind(), ErrorKind::StreamOpen);
    assert_eq!(count(&database, "t").await.expect("it is there"), 0);
    serves(&pool).await.expect("it serves");
}

#[tokio::test]
async fn bad_data_is_told_by_its_end_and_a_savepoint_guards_against_it() {
    let (database, pool) = prepared().await;
    let routes = Router::new().route(
        "/",
        post(async |db: RoleScopedConnection| {
            db.execute("INSERT INTO t VALUES (0)", &[]).await?;
            let savepoint = db.savepoint().await?;
            let mut copy = db.copy_in(IN).await?;
            copy.send("1\nnot a number\n").await?;
            let error = copy.finish().await.expect_err("it is bad");
            assert_eq!(error.code().map(|code| code.code()), Some("22P02"));
            savepoint.rollback().await?;
            Ok::<_, Error>("some")
        }),
    );
    let reply = service::post(&service(&pool, routes), "/", None).await;
    assert_eq!(reply.ok(), "some");
    assert_eq!(count(&database, "t").await.expect("it is there"), 1);
    serves(&pool).await.expect("it serves");
    assert_eq!(pool.status().connections_created, 1);
}

#[tokio::test]
async fn nothing_is_sent_behind_an_open_copy() {
    let (database, pool) = prepared().await;
    let db = anon(&pool);
    let mut copy = db.copy_in(IN).await.expect("it begins");
    copy.send("1\n").await.expect("it is taken");
    for error in [
        within(db.query("SELECT 1", &[])).await.map(|_| ()),
        within(db.batch_execute("SELECT 1")).await,
        within(db.copy_in(IN)).await.map(|_| ()),
        within(db.savepoint()).await.map(|_| ()),
    ] {
        let error = error.expect_err("it would wait for ever");
        assert_eq!(error.kind(), ErrorKind::Statement, "{error}");
        assert!(error.to_string().contains("finish it first"), "{error}");
    }
    assert_eq!(copy.finish().await.expect("it is good"), 1);
    let rows: i64 = db
        .query_one_scalar("SELECT count(*) FROM t", &[])
        .await
        .expect("it runs");
    assert_eq!(rows, 1);
    db.commit().await.expect("it commits");
    assert_eq!(count(&database, "t").await.expect("it is there"), 1);
}

#[tokio::test]
async fn a_copy_that_does_not_begin_ends_its_transaction_and_confuses_nobody() {
    let (database, pool) = prepared().await;
    database
        .execute(
            "CREATE TABLE secret (x int); CREATE TABLE bound (x int);
             ALTER TABLE bound ENABLE ROW LEVEL SECURITY; GRANT ALL ON bound TO anon",
        )
        .await;
    // Refused when it is executed, and the other way round than was said.
    for (sql, code) in [
        ("COPY secret FROM STDIN", Some("42501")),
        ("COPY bound FROM STDIN", Some("0A000")),
        (OUT, None),
    ] {
        let db = anon(&pool);
        db.execute("INSERT INTO t VALUES (1)", &[])
            .await
            .expect("it runs");
        let error = within(db.copy_in(sql))
            .await
            .expect_err("it does not begin");
        assert_eq!(
            error.code().map(|code| code.code()),
            code,
            "{sql}: {error:?}"
        );
        let error = db.execute("INSERT INTO t VALUES (2)", &[]).await;
        assert_eq!(error.expect_err("it is over").kind(), ErrorKind::Finished);
        assert!(db.commit().await.is_err());
        serves(&pool).await.expect("it serves");
    }
    let db = anon(&pool);
    let error = within(db.copy_out(IN))
        .await
        .expect_err("the server waits for data");
    assert_eq!(error.code(), None, "{error:?}");
    serves(&pool).await.expect("it serves");
    drop(db);
    let error = anon(&pool).copy_out("COPY secret TO STDOUT").await;
    let error = error.expect_err("it is not granted");
    assert_eq!(error.status(), StatusCode::FORBIDDEN);
    for sql in ["SELECT 1", "", "DELETE FROM t"] {
        let error = anon(&pool).copy_in(sql).await.expect_err("it is no COPY");
        assert_eq!(error.kind(), ErrorKind::Statement);
        assert!(anon(&pool).copy_out(sql).await.is_err());
    }
    assert_eq!(count(&database, "t").await.expect("it is there"), 0);
    serves(&pool).await.expect("it serves");
}

#[tokio::test]
async fn a_request_whose_copy_does_not_begin_is_never_a_success() {
    let (database, pool) = prepared().await;
    database.execute("CREATE TABLE secret (x int)").await;
    let routes = Router::new()
        .route(
            "/told",
            post(async |db: RoleScopedConnection| {
                db.copy_in("COPY secret FROM STDIN").await.map(|_| ())
            }),
        )
        .route(
            "/swallowed",
            post(async |db: RoleScopedConnection| {
                let _ = db.execute("INSERT INTO t VALUES (1)", &[]).await;
                let _ = db.copy_in("COPY secret FROM STDIN").await;
                "all is well"
            }),
        );
    let app = service(&pool, routes);
    let claims = Some(r#"{"role":"web_user"}"#);
    assert_eq!(service::post(&app, "/told", claims).await.status, 403);
    let reply = service::post(&app, "/swallowed", claims).await;
    assert_eq!(reply.kind(), ErrorKind::TransactionAborted);
    assert_eq!(count(&database, "t").await.expect("it is there"), 0);
}

#[tokio::test]
async fn a_copy_whose_future_is_dropped_ends_its_transaction() {
    let database = database().await;
    database.execute(SCHEMA).await;
    database.execute("CREATE TABLE secret (x int)").await;
    let proxy = Proxy::start(&database);
    let pool = proxy.pool_builder().build().await.expect("it is built");
    for sql in ["COPY secret FROM STDIN", IN] {
        let db = anon(&pool);
        // Prepared by now, so that what follows is COPY itself.
        db.execute("INSERT INTO t VALUES (1)", &[])
            .await
            .expect("it runs");
        proxy.hold();
        let mut copy = Box::pin(db.copy_in(sql));
        assert!(futures_util::poll!(copy.as_mut()).is_pending());
        proxy.flight(&["PD"]).await;
        // Poll until COPY itself has been sent.
        tokio::select! {
            _ = copy.as_mut() => panic!("nothing was answered"),
            () = proxy.sees(&["BE"]) => {}
        }
        drop(copy);
        proxy.pass();
        proxy.release();
        let error = within(db.execute("INSERT INTO t VALUES (2)", &[])).await;
        assert_eq!(error.expect_err("it is over").kind(), ErrorKind::Finished);
        assert!(within(db.commit()).await.is_err());
        serves(&pool).await.expect("it serves");
    }
    assert_eq!(count(&database, "t").await.expect("it is there"), 0);
}

#[tokio::test]
async fn data_copied_out_becomes_a_body() {
    let (database, pool) = prepared().await;
    database
        .execute("INSERT INTO t SELECT generate_series(1, 3)")
        .await;
    let routes = Router::new()
        .route(
            "/",
            get(async |db: RoleScopedConnection| {
                Ok::<_, Error>(Body::from_stream(db.copy_out(OUT).await?))
            }),
        )
        .route(
            "/first",
            get(async |db: RoleScopedConnection| {
                let sql =
                    "COPY (SELECT repeat('x', 1000) FROM (SELECT generate_series(1, 100000000)) AS s) TO STDOUT";
                let mut copy = db.copy_out(sql).await?;
                copy.next().await.expect("there is some")
            }),
        );
    let app = service(&pool, routes);
    for _ in 0..2 {
        let response = head(&app, Method::GET, "/").await;
        let read = read(response).await;
        assert_eq!((&*read.text, read.error), ("1\n2\n3\n", None));
    }
    assert_eq!(pool.status().connections_created, 1);
    let reply = within(service::get(&app, "/first", None)).await;
    assert_eq!(reply.ok().len(), 1001);
    serves(&pool).await.expect("it serves");
}
