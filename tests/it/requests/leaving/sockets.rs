//! A client that leaves while its statement runs frees the backend, whatever protocol it speaks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::any;
use futures_util::TryStreamExt;
use http_body_util::BodyExt;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rolescope::{Error, ErrorKind, RoleScopedConnection};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::next_is_clean;
use crate::requests::scope::cancel::until;
use crate::support::proxy::within;
use crate::support::service::{service, token};
use crate::support::{Database, database};

/// Serves HTTP/1 and HTTP/2 for as long as the test's runtime lives.
pub(super) async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// A connection of its own. Whoever drops it closes the socket.
pub(super) struct Connection {
    sender: Sender,
    driver: JoinHandle<()>,
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Connection {
    pub(super) async fn to(address: SocketAddr, version: Version) -> Self {
        let stream = TcpStream::connect(address).await.expect("it listens");
        let stream = TokioIo::new(stream);
        match version {
            Version::Http1 => {
                let (sender, driver) = http1::handshake(stream).await.expect("it speaks it");
                Self {
                    sender: Sender::Http1(sender),
                    driver: tokio::spawn(async move { drop(driver.await) }),
                }
            }
            Version::Http2 => {
                let shaken = http2::handshake(TokioExecutor::new(), stream).await;
                let (sender, driver) = shaken.expect("it speaks it");
                Self {
                    sender: Sender::Http2(sender),
                    driver: tokio::spawn(async move { drop(driver.await) }),
                }
            }
        }
    }

    pub(super) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> hyper::Result<hyper::Response<hyper::body::Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => sender.send_request(request).await,
            Sender::Http2(sender) => sender.send_request(request).await,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn request(method: &str, path: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(format!("http://localhost{path}"))
        .header("host", "localhost")
        .header(
            "authorization",
            format!("Bearer {}", token(r#"{"role":"web_user"}"#)),
        )
        .body(Body::empty())
        .expect("the request is well formed")
}

async fn sleeps(db: RoleScopedConnection) -> Result<(), Error> {
    db.execute("INSERT INTO t VALUES (1)", &[]).await?;
    db.execute("SELECT pg_sleep(30)", &[]).await.map(|_| ())
}

/// Rows for half an hour, read by nobody.
async fn streams(db: RoleScopedConnection) -> Result<Body, Error> {
    db.read_only()?;
    let sql = "SELECT repeat('x', 1000 + 0 * generate_series(1, 100000000))";
    let rows = db.query_stream(sql, &[]).await?;
    let lines = rows.and_then(async |row| Ok(row.try_get::<_, String>(0)?));
    Ok(Body::from_stream(lines))
}

/// Somebody else has a clone of its connection, and keeps it.
#[tokio::test]
async fn a_client_that_leaves_ends_a_transaction_that_others_hold() {
    let database = database().await;
    database
        .execute("CREATE TABLE t (x int); GRANT ALL ON t TO web_user")
        .await;
    let pool = database.pool_of_one().await;
    let held = Arc::new(tokio::sync::Mutex::new(Vec::new()));
    let hold = Arc::clone(&held);
    let holds = async move |db: RoleScopedConnection| {
        db.execute("INSERT INTO t VALUES (1)", &[]).await?;
        hold.lock().await.push(db);
        std::future::pending::<Result<(), Error>>().await
    };
    let app = service(&pool, Router::new().route("/holds", any(holds)));
    let address = serve(app).await;
    for (version, count) in [(Version::Http1, 1), (Version::Http2, 2)] {
        let mut connection = Connection::to(address, version).await;
        let is_held = within(async {
            while held.lock().await.len() < count {
                tokio::task::yield_now().await;
            }
        });
        tokio::select! {
            answer = connection.send(request("POST", "/holds")) => panic!("{answer:?}"),
            () = is_held => {}
        }
        drop(connection);
        within(next_is_clean(&pool, "a clone that is held")).await;
    }
    for db in held.lock().await.iter() {
        let error = db.commit().await.expect_err("it has ended");
        assert_eq!(error.kind(), ErrorKind::Finished);
    }
    assert_eq!(pool.status().connections_created, 1);
}

/// How long it takes until no backend of the pool runs anything.
async fn freed(database: &Database) -> Duration {
    let left = Instant::now();
    until(database, "state IN ('active', 'idle in transaction')", 0).await;
    left.elapsed()
}

#[tokio::test]
async fn a_client_that_leaves_during_30_seconds_of_a_statement_frees_its_backend() {
    let database = database().await;
    database
        .execute("CREATE TABLE t (x int); GRANT ALL ON t TO web_user")
        .await;
    let pool = database.pool_of_one().await;
    let routes = Router::new()
        .route("/sleeps", any(sleeps))
        .route("/streams", any(streams));
    let address = serve(service(&pool, routes)).await;
    for version in [Version::Http1, Version::Http2] {
        let mut connection = Connection::to(address, version).await;
        let sent = connection.send(request("POST", "/sleeps"));
        tokio::select! {
            answer = sent => panic!("{answer:?}"),
            () = until(&database, "query LIKE 'SELECT pg_sleep%' AND state = 'active'", 1) => {}
        }
        drop(connection);
        println!("{version:?}, socket closed: {:?}", freed(&database).await);
        within(next_is_clean(&pool, "a closed socket")).await;

        let mut connection = Connection::to(address, version).await;
        let response = within(connection.send(request("GET", "/streams"))).await;
        let mut body = response.expect("it begins").into_body();
        within(body.frame())
            .await
            .expect("a row")
            .expect("no error");
        until(
            &database,
            "query LIKE 'SELECT repeat%' AND state = 'active'",
            1,
        )
        .await;
        drop((body, connection));
        println!("{version:?}, body half-read: {:?}", freed(&database).await);
        within(next_is_clean(&pool, "a body half-read")).await;
    }
    // The connection stays, and one stream of it is reset.
    let mut connection = Connection::to(address, Version::Http2).await;
    tokio::select! {
        answer = connection.send(request("POST", "/sleeps")) => panic!("{answer:?}"),
        () = until(&database, "query LIKE 'SELECT pg_sleep%' AND state = 'active'", 1) => {}
    }
    println!("Http2, stream reset: {:?}", freed(&database).await);
    within(next_is_clean(&pool, "a stream that was reset")).await;
    let stored = "SELECT count(*) FROM t";
    let stored: i64 = database
        .admin()
        .await
        .query_one_scalar(stored, &[])
        .await
        .expect("it is counted");
    assert_eq!(stored, 0);
    assert_eq!(pool.status().in_use, 0);
}
