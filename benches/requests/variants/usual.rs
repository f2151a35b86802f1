//! (e): what one writes with axum, jsonwebtoken and bb8-postgres: a transaction for each request, one statement that sets
//! role and claims, and each step awaited before the next.

use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch};
use axum::{Json, Router};
use bb8_postgres::{PostgresConnectionManager, bb8};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::Value;
use std::sync::Arc;
use tokio_postgres::{Client, NoTls, Transaction};

use super::{Change, Item, changed, items};
use crate::database::{AUDIENCE, LIST, SECRET, SET};

const SWITCH: &str = "\
    SELECT set_config('role', $1, true), set_config('request.jwt.claims', $2, true), \
           set_config('request.method', $3, true), set_config('request.path', $4, true)";

#[derive(Clone)]
struct App {
    pool: bb8::Pool<PostgresConnectionManager<NoTls>>,
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
    claims: String,
    method: Method,
    uri: Uri,
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
        let claims = decode::<Value>(token, key, validation)
            .map_err(|_| Error::Unauthorized)?
            .claims;
        let role = claims["role"].as_str().ok_or(Error::Unauthorized)?;
        Ok(Self {
            role: role.to_owned(),
            claims: claims.to_string(),
            method: parts.method.clone(),
            uri: parts.uri.clone(),
        })
    }
}

/// Begins a transaction as the caller.
async fn begin<'a>(client: &'a mut Client, caller: &Caller) -> Result<Transaction<'a>, Error> {
    let transaction = client.transaction().await?;
    transaction
        .execute(
            SWITCH,
            &[
                &caller.role,
                &caller.claims,
                &caller.method.as_str(),
                &caller.uri.path(),
            ],
        )
        .await?;
    Ok(transaction)
}

async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Vec<Item>>, Error> {
    let mut client = app.pool.get().await?;
    let transaction = begin(&mut client, &caller).await?;
    let rows = transaction.query(LIST, &[]).await?;
    transaction.commit().await?;
    Ok(Json(items(&rows)))
}

async fn set(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<i32>,
    Json(change): Json<Change>,
) -> Result<StatusCode, Error> {
    let mut client = app.pool.get().await?;
    let transaction = begin(&mut client, &caller).await?;
    let rows = transaction.execute(SET, &[&id, &change.value]).await?;
    transaction.commit().await?;
    Ok(changed(rows))
}

pub(super) async fn app(url: &str) -> Result<Router, String> {
    let manager =
        PostgresConnectionManager::new_from_stringlike(url, NoTls).map_err(|e| e.to_string())?;
    let pool = bb8::Pool::builder()
        .max_size(super::POOL)
        .build(manager)
        .await
        .map_err(|e| e.to_string())?;
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "aud"]);
    let jwt = Arc::new((DecodingKey::from_secret(SECRET.as_bytes()), validation));
    Ok(Router::new()
        .route("/items", get(list))
        .route("/counters/{id}", patch(set))
        .with_state(App { pool, jwt }))
}
