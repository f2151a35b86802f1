//! (b), (c): this crate with its defaults. Each session is reset completely after each request.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::{get, patch};
use axum::{Json, Router};
use rolescope::{
    Error, JwtAuthLayer, JwtVerifier, RoleScopeLayer, RoleScopedConnection, RoleScopedPool,
};
use tower::ServiceBuilder;

use super::{Change, Item, changed, items};
use crate::database::{AUDIENCE, LIST, SECRET, SET};

async fn list(db: RoleScopedConnection) -> Result<Json<Vec<Item>>, Error> {
    let rows = db.query(LIST, &[]).await?;
    Ok(Json(items(&rows)))
}

async fn set(
    Path(id): Path<i32>,
    db: RoleScopedConnection,
    Json(change): Json<Change>,
) -> Result<StatusCode, Error> {
    let rows = db.execute(SET, &[&id, &change.value]).await?;
    Ok(changed(rows))
}

fn verifier() -> Result<JwtVerifier, String> {
    JwtVerifier::builder()
        .hs256(SECRET)
        .map_err(|e| e.to_string())?
        .audience(AUDIENCE)
        .build()
        .map_err(|e| e.to_string())
}

/// The services, with a pool whose sessions keep so many statements.
pub(crate) async fn app(url: &str, statements: usize) -> Result<Router, String> {
    let pool = RoleScopedPool::builder(url)
        .map_err(|e| e.to_string())?
        .anonymous_role("anon")
        .max_size(super::POOL)
        .statement_cache(statements)
        .build()
        .await
        .map_err(|e| e.to_string())?;
    let app = Router::new()
        .route("/items", get(list))
        .route("/counters/{id}", patch(set));
    let app = super::last_statement::routes(app);
    let layers = ServiceBuilder::new()
        .layer(JwtAuthLayer::new(verifier()?))
        .layer(RoleScopeLayer::new(pool));
    Ok(app.layer(layers))
}
