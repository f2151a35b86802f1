//! Responses to gRPC whose head says more, or less, than their end.

use axum::Router;
use axum::body::Body;
use axum::http::{Extensions, HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use rolescope::{Error, RoleScopedConnection};
use tokio_postgres::Client;

use super::lies::{INSERT, prepared, take_stored};
use crate::support::Database;
use crate::support::proxy::within;
use crate::support::service::{self, Reply, service};

const CONTENT_TYPES: [&str; 2] = ["application/grpc", "application/grpc-web+proto"];

struct Asked {
    app: Router,
    admin: Client,
    _database: Database,
}

impl Asked {
    /// Handlers that answer so, one that leaves the COMMIT to the layer among them, behind an error that did no harm.
    async fn of<R: IntoResponse + 'static>(answer: fn(Error) -> R) -> Self {
        let database = prepared().await;
        let pool = database.pool_of_one().await;
        let stores = async move |db: RoleScopedConnection| {
            let savepoint = db.savepoint().await?;
            let error = db.query("SELECT 1 / 0", &[]).await.expect_err("it fails");
            savepoint.rollback().await?;
            db.execute(INSERT, &[]).await?;
            Ok::<_, Error>(answer(error))
        };
        let commits = async move |db: RoleScopedConnection| {
            db.execute_and_commit(INSERT, &[]).await?;
            Ok::<_, Error>(answer(no_layer()))
        };
        let routes = Router::new()
            .route("/stores", post(stores))
            .route("/commits", post(commits))
            .route("/nothing", post(async move || answer(no_layer())));
        Self {
            app: service(&pool, routes),
            admin: database.admin().await,
            _database: database,
        }
    }

    /// What a client of gRPC reads in the head, and how many rows were stored.
    async fn reads(&self, uri: &str, content_type: &str) -> (Option<String>, Reply, i64) {
        let mut request = service::request(Method::POST, uri, &[]);
        let value = content_type.parse().expect("a header's value");
        request.headers_mut().insert("content-type", value);
        let reply = within(service::send(&self.app, request)).await;
        let status = reply.headers.get("grpc-status");
        let status = status.map(|status| status.to_str().expect("text").to_owned());
        (status, reply, take_stored(&self.admin).await)
    }
}

fn no_layer() -> Error {
    let error = RoleScopedConnection::from_extensions(&Extensions::new());
    error.expect_err("there is no layer")
}

/// As a handler answers that turns errors into pages of its own.
fn error_in_extensions(error: Error) -> Response {
    let mut response = "sorry".into_response();
    response.extensions_mut().insert(error);
    response
}

#[tokio::test]
async fn who_is_shown_an_error_has_stored_nothing() {
    let asked = Asked::of(error_in_extensions).await;
    for content_type in CONTENT_TYPES {
        let (status, reply, stored) = asked.reads("/stores", content_type).await;
        assert_eq!((status.as_deref(), stored), (Some("3"), 0), "{reply:?}");
    }
    let (status, reply, stored) = asked.reads("/stores", "text/plain").await;
    assert_eq!((status, stored), (None, 1), "as it says: {reply:?}");
}

#[tokio::test]
async fn a_success_without_a_status_is_none() {
    let asked = Asked::of(|_| "stored").await;
    for content_type in CONTENT_TYPES {
        let (status, reply, stored) = asked.reads("/stores", content_type).await;
        assert_eq!((status.as_deref(), stored), (Some("13"), 0), "{reply:?}");
        let (status, reply, stored) = asked.reads("/commits", content_type).await;
        assert_eq!((status, stored), (None, 1), "as it is: {reply:?}");
        let (status, reply, _) = asked.reads("/nothing", content_type).await;
        assert_eq!((status, &*reply.body), (None, "stored"), "as it is");
    }
}

fn status_before_body(body: Body) -> Response {
    let head = [("content-type", "application/grpc"), ("grpc-status", "0")];
    (head, body).into_response()
}

/// Its head says success, and its trailers something else.
fn second_thoughts(_: Error) -> Response {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "5".parse().expect("a header's value"));
    let frames = [Frame::data("message".into()), Frame::trailers(trailers)];
    let frames = stream::iter(frames.map(Ok::<_, std::convert::Infallible>));
    status_before_body(Body::new(StreamBody::new(frames)))
}

#[tokio::test]
async fn a_status_before_the_body_promises_nothing() {
    let asked = Asked::of(second_thoughts).await;
    let (status, reply, stored) = asked.reads("/stores", CONTENT_TYPES[0]).await;
    assert_eq!((status.as_deref(), stored), (Some("13"), 0), "{reply:?}");
    // Its end comes too late to change what the handler has committed.
    let (status, reply, stored) = asked.reads("/commits", CONTENT_TYPES[0]).await;
    assert_eq!((status.as_deref(), stored), (Some("0"), 1), "{reply:?}");

    let asked = Asked::of(|_| status_before_body(Body::empty())).await;
    let (status, reply, stored) = asked.reads("/stores", CONTENT_TYPES[0]).await;
    assert_eq!((status.as_deref(), stored), (Some("0"), 1), "{reply:?}");
}
