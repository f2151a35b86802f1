//! Reads from a streaming standby: what goes there, what becomes of it while the standby is away, and who reads their own
//! writes.

mod away;
mod own_writes;
mod routing;
mod setup;

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use rolescope::scope::RoleScopedPoolBuilder;
use rolescope::{Error, RoleScopedConnection, RoleScopedPool};

use crate::support::proxy::{Proxy, within};
use crate::support::service::{self, Reply, service};
use crate::support::standby::{Standby, replicated_database};
use crate::support::{Database, database as database_without_standby};

const SHORT: Duration = Duration::from_millis(500);
/// Longer than the tests' patience, so that a test which waits for it fails.
const LONG: Duration = Duration::from_secs(600);

const TOKEN: Option<&str> = Some(r#"{"role":"web_user","sub":"anna"}"#);

/// Says which server serves.
async fn place(db: RoleScopedConnection) -> Result<&'static str, Error> {
    let standby: bool = db
        .query_one_scalar("SELECT pg_is_in_recovery()", &[])
        .await?;
    Ok(if standby { "standby" } else { "primary" })
}

async fn insert(db: RoleScopedConnection) -> Result<&'static str, Error> {
    db.execute("INSERT INTO t VALUES ('x')", &[]).await?;
    Ok("stored")
}

/// Which server serves, and how many rows it has.
async fn count(db: RoleScopedConnection) -> Result<String, Error> {
    let rows: i64 = db.query_one_scalar("SELECT count(*) FROM t", &[]).await?;
    Ok(format!("{} {rows}", place(db).await?))
}

/// A primary with a standby, and a service that knows both.
struct Service {
    database: Database,
    standby: Standby,
    pool: RoleScopedPool,
    app: Router,
}

impl Service {
    async fn new(build: impl FnOnce(RoleScopedPoolBuilder) -> RoleScopedPoolBuilder) -> Self {
        let database = replicated_database().await;
        database
            .execute("CREATE TABLE t (x text); GRANT SELECT, INSERT ON t TO web_user, anon")
            .await;
        let standby = Standby::of(&database).await;
        let builder = database
            .pool_builder()
            .replica(&standby.url("authenticator"))
            .expect("the URL can be read");
        let pool = build(builder).build().await.expect("it is built");
        Self {
            app: service(&pool, routes()),
            database,
            standby,
            pool,
        }
    }

    async fn get(&self, uri: &str) -> Reply {
        within(service::get(&self.app, uri, TOKEN)).await
    }

    async fn post(&self, uri: &str) -> Reply {
        within(service::post(&self.app, uri, TOKEN)).await
    }
}

fn routes() -> Router {
    Router::new()
        .route("/place", get(place).post(place))
        .route("/rows", get(count).post(insert))
        .route(
            "/refused",
            post(async |db: RoleScopedConnection| {
                insert(db).await?;
                Ok::<_, Error>(StatusCode::CONFLICT)
            }),
        )
        .route(
            "/committed",
            post(async |db: RoleScopedConnection| {
                insert(db.clone()).await?;
                db.commit().await?;
                Ok::<_, Error>(StatusCode::CONFLICT)
            }),
        )
}

/// A standby behind a proxy, and a pool that reaches it through that.
struct Proxied {
    database: Database,
    standby: Standby,
    proxy: Proxy,
}

impl Proxied {
    async fn new() -> Self {
        let database = replicated_database().await;
        let standby = Standby::of(&database).await;
        let proxy = Proxy::before(standby.server(), &standby.url("LOGIN"));
        Self {
            database,
            standby,
            proxy,
        }
    }

    fn pool_builder(&self) -> RoleScopedPoolBuilder {
        self.database
            .pool_builder()
            .replica(&self.proxy.url("authenticator"))
            .expect("the URL can be read")
            .replica_max_size(1)
    }
}

async fn place_of(pool: &RoleScopedPool) -> String {
    let app = service(pool, routes());
    within(service::get(&app, "/place", TOKEN)).await.ok()
}

/// Waits until reads are served by the standby.
async fn until_on_standby(pool: &RoleScopedPool) {
    within(async {
        while place_of(pool).await != "standby" {
            // It is looked for once a second; nothing else tells when it was found.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
