//! (a): what cannot be undercut: one prepared statement, without a transaction and without a token, in sessions that are
//! the role and have the claims from their start. The policies are the same.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, patch};
use axum::{Json, Router};

use super::prepared::{self, Pool};
use super::{Change, Item, changed, items};

type Refusal<E> = Result<E, StatusCode>;

fn internal<E>(_: E) -> StatusCode {
    StatusCode::INTERNAL_SERVER_ERROR
}

async fn list(State(pool): State<Pool>) -> Refusal<Json<Vec<Item>>> {
    let connection = pool.get().await.map_err(internal)?;
    let rows = connection
        .client
        .query(&connection.list, &[])
        .await
        .map_err(internal)?;
    Ok(Json(items(&rows)))
}

async fn set(
    State(pool): State<Pool>,
    Path(id): Path<i32>,
    Json(change): Json<Change>,
) -> Refusal<StatusCode> {
    let connection = pool.get().await.map_err(internal)?;
    let rows = connection
        .client
        .execute(&connection.set, &[&id, &change.value])
        .await
        .map_err(internal)?;
    Ok(changed(rows))
}

/// For the subject of these claims.
pub(super) async fn app(url: String, claims: String, pool: u32) -> Result<Router, String> {
    let start =
        format!("SET ROLE web_user; SELECT set_config('request.jwt.claims', '{claims}', false)");
    let pool = prepared::pool(&url, start, pool).await?;
    Ok(Router::new()
        .route("/items", get(list))
        .route("/counters/{id}", patch(set))
        .with_state(pool))
}
