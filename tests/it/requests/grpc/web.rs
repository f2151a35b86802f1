//! gRPC-Web: with `GrpcWebLayer` where it belongs, and where it does not.

use std::net::SocketAddr;

use axum::http::{Request, Response, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use prost::Message;
use rolescope::{RoleScopeLayer, RoleScopedConnection, RoleScopedPool};
use tonic::Code;
use tonic_web::GrpcWebLayer;
use tower::ServiceBuilder;

use super::run;
use crate::support::events::Recorder;
use crate::support::grpc::{Caller, Methods};
use crate::support::service::{auth, token};
use crate::support::{Database, database};

const INSERT: &str = "INSERT INTO notes VALUES ('one') RETURNING note";

async fn prepared() -> Database {
    let database = database().await;
    database
        .execute(
            "CREATE TABLE notes (note text UNIQUE DEFERRABLE INITIALLY DEFERRED);
             GRANT SELECT, INSERT ON notes TO anon",
        )
        .await;
    database
}

async fn notes(database: &Database) -> Vec<String> {
    let admin = database.admin().await;
    let notes = admin.query_scalar("SELECT note FROM notes", &[]).await;
    notes.expect("it can be read")
}

fn methods() -> Methods {
    Methods::default()
        .unary("/t.T/Run", run)
        .server_streaming("/t.T/Rows", async |db, sql: String| {
            let rows: Vec<_> = run(db, sql).await?.split(',').map(str::to_owned).collect();
            Ok(stream::iter(rows).map(Ok).boxed())
        })
        .unary("/t.T/Commits", async |db: RoleScopedConnection, sql| {
            let answer = run(db.clone(), sql).await?;
            db.commit().await?;
            Ok(answer)
        })
}

async fn serve(pool: &RoleScopedPool) -> SocketAddr {
    let layers = ServiceBuilder::new()
        .layer(GrpcWebLayer::new())
        .layer(auth())
        .layer(RoleScopeLayer::new(pool.clone()));
    methods().serve(layers).await
}

async fn serve_the_wrong_way_round(pool: &RoleScopedPool) -> SocketAddr {
    let layers = ServiceBuilder::new()
        .layer(auth())
        .layer(RoleScopeLayer::new(pool.clone()))
        .layer(GrpcWebLayer::new());
    methods().serve(layers).await
}

/// Sends a message as a browser would, over HTTP/1.1.
async fn post(
    address: SocketAddr,
    content_type: &str,
    authorization: Option<&str>,
    sql: &str,
) -> Response<Bytes> {
    let message = sql.to_owned().encode_to_vec();
    let mut frame = vec![0];
    let length = u32::try_from(message.len()).expect("it is short");
    frame.extend(length.to_be_bytes());
    frame.extend(message);
    if content_type.contains("-text") {
        frame = STANDARD.encode(frame).into_bytes();
    }
    let mut request = Request::post(format!("http://{address}/t.T/Run"))
        .header("content-type", content_type)
        .header("accept", content_type)
        .header("x-grpc-web", "1");
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let request = request.body(Full::<Bytes>::from(frame));
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request.expect("the request is well formed"));
    let (parts, body) = response.await.expect("it answers").into_parts();
    assert_eq!(parts.version, Version::HTTP_11);
    let body = body.collect().await.expect("the body is whole");
    assert_eq!(body.trailers(), None);
    Response::from_parts(parts, body.to_bytes())
}

/// The messages of a body, and the status at its end.
fn parse(response: &Response<Bytes>) -> (Vec<String>, Option<String>) {
    let mut body = response.body().to_vec();
    if response.headers()["content-type"]
        .to_str()
        .expect("text")
        .contains("-text")
    {
        // Each part is in base64 for itself.
        let text = String::from_utf8(body).expect("it is text");
        let parts = text.split_inclusive('=').collect::<Vec<_>>().join(" ");
        let parts = parts.replace("= =", "==");
        let decoded = parts.split(' ').map(|part| STANDARD.decode(part));
        body = decoded
            .flat_map(|part| part.expect("it is base64"))
            .collect();
    }
    let (mut messages, mut status) = (Vec::new(), None);
    let mut rest = &body[..];
    while let [flags, a, b, c, d, ..] = *rest {
        let length = u32::from_be_bytes([a, b, c, d]);
        let (frame, next) = rest[5..].split_at(usize::try_from(length).expect("it is short"));
        rest = next;
        if flags & 0x80 == 0 {
            messages.push(String::decode(frame).expect("it is a message"));
        } else {
            let trailers = String::from_utf8(frame.to_vec()).expect("it is text");
            let code = trailers
                .lines()
                .find_map(|line| line.strip_prefix("grpc-status:"));
            status = code.map(|code| code.trim().to_owned());
        }
    }
    (messages, status)
}

const TYPES: [&str; 4] = [
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpc-web-text",
    "application/grpc-web-text+proto",
];

fn answered_with(content_type: &str) -> &'static str {
    if content_type.contains("-text") {
        "application/grpc-web-text+proto"
    } else {
        "application/grpc-web+proto"
    }
}

fn header<'a>(response: &'a Response<Bytes>, name: &str) -> Option<&'a str> {
    let value = response.headers().get(name)?;
    Some(value.to_str().expect("it is text"))
}

#[tokio::test]
async fn a_browser_is_told_of_success_after_the_commit_and_of_failure_in_place_of_it() {
    let database = prepared().await;
    let address = serve(&database.pool().await).await;
    for content_type in TYPES {
        let response = post(address, content_type, None, INSERT).await;
        assert_eq!(response.status(), 200, "{content_type}");
        let answered = header(&response, "content-type");
        assert_eq!(answered, Some(answered_with(content_type)));
        let (messages, status) = parse(&response);
        assert_eq!(messages, ["one"], "{content_type}: {response:?}");
        assert_eq!(status.as_deref(), Some("0"), "{content_type}");
        assert_eq!(notes(&database).await, ["one"], "{content_type}");

        // The constraint is checked at COMMIT, after the message.
        let response = post(address, content_type, None, INSERT).await;
        let (messages, status) = parse(&response);
        assert_eq!(messages, ["one"], "{content_type}: {response:?}");
        assert_eq!(status.as_deref(), Some("6"), "{content_type}");
        database.execute("DELETE FROM notes").await;
    }
}

#[tokio::test]
async fn a_browser_is_refused_in_its_own_words() {
    let database = prepared().await;
    let pool = database.pool().await;
    let right = serve(&pool).await;
    let wrong = serve_the_wrong_way_round(&pool).await;
    let stranger = format!("Bearer {}", token(r#"{"role":"not_granted"}"#));
    for (place, address) in [("right", right), ("wrong", wrong)] {
        for content_type in TYPES {
            for (authorization, code) in [("Bearer garbage", "16"), (&stranger, "7")] {
                let response = post(address, content_type, Some(authorization), INSERT).await;
                assert_eq!(response.status(), 200, "{place} {content_type}");
                let answered = header(&response, "content-type");
                assert_eq!(answered, Some(answered_with(content_type)), "{place}");
                // A response without a message has its status in the headers.
                assert_eq!(header(&response, "grpc-status"), Some(code), "{place}");
                assert!(header(&response, "grpc-message").is_some(), "{place}");
                assert_eq!(response.body(), "", "{place}");
            }
        }
    }
    assert_eq!(notes(&database).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_client_of_grpc_web_sees_what_one_of_grpc_sees() {
    let database = prepared().await;
    let address = serve(&database.pool().await).await;
    for (kind, caller) in [
        ("gRPC", Caller::connect(address).await),
        ("gRPC-Web", Caller::web(address)),
    ] {
        let answer = caller.unary("/t.T/Run", INSERT).await;
        assert_eq!(answer.expect("it is stored"), "one", "{kind}");
        assert_eq!(notes(&database).await, ["one"], "{kind}");
        let sql = "SELECT unnest('{a,b,c}'::text[])";
        let rows = caller.streaming("/t.T/Rows", stream::iter([sql.to_owned()]));
        let rows: Vec<_> = rows.await.expect("it begins").collect().await;
        let rows: Result<Vec<_>, _> = rows.into_iter().collect();
        assert_eq!(rows.expect("it is whole"), ["a", "b", "c"], "{kind}");

        for (caller, sql, code) in [
            (&caller, INSERT, Code::AlreadyExists),
            (&caller, "SELECT 1 / 0", Code::InvalidArgument),
            (&caller, "SELECT nothing()", Code::Internal),
            (
                &caller.saying("Bearer garbage"),
                INSERT,
                Code::Unauthenticated,
            ),
            (
                &caller.claiming(r#"{"role":"not_granted"}"#),
                INSERT,
                Code::PermissionDenied,
            ),
        ] {
            let status = caller.unary("/t.T/Run", sql).await;
            assert_eq!(status.expect_err("it fails").code(), code, "{kind}: {sql}");
        }
        database.execute("DELETE FROM notes").await;
    }
}

/// There the status has become part of the body, and nobody is told of success over a rollback.
#[tokio::test]
async fn a_status_that_cannot_be_read_is_never_passed_on_as_success() {
    let database = prepared().await;
    let address = serve_the_wrong_way_round(&database.pool().await).await;
    let recorder = Recorder::start();
    let caller = Caller::web(address);
    let status = caller.unary("/t.T/Run", INSERT).await;
    let status = status.expect_err("nothing was stored");
    assert_eq!(status.code(), Code::Internal, "{status:?}");
    let errors = recorder.errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].message().contains("add GrpcWebLayer outside of"));
    assert_eq!(notes(&database).await, Vec::<String>::new());

    // What the handler committed itself is stored, and failures were told in the head.
    let answer = caller.unary("/t.T/Commits", INSERT).await;
    assert_eq!(answer.expect("it is stored"), "one");
    let status = caller.unary("/t.T/Commits", INSERT).await;
    assert_eq!(status.expect_err("twice").code(), Code::AlreadyExists);
    assert_eq!(notes(&database).await, ["one"]);
    // A client of plain gRPC does not notice.
    let caller = Caller::connect(address).await;
    let answer = caller.unary(
        "/t.T/Run",
        "INSERT INTO notes VALUES ('two') RETURNING note",
    );
    assert_eq!(answer.await.expect("it is stored"), "two");
    assert_eq!(notes(&database).await, ["one", "two"]);
}

/// Somebody who speaks HTTP/2 from the start, but not gRPC.
#[tokio::test]
async fn a_client_of_http_2_is_answered_in_http() {
    let database = prepared().await;
    let address = serve(&database.pool().await).await;
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let request = |authorization: &str| {
        Request::get(format!("http://{address}/t.T/Nothing"))
            .header("authorization", authorization)
            .body(Full::<Bytes>::default())
            .expect("the request is well formed")
    };
    let response = client.request(request("Bearer garbage")).await;
    let response = response.expect("it answers");
    assert_eq!(response.version(), Version::HTTP_2);
    assert_eq!(response.status(), 401);
    assert!(response.headers().contains_key("www-authenticate"));
    let body = response.into_body().collect().await.expect("it is whole");
    assert!(body.to_bytes().starts_with(b"{\"code\":\"invalid_token\""));
}
