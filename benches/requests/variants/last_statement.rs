//! (d), (g): this crate, with handlers that say which statement is their last, so that COMMIT travels with it.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::{get, patch};
use axum::{Json, Router};
use rolescope::{Error, RoleScopedConnection};

use super::{Change, Item, changed, items};
use crate::database::{LIST, SET};

async fn list(db: RoleScopedConnection) -> Result<Json<Vec<Item>>, Error> {
    let rows = db.query_and_commit(LIST, &[]).await?;
    Ok(Json(items(&rows)))
}

async fn set(
    Path(id): Path<i32>,
    db: RoleScopedConnection,
    Json(change): Json<Change>,
) -> Result<StatusCode, Error> {
    let rows = db.execute_and_commit(SET, &[&id, &change.value]).await?;
    Ok(changed(rows))
}

pub(super) fn routes(app: Router) -> Router {
    app.route("/last/items", get(list))
        .route("/last/counters/{id}", patch(set))
}
