//! Connections that die or fall silent: what the request is told, what is tried again, and what is not.

use axum::Router;
use axum::routing::{get, post};
use rolescope::{Error, ErrorKind, RoleScopedConnection, RoleScopedPool};
use std::time::Duration;

use crate::support::proxy::{Cut, Proxy, within};
use crate::support::service::{self, Reply, service};
use crate::support::{Database, database};

const SHORT: Duration = Duration::from_millis(500);
const TABLE: &str = "CREATE TABLE t (x text); GRANT SELECT, INSERT ON t TO web_user";
const TOKEN: Option<&str> = Some(r#"{"role":"web_user"}"#);

async fn read(db: RoleScopedConnection) -> Result<String, Error> {
    db.query_one_scalar("SELECT 'read'", &[]).await
}

async fn write(db: RoleScopedConnection) -> Result<String, Error> {
    db.query_one_scalar("INSERT INTO t VALUES ('x') RETURNING x", &[])
        .await
}

async fn batch(db: RoleScopedConnection) -> Result<(), Error> {
    db.batch_execute("INSERT INTO t VALUES ('x')").await
}

async fn typed(db: RoleScopedConnection) -> Result<(), Error> {
    db.execute_typed("INSERT INTO t VALUES ('x')", &[]).await?;
    Ok(())
}

async fn swallow(db: RoleScopedConnection) -> &'static str {
    let _ = write(db).await;
    "stored"
}

struct Service {
    proxy: Proxy,
    pool: RoleScopedPool,
    app: Router,
    database: Database,
}

impl Service {
    /// With one connection that knows the statements, unless `build` says otherwise.
    async fn new(
        build: impl FnOnce(
            rolescope::scope::RoleScopedPoolBuilder,
        ) -> rolescope::scope::RoleScopedPoolBuilder,
    ) -> Self {
        let database = database().await;
        database.execute(TABLE).await;
        let proxy = Proxy::start(&database);
        let pool = build(proxy.pool_builder()).build().await;
        let pool = pool.expect("it is built");
        let routes = Router::new()
            .route("/read", get(read))
            .route("/write", post(write))
            .route("/batch", post(batch))
            .route("/swallow", post(swallow))
            .route("/typed", post(typed));
        let this = Self {
            app: service(&pool, routes),
            proxy,
            pool,
            database,
        };
        this.get("/read").await.ok();
        this.proxy.rests().await;
        this
    }

    async fn get(&self, uri: &str) -> Reply {
        within(service::get(&self.app, uri, TOKEN)).await
    }

    async fn post(&self, uri: &str) -> Reply {
        within(service::post(&self.app, uri, TOKEN)).await
    }

    /// Sends a request that is answered as the test lets the database answer.
    fn send(&self, uri: &'static str) -> tokio::task::JoinHandle<Reply> {
        let app = self.app.clone();
        tokio::spawn(async move {
            match uri {
                "/read" => service::get(&app, uri, TOKEN).await,
                _ => service::post(&app, uri, TOKEN).await,
            }
        })
    }

    async fn rows(&self) -> i64 {
        let admin = self.database.admin().await;
        let rows = admin.query_one("SELECT count(*) FROM t", &[]).await;
        rows.expect("it is counted").get(0)
    }

    /// Ends the server's side of all sessions of the pool and waits until they are gone.
    async fn terminate(&self) {
        let terminate = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
             WHERE datname = current_database() AND usename = 'authenticator'";
        let admin = self.database.admin().await;
        let ended = admin.query(terminate, &[]).await.expect("it may");
        assert!(!ended.is_empty() && ended.iter().all(|row| row.get(0)));
    }

    fn discarded(&self) -> u64 {
        self.pool.status().connections_discarded
    }
}

fn unavailable(reply: &Reply, kind: ErrorKind) {
    assert_eq!(
        (reply.status.as_u16(), reply.kind()),
        (503, kind),
        "{reply:?}"
    );
    assert_eq!(reply.headers["retry-after"], "1");
}

// --- before BEGIN is answered ---

#[tokio::test]
async fn a_session_that_died_while_idle_costs_the_next_request_a_new_connection_and_no_error() {
    let service = Service::new(|b| b).await;
    service.terminate().await;
    assert_eq!(service.get("/read").await.ok(), "read");
    assert_eq!(service.pool.status().connections_created, 2);
    assert_eq!(service.discarded(), 1);
}

#[tokio::test]
async fn a_session_whose_end_is_told_in_place_of_begins_answer_costs_no_error_either() {
    for uri in ["/read", "/typed"] {
        let service = Service::new(|b| b).await;
        service.proxy.hold();
        service.terminate().await;
        let sent = service.send(uri);
        service
            .proxy
            .sees(&["Q", "BE", if uri == "/read" { "BE" } else { "PBDE" }])
            .await;
        service.proxy.pass();
        within(sent).await.expect("no panic").ok();
        assert_eq!(service.discarded(), 1);
        assert_eq!(service.rows().await, i64::from(uri == "/typed"));
    }
}

#[tokio::test]
async fn a_first_statement_is_sent_once_more_when_begin_was_not_answered() {
    for cut in [Cut::Unsent, Cut::Unanswered] {
        let service = Service::new(|b| b).await;
        service.proxy.cut_at(cut, "BEGIN");
        assert_eq!(service.get("/read").await.ok(), "read");
        for uri in ["/write", "/typed"] {
            service.proxy.cut_at(cut, "BEGIN");
            service.post(uri).await.ok();
        }
        assert_eq!(service.rows().await, 2, "each row is stored once");
        assert_eq!(service.proxy.count("BEGIN ISOLATION"), 1 + 2 * 3);
        assert_eq!(service.discarded(), 3);
    }
}

#[tokio::test]
async fn a_first_statement_is_sent_once_more_and_only_once() {
    let service = Service::new(|b| b).await;
    for _ in 0..2 {
        service.proxy.cut_at(Cut::Unsent, "BEGIN");
    }
    unavailable(&service.get("/read").await, ErrorKind::ConnectionLost);
    assert_eq!(service.proxy.count("BEGIN ISOLATION"), 1 + 2);
    assert_eq!(service.get("/read").await.ok(), "read");
}

#[tokio::test]
async fn a_text_of_several_statements_is_never_sent_again() {
    for cut in [Cut::Unsent, Cut::Unanswered] {
        let service = Service::new(|b| b).await;
        service.proxy.cut_at(cut, "BEGIN");
        unavailable(&service.post("/batch").await, ErrorKind::ConnectionLost);
        assert_eq!(service.proxy.count("BEGIN ISOLATION"), 1 + 1);
        assert_eq!(service.rows().await, 0);
        service.post("/batch").await.ok();
        assert_eq!(service.rows().await, 1);
    }
}

#[tokio::test]
async fn a_begin_that_is_answered_late_is_a_503_and_costs_the_connection() {
    let service = Service::new(|b| b.begin_timeout(SHORT)).await;
    service.proxy.hold();
    for uri in ["/read", "/write", "/batch", "/typed", "/swallow"] {
        let discarded = service.discarded();
        let reply = within(service.send(uri)).await.expect("no panic");
        unavailable(&reply, ErrorKind::Unavailable);
        service.proxy.pass();
        assert_eq!(service.get("/read").await.ok(), "read", "after {uri}");
        assert_eq!(service.discarded(), discarded + 1, "{uri}");
        service.proxy.rests().await;
        service.proxy.hold();
    }
    assert_eq!(service.rows().await, 0);
}

// --- during a statement ---

#[tokio::test]
async fn a_connection_lost_during_a_statement_is_a_503_and_nothing_is_sent_again() {
    let service = Service::new(|b| b).await;
    service.post("/write").await.ok();
    for cut in [Cut::Unsent, Cut::Unanswered] {
        let (begun, discarded) = (service.proxy.count("BEGIN ISOLATION"), service.discarded());
        service.proxy.cut_at(cut, "INSERT");
        unavailable(&service.post("/write").await, ErrorKind::ConnectionLost);
        assert_eq!(service.proxy.count("BEGIN ISOLATION"), begun + 1, "{cut:?}");
        assert_eq!(service.get("/read").await.ok(), "read");
        assert_eq!(service.discarded(), discarded + 1, "{cut:?}");
    }
    assert_eq!(service.rows().await, 1);
}

#[tokio::test]
async fn a_connection_that_died_before_commit_was_sent_is_a_503() {
    let service = Service::new(|b| b).await;
    let (proxy, database) = (service.proxy, service.database);
    let proxy = std::sync::Arc::new(proxy);
    let cutting = std::sync::Arc::clone(&proxy);
    let ignores = post(async move |db: RoleScopedConnection| {
        write(db.clone()).await?;
        cutting.cut();
        // The handler does not mind; by then the driver knows.
        let _ = db.execute("SELECT 1", &[]).await;
        Ok::<_, Error>("stored")
    });
    let app = service::service(&service.pool, Router::new().route("/", ignores));
    let reply = within(service::post(&app, "/", TOKEN)).await;
    unavailable(&reply, ErrorKind::ConnectionLost);
    let rows = database.admin().await;
    let rows = rows.query_one("SELECT count(*) FROM t", &[]).await;
    assert_eq!(rows.expect("it is counted").get::<_, i64>(0), 0);
}

// --- during COMMIT ---

#[tokio::test]
async fn a_connection_lost_during_commit_is_a_500_that_says_unknown() {
    let service = Service::new(|b| b).await;
    for (round, (cut, rows)) in [(Cut::Unsent, 0), (Cut::Unanswered, 1)]
        .into_iter()
        .enumerate()
    {
        // A read's COMMIT, which nobody waits for, may still be on its way.
        service.proxy.rests().await;
        service.proxy.cut_at(cut, "COMMIT");
        let reply = service.post("/write").await;
        assert_eq!(
            (reply.status.as_u16(), reply.kind()),
            (500, ErrorKind::CommitUnknown)
        );
        assert!(
            reply.json()["message"]
                .as_str()
                .is_some_and(|m| m.contains("unknown")),
            "{reply:?}"
        );
        assert_eq!(service.rows().await, rows);
        assert_eq!(service.get("/read").await.ok(), "read");
        assert_eq!(service.discarded(), round as u64 + 1);
    }
}

#[tokio::test]
async fn a_connection_lost_during_the_check_is_a_500_that_says_unknown() {
    // COMMIT has been sent in the same flight: nobody can tell whether it arrived.
    let service = Service::new(|b| b).await;
    service.proxy.cut_at(Cut::Unsent, "SELECT 1 OPERATOR");
    let reply = service.post("/write").await;
    assert_eq!(
        (reply.status.as_u16(), reply.kind()),
        (500, ErrorKind::CommitUnknown)
    );
    assert_eq!(service.rows().await, 0);
}

#[tokio::test]
async fn a_session_terminated_before_its_commit_is_never_a_success() {
    let service = Service::new(|b| b).await;
    let database = std::sync::Arc::new(service.database);
    let ended = std::sync::Arc::clone(&database);
    let terminated = post(async move |db: RoleScopedConnection| {
        write(db.clone()).await?;
        let pid: i32 = db.query_one_scalar("SELECT pg_backend_pid()", &[]).await?;
        let terminate = "SELECT pg_terminate_backend($1, 10000)";
        let ended = ended.admin().await.query_one(terminate, &[&pid]).await;
        assert!(ended.expect("it may").get::<_, bool>(0));
        Ok::<_, Error>("stored")
    });
    let app = service::service(&service.pool, Router::new().route("/", terminated));
    let reply = within(service::post(&app, "/", TOKEN)).await;
    assert!(reply.status.is_server_error(), "{reply:?}");
    let rows = database.admin().await;
    let rows = rows.query_one("SELECT count(*) FROM t", &[]).await;
    assert_eq!(rows.expect("it is counted").get::<_, i64>(0), 0);
    assert_eq!(
        within(service::get(&service.app, "/read", TOKEN))
            .await
            .ok(),
        "read"
    );
}

// --- after the answer ---

#[tokio::test]
async fn a_session_lost_during_its_reset_is_discarded_and_the_answer_stands() {
    let service = Service::new(|b| b).await;
    for (round, cut) in [Cut::Unsent, Cut::Unanswered].into_iter().enumerate() {
        service.proxy.cut_at(
            cut,
            "BEGIN NOT DEFERRABLE ISOLATION LEVEL READ COMMITTED; CLOSE ALL",
        );
        service.post("/write").await.ok();
        assert_eq!(service.get("/read").await.ok(), "read");
        assert_eq!(service.discarded(), round as u64 + 1);
    }
    assert_eq!(service.rows().await, 2);
}

#[tokio::test]
async fn a_session_whose_reset_is_answered_late_is_discarded_and_the_request_served_by_another() {
    for uri in ["/read", "/write"] {
        let service = Service::new(|b| b.reset_timeout(SHORT)).await;
        service.post("/write").await.ok();
        service.proxy.rests().await;
        service.proxy.hold();
        let sent = service.send(uri);
        service.proxy.flight(&["Q", "BE", "BE"]).await;
        if uri == "/write" {
            // Check and COMMIT are answered, the reset is not.
            service.proxy.sees(&["BE", "Q", "Q"]).await;
            service.proxy.release_one();
            service.proxy.release_one();
        }
        within(sent).await.expect("no panic").ok();
        service.proxy.rests().await;
        service.proxy.freeze();
        service.proxy.pass();
        assert_eq!(service.get("/read").await.ok(), "read", "{uri}");
        assert_eq!(service.discarded(), 1, "{uri}");
    }
}

#[tokio::test]
async fn of_two_first_statements_one_is_not_sent_again_without_the_other() {
    let database = database().await;
    database.execute(TABLE).await;
    let proxy = Proxy::start(&database);
    let pool = within(proxy.pool_builder().build())
        .await
        .expect("it is built");
    let both = async |db: RoleScopedConnection| {
        let (one, other) = tokio::join!(write(db.clone()), typed(db));
        format!("{} {}", one.is_ok(), other.is_ok())
    };
    let app = service(&pool, Router::new().route("/", post(both)));
    assert_eq!(
        within(service::post(&app, "/", TOKEN)).await.ok(),
        "true true"
    );
    proxy.rests().await;
    proxy.cut_at(Cut::Unsent, "BEGIN");
    let reply = within(service::post(&app, "/", TOKEN)).await;
    let rows = database.admin().await;
    let rows = rows.query_one("SELECT count(*) FROM t", &[]).await;
    let rows: i64 = rows.expect("they are counted").get(0);
    let stored = if reply.status.is_success() { 4 } else { 2 };
    assert_eq!(rows, stored, "{reply:?}");
}
