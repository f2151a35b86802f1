//! Attacks on the layer, over real HTTP: what each of them comes to, and which section says so.
//!
//! A row is a token, or raw `Authorization` headers. It is sent to three services: one with the layer as it is, one that takes
//! invalid tokens for anonymous, one that requires a token. Whatever comes of it, no answer is a 5xx, no connection is cut,
//! and each challenge is as RFC 6750 has it.

mod authorization;
mod claims;
mod confusion;
mod encoding;
pub(super) mod forge;
mod jose_header;
mod json;
#[cfg(all(feature = "axum", feature = "postgres"))]
mod roles;
mod signatures;

use std::convert::Infallible;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rolescope::auth::Access;
use rolescope::auth::jwt::TokenError;
use rolescope::{Error, JwtAuthLayer, JwtVerifier, ResponseBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, ServiceExt, service_fn};

/// What an attack comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    /// The token is good: the attack changes nothing.
    Accept,
    /// There is no token, and the request is a stranger's.
    Anonymous,
    /// 401 with the challenge `invalid_token`.
    Refuse(TokenError),
    /// 400 with the challenge `invalid_request`.
    Ambiguous,
    /// 400 by the HTTP server: the layer never sees it.
    NotHttp,
}

use Outcome::{Accept, Ambiguous, Anonymous, NotHttp, Refuse};

/// Attacks on one verifier.
struct Table {
    verifier: JwtVerifier,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    /// Whole lines of the request's head.
    headers: Vec<u8>,
    /// What an accepted token's claims must arrive as.
    payload: Option<Vec<u8>>,
    outcome: Outcome,
    section: &'static str,
}

impl Table {
    fn new(verifier: JwtVerifier) -> Self {
        Self {
            verifier,
            rows: Vec::new(),
        }
    }

    /// Adds a token that is sent as `Authorization: Bearer ..`.
    fn token(&mut self, section: &'static str, name: &str, token: &str, outcome: Outcome) {
        let payload = token.split('.').nth(1);
        self.rows.push(Row {
            name: name.to_owned(),
            headers: format!("authorization: Bearer {token}\r\n").into_bytes(),
            payload: payload.and_then(|payload| URL_SAFE_NO_PAD.decode(payload).ok()),
            outcome,
            section,
        });
    }

    /// Adds whole lines of a request's head.
    fn lines(&mut self, section: &'static str, name: &str, lines: &[&[u8]], outcome: Outcome) {
        self.rows.push(Row {
            name: name.to_owned(),
            headers: lines
                .iter()
                .flat_map(|line| [line, b"\r\n".as_slice()].concat())
                .collect(),
            payload: None,
            outcome,
            section,
        });
    }

    /// Sends each row to each service.
    #[track_caller]
    fn run(self) -> impl Future<Output = ()> {
        let at = std::panic::Location::caller();
        async move {
            assert!(!self.rows.is_empty());
            let server = Server::start(&self.verifier).await;
            let mut client = Client::connect(server.address).await;
            for row in &self.rows {
                let what = format!("{} ({}) at {at}", row.name, row.section);
                for service in ["/", "/older", "/required"] {
                    let reply = client.send(service, &row.headers, &what).await;
                    check(row, service, &reply, &what);
                    if row.outcome == NotHttp {
                        client = Client::connect(server.address).await;
                    }
                }
            }
        }
    }
}

fn check(row: &Row, service: &str, reply: &Reply, what: &str) {
    let description = |error: TokenError| {
        format!(
            r#"Bearer error="invalid_token", error_description="{}""#,
            error.as_str()
        )
    };
    let too_many = "the request has more than one token or Authorization header";
    let ambiguous = format!(r#"Bearer error="invalid_request", error_description="{too_many}""#);
    let (status, challenge) = match (row.outcome, service) {
        (Accept, _) => (200, None),
        (Anonymous, "/required") => (401, Some("Bearer".to_owned())),
        (Anonymous, _) | (Refuse(_), "/older") => (204, None),
        (Refuse(error), _) => (401, Some(description(error))),
        (Ambiguous, _) => (400, Some(ambiguous)),
        (NotHttp, _) => (400, None),
    };
    assert_eq!(reply.status, status, "{service} {what}: {reply:?}");
    let found: Vec<&str> = reply.all("www-authenticate").collect();
    assert_eq!(
        found,
        Vec::from_iter(challenge.as_deref()),
        "{service} {what}"
    );
    if row.outcome == NotHttp {
        return;
    }
    if let Some(challenge) = challenge {
        assert!(is_well_formed(&challenge), "{what}: {challenge}");
        assert_eq!(
            reply.all("content-type").next(),
            Some("application/json"),
            "{what}"
        );
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        let members: Vec<&String> = body.as_object().unwrap().keys().collect();
        assert_eq!(members, ["code", "details", "hint", "message"], "{what}");
    }
    if let (Accept, Some(payload)) = (row.outcome, &row.payload) {
        assert_eq!(
            reply.body, *payload,
            "{service} {what}: the claims are not those that were signed"
        );
    }
    if status == 204 {
        let sent = matches!(row.outcome, Refuse(_));
        assert_eq!(
            reply.all("token-sent").next(),
            Some(if sent { "true" } else { "false" }),
            "{what}"
        );
    }
}

/// RFC 6750 section 3, with RFC 9110 section 11.6.1 around it.
fn is_well_formed(challenge: &str) -> bool {
    let Some(parameters) = challenge.strip_prefix("Bearer") else {
        return false;
    };
    let Some(parameters) = parameters.strip_prefix(' ') else {
        return parameters.is_empty();
    };
    let allowed = |byte: u8| matches!(byte, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    let mut rest = parameters;
    for start in ["error=\"", ", error_description=\""] {
        let value = rest
            .strip_prefix(start)
            .and_then(|rest| rest.split_once('"'));
        match value {
            Some((value, after)) if !value.is_empty() && value.bytes().all(allowed) => rest = after,
            _ => return false,
        }
    }
    rest.is_empty()
}

/// Serves until it is dropped.
struct Server {
    address: std::net::SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(verifier: &JwtVerifier) -> Self {
        let layer = JwtAuthLayer::new(verifier.clone());
        let plain = layer.layer(service_fn(inner));
        let older = layer.clone().treat_invalid_token_as_anonymous();
        let older = older.layer(service_fn(inner));
        let required = layer.require_token().layer(service_fn(inner));
        let service = service_fn(move |request: Request<Incoming>| {
            let (plain, older, required) = (plain.clone(), older.clone(), required.clone());
            async move {
                match request.uri().path() {
                    "/older" => older.oneshot(request).await,
                    "/required" => required.oneshot(request).await,
                    _ => plain.oneshot(request).await,
                }
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let service = TowerToHyperService::new(service.clone());
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, task }
    }
}

/// Says what it has seen: 200 and the claims, or 204.
async fn inner(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let access = Access::from_extensions(request.extensions()).unwrap();
    let response = Response::builder().header("token-sent", access.token_sent().to_string());
    let response = match access.claims() {
        Some(claims) => response.body(Full::from(claims.as_json().to_owned())),
        None => response.status(204).body(Full::default()),
    };
    Ok(response.unwrap())
}

// What the services answer with is one type.
const _: fn(Response<ResponseBody<Full<Bytes>>>) -> Option<Error> =
    |response| response.extensions().get().cloned();

struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

#[derive(Debug)]
struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let same = self.headers.iter().filter(move |(known, _)| known == name);
        same.map(|(_, value)| &**value)
    }
}

impl Client {
    async fn connect(address: std::net::SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            read: Vec::new(),
        }
    }

    async fn send(&mut self, path: &str, headers: &[u8], what: &str) -> Reply {
        let head = format!("GET {path} HTTP/1.1\r\nhost: abuse\r\n");
        let request = [head.as_bytes(), headers, b"\r\n"].concat();
        let exchange = async {
            self.stream.write_all(&request).await.unwrap();
            loop {
                if let Some(reply) = self.reply() {
                    return reply;
                }
                let read = self.stream.read_buf(&mut self.read).await.unwrap();
                assert!(
                    read > 0,
                    "{what}: the connection is cut: {:?}",
                    self.read.escape_ascii()
                );
            }
        };
        let reply = tokio::time::timeout(Duration::from_secs(30), exchange).await;
        reply.unwrap_or_else(|_| panic!("{what}: no answer"))
    }

    /// Takes one response from what was read, once it is whole.
    fn reply(&mut self) -> Option<Reply> {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut head = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(start) = head.parse(&self.read).unwrap() else {
            return None;
        };
        let headers: Vec<(String, String)> = head
            .headers
            .iter()
            .map(|header| {
                let value = std::str::from_utf8(header.value).unwrap();
                (header.name.to_ascii_lowercase(), value.to_owned())
            })
            .collect();
        let mut reply = Reply {
            status: head.code.unwrap(),
            headers,
            body: Vec::new(),
        };
        let length = reply.all("content-length").next();
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        reply.body = self.read.get(start..start + length)?.to_vec();
        self.read.drain(..start + length);
        Some(reply)
    }
}
