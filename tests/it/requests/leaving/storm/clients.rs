//! Clients that stay, and clients that leave.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;
use rolescope::Error;
use tower::{Layer, ServiceExt};
use tower_http::timeout::TimeoutLayer;

use super::super::sockets::{Connection, Version, serve};
use super::Seeded;
use super::acts::{method, role};
use super::ledger::Told;
use crate::support::service::token;

/// The service, in the same process and behind a socket.
#[derive(Clone)]
pub(super) struct Services {
    app: Router,
    address: SocketAddr,
}

fn request(storm: u64, request: u64) -> Request<Body> {
    let role = role(request);
    let claims = format!(r#"{{"role":"{role}","sub":"s{request}"}}"#);
    Request::builder()
        .method(method(storm, request))
        .uri(format!("http://localhost/{request}"))
        .header("host", "localhost")
        .header("authorization", format!("Bearer {}", token(&claims)))
        .body(Body::empty())
        .expect("the request is well formed")
}

impl Services {
    pub(super) async fn new(app: Router) -> Self {
        let address = serve(app.clone()).await;
        Self { app, address }
    }

    /// Sends a request, and leaves where its seed says so.
    pub(super) async fn send(self, storm: u64, number: u64) -> (&'static str, Told) {
        let mut seed = Seeded::of(storm ^ 0x636c_6965, number);
        let sent = request(storm, number);
        let soon = Duration::from_micros((100 + seed.below(100)) << seed.below(8));
        match seed.below(100) {
            0..36 => (
                "client stays",
                read(self.app.oneshot(sent).await.ok()).await,
            ),
            36..66 => {
                let polls = seed.below(14);
                let response = polled(polls, self.app.oneshot(sent)).await;
                (
                    "future dropped after some polls",
                    read(response.and_then(Result::ok)).await,
                )
            }
            66..76 => {
                let response = tokio::time::timeout(soon, self.app.oneshot(sent)).await;
                (
                    "future dropped after some time",
                    read(response.ok().and_then(Result::ok)).await,
                )
            }
            76..80 => {
                let layer = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, soon);
                let response = layer.layer(self.app).oneshot(sent).await;
                ("tower_http's timeout", read(response.ok()).await)
            }
            80..84 => {
                let response = tower::timeout::Timeout::new(self.app, soon)
                    .oneshot(sent)
                    .await;
                ("tower's timeout", read(response.ok()).await)
            }
            84..90 => {
                let frames = seed.below(4);
                let told = read_half(self.app.oneshot(sent).await.ok(), frames).await;
                ("body dropped half-read", told)
            }
            kind => {
                let (name, version) = if kind < 96 {
                    ("HTTP/1 socket closed", Version::Http1)
                } else {
                    ("HTTP/2 socket closed", Version::Http2)
                };
                let told = async {
                    let mut connection = Connection::to(self.address, version).await;
                    read(connection.send(sent).await.ok()).await
                };
                let told = tokio::time::timeout(soon * 3, told).await;
                (name, told.unwrap_or(Told::Unknown))
            }
        }
    }
}

/// Polls a future as often as it is woken, but not more than so many times.
async fn polled<F: Future>(polls: u64, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut polled = 0;
    poll_fn(|cx| {
        if polled == polls {
            return Poll::Ready(None);
        }
        polled += 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polled == polls => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// What the head of a response says: how many rows were stored, unless its body has yet to tell.
fn head<B>(response: &Response<B>) -> (Told, bool) {
    let header = |name| {
        let value = response.headers().get(name)?;
        value.to_str().expect("text").parse().ok()
    };
    let at_end = response
        .headers()
        .get("x-at-end")
        .is_some_and(|v| v == "true");
    let stored = match header("x-stored") {
        Some(stored) => Told::Stored(stored),
        // Nothing came of it, as every error says but one. A timeout knows nothing.
        None if response.status() == StatusCode::REQUEST_TIMEOUT => Told::Unknown,
        None => match response.extensions().get::<Error>() {
            Some(error) if error.kind() == rolescope::ErrorKind::CommitUnknown => Told::Unknown,
            _ => Told::Stored(0),
        },
    };
    (stored, at_end)
}

/// Reads a response to its end.
async fn read<B: HttpBody>(response: Option<Response<B>>) -> Told {
    let Some(response) = response else {
        return Told::Unknown;
    };
    let (told, at_end) = head(&response);
    match response.into_body().collect().await {
        Ok(_) => told,
        Err(_) if at_end => Told::Unknown,
        Err(_) => told,
    }
}

/// Reads some of a response.
async fn read_half<B: HttpBody>(response: Option<Response<B>>, frames: u64) -> Told {
    let Some(response) = response else {
        return Told::Unknown;
    };
    let (told, at_end) = head(&response);
    let mut body = pin!(response.into_body());
    for _ in 0..frames {
        match body.frame().await {
            Some(Ok(_)) => {}
            Some(Err(_)) => break,
            None => return told,
        }
    }
    if at_end { Told::Unknown } else { told }
}
