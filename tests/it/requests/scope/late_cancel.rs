//! A cancel request that the server reads late hits nobody.

use axum::Router;
use axum::routing::post;
use rolescope::{Error, RoleScopedConnection};
use tokio_postgres::Client;

use crate::support::database;
use crate::support::proxy::{Proxy, within};
use crate::support::service::{self, service};

const TOKEN: Option<&str> = Some(r#"{"role":"web_user"}"#);

async fn waits(db: RoleScopedConnection) -> Result<&'static str, Error> {
    db.execute("SELECT pg_advisory_xact_lock(1)", &[]).await?;
    Ok("waited")
}

async fn admin(client: &Client, sql: &str) {
    client.batch_execute(sql).await.expect("it may");
}

/// Waits until a statement waits for the lock.
async fn somebody_waits(client: &Client) {
    let waits = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
         WHERE d.datname = current_database() AND locktype = 'advisory' AND NOT granted";
    within(async {
        let mut waiting = 0;
        while waiting == 0 {
            let row = client.query_one(waits, &[]).await.expect("it is counted");
            waiting = row.get::<_, i64>(0);
        }
    })
    .await;
}

#[tokio::test]
async fn a_cancel_request_that_arrives_late_hits_nobody() {
    let database = database().await;
    let client = database.admin().await;
    let proxy = Proxy::start(&database);
    let pool = proxy.pool_builder().build().await.expect("it is built");
    let app = service(&pool, Router::new().route("/", post(waits)));
    let send = || {
        let app = app.clone();
        tokio::spawn(async move { service::post(&app, "/", TOKEN).await })
    };

    admin(&client, "SELECT pg_advisory_lock(1)").await;
    proxy.delay_cancels();
    let left = send();
    somebody_waits(&client).await;
    left.abort();
    assert!(left.await.expect_err("it was aborted").is_cancelled());
    proxy.sees_cancel().await;

    // What was to be cancelled ends by itself, and somebody else's statement runs when the cancel request arrives.
    admin(&client, "SELECT pg_advisory_unlock(1)").await;
    within(send()).await.expect("no panic").ok();
    admin(&client, "SELECT pg_advisory_lock(1)").await;
    let next = send();
    somebody_waits(&client).await;
    proxy.pass_cancels().await;
    admin(&client, "SELECT pg_advisory_unlock(1)").await;
    assert_eq!(within(next).await.expect("no panic").ok(), "waited");
}
