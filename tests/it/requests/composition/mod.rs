//! The two layers among those of others.

mod bodies;
mod bounds;
mod extractors;
mod layers;
mod order;
mod refusals;
mod timeout;

use rolescope::{Error, RoleScopedConnection, RoleScopedPool};

/// The role that a handler's statements run as, and the path that they can read.
async fn who(db: RoleScopedConnection) -> Result<String, Error> {
    let sql = "SELECT concat_ws(' ', current_user, current_setting('request.path'))";
    db.query_one_scalar(sql, &[]).await
}

/// A pool whose database nobody can reach: whatever is answered but 503 was answered without it.
fn unreachable_pool(anonymous: Option<&str>) -> RoleScopedPool {
    let mut builder = RoleScopedPool::builder("postgres://authenticator@127.0.0.1:1/app")
        .expect("the URL can be read");
    if let Some(role) = anonymous {
        builder = builder.anonymous_role(role);
    }
    builder.build_lazy().expect("the options are good")
}
