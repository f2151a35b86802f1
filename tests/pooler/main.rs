//! Pools whose sessions share the server connections of a PgBouncer in transaction mode.
//!
//! `cargo test` leaves these out, since not everybody has a PgBouncer: `cargo test --test pooler` runs them.

#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "these tests use a part of it"
)]
mod auth;
#[path = "../it/support/mod.rs"]
#[allow(dead_code, reason = "these tests use a part of it")]
mod support;

mod cancel;
mod commit;
mod found_out;
mod leftovers;
mod names;
mod settings;
mod types;

use rolescope::scope::{Pooler, RoleScopedPoolBuilder};
use rolescope::{RoleName, RoleScope, RoleScopedPool};
use tokio_postgres::Client;

use support::pgbouncer::PgBouncer;
use support::{Database, connect, database, server};

/// A database behind a PgBouncer of its own.
struct Pooled {
    database: Database,
    pgbouncer: PgBouncer,
}

/// What makes two sessions share one server connection.
const ONE_SERVER_CONNECTION: &str = "default_pool_size = 1";

impl Pooled {
    async fn start(settings: &str) -> Self {
        let database = database().await;
        let pgbouncer = PgBouncer::start(server(), settings);
        Self {
            database,
            pgbouncer,
        }
    }

    fn url(&self, login: &str) -> String {
        self.pgbouncer.url(&self.database.url(login))
    }

    /// A pool builder that knows of the pooler.
    fn builder(&self) -> RoleScopedPoolBuilder {
        self.builder_unaware().pooler(Pooler::Transaction)
    }

    /// A pool builder that does not.
    fn builder_unaware(&self) -> RoleScopedPoolBuilder {
        RoleScopedPool::builder(&self.url("authenticator"))
            .expect("the URL can be read")
            .anonymous_role("anon")
    }

    async fn pool(&self) -> RoleScopedPool {
        self.builder().build().await.expect("the pool is built")
    }

    /// Connects to PgBouncer without a pool, as some other program of the same login role.
    async fn stranger(&self) -> Client {
        connect(&self.url("authenticator")).await
    }
}

fn scope(role: &str) -> RoleScope {
    RoleScope::for_role(RoleName::parse(role).expect("a good name"))
}

/// Which process serves the next transaction of a pool.
async fn backend(pool: &RoleScopedPool) -> i32 {
    pool.begin(&scope("anon"))
        .query_one_scalar("SELECT pg_backend_pid()", &[])
        .await
        .expect("it serves")
}
