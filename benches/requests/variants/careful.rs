//! (f): the usual way, by somebody who counts round trips: statements are prepared once for each connection, connections are
//! not asked whether they are still there, the claims are passed on as they were signed, and reads are READ ONLY.

use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch};
use axum::{Json, Router};
use bb8_postgres::bb8;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use tokio_postgres::{Statement, Transaction};

use super::prepared::{self, Connection, Pool};
use super::{Change, Item, changed, items};
use crate::database::{AUDIENCE, SECRET};

#[derive(Clone)]
struct App {
    pool: Pool,
    jwt: Arc<(DecodingKey, Validation)>,
}

enum Error {
    Unauthorized,
    Internal,
}

impl From<tokio_postgres::Error> for Error {
    fn from(_: tokio_postgres::Error) -> Self {
        Self::Internal
    }
}

impl From<bb8::RunError<tokio_postgres::Error>> for Error {
    fn from(_: bb8::RunError<tokio_postgres::Error>) -> Self {
        Self::Internal
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED.into_response(),
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

/// Who asks, and how.
struct Caller {
    role: String,
    claims: Box<RawValue>,
    method: Method,
    uri: Uri,
}

#[derive(Deserialize)]
struct Role {
    role: String,
}

impl FromRequestParts<App> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let token = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or(Error::Unauthorized)?;
        let (key, validation) = &*app.jwt;
        let claims = decode::<Box<RawValue>>(token, key, validation)
            .map_err(|_| Error::Unauthorized)?
            .claims;
        let Role { role } = serde_json::from_str(claims.get()).map_err(|_| Error::Unauthorized)?;
        Ok(Self {
            role,
            claims,
            method: parts.method.clone(),
            uri: parts.uri.clone(),
        })
    }
}

/// Begins a transaction as the caller, and gives the connection's statement for it.
async fn begin<'a>(
    connection: &'a mut Connection,
    caller: &Caller,
) -> Result<(Transaction<'a>, &'a Statement), Error> {
    let reads = caller.method == Method::GET;
    let transaction = connection
        .client
        .build_transaction()
        .read_only(reads)
        .start()
        .await?;
    transaction
        .execute(
            &connection.switch,
            &[
                &caller.role,
                &caller.claims.get(),
                &caller.method.as_str(),
                &caller.uri.path(),
            ],
        )
        .await?;
    let statement = match reads {
        true => &connection.list,
        false => &connection.set,
    };
    Ok((transaction, statement))
}

async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Vec<Item>>, Error> {
    let mut connection = app.pool.get().await?;
    let (transaction, list) = begin(&mut connection, &caller).await?;
    let rows = transaction.query(list, &[]).await?;
    transaction.commit().await?;
    Ok(Json(items(&rows)))
}

async fn set(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<i32>,
    Json(change): Json<Change>,
) -> Result<StatusCode, Error> {
    let mut connection = app.pool.get().await?;
    let (transaction, set) = begin(&mut connection, &caller).await?;
    let rows = transaction.execute(set, &[&id, &change.value]).await?;
    transaction.commit().await?;
    Ok(changed(rows))
}

pub(super) async fn app(url: &str) -> Result<Router, String> {
    let pool = prepared::pool(url, String::new(), super::POOL).await?;
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "aud"]);
    let jwt = Arc::new((DecodingKey::from_secret(SECRET.as_bytes()), validation));
    Ok(Router::new()
        .route("/items", get(list))
        .route("/counters/{id}", patch(set))
        .with_state(App { pool, jwt }))
}
