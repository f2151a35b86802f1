//! `query_and_commit` and `execute_and_commit`: a statement and its COMMIT in one flight.

use axum::Router;
use axum::routing::{get, post};
use rolescope::{Error, ErrorKind, Isolation, RoleScopedConnection, RoleScopedPool};

use crate::support::proxy::{Cut, Proxy, within};
use crate::support::service::{self, Reply, service};
use crate::support::{Database, database};

const TABLE: &str = "\
    CREATE TABLE notes (note text CONSTRAINT once UNIQUE DEFERRABLE INITIALLY DEFERRED);
    GRANT SELECT, INSERT ON notes TO anon, web_user";
const INSERT: &str = "INSERT INTO notes VALUES ($1) RETURNING *";
const SHORT: std::time::Duration = std::time::Duration::from_millis(500);
const TOKEN: Option<&str> = Some(r#"{"role":"web_user"}"#);

/// `BEGIN`, the switch and the statement; check, `COMMIT` and reset.
const ALL_IN_ONE: [&str; 6] = ["Q", "BE", "BE", "BE", "Q", "Q"];

async fn last(db: RoleScopedConnection) -> Result<String, Error> {
    let rows = db.query_and_commit(INSERT, &[&"last"]).await?;
    Ok(rows.iter().map(|row| row.get::<_, String>(0)).collect())
}

async fn second(db: RoleScopedConnection) -> Result<String, Error> {
    db.execute("INSERT INTO notes VALUES ('first')", &[])
        .await?;
    let changed = db.execute_and_commit(INSERT, &[&"second"]).await?;
    Ok(changed.to_string())
}

async fn read(db: RoleScopedConnection) -> Result<String, Error> {
    let rows = db.query_and_commit("SELECT 'read'", &[]).await?;
    Ok(rows[0].get(0))
}

async fn serializable(db: RoleScopedConnection) -> Result<String, Error> {
    db.isolation(Isolation::Serializable)?;
    read(db).await
}

async fn plain(db: RoleScopedConnection) -> Result<String, Error> {
    db.query_one_scalar("SELECT 'plain'", &[]).await
}

async fn leaves(db: RoleScopedConnection) -> Result<String, Error> {
    db.query_one_scalar("SELECT set_config('app.kept', 'left', false)", &[])
        .await
}

async fn fails_alone(db: RoleScopedConnection) -> Result<(), Error> {
    let sql = "INSERT INTO notes SELECT (1 / (SELECT 0))::text";
    db.execute_and_commit(sql, &[]).await?;
    Ok(())
}

async fn fails_reading(db: RoleScopedConnection) -> Result<(), Error> {
    db.query_and_commit("SELECT 1 / (SELECT 0)", &[]).await?;
    Ok(())
}

async fn fails(db: RoleScopedConnection) -> Result<(), Error> {
    db.execute("INSERT INTO notes VALUES ('lost')", &[]).await?;
    db.execute_and_commit("SELECT 1 / (SELECT 0)", &[]).await?;
    Ok(())
}

async fn swallow(db: RoleScopedConnection) -> &'static str {
    let _ = last(db).await;
    "stored"
}

async fn give_up(db: RoleScopedConnection) -> &'static str {
    let mut sent = Box::pin(last(db));
    tokio::select! {
        biased;
        _ = &mut sent => "answered",
        () = std::future::ready(()) => "given up",
    }
}

async fn used_after(db: RoleScopedConnection) -> Result<String, Error> {
    last(db.clone()).await?;
    let error = db.query("SELECT 1", &[]).await.expect_err("it has ended");
    assert_eq!(error.kind(), ErrorKind::Finished);
    let error = db
        .query_and_commit("SELECT 1", &[])
        .await
        .expect_err("it has ended");
    assert_eq!(error.kind(), ErrorKind::Finished);
    Err(error)
}

async fn beside_a_stream(db: RoleScopedConnection) -> Result<String, Error> {
    let _rows = db.query_stream("SELECT 1", &[]).await?;
    last(db).await
}

async fn left(db: RoleScopedConnection) -> Result<String, Error> {
    db.execute("SELECT set_config('role', 'anon', true)", &[])
        .await?;
    read(db).await
}

struct Service {
    proxy: Proxy,
    pool: RoleScopedPool,
    app: Router,
    database: Database,
}

impl Service {
    /// With one connection that knows the statements.
    async fn new() -> Self {
        let database = database().await;
        database.execute(TABLE).await;
        let proxy = Proxy::start(&database);
        let builder = proxy.pool_builder().reset_timeout(SHORT);
        let pool = builder.build().await.expect("it is built");
        let routes = Router::new()
            .route("/last", post(last))
            .route("/second", post(second))
            .route("/read", get(read))
            .route("/serializable", get(serializable))
            .route("/plain", get(plain))
            .route("/leaves", get(leaves))
            .route("/fails_alone", post(fails_alone))
            .route("/fails", post(fails).get(fails_reading))
            .route("/swallow", post(swallow))
            .route("/give_up", post(give_up))
            .route("/used_after", post(used_after))
            .route("/beside_a_stream", post(beside_a_stream))
            .route("/left", post(left));
        let this = Self {
            app: service(&pool, routes),
            proxy,
            pool,
            database,
        };
        this.post("/second").await.ok();
        this.get("/read").await.ok();
        this.get("/plain").await.ok();
        this.database.execute("TRUNCATE notes").await;
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
        self.proxy.hold();
        tokio::spawn(async move {
            match uri {
                "/read" | "/plain" | "/serializable" => service::get(&app, uri, TOKEN).await,
                _ => service::post(&app, uri, TOKEN).await,
            }
        })
    }

    async fn stored(&self) -> Vec<String> {
        let admin = self.database.admin().await;
        let rows = admin.query("SELECT note FROM notes ORDER BY note", &[]);
        let rows = rows.await.expect("it can be read");
        rows.iter().map(|row| row.get(0)).collect()
    }
}

// --- flights ---

#[tokio::test]
async fn a_write_of_one_statement_is_one_round_trip() {
    let service = Service::new().await;
    let sent = service.send("/last");
    service.proxy.sees(&ALL_IN_ONE).await;
    // All but the reset: the answer waits for the COMMIT's.
    for _ in 0..5 {
        assert!(!sent.is_finished(), "it is answered too early");
        service.proxy.release_one();
    }
    assert_eq!(within(sent).await.expect("no panic").ok(), "last");
    service.proxy.pass();
    assert_eq!(service.stored().await, ["last"]);
}

#[tokio::test]
async fn the_second_statement_of_a_write_brings_the_commit_along() {
    let service = Service::new().await;
    let sent = service.send("/second");
    service.proxy.flight(&["Q", "BE", "BE"]).await;
    service.proxy.flight(&["BE", "BE", "Q", "Q"]).await;
    assert_eq!(within(sent).await.expect("no panic").ok(), "1");
    assert_eq!(service.stored().await, ["first", "second"]);
}

#[tokio::test]
async fn a_read_is_one_round_trip_and_waits_for_its_commit_too() {
    let service = Service::new().await;
    let sent = service.send("/read");
    // A read's reset is in the message of its COMMIT.
    service.proxy.sees(&["Q", "BE", "BE", "Q"]).await;
    for _ in 0..4 {
        assert!(!sent.is_finished(), "it is answered too early");
        service.proxy.release_one();
    }
    assert_eq!(within(sent).await.expect("no panic").ok(), "read");
    service.proxy.pass();
    service.proxy.rests().await;

    let sent = service.send("/serializable");
    service.proxy.sees(&ALL_IN_ONE).await;
    for _ in 0..5 {
        assert!(!sent.is_finished(), "it is answered too early");
        service.proxy.release_one();
    }
    assert_eq!(within(sent).await.expect("no panic").ok(), "read");
}

#[tokio::test]
async fn the_first_use_on_a_connection_is_one_round_trip_more() {
    let service = Service::new().await;
    let first = async |db: RoleScopedConnection| {
        let sql = "INSERT INTO notes VALUES ('new')";
        Ok::<_, Error>(db.execute_and_commit(sql, &[]).await?.to_string())
    };
    let app = self::service(&service.pool, Router::new().route("/", post(first)));
    service.proxy.hold();
    let sent = tokio::spawn(async move { service::post(&app, "/", TOKEN).await });
    service.proxy.flight(&["Q", "BE", "PD"]).await;
    service.proxy.flight(&["BE", "BE", "Q", "Q"]).await;
    assert_eq!(within(sent).await.expect("no panic").ok(), "1");
    assert_eq!(service.stored().await, ["new"]);
}

// --- failures ---

#[tokio::test]
async fn nothing_is_committed_where_the_statement_fails_and_the_session_goes_on() {
    let service = Service::new().await;
    assert_eq!(service.post("/fails").await.status, 400);
    assert_eq!(service.get("/fails").await.status, 400);
    assert_eq!(service.post("/fails_alone").await.status, 400);
    assert_eq!(service.get("/read").await.ok(), "read");
    assert_eq!(service.stored().await, [""; 0]);
    service.post("/last").await.ok();
    assert_eq!(service.stored().await, ["last"]);
    assert_eq!(service.pool.status().connections_discarded, 0);
}

#[tokio::test]
async fn a_success_is_replaced_where_the_commit_fails() {
    let service = Service::new().await;
    service.post("/last").await.ok();
    let reply = service.post("/swallow").await;
    assert_eq!(
        (reply.status.as_u16(), reply.kind()),
        (409, ErrorKind::Database)
    );
    assert_eq!(service.stored().await, ["last"]);
    assert_eq!(service.pool.status().connections_discarded, 0);
}

#[tokio::test]
async fn a_lost_connection_leaves_it_unknown_and_nothing_is_sent_twice() {
    for cut in [Cut::Unsent, Cut::Unanswered] {
        for at in ["BEGIN ISOLATION", "COMMIT"] {
            for uri in ["/last", "/swallow"] {
                let service = Service::new().await;
                let before = service.proxy.count("BEGIN ISOLATION");
                service.proxy.cut_at(cut, at);
                let reply = service.post(uri).await;
                assert_eq!(reply.status, 500, "{cut:?} {at} {uri}");
                assert_eq!(reply.kind(), ErrorKind::CommitUnknown, "{cut:?} {at} {uri}");
                assert_eq!(service.proxy.count("BEGIN ISOLATION"), before + 1);
            }
        }
    }
}

#[tokio::test]
async fn a_silent_begin_leaves_it_unknown_too() {
    let database = database().await;
    database.execute(TABLE).await;
    let proxy = Proxy::start(&database);
    let pool = proxy.pool_builder().begin_timeout(SHORT);
    let pool = pool.build().await.expect("it is built");
    let app = service(&pool, Router::new().route("/", post(swallow)));
    within(service::post(&app, "/", TOKEN)).await.ok();
    proxy.rests().await;
    proxy.hold();
    let reply = within(service::post(&app, "/", TOKEN)).await;
    assert_eq!(reply.kind(), ErrorKind::CommitUnknown);
}

#[tokio::test]
async fn a_reset_that_was_refused_costs_it_a_connection_and_no_error() {
    let service = Service::new().await;
    service
        .database
        .execute("REVOKE EXECUTE ON FUNCTION pg_advisory_unlock_all() FROM PUBLIC")
        .await;
    service.get("/leaves").await.ok();
    service.post("/last").await.ok();
    assert_eq!(service.stored().await, ["last"]);
}

#[tokio::test]
async fn it_is_not_sent_before_the_last_reset_is_answered() {
    let service = Service::new().await;
    let sent = service.send("/plain");
    service.proxy.flight(&["Q", "BE", "BE"]).await;
    assert_eq!(within(sent).await.expect("no panic").ok(), "plain");
    service.proxy.sees(&["Q"]).await;
    let sent = service.send("/last");
    service.proxy.sees(&[]).await;
    service.proxy.release_one();
    service.proxy.flight(&ALL_IN_ONE).await;
    assert_eq!(within(sent).await.expect("no panic").ok(), "last");
}

#[tokio::test]
async fn without_a_token_it_is_the_same() {
    let service = Service::new().await;
    within(service::post(&service.app, "/last", None))
        .await
        .ok();
    assert_eq!(service.stored().await, ["last"]);
}

#[tokio::test]
async fn whoever_does_not_wait_for_it_cannot_answer_with_success() {
    let service = Service::new().await;
    let reply = service.post("/give_up").await;
    assert_eq!(reply.kind(), ErrorKind::CommitUnknown);
    // It is not cancelled.
    let reply = service.post("/swallow").await;
    assert_eq!(reply.kind(), ErrorKind::Database, "{reply:?}");
    assert_eq!(service.stored().await, ["last"]);
}

#[tokio::test]
async fn a_stale_statement_is_prepared_anew_and_stored_once() {
    let service = Service::new().await;
    service
        .database
        .execute("ALTER TABLE notes ADD COLUMN more text")
        .await;
    assert_eq!(service.post("/last").await.ok(), "last");
    assert_eq!(service.stored().await, ["last"]);
    assert_eq!(service.pool.status().connections_discarded, 0);
}

#[tokio::test]
async fn a_stale_statement_behind_another_one_is_an_error_and_nothing_is_stored() {
    let service = Service::new().await;
    service
        .database
        .execute("ALTER TABLE notes ADD COLUMN more text")
        .await;
    let reply = service.post("/second").await;
    assert_eq!(reply.status, 500);
    assert_eq!(service.stored().await, [""; 0]);
    assert_eq!(service.post("/second").await.ok(), "1");
}

// --- what it is not for ---

#[tokio::test]
async fn later_use_is_an_error_and_what_was_committed_stays() {
    let service = Service::new().await;
    assert_eq!(service.post("/used_after").await.status, 500);
    assert_eq!(service.stored().await, ["last"]);
}

#[tokio::test]
async fn an_open_stream_is_to_be_read_first() {
    let service = Service::new().await;
    let reply = service.post("/beside_a_stream").await;
    assert_eq!(
        (reply.status.as_u16(), reply.kind()),
        (500, ErrorKind::Statement)
    );
    assert_eq!(service.stored().await, [""; 0]);
}

#[tokio::test]
async fn a_role_that_was_left_is_noticed() {
    let service = Service::new().await;
    assert_eq!(service.post("/left").await.kind(), ErrorKind::ScopeLeft);
    assert_eq!(service.get("/read").await.ok(), "read");
    assert_eq!(service.pool.status().connections_discarded, 1);
}

#[tokio::test]
async fn outside_of_requests_it_is_the_same() {
    let service = Service::new().await;
    let role = rolescope::RoleName::parse("web_user").expect("a name");
    let db = service.pool.begin(&rolescope::RoleScope::for_role(role));
    within(last(db)).await.expect("it is committed");
    assert_eq!(service.stored().await, ["last"]);
}
