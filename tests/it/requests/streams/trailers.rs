//! gRPC responses, which tell in their trailers how it went, frame by frame. `grpc` shows them to real clients.

use std::convert::Infallible;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Response};
use axum::response::IntoResponse;
use axum::routing::post;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use rolescope::RoleScopedConnection;

use super::{SCHEMA, count, head, read, serves};
use crate::support::events::Recorder;
use crate::support::service::service;
use crate::support::{Database, database};

/// A response whose one message is made by a statement, with this status behind it.
fn message(db: RoleScopedConnection, sql: &'static str, status: Option<&'static str>) -> Body {
    let message = stream::once(async move {
        let stored = db.execute(sql, &[]).await;
        Ok(Frame::data(Bytes::from(format!("{:?}", stored.ok()))))
    });
    let status = stream::iter(status.map(|status| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.parse().expect("a header's value"));
        Ok::<_, Infallible>(Frame::trailers(trailers))
    }));
    Body::new(StreamBody::new(stream::StreamExt::chain(message, status)))
}

async fn answer(sql: &'static str, status: Option<&'static str>) -> (Database, Response<Body>) {
    let database = database().await;
    database.execute(SCHEMA).await;
    let pool = database.pool_of_one().await;
    let routes = Router::new().route(
        "/",
        post(async move |db: RoleScopedConnection| {
            let body = message(db, sql, status);
            ([("content-type", "application/grpc")], body).into_response()
        }),
    );
    let response = head(&service(&pool, routes), Method::POST, "/").await;
    (database, response)
}

const INSERT: &str = "INSERT INTO t VALUES (1)";

#[tokio::test]
async fn status_zero_is_passed_on_behind_the_commit() {
    let (database, response) = answer(INSERT, Some("0")).await;
    let mut body = response.into_body();
    let message = body.frame().await.expect("a message").expect("no error");
    assert_eq!(message.into_data().expect("data"), "Some(1)");
    assert_eq!(count(&database, "t").await.expect("it is there"), 0);
    let trailers = body.frame().await.expect("trailers").expect("no error");
    assert_eq!(
        trailers.into_trailers().expect("trailers")["grpc-status"],
        "0"
    );
    assert_eq!(count(&database, "t").await.expect("it is there"), 1);
}

#[tokio::test]
async fn any_other_status_rolls_back() {
    for status in [Some("5"), Some("00"), Some(""), None] {
        let (database, response) = answer(INSERT, status).await;
        let read = read(response).await;
        assert_eq!(read.text, "Some(1)");
        let passed = read.trailers.as_ref().map(|t| t["grpc-status"].as_bytes());
        assert_eq!(passed, status.map(str::as_bytes), "as it was");
        assert_eq!(
            count(&database, "t").await.expect("it is there"),
            0,
            "{status:?}"
        );
    }
}

#[tokio::test]
async fn a_commit_that_fails_replaces_the_status() {
    let recorder = Recorder::start();
    let (database, response) = answer("INSERT INTO late VALUES (1), (1)", Some("0")).await;
    let read = read(response).await;
    assert_eq!((&*read.text, read.error), ("Some(2)", None));
    let trailers = read.trailers.expect("there are trailers");
    assert_eq!(trailers["grpc-status"], "6", "{trailers:?}");
    assert!(trailers.contains_key("grpc-message"));
    assert_eq!(count(&database, "late").await.expect("it is there"), 0);
    assert_eq!(recorder.errors().len(), 0);

    let (_database, response) = answer("SELECT 1/0", Some("0")).await;
    let read = super::read(response).await;
    let trailers = read.trailers.expect("there are trailers");
    assert_eq!(
        trailers["grpc-status"], "13",
        "a swallowed error: {trailers:?}"
    );
    assert_eq!(trailers["grpc-message"], "internal server error");
    assert_eq!(recorder.errors().len(), 1);
}

#[tokio::test]
async fn a_body_dropped_before_its_trailers_rolls_back() {
    let database = database().await;
    database.execute(SCHEMA).await;
    let pool = database.pool_of_one().await;
    let routes = Router::new().route(
        "/",
        post(async move |db: RoleScopedConnection| {
            let body = message(db, INSERT, Some("0"));
            ([("content-type", "application/grpc")], body)
        }),
    );
    let mut body = head(&service(&pool, routes), Method::POST, "/")
        .await
        .into_body();
    body.frame().await.expect("a message").expect("no error");
    drop(body);
    serves(&pool).await.expect("it serves");
    assert_eq!(count(&database, "t").await.expect("it is there"), 0);
}
