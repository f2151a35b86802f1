//! Answers that come in pieces, as over a slow network: the driver holds back all that is behind one of which nobody takes
//! the pieces.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use rolescope::{Error, RoleScopedConnection, RoleScopedPool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};

use crate::support::database;
use crate::support::proxy::within;
use crate::support::service::{self, service};

/// Passes on what the server sends in small pieces, each of which the driver reads by itself.
async fn in_pieces(server: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = UnixStream::connect(&server).await;
            let (mut from_server, mut to_server) = server.expect("it listens").into_split();
            client.set_nodelay(true).expect("it can be set");
            let (mut from_client, mut to_client) = client.into_split();
            tokio::spawn(async move {
                let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
            });
            tokio::spawn(async move {
                let mut piece = [0; 24];
                while let Ok(length @ 1..) = from_server.read(&mut piece).await {
                    if to_client.write_all(&piece[..length]).await.is_err() {
                        break;
                    }
                    // Only time keeps the next piece from being read together with this one.
                    tokio::time::sleep(Duration::from_micros(1)).await;
                }
            });
        }
    });
    address
}

async fn answer(db: RoleScopedConnection) -> Result<String, Error> {
    db.query_one_scalar("SELECT repeat('x', 500)", &[]).await
}

async fn last(db: RoleScopedConnection) -> Result<String, Error> {
    let rows = db.query_and_commit("SELECT repeat('x', 500)", &[]).await?;
    Ok(rows[0].get(0))
}

#[tokio::test]
async fn nobody_waits_for_a_deadline_before_answers_are_taken() {
    let database = database().await;
    let pieces = in_pieces(database.socket()).await.port();
    // A deadline that came to the rescue would come too late.
    let never = Duration::from_secs(3600);
    let name = database.name();
    let url = format!("postgres://authenticator@127.0.0.1:{pieces}/{name}");
    let pool = RoleScopedPool::builder(&url)
        .expect("a URL")
        .anonymous_role("anon")
        .max_size(1)
        .begin_timeout(never)
        .reset_timeout(never)
        .build();
    let pool = within(pool).await.expect("it is built");
    let routes = Router::new()
        .route("/", get(answer).post(answer))
        .route("/last", post(last).get(last));
    let app = service(&pool, routes);
    let claims = format!(r#"{{"role":"web_user","long":"{}"}}"#, "y".repeat(500));
    for _ in 0..2 {
        for uri in ["/", "/last"] {
            let reply = within(service::get(&app, uri, Some(&claims))).await;
            assert_eq!(reply.ok().len(), 500);
            let reply = within(service::post(&app, uri, Some(&claims))).await;
            assert_eq!(reply.ok().len(), 500);
        }
    }
    assert_eq!(pool.status().connections_created, 1);
}
