//! `examples/hyper_server.rs`: the commands that it prints over HTTP/1.1, and a client that speaks HTTP/2 from the start.

use std::path::PathBuf;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::support::example::Example;
use crate::support::files::TemporaryDirectory;
use crate::support::processes::assert_gone;
use crate::support::todos_guide::each_command_shows_its_point;

struct Caller {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
}

impl Caller {
    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &'static str,
    ) -> Response<String> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::from(body))
            .expect("the request is well formed");
        let response = self.client.request(request).await.expect("it answers");
        assert_eq!(response.version(), http::Version::HTTP_2);
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("the body is whole").to_bytes();
        Response::from_parts(parts, String::from_utf8_lossy(&body).into_owned())
    }
}

/// The header's value in a `curl` command.
fn authorization<'a>(lines: &'a [String], after: &str) -> &'a str {
    let command = lines
        .iter()
        .skip_while(|line| !line.starts_with(after))
        .nth(1);
    let command = command.expect("the command is there");
    let (_, rest) = command
        .split_once("Authorization: ")
        .expect("it has a token");
    rest.split('\'').next().expect("it ends")
}

#[tokio::test]
async fn hyper_server_answers_over_both_versions_of_http() {
    let directory = TemporaryDirectory::new("hyper_server");
    let mut command = Example::command("hyper_server");
    command
        .args(["--port", "0"])
        .env("ROLESCOPE_PG_DIR", directory.path());
    let mut example = Example::start(&mut command);
    let lines = each_command_shows_its_point(&mut example);

    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let url = example.url().to_owned();
    let caller = Caller { client, url };
    let alice = ("authorization", authorization(&lines, "# Alice adds"));
    let forged = ("authorization", authorization(&lines, "# A token that"));

    let reply = caller.ask(Method::GET, "/todos", &[], "").await;
    assert_eq!(reply.status(), StatusCode::OK);
    assert_eq!(reply.body().matches("\"id\"").count(), 1, "{reply:?}");
    let new = r#"{"task":"feed the cat"}"#;
    let reply = caller.ask(Method::POST, "/todos", &[alice], new).await;
    assert_eq!(reply.status(), StatusCode::CREATED, "{reply:?}");
    let reply = caller.ask(Method::GET, "/todos", &[alice], "").await;
    assert!(reply.body().contains("feed the cat"), "{reply:?}");

    // Refusals of PostgreSQL, of the layer, and of the service itself.
    let reply = caller.ask(Method::POST, "/todos", &[], new).await;
    assert_eq!(reply.status(), StatusCode::UNAUTHORIZED, "{reply:?}");
    assert_eq!(reply.headers()["www-authenticate"], "Bearer");
    assert!(reply.body().contains("\"42501\""), "{reply:?}");
    let reply = caller.ask(Method::GET, "/todos", &[forged], "").await;
    assert_eq!(reply.status(), StatusCode::UNAUTHORIZED, "{reply:?}");
    let empty = r#"{"task":""}"#;
    let reply = caller.ask(Method::POST, "/todos", &[alice], empty).await;
    assert_eq!(reply.status(), StatusCode::BAD_REQUEST, "{reply:?}");
    assert!(reply.body().contains("\"23514\""), "{reply:?}");
    let reply = caller.ask(Method::POST, "/todos", &[alice], "{").await;
    assert_eq!((reply.status().as_u16(), &**reply.body()), (400, ""));
    let reply = caller.ask(Method::DELETE, "/todos", &[alice], "").await;
    assert_eq!(reply.status(), StatusCode::METHOD_NOT_ALLOWED);
    let reply = caller.ask(Method::GET, "/", &[], "").await;
    assert_eq!(reply.status(), StatusCode::NOT_FOUND);

    // What the handler answered in HTTP's words reaches a gRPC client in its own.
    let grpc = ("content-type", "application/grpc");
    for (headers, code) in [(&[grpc, alice][..], "3"), (&[grpc], "16")] {
        let reply = caller.ask(Method::POST, "/todos", headers, empty).await;
        assert_eq!(reply.status(), StatusCode::OK, "{reply:?}");
        assert_eq!(reply.headers()["grpc-status"], code, "{reply:?}");
    }

    assert!(example.end_with("TERM").success());
    assert_gone(directory.path());
    assert_eq!(directory.entries(), Vec::<PathBuf>::new());
}
