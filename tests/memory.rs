//! How much memory a stream of a million rows takes. A test binary of its own, since it counts all that its process
//! allocates.

#[path = "../examples/support/local_postgres/mod.rs"]
mod local_postgres;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::Request;
use axum::routing::get;
use futures_util::TryStreamExt;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use local_postgres::LocalPostgres;
use peak_alloc::PeakAlloc;
use rolescope::{
    Error, JwtAuthLayer, JwtVerifier, RoleScopeLayer, RoleScopedConnection, RoleScopedPool,
};
use tokio_postgres::NoTls;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const ROWS: &str = "\
    SELECT to_json(t)::text FROM (SELECT i AS id, 'todo number ' || i AS task FROM (SELECT generate_series(1, $1) AS i) s) t";

/// Lines of JSON, one for each row.
async fn streamed(Path(rows): Path<i32>, db: RoleScopedConnection) -> Result<Body, Error> {
    let rows = db.query_stream(ROWS, &[&rows]).await?;
    let lines = rows.and_then(async |row| Ok(row.try_get::<_, String>(0)? + "\n"));
    Ok(Body::from_stream(lines))
}

/// The same, with all rows in memory.
async fn collected(Path(rows): Path<i32>, db: RoleScopedConnection) -> Result<String, Error> {
    let lines: Vec<String> = db.query_scalar(ROWS, &[&rows]).await?;
    Ok(lines.join("\n") + "\n")
}

/// What a request takes at its peak beyond what there was before, in bytes, and how many lines it answers.
async fn peak(client: &Client<HttpConnector, Body>, url: String) -> (usize, usize) {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let request = Request::get(url)
        .body(Body::empty())
        .expect("it is well formed");
    let response = client.request(request).await.expect("it answers");
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut lines = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.expect("the body is whole");
        let data = frame.data_ref().expect("there are no trailers");
        lines += data.iter().filter(|&&byte| byte == b'\n').count();
    }
    (ALLOCATOR.peak_usage().saturating_sub(before), lines)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_rows_take_no_more_memory_than_a_few() {
    let server = tokio::task::spawn_blocking(LocalPostgres::start)
        .await
        .expect("no panic")
        .unwrap_or_else(|e| panic!("{e}"));
    let (admin, connection) = tokio_postgres::connect(&server.superuser_url("postgres"), NoTls)
        .await
        .expect("it connects");
    tokio::spawn(connection);
    admin
        .batch_execute(include_str!("../examples/sql/roles.sql"))
        .await
        .expect("the roles are made");
    let pool = RoleScopedPool::builder(&server.url("authenticator", "postgres"))
        .expect("the URL can be read")
        .anonymous_role("anon")
        .build()
        .await
        .expect("the pool is built");
    let verifier = JwtVerifier::builder()
        .hs256("a test secret of thirty-two bytes")
        .expect("the secret is long enough")
        .build()
        .expect("there is a crypto backend");
    let app = Router::new()
        .route("/streamed/{rows}", get(streamed))
        .route("/collected/{rows}", get(collected))
        .layer(RoleScopeLayer::new(pool))
        .layer(JwtAuthLayer::new(verifier));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let client = Client::builder(TokioExecutor::new()).build_http();

    // The first request makes what all later ones use.
    peak(&client, format!("{url}/streamed/10")).await;
    let (few, lines) = peak(&client, format!("{url}/streamed/10000")).await;
    assert_eq!(lines, 10_000);
    let (million, lines) = peak(&client, format!("{url}/streamed/1000000")).await;
    assert_eq!(lines, 1_000_000);
    // So that it would be seen if it did not stream.
    let (collected, lines) = peak(&client, format!("{url}/collected/100000")).await;
    assert_eq!(lines, 100_000);
    println!(
        "10 000 rows streamed: {few} bytes; 1 000 000 rows streamed: {million} bytes; \
         100 000 rows in memory: {collected} bytes"
    );
    assert!(million < few + 3_000_000, "{few} grew to {million}");
    assert!(4 * million < collected, "{million} against {collected}");
}
