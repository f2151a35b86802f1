//! Transactions that end with the response's body, by the handler's word.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use axum::routing::post;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rolescope::{Error, ErrorKind, RoleScopeLayer, RoleScopedConnection};
use tokio_postgres::{self, AsyncMessage, NoTls};
use tower::{Layer, ServiceExt};

use super::{SCHEMA, anon, count, head, lines, read, serves};
use crate::support::database;
use crate::support::events::Recorder;
use crate::support::proxy::within;
use crate::support::service::{self, service};

/// Each line of the body is a statement of its own.
async fn three(db: RoleScopedConnection) -> Result<Body, Error> {
    db.commit_at_end_of_body()?;
    let lines = stream::unfold((db, 0), async |(db, x)| {
        if x == 3 {
            return None;
        }
        let sql = "INSERT INTO t VALUES ($1) RETURNING x || ' '";
        let line: Result<String, Error> = db.query_one_scalar(sql, &[&x]).await;
        Some((line, (db, x + 1)))
    });
    Ok(Body::from_stream(lines))
}

/// What it stores is found wrong by the COMMIT.
async fn wrong(db: RoleScopedConnection) -> Result<Body, Error> {
    db.commit_at_end_of_body()?;
    let sql = "INSERT INTO late VALUES (1), (1) RETURNING x::text";
    Ok(lines(db.query_stream(sql, &[]).await?))
}

#[tokio::test]
async fn a_body_made_by_statements_commits_at_its_end() {
    let database = database().await;
    database.execute(SCHEMA).await;
    let pool = database.pool_of_one().await;
    let app = service(&pool, Router::new().route("/", post(three)));
    let response = head(&app, Method::POST, "/").await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    for x in 0..3 {
        let line = body.frame().await.expect("a line").expect("it is one");
        assert_eq!(line.into_data().expect("data"), format!("{x} "));
        assert_eq!(count(&database, "t").await.expect("it is there"), 0);
    }
    assert!(body.frame().await.is_none());
    // Whoever has seen the end finds it stored.
    assert_eq!(count(&database, "t").await.expect("it is there"), 3);
    serves(&pool).await.expect("it serves");
}

#[tokio::test]
async fn a_commit_that_fails_ends_the_body_with_an_error() {
    let database = database().await;
    database.execute(SCHEMA).await;
    let pool = database.pool_of_one().await;
    let app = service(&pool, Router::new().route("/", post(wrong)));
    let recorder = Recorder::start();
    let read = read(head(&app, Method::POST, "/").await).await;
    assert_eq!(read.text, "1\n1\n");
    assert!(read.error.is_some());
    assert_eq!(recorder.warnings().len(), 1, "nobody else can tell of it");
    assert_eq!(count(&database, "late").await.expect("it is there"), 0);
    serves(&pool).await.expect("it serves");
}

#[tokio::test]
async fn an_error_that_the_body_swallows_is_none_the_less_told_at_its_end() {
    let database = database().await;
    database.execute(SCHEMA).await;
    let pool = database.pool_of_one().await;
    let routes = Router::new().route(
        "/",
        post(async |db: RoleScopedConnection| {
            db.commit_at_end_of_body()?;
            let body = stream::once(async move {
                let _ = db.query("SELECT 1/0", &[]).await;
                Ok::<_, Infallible>("all is well")
            });
            Ok::<_, Error>(Body::from_stream(body))
        }),
    );
    let recorder = Recorder::start();
    let read = read(head(&service(&pool, routes), Method::POST, "/").await).await;
    assert_eq!(read.text, "all is well");
    assert!(read.error.is_some());
    let errors = recorder.errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].get("kind"), Some("transaction_aborted"));
}

#[tokio::test]
async fn a_body_that_fails_rolls_back() {
    let database = database().await;
    database.execute(SCHEMA).await;
    let pool = database.pool_of_one().await;
    let routes = Router::new().route(
        "/",
        post(async |db: RoleScopedConnection| {
            db.commit_at_end_of_body()?;
            db.execute("INSERT INTO t VALUES (1)", &[]).await?;
            let body = stream::iter([Ok("some"), Err(std::io::Error::other("not all"))]);
            Ok::<_, Error>(Body::from_stream(body))
        }),
    );
    let read = read(head(&service(&pool, routes), Method::POST, "/").await).await;
    assert_eq!((&*read.text, read.error.is_some()), ("some", true));
    assert_eq!(count(&database, "t").await.expect("it is there"), 0);
    serves(&pool).await.expect("it serves");
}

#[tokio::test]
async fn trailers_come_behind_the_commit() {
    let database = database().await;
    database.execute(SCHEMA).await;
    let pool = database.pool_of_one().await;
    let routes = Router::new().route(
        "/",
        post(async |db: RoleScopedConnection| {
            db.commit_at_end_of_body()?;
            db.execute("INSERT INTO t VALUES (1)", &[]).await?;
            let mut trailers = HeaderMap::new();
            trailers.insert("x-rows", 1.into());
            let frames = [Frame::data(Bytes::from("some")), Frame::trailers(trailers)];
            let body = StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>)));
            Ok::<_, Error>(Body::new(body))
        }),
    );
    let response = head(&service(&pool, routes), Method::POST, "/").await;
    let mut body = response.into_body();
    let data = body.frame().await.expect("data").expect("no error");
    assert!(data.is_data());
    assert_eq!(count(&database, "t").await.expect("it is there"), 0);
    let trailers = body.frame().await.expect("trailers").expect("no error");
    assert_eq!(trailers.into_trailers().expect("trailers")["x-rows"], "1");
    assert_eq!(count(&database, "t").await.expect("it is there"), 1);
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_body_of_known_length_ends_behind_the_commit_too() {
    let database = database().await;
    database.execute(SCHEMA).await;
    let pool = database.pool_of_one().await;
    let routes = Router::new()
        .route(
            "/right",
            post(async |db: RoleScopedConnection| {
                db.commit_at_end_of_body()?;
                db.execute("INSERT INTO late VALUES (7)", &[]).await?;
                Ok::<_, Error>(([("content-length", "4")], "some"))
            }),
        )
        .route(
            "/wrong",
            post(async |db: RoleScopedConnection| {
                db.commit_at_end_of_body()?;
                db.execute("INSERT INTO late VALUES (1), (1)", &[]).await?;
                Ok::<_, Error>(([("content-length", "4")], "some"))
            }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let app = service(&pool, routes);
    tokio::spawn(async move { axum::serve(listener, app).await });
    for http2 in [false, true] {
        let client = Client::builder(TokioExecutor::new())
            .http2_only(http2)
            .build_http();
        for (path, whole) in [("/right", !http2), ("/wrong", false)] {
            let request = Request::post(format!("{url}{path}"))
                .body(Body::empty())
                .expect("it is well formed");
            let response = client.request(request).await.expect("it answers");
            assert_eq!(response.status(), StatusCode::OK);
            assert!(!response.headers().contains_key("content-length"));
            let read = response.into_body().collect().await;
            assert_eq!(read.is_ok(), whole, "{path} {http2}");
        }
    }
    assert_eq!(count(&database, "late").await.expect("it is there"), 1);
}

#[tokio::test]
async fn a_client_that_cannot_tell_a_broken_body_gets_no_such_answer() {
    let database = database().await;
    database.execute(SCHEMA).await;
    let pool = database.pool_of_one().await;
    let app = service(&pool, Router::new().route("/", post(three).get(read_only)));
    let old = |method: Method| {
        let mut request = service::request(method, "/", &[]);
        *request.version_mut() = Version::HTTP_10;
        request
    };
    let reply = service::send(&app, old(Method::POST)).await;
    assert_eq!(reply.status, 500);
    assert_eq!(reply.kind(), ErrorKind::StreamOpen);
    assert_eq!(count(&database, "t").await.expect("it is there"), 0);
    // A read has nothing to lose.
    assert_eq!(service::send(&app, old(Method::GET)).await.ok(), "1\n");
}

async fn read_only(db: RoleScopedConnection) -> Result<Body, Error> {
    Ok(lines(db.query_stream("SELECT '1'", &[]).await?))
}

#[tokio::test]
async fn commit_in_the_handler_comes_first() {
    let database = database().await;
    database.execute(SCHEMA).await;
    let pool = database.pool_of_one().await;
    let kept: Arc<Mutex<Option<RoleScopedConnection>>> = Arc::default();
    let keeps = Arc::clone(&kept);
    let routes = Router::new().route(
        "/",
        post(async move |db: RoleScopedConnection| {
            db.commit_at_end_of_body()?;
            db.execute("INSERT INTO t VALUES (1)", &[]).await?;
            db.commit().await?;
            *keeps.lock().expect("no panic") = Some(db);
            Ok::<_, Error>("stored")
        }),
    );
    let response = head(&service(&pool, routes), Method::POST, "/").await;
    assert_eq!(count(&database, "t").await.expect("it is there"), 1);
    assert_eq!(read(response).await.text, "stored");
    let db = kept.lock().expect("no panic").take().expect("it was kept");
    let late = db.commit_at_end_of_body().expect_err("it is too late");
    assert_eq!(late.kind(), ErrorKind::Finished);
}

#[tokio::test]
async fn a_body_nobody_reads_rolls_back() {
    let database = database().await;
    database.execute(SCHEMA).await;
    let pool = database.pool_of_one().await;
    let app = service(&pool, Router::new().route("/", post(three)));
    let request = service::request(Method::POST, "/", &[]);
    drop(app.oneshot(request).await);
    serves(&pool).await.expect("it serves");
    assert_eq!(count(&database, "t").await.expect("it is there"), 0);
}

#[tokio::test]
async fn the_answer_to_head_has_no_body_that_could_end_it() {
    let database = database().await;
    database.execute(SCHEMA).await;
    let pool = database.pool_of_one().await;
    // axum takes such a body away by itself; other services leave that to hyper.
    let answer = tower::service_fn(async |request: Request<Body>| {
        let db = RoleScopedConnection::from_extensions(request.extensions())?;
        db.read_write()?;
        db.commit_at_end_of_body()?;
        db.execute("INSERT INTO t VALUES (1)", &[]).await?;
        Ok::<_, Error>(Response::new(Body::from("never sent")))
    });
    let app = service::auth().layer(RoleScopeLayer::new(pool.clone()).layer(answer));
    let response = app.oneshot(service::request(Method::HEAD, "/", &[])).await;
    assert_eq!(response.expect("no error").status(), StatusCode::OK);
    assert_eq!(count(&database, "t").await.expect("it is there"), 1);
}

#[tokio::test]
async fn a_commit_that_a_read_asks_for_is_one() {
    let database = database().await;
    let pool = database.pool_of_one().await;
    let db = anon(&pool);
    db.read_only().expect("nothing has run");
    db.execute("SELECT pg_notify('news', 'said')", &[])
        .await
        .expect("it runs");
    let sql = "SELECT repeat('x', 1000) FROM generate_series(1, 100000)";
    let mut rows = db.query_stream(sql, &[]).await.expect("it runs");
    rows.next().await.expect("a row").expect("it is one");
    drop(rows);
    let (client, mut connection) = tokio_postgres::connect(&database.url("postgres"), NoTls)
        .await
        .expect("it connects");
    let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notification) = message {
                let _ = said.send(notification.payload().to_owned());
            }
        }
    });
    client.batch_execute("LISTEN news").await.expect("it runs");
    within(db.commit()).await.expect("it commits");
    assert_eq!(within(heard.recv()).await.as_deref(), Some("said"));
}
