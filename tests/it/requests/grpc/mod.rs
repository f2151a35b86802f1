//! Both layers on tonic's server, called by tonic's client.

mod errors;
mod gone;
mod refusals;
mod streaming;
mod web;

use rolescope::{JwtAuthLayer, RoleScopeLayer, RoleScopedConnection, RoleScopedPool};
use tonic::Status;
use tower::ServiceBuilder;
use tower::layer::util::{Identity, Stack};

use crate::support::service::auth;

/// Both layers, the right way round.
type Layers = ServiceBuilder<Stack<RoleScopeLayer, Stack<JwtAuthLayer, Identity>>>;

fn layers(pool: &RoleScopedPool) -> Layers {
    ServiceBuilder::new()
        .layer(auth())
        .layer(RoleScopeLayer::new(pool.clone()))
}

/// Runs what it is sent: statements with `;;` between. No service should.
async fn run(db: RoleScopedConnection, sql: String) -> Result<String, Status> {
    let mut answer = String::new();
    for statement in sql.split(";;") {
        let rows: Vec<String> = db.query_scalar(statement, &[]).await?;
        answer = rows.join(",");
    }
    Ok(answer)
}
