//! Tokens that are refused because a database says so.

mod faults;
mod grants;
mod life;
#[cfg(all(feature = "jwks-client", feature = "aws-lc-rs"))]
mod processes;
mod refusals;

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use rolescope::auth::jwt::Revocations;
use rolescope::scope::revocation::{RevocationListener, RevocationListenerBuilder};
use rolescope::{JwtAuthLayer, JwtVerifier};
use tokio_postgres::Client;

use crate::support::proxy::within;
use crate::support::service::{self, SECRET};
use crate::support::{Database, database, run};

/// What examples/sql/sessions.sql has for listeners, and a table that tests write to. It counts how often it is read.
const FIXTURE: &str = "
    CREATE SCHEMA basic_auth;
    CREATE TABLE basic_auth.revoked (claim text, value text, issued_before timestamptz);
    CREATE SEQUENCE basic_auth.reads;
    CREATE FUNCTION basic_auth.revoked_tokens() RETURNS TABLE (claim text, value text, issued_before timestamptz)
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        SELECT nextval('basic_auth.reads');
        SELECT * FROM basic_auth.revoked
    $$;
    REVOKE ALL ON FUNCTION basic_auth.revoked_tokens() FROM PUBLIC;
    GRANT USAGE ON SCHEMA basic_auth TO authenticator;
    GRANT EXECUTE ON FUNCTION basic_auth.revoked_tokens() TO authenticator;";

/// So late that no test sees it.
const NEVER: Duration = Duration::from_secs(3600);
/// So often that a test need not wait.
const OFTEN: Duration = Duration::from_millis(20);
/// So short that a test can wait for it, and so long that a busy machine does not reach it by accident where it must not.
const STALE: Duration = Duration::from_millis(400);

async fn prepared() -> (Database, Client) {
    let database = database().await;
    let admin = database.admin().await;
    run(&admin, FIXTURE).await;
    (database, admin)
}

fn listener(url: &str) -> RevocationListenerBuilder {
    RevocationListener::builder(url).expect("the URL can be read")
}

/// One that learns of changes by notifications alone, and never gives up.
fn patient(url: &str) -> RevocationListenerBuilder {
    let builder = listener(url).reread_interval(NEVER).max_staleness(NEVER);
    builder.heartbeat(OFTEN).max_backoff(OFTEN)
}

async fn listening(builder: RevocationListenerBuilder) -> RevocationListener {
    within(builder.build())
        .await
        .unwrap_or_else(|e| panic!("{e}"))
}

async fn revoke(admin: &Client, jti: &str) {
    let sql = format!(
        "INSERT INTO basic_auth.revoked VALUES ('jti', '{jti}'); NOTIFY rolescope_revocations"
    );
    run(admin, &sql).await;
}

async fn hello() -> &'static str {
    "hello"
}

/// A service that asks no database.
fn app(revocations: &Revocations) -> Router {
    over(JwtAuthLayer::new(verifier(revocations)))
}

fn over(auth: JwtAuthLayer) -> Router {
    Router::new().route("/", get(hello)).layer(auth)
}

fn verifier(revocations: &Revocations) -> JwtVerifier {
    let builder = JwtVerifier::builder().hs256(SECRET).expect("a secret");
    let builder = builder.any_audience().revocations(revocations);
    builder.build().expect("there is a backend")
}

async fn status(app: &Router, jti: &str) -> StatusCode {
    let claims = format!(r#"{{"jti":"{jti}"}}"#);
    service::get(app, "/", Some(&claims)).await.status
}

/// Waits until tokens of this id are answered so.
#[track_caller]
fn becomes(app: &Router, jti: &str, expected: u16) -> impl Future<Output = ()> {
    within(async move {
        while status(app, jti).await != expected {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
}

/// Waits for what the state of a set says.
#[track_caller]
fn until(condition: impl Fn() -> bool) -> impl Future<Output = ()> {
    within(async move {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
}

/// How many listeners are connected to the database.
async fn sessions(admin: &Client) -> i64 {
    let count = "SELECT count(*) FROM pg_stat_activity \
                 WHERE application_name = 'rolescope_revocations' AND datname = current_database()";
    admin.query_one(count, &[]).await.expect("it runs").get(0)
}
