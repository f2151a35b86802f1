//! What is on the wire: requests and cancel requests alike are encrypted.

use axum::Router;
use axum::routing::get;
use rolescope::{Error, RoleScopedConnection};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::server::{Files, HOST, PASSWORD, Server, Url};
use crate::support::proxy::within;
use crate::support::service::{self, service};

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const CANCEL_REQUEST: [u8; 8] = [0, 0, 0, 16, 4, 210, 22, 46];

/// What one connection has carried from the client.
#[derive(Clone, Default)]
struct Carried {
    bytes: Vec<u8>,
    ended: bool,
}

/// Listens in between. It ends with the test's runtime.
struct Wire {
    port: u16,
    connections: watch::Receiver<Vec<Carried>>,
}

impl Wire {
    async fn to(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let (sender, connections) = watch::channel(Vec::new());
        let upstream = server.port();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = sender.borrow().len();
                sender.send_modify(|all| all.push(Carried::default()));
                tokio::spawn(carry(client, upstream, sender.clone(), number));
            }
        });
        Self { port, connections }
    }

    /// Waits until one more connection than these has come and gone.
    async fn one_more_has_ended(&mut self, connections: usize) {
        let ended = |all: &Vec<Carried>| all.get(connections).is_some_and(|one| one.ended);
        within(self.connections.wait_for(ended))
            .await
            .expect("it listens");
    }

    fn carried(&self) -> Vec<Carried> {
        self.connections.borrow().clone()
    }
}

async fn carry(
    client: TcpStream,
    upstream: u16,
    state: watch::Sender<Vec<Carried>>,
    number: usize,
) {
    let server = TcpStream::connect(("127.0.0.1", upstream))
        .await
        .expect("it listens");
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let note = |bytes: &[u8]| state.send_modify(|all| all[number].bytes.extend(bytes));
    tokio::join!(
        copy(from_client, to_server, note),
        copy(from_server, to_client, |_| ())
    );
    state.send_modify(|all| all[number].ended = true);
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    note: impl Fn(&[u8]),
) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        note(&buffer[..length]);
        if to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The question for TLS, then a TLS record with a handshake.
#[track_caller]
fn is_encrypted(carried: &Carried) {
    let bytes = &carried.bytes;
    assert!(
        bytes.len() > 9 && bytes[..8] == SSL_REQUEST && bytes[8] == 0x16,
        "{:?}",
        &bytes[..9]
    );
    for plain in [
        &CANCEL_REQUEST[..],
        b"authenticator",
        b"pg_sleep",
        PASSWORD.as_bytes(),
    ] {
        assert!(
            !contains(bytes, plain),
            "{}",
            String::from_utf8_lossy(bytes)
        );
    }
}

async fn sleeping(server: &Server) -> i64 {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60%' AND state = 'active' \
                 AND pid <> pg_backend_pid()";
    let admin = server.admin().await;
    admin
        .query_one_scalar(count, &[])
        .await
        .expect("it can be counted")
}

#[tokio::test]
async fn a_request_and_the_cancel_of_its_statement_are_encrypted() {
    let files = Files::new();
    let server = Server::with_tls().await;
    let mut wire = Wire::to(server).await;
    let url = Url::to_port(wire.port, "authenticator").with("host", HOST);
    let url = url.file("sslrootcert", &files.ours());
    let pool = url.pool().await.expect("it is built");
    let tls = async |db: RoleScopedConnection| -> Result<String, Error> {
        let tls: bool = db.query_one_scalar("SELECT speaks_tls()", &[]).await?;
        Ok(tls.to_string())
    };
    let sleep = async |db: RoleScopedConnection| -> Result<&'static str, Error> {
        db.query("SELECT pg_sleep(600)", &[]).await?;
        Ok("slept")
    };
    let routes = Router::new()
        .route("/tls", get(tls))
        .route("/sleep", get(sleep));
    let app = service(&pool, routes);
    let claims = Some(r#"{"role":"web_user"}"#);
    assert_eq!(
        within(service::get(&app, "/tls", claims)).await.ok(),
        "true"
    );

    // One to look at the set-up, one for requests.
    let connections = wire.carried().len();
    assert_eq!(connections, 2);
    let request = tokio::spawn({
        let app = app.clone();
        async move { service::get(&app, "/sleep", claims).await }
    });
    within(async {
        while sleeping(server).await == 0 {
            tokio::task::yield_now().await
        }
    })
    .await;
    request.abort();
    let _ = request.await;
    wire.one_more_has_ended(connections).await;
    within(async {
        while sleeping(server).await > 0 {
            tokio::task::yield_now().await
        }
    })
    .await;

    assert_eq!(
        within(service::get(&app, "/tls", claims)).await.ok(),
        "true"
    );
    let carried = wire.carried();
    assert!(carried.len() > connections);
    carried.iter().for_each(is_encrypted);
}

#[tokio::test]
async fn without_tls_the_same_would_be_seen() {
    let server = Server::with_tls().await;
    let wire = Wire::to(server).await;
    let url = Url::to_port(wire.port, "either").with("sslmode", "disable");
    url.pool().await.expect("it is built").close().await;
    let carried = wire.carried();
    assert!(carried.iter().all(|one| contains(&one.bytes, b"either")));
}
