//! Streams of rows and of COPY, and bodies that end their transaction.

mod copy;
mod copy_fails;
mod ends;
mod rows;
mod trailers;
mod types;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Response};
use futures_util::TryStreamExt;
use http_body_util::BodyExt;
use rolescope::scope::RowStream;
use rolescope::{Error, RoleName, RoleScope, RoleScopedConnection, RoleScopedPool};
use tower::ServiceExt;

use crate::support::Database;
use crate::support::service::request;

/// A table that everybody can write, and one whose rows are found wrong at COMMIT only.
const SCHEMA: &str = "
    CREATE TABLE t (x int);
    CREATE TABLE late (x int UNIQUE DEFERRABLE INITIALLY DEFERRED);
    GRANT ALL ON t, late TO anon, web_user;";

/// Sends a request and returns the response as soon as its head is there.
async fn head(app: &Router, method: Method, uri: &str) -> Response<Body> {
    app.clone()
        .oneshot(request(method, uri, &[]))
        .await
        .unwrap_or_else(|infallible| match infallible {})
}

/// What came of a body.
#[derive(Debug, Default)]
struct Read {
    text: String,
    trailers: Option<HeaderMap>,
    /// It ended with an error: a client sees that it is incomplete.
    error: Option<String>,
}

async fn read(response: Response<Body>) -> Read {
    let mut body = response.into_body();
    let mut read = Read::default();
    while let Some(frame) = body.frame().await {
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) => read.text.push_str(&String::from_utf8_lossy(&data)),
            Ok(Err(frame)) => read.trailers = frame.into_trailers().ok(),
            Err(error) => {
                read.error = Some(error.to_string());
                break;
            }
        }
    }
    read
}

/// A body of the one column of each row, which is text, a line each.
fn lines(rows: RowStream) -> Body {
    Body::from_stream(rows.and_then(async |row| Ok(row.try_get::<_, String>(0)? + "\n")))
}

fn anon(pool: &RoleScopedPool) -> RoleScopedConnection {
    pool.begin(&RoleScope::for_role(
        RoleName::parse("anon").expect("a good name"),
    ))
}

async fn count(database: &Database, table: &'static str) -> Result<i64, tokio_postgres::Error> {
    let sql = format!("SELECT count(*) FROM {table}");
    database.admin().await.query_one_scalar(&*sql, &[]).await
}

/// Says that the pool's connection serves the next request.
async fn serves(pool: &RoleScopedPool) -> Result<(), Error> {
    let two: i32 = anon(pool).query_one_scalar("SELECT 1 + 1", &[]).await?;
    assert_eq!(two, 2);
    Ok(())
}
