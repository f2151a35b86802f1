//! Requests that are odd, and access modes one within the other.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use rolescope::{AccessMode, RoleScopeLayer, RoleScopedConnection};

use crate::support::database;
use crate::support::service;

#[tokio::test]
async fn odd_methods_paths_and_headers_are_set_as_they_came() {
    let database = database().await;
    let sql = "SELECT concat_ws(' ', current_setting('request.method'), current_setting('request.path'), \
         current_setting('request.headers')::json ->> 'x-odd', current_setting('transaction_read_only'))";
    let all = async move |db: RoleScopedConnection| db.query_one_scalar::<String>(sql, &[]).await;
    let app = Router::new()
        .fallback(all)
        .layer(RoleScopeLayer::new(database.pool_of_one().await).request_headers(true))
        .layer(service::auth());
    for (method, uri, path, read_only) in [
        ("GET", "/%00%ff/ü'\"{}|?q=%00", "/%00%ff/ü'\"{}|", "on"),
        ("OPTIONS", "*", "*", "on"),
        ("get", "/", "/", "off"),
        ("!#$%&'*+-.^_`|~", "/", "/", "off"),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("x-odd", &b"\xff\"\\"[..])
            .header("x-odd", "second")
            .body(Body::empty())
            .expect("the request is well formed");
        let expected = format!("{method} {path} \u{fffd}\"\\, second {read_only}");
        assert_eq!(service::send(&app, request).await.ok(), expected);
    }
}

#[tokio::test]
async fn the_access_mode_nearest_to_the_handler_counts() {
    let database = database().await;
    let read_only = async |db: RoleScopedConnection| {
        db.query_one_scalar::<String>("SHOW transaction_read_only", &[])
            .await
    };
    let app = Router::new()
        .route("/inside", get(read_only).layer(AccessMode::ReadOnly))
        .route("/", get(read_only))
        .layer(RoleScopeLayer::new(database.pool().await))
        .layer(AccessMode::ReadWrite)
        .layer(service::auth());
    assert_eq!(service::get(&app, "/inside", None).await.ok(), "on");
    assert_eq!(service::get(&app, "/", None).await.ok(), "off");
}
