//! With layers that change bodies, or refuse them.

use std::convert::Infallible;
use std::fmt::Debug;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::DefaultBodyLimit;
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use http_body_util::BodyExt;
use rolescope::{Error, RoleScopeLayer, RoleScopedConnection, RoleScopedPool};
use tower::{Layer, Service, ServiceExt};
use tower_http::compression::CompressionLayer;
use tower_http::decompression::{DecompressionLayer, RequestDecompressionLayer};
use tower_http::limit::RequestBodyLimitLayer;

use crate::support::service::auth;
use crate::support::{Database, database};

const LONG: &str = "SELECT repeat('row-level security ', 1000)";

async fn prepared() -> Database {
    let database = database().await;
    database
        .execute("CREATE TABLE notes (note text); GRANT SELECT, INSERT ON notes TO anon")
        .await;
    database
}

/// Stores the request's body, and answers with much text.
async fn add(db: RoleScopedConnection, note: String) -> Result<String, Error> {
    db.execute("INSERT INTO notes VALUES ($1)", &[&note])
        .await?;
    db.query_one_scalar(LONG, &[]).await
}

/// Stores something before it reads the body.
async fn add_first(db: RoleScopedConnection, body: Body) -> Result<String, Response<Body>> {
    let added = db.execute("INSERT INTO notes VALUES ('early')", &[]).await;
    added.map_err(IntoResponse::into_response)?;
    match body.collect().await {
        Ok(body) => Ok(format!("{} bytes", body.to_bytes().len())),
        Err(_) => Err(StatusCode::PAYLOAD_TOO_LARGE.into_response()),
    }
}

fn routes() -> Router {
    Router::new()
        .route("/", post(add))
        .route("/first", post(add_first))
        .route(
            "/long",
            get(async |db: RoleScopedConnection| db.query_one_scalar::<String>(LONG, &[]).await),
        )
}

fn layers(pool: &RoleScopedPool, routes: Router) -> Router {
    routes
        .layer(RoleScopeLayer::new(pool.clone()))
        .layer(auth())
}

async fn notes(database: &Database) -> Vec<String> {
    let admin = database.admin().await;
    let notes = admin.query_scalar("SELECT note FROM notes", &[]).await;
    notes.expect("it can be read")
}

/// Sends a request through any service; returns status, `content-encoding` and the body's bytes.
async fn send<S, B>(app: S, request: Request<Body>) -> (u16, Option<String>, Bytes)
where
    S: Service<Request<Body>, Response = Response<B>, Error: Debug>,
    B: hyper::body::Body<Data = Bytes, Error: Debug>,
{
    let response = app.oneshot(request).await.expect("it answers");
    let encoding = response.headers().get("content-encoding");
    let encoding = encoding.map(|value| value.to_str().expect("text").to_owned());
    let status = response.status().as_u16();
    let body = response.into_body().collect().await;
    (
        status,
        encoding,
        body.expect("the body is whole").to_bytes(),
    )
}

fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
        .body(body.into())
        .expect("the request is well formed")
}

/// What a client that understands gzip reads.
async fn inflated(app: &Router, request: Request<Body>) -> String {
    let app = DecompressionLayer::new().layer(app.clone());
    let (_, encoding, body) = send(app, request).await;
    assert_eq!(encoding, None);
    String::from_utf8(body.to_vec()).expect("it is text")
}

#[tokio::test]
async fn a_compressed_response_is_whole_and_committed() {
    let database = prepared().await;
    let pool = database.pool().await;
    let outside = layers(&pool, routes()).layer(CompressionLayer::new());
    let inside = layers(&pool, routes().layer(CompressionLayer::new()));
    let gzip = ("accept-encoding", "gzip");
    let whole = "row-level security ".repeat(1000);
    for (place, app) in [("outside", outside), ("inside", inside)] {
        for (method, path) in [("POST", "/"), ("GET", "/long")] {
            let asked = || request(method, path, &[gzip], place);
            let (status, encoding, body) = send(app.clone(), asked()).await;
            assert_eq!(
                (status, encoding.as_deref(), body.len() < 1000),
                (200, Some("gzip"), true),
                "{place}"
            );
            assert_eq!(inflated(&app, asked()).await, whole, "{place}");
        }
        let refused = [gzip, ("authorization", "Bearer garbage")];
        let refused = || request("GET", "/long", &refused, "");
        assert_eq!(send(app.clone(), refused()).await.0, 401, "{place}");
        let body = inflated(&app, refused()).await;
        assert!(body.starts_with("{\"code\":\"invalid_token\""), "{body}");
    }
    assert_eq!(
        notes(&database).await,
        ["outside", "outside", "inside", "inside"]
    );
}

#[tokio::test]
async fn a_compressed_request_is_read_on_either_side() {
    let database = prepared().await;
    let pool = database.pool().await;
    let compress = Router::new()
        .route("/", post(async |body: String| body))
        .layer(CompressionLayer::new());
    let text = "much text ".repeat(100);
    let asked = request("POST", "/", &[("accept-encoding", "gzip")], text.clone());
    let (_, _, gzip) = send(compress, asked).await;
    assert!(gzip.len() < 100, "{}", gzip.len());

    let outside = layers(&pool, routes()).layer(RequestDecompressionLayer::new());
    let inside = layers(&pool, routes().layer(RequestDecompressionLayer::new()));
    for app in [outside, inside] {
        let sent = |body| request("POST", "/", &[("content-encoding", "gzip")], body);
        assert_eq!(send(app.clone(), sent(gzip.clone())).await.0, 200);
        // What cannot be read is refused, and nothing is stored.
        assert_eq!(send(app, sent(gzip.slice(..20))).await.0, 400);
    }
    assert_eq!(notes(&database).await, [text.clone(), text]);
}

#[tokio::test]
async fn a_request_over_a_limit_stores_nothing() {
    let database = prepared().await;
    let pool = database.pool().await;
    let outside = layers(&pool, routes()).layer(RequestBodyLimitLayer::new(64));
    let inside = layers(&pool, routes().layer(RequestBodyLimitLayer::new(64)));
    let axums = layers(&pool, routes().layer(DefaultBodyLimit::max(64)));
    for (place, app) in [("outside", outside), ("inside", inside), ("axum's", axums)] {
        let (small, large) = ("s".repeat(64), "l".repeat(65));
        let told = [("content-length", "65")];
        for path in ["/", "/first"] {
            // With its length, and as a stream whose length nobody knows.
            let chunks = large.clone();
            let stream = futures_util::stream::iter([Ok::<_, Infallible>(chunks)]);
            let stream = request("POST", path, &[], Body::from_stream(stream));
            // axum's limit is for its extractors, and `/first` reads the body itself.
            if (place, path) != ("axum's", "/first") {
                let told = request("POST", path, &told, large.clone());
                assert_eq!(send(app.clone(), told).await.0, 413, "{place} {path}");
                assert_eq!(send(app.clone(), stream).await.0, 413, "{place} {path}");
            }
        }
        assert_eq!(notes(&database).await, Vec::<String>::new(), "{place}");
        let small = request("POST", "/", &[], small);
        assert_eq!(send(app, small).await.0, 200, "{place}");
        database.execute("DELETE FROM notes").await;
    }
}
