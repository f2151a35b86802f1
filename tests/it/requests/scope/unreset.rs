//! A reset that fails while its session is in no transaction: what is sent behind it runs, and nobody may see what it did.

use std::path::PathBuf;

use axum::Router;
use axum::routing::post;
use rolescope::{Error, RoleScopedConnection, RoleScopedPool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};

use crate::support::database;
use crate::support::proxy::within;
use crate::support::service::{self, service};

/// Passes all on, but makes the first reset one that the server cannot read.
async fn spoiling_the_first_reset(server: PathBuf) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        let mut spoilt = false;
        while let Ok((client, _)) = listener.accept().await {
            let server = UnixStream::connect(&server).await.expect("it listens");
            let (mut from_server, mut to_server) = server.into_split();
            let (mut from_client, mut to_client) = client.into_split();
            let spoil = !std::mem::replace(&mut spoilt, true);
            tokio::spawn(async move {
                let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
            });
            tokio::spawn(async move {
                let mut chunk = vec![0; 64 * 1024];
                while let Ok(length @ 1..) = from_client.read(&mut chunk).await {
                    let reset = b"BEGIN NOT DEFERRABLE ISOLATION LEVEL READ COMMITTED; CLOSE ALL";
                    let at = chunk[..length]
                        .windows(reset.len())
                        .position(|w| w == reset);
                    if let Some(at) = at.filter(|_| spoil) {
                        chunk[at] = b'X';
                    }
                    if to_server.write_all(&chunk[..length]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

async fn leave(db: RoleScopedConnection) -> Result<String, Error> {
    db.query_one_scalar("SELECT set_config('app.kept', 'left', false)", &[])
        .await
}

async fn seen(db: RoleScopedConnection) -> Result<String, Error> {
    db.query_one_scalar(
        "SELECT coalesce(current_setting('app.kept', true), '')",
        &[],
    )
    .await
}

#[tokio::test]
async fn what_ran_on_a_session_that_was_not_reset_is_not_shown() {
    let database = database().await;
    let url = format!(
        "postgres://authenticator@127.0.0.1:{}/{}",
        spoiling_the_first_reset(database.socket()).await,
        database.name()
    );
    let pool = RoleScopedPool::builder(&url)
        .expect("a URL")
        .anonymous_role("anon")
        .max_size(1)
        .build_lazy()
        .expect("it is built");
    let routes = Router::new()
        .route("/leave", post(leave))
        .route("/seen", post(seen));
    let app = service(&pool, routes);
    let claims = Some(r#"{"role":"web_user"}"#);
    within(service::post(&app, "/leave", claims)).await.ok();
    assert_eq!(within(service::post(&app, "/seen", claims)).await.ok(), "");
    assert_eq!(pool.status().connections_created, 2);
}
