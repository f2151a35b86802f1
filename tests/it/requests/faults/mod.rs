//! A database that is away, silent, full or in trouble: what each request is told, and that nothing has to be restarted.
//!
//! Deadlines that a request must not wait for are longer than the tests' patience. `--nocapture` shows how long it took.

mod connects;
mod frozen;
mod full;
mod logins;
mod network;
mod restarts;
mod sigterm;
mod sqlstates;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use futures_util::future::{join, join_all};
use rolescope::scope::RoleScopedPoolBuilder;
use rolescope::{Error, ErrorKind, RoleScopedConnection, RoleScopedPool};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::support::local_postgres::LocalPostgres;
use crate::support::proxy::within;
use crate::support::service::{self, Reply, service};
use crate::support::{OWN_DATABASE, connect, own_server, run};

const SHORT: Duration = Duration::from_millis(500);
/// Longer than the tests' patience, so that a test which waits for it fails.
const LONG: Duration = Duration::from_secs(600);
const SIZE: u32 = 4;
const TABLE: &str = "CREATE TABLE t (x text); GRANT SELECT, INSERT ON t TO web_user";
const TOKEN: Option<&str> = Some(r#"{"role":"web_user"}"#);

/// A service whose handlers a test can stop between two statements.
struct Service {
    pool: RoleScopedPool,
    app: Router,
    gate: Arc<Gate>,
}

struct Gate {
    inside: Semaphore,
    open: Semaphore,
}

impl Gate {
    async fn pass(&self) {
        self.inside.add_permits(1);
        self.open.acquire().await.expect("it is open").forget();
    }

    /// Waits until as many are inside.
    async fn is_reached_by(&self, handlers: u32) {
        within(self.inside.acquire_many(handlers))
            .await
            .expect("it is open")
            .forget();
    }

    fn open(&self, handlers: usize) {
        self.open.add_permits(handlers);
    }
}

async fn read(db: RoleScopedConnection) -> Result<String, Error> {
    db.query_one_scalar("SELECT 'read'", &[]).await
}

async fn write(db: RoleScopedConnection) -> Result<(), Error> {
    db.execute("INSERT INTO t VALUES ('x')", &[]).await?;
    Ok(())
}

/// Waits in the database.
async fn sleep(db: RoleScopedConnection) -> Result<(), Error> {
    db.execute("SELECT pg_sleep(1)", &[]).await?;
    Ok(())
}

impl Service {
    fn over(pool: RoleScopedPool) -> Self {
        let gate = Arc::new(Gate {
            inside: Semaphore::new(0),
            open: Semaphore::new(0),
        });
        let (one, two) = (Arc::clone(&gate), Arc::clone(&gate));
        // Holds a session between two statements.
        let hold = async move |db: RoleScopedConnection| {
            read(db.clone()).await?;
            one.pass().await;
            read(db).await
        };
        // Holds a session, and refuses its own request.
        let refuse = async move |db: RoleScopedConnection| {
            write(db).await?;
            two.pass().await;
            Ok::<_, Error>(StatusCode::CONFLICT)
        };
        let routes = Router::new()
            .route("/read", get(read))
            .route("/write", post(write))
            .route("/sleep", get(sleep))
            .route("/hold", get(hold))
            .route("/refuse", post(refuse));
        Self {
            app: service(&pool, routes),
            pool,
            gate,
        }
    }

    /// Sends a request, and posts it where that is what it is for.
    fn send(&self, uri: &'static str) -> JoinHandle<Reply> {
        let app = self.app.clone();
        tokio::spawn(async move {
            match uri {
                "/write" | "/refuse" => service::post(&app, uri, TOKEN).await,
                _ => service::get(&app, uri, TOKEN).await,
            }
        })
    }

    async fn ask(&self, uri: &'static str) -> Reply {
        within(self.send(uri)).await.expect("no panic")
    }

    /// Sends as many requests at once.
    async fn ask_all(&self, count: usize, uri: &'static str) -> Vec<Reply> {
        let sent: Vec<_> = (0..count).map(|_| self.send(uri)).collect();
        let replies = within(join_all(sent)).await;
        replies.into_iter().map(|r| r.expect("no panic")).collect()
    }

    /// Has the pool make all of its sessions. Right after a failed attempt it makes none.
    async fn fill(&self) {
        let held = (0..SIZE).map(|_| async {
            loop {
                let reply = self.ask("/hold").await;
                if reply.status != 503 {
                    return reply.ok();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let open = async {
            self.gate.is_reached_by(SIZE).await;
            self.gate.open(SIZE as usize);
        };
        within(join(join_all(held), open)).await;
    }

    /// Waits until it serves again, and says how long that took.
    async fn until_it_serves(&self, what: &str) {
        let began = Instant::now();
        within(async {
            while let reply = self.ask("/read").await
                && reply.status != 200
            {
                assert_eq!(reply.status, 503, "{reply:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        eprintln!("{what}: the first success after {:?}", began.elapsed());
    }

    /// Says that nothing is lost: all of the pool's places can be used at once, and come back.
    async fn is_whole(&self) {
        self.fill().await;
        within(async {
            while self.pool.status().in_use > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let status = self.pool.status();
        assert_eq!(
            (status.connections, status.idle_connections),
            (SIZE, SIZE),
            "{status:?}"
        );
    }
}

/// A server that the test has for itself.
struct Server {
    postgres: LocalPostgres,
}

impl Server {
    async fn start(arguments: &'static [&str]) -> Self {
        let this = Self {
            postgres: own_server(arguments).await,
        };
        run(&this.admin().await, TABLE).await;
        this
    }

    fn url(&self, login: &str) -> String {
        self.postgres.url(login, OWN_DATABASE)
    }

    async fn admin(&self) -> Client {
        connect(&self.url("postgres")).await
    }

    fn pool_builder(&self) -> RoleScopedPoolBuilder {
        pool_builder(&self.url("authenticator"))
    }

    async fn rows(&self) -> i64 {
        let admin = self.admin().await;
        let rows = admin.query_one("SELECT count(*) FROM t", &[]).await;
        rows.expect("they are counted").get(0)
    }
}

fn pool_builder(url: &str) -> RoleScopedPoolBuilder {
    RoleScopedPool::builder(url)
        .expect("the URL can be read")
        .anonymous_role("anon")
        .max_size(SIZE)
}

/// The processes of the pool's sessions.
async fn backends(admin: &Client) -> Vec<String> {
    let pids = "SELECT pid::text FROM pg_stat_activity \
         WHERE usename = 'authenticator' AND datname = current_database() ORDER BY backend_start";
    let pids = admin.query(pids, &[]).await.expect("they are listed");
    pids.iter().map(|row| row.get(0)).collect()
}

/// Ends the server's side of all of the pool's sessions.
async fn terminate(admin: &Client) {
    let terminate = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
         WHERE usename = 'authenticator' AND datname = current_database()";
    let ended = admin.query(terminate, &[]).await.expect("it may");
    assert!(!ended.is_empty() && ended.iter().all(|row| row.get(0)));
}

/// Waits until a statement that begins like this runs.
async fn until_active(admin: &Client, query: &str) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE $1 || '%' \
         AND usename = 'authenticator' AND datname = current_database()";
    within(async {
        let mut active = 0;
        while active == 0 {
            let row = admin.query_one(sql, &[&query]).await.expect("it runs");
            active = row.get::<_, i64>(0);
        }
    })
    .await;
}

#[track_caller]
fn unavailable(reply: &Reply, kind: ErrorKind) {
    assert_eq!(
        (reply.status.as_u16(), reply.kind()),
        (503, kind),
        "{reply:?}"
    );
    assert_eq!(reply.headers["retry-after"], "1");
}

/// The error that made a response, with its sources.
fn causes(reply: &Reply) -> String {
    let mut error: &dyn std::error::Error = reply.error.as_ref().expect("there is an error");
    let mut text = error.to_string();
    while let Some(source) = error.source() {
        text = format!("{text}: {source}");
        error = source;
    }
    text
}
