//! What requests do in a database that `examples/sql/hardening.sql` has hardened: all that they do elsewhere.

use axum::Router;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::routing::get;
use rolescope::scope::{Pooler, RoleScopedPoolBuilder};
use rolescope::{
    Error, ErrorKind, RoleName, RoleScope, RoleScopeLayer, RoleScopedConnection, RoleScopedPool,
};

use crate::support::events::Recorder;
use crate::support::proxy::within;
use crate::support::service::{self, auth, service};
use crate::support::{self, Database};

const HARDENING: &str = include_str!("../../../examples/sql/hardening.sql");

const ALICE: Option<&str> = Some(r#"{"role":"web_user","sub":"alice"}"#);

/// Hardens a database.
pub(super) async fn harden(database: &Database) {
    // As often as you like.
    for _ in 0..2 {
        database.execute(HARDENING).await;
    }
}

async fn database() -> Database {
    let database = support::database().await;
    harden(&database).await;
    database
}

/// A pool builder as the file's head has it.
pub(super) fn pool_builder(database: &Database) -> RoleScopedPoolBuilder {
    database.pool_builder().resting_role("resting")
}

fn scope(role: &str) -> RoleScope {
    RoleScope::for_role(RoleName::parse(role).expect("a good name"))
}

async fn with_notes() -> Database {
    let database = database().await;
    database
        .execute(
            "CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY, note text CONSTRAINT once UNIQUE DEFERRABLE INITIALLY DEFERRED);
             ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
             CREATE POLICY own ON notes USING (note LIKE
                 (SELECT nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub') || '%');
             GRANT SELECT, INSERT, DELETE ON notes TO web_user, author;
             CREATE TABLE lines (line text); GRANT INSERT ON lines TO web_user",
        )
        .await;
    database
}

async fn notes(db: &RoleScopedConnection) -> Result<Vec<String>, Error> {
    db.query_scalar("SELECT note FROM notes ORDER BY id", &[])
        .await
}

/// Everything that a handler can do, in one transaction, and whether it may write.
async fn work(db: RoleScopedConnection) -> Result<String, Error> {
    let mut rows = db
        .query_stream("SELECT note FROM notes ORDER BY id", &[])
        .await?;
    while let Some(row) = rows.next().await {
        row?;
    }
    let mut copied = db.copy_out("COPY (SELECT 1) TO STDOUT").await?;
    while let Some(chunk) = copied.next().await {
        chunk?;
    }
    db.batch_execute("SELECT 1; SET LOCAL work_mem = '1MB'")
        .await?;
    db.execute("SET app.kept = 'left'", &[]).await?;
    db.execute("LISTEN left_behind", &[]).await?;
    let who: String = db
        .query_one_scalar(
            "SELECT concat_ws(' ', current_user, current_setting('request.jwt.claims')::json ->> 'sub', \
             current_setting('request.method'), current_setting('request.jwt.claim.sub'), \
             current_setting('app.tenant'), current_setting('request.headers')::json ->> 'host')",
            &[],
        )
        .await?;
    Ok(who)
}

async fn work_and_write(db: RoleScopedConnection) -> Result<String, Error> {
    let who = work(db.clone()).await?;
    db.execute("INSERT INTO notes (note) VALUES ('alice 1')", &[])
        .await?;
    let savepoint = db.savepoint().await?;
    assert!(
        db.execute("INSERT INTO notes (note) VALUES ('bob')", &[])
            .await
            .is_err()
    );
    savepoint.rollback().await?;
    let mut copy = db.copy_in("COPY lines FROM STDIN").await?;
    copy.send("a line\n").await?;
    copy.finish().await?;
    Ok(who)
}

async fn clear(db: RoleScopedConnection) -> Result<String, Error> {
    let deleted = db.execute_and_commit("DELETE FROM notes", &[]).await?;
    Ok(deleted.to_string())
}

/// What sessions carry over, where there is something.
const TRACES: &str = "SELECT concat_ws(' ', nullif(current_setting('app.kept', true), ''), current_setting('work_mem'), \
    (SELECT count(*) FROM pg_listening_channels()))";

async fn all_of_it_works(pool: &RoleScopedPool) {
    let clean: String = pool
        .begin(&scope("anon"))
        .query_typed_one(TRACES, &[])
        .await
        .expect("it runs")
        .get(0);
    let routes = Router::new()
        .route("/", get(work).post(work_and_write).delete(clear))
        .layer(RoleScopeLayer::new(pool.clone()).request_headers(true))
        .layer(auth());
    for round in 0..3 {
        let request = |method| {
            let mut request = service::request(
                method,
                "/",
                &[&format!(
                    "Bearer {}",
                    service::token(ALICE.expect("claims"))
                )],
            );
            let host = HeaderValue::from_static("here");
            request.headers_mut().insert("host", host);
            request
        };
        let read = within(service::send(&routes, request(Method::GET))).await;
        assert_eq!(read.ok(), "web_user alice GET alice acme here", "{round}");
        let written = within(service::send(&routes, request(Method::POST))).await;
        assert_eq!(
            written.ok(),
            "web_user alice POST alice acme here",
            "{round}"
        );
        let cleared = within(service::send(&routes, request(Method::DELETE))).await;
        assert_eq!(cleared.ok(), "1", "{round}");
        let db = pool.begin(&scope("anon"));
        let found: String = db
            .query_typed_one(TRACES, &[])
            .await
            .expect("it runs")
            .get(0);
        assert_eq!(found, clean, "{round}");
    }
    let refused = async |db: RoleScopedConnection| {
        for _ in 0..2 {
            db.execute("INSERT INTO notes (note) VALUES ('alice')", &[])
                .await?;
        }
        Ok::<_, Error>(StatusCode::OK)
    };
    let app = service(pool, Router::new().route("/", axum::routing::post(refused)));
    let reply = within(service::post(&app, "/", ALICE)).await;
    assert_eq!(reply.status, StatusCode::CONFLICT);
    let reply = within(service::post(&app, "/", Some(r#"{"role":"not_granted"}"#))).await;
    assert_eq!(reply.kind(), ErrorKind::RoleRefused);
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    let db = pool.begin(
        &scope("web_user")
            .with_claims(r#"{"sub":"alice"}"#)
            .expect("claims"),
    );
    assert_eq!(notes(&db).await.expect("it runs"), [""; 0]);
}

#[tokio::test]
async fn requests_do_all_that_they_do_elsewhere() {
    let database = with_notes().await;
    let warnings = Recorder::start();
    let pool = pool_builder(&database)
        .claim_settings(true)
        .app_setting("app.tenant", "acme")
        .max_size(1);
    let pool = pool.build().await.expect("the set-up is good");
    all_of_it_works(&pool).await;
    assert_eq!(pool.status().connections_created, 1);
    // Of the one that asked for it.
    assert_eq!(
        warnings.warnings(),
        ["the token's role is not accepted here"]
    );
}

#[tokio::test]
async fn the_settings_of_roles_are_applied_as_the_authenticator() {
    let database = with_notes().await;
    database
        .execute(&format!(
            "CREATE ROLE settled; GRANT settled TO authenticator; GRANT USAGE ON SCHEMA public TO settled;
             ALTER ROLE settled IN DATABASE {} SET work_mem = '3MB'",
            database.name()
        ))
        .await;
    let pool = pool_builder(&database).role_settings(true).max_size(1);
    let pool = pool.build().await.expect("the set-up is good");
    for _ in 0..2 {
        let db = pool.begin(&scope("settled"));
        let found: String = db
            .query_one_scalar(
                "SELECT current_user || ' ' || current_setting('work_mem')",
                &[],
            )
            .await
            .expect("it runs");
        assert_eq!(found, "settled 3MB");
    }
}

#[tokio::test]
async fn so_does_a_pool_that_is_told_of_a_pooler() {
    let database = with_notes().await;
    let pool = pool_builder(&database)
        .pooler(Pooler::Transaction)
        .claim_settings(true)
        .app_setting("app.tenant", "acme")
        .max_size(1);
    let warnings = Recorder::start();
    let pool = pool.build().await.expect("the set-up is good");
    all_of_it_works(&pool).await;
    // Of the one that asked for it.
    assert_eq!(
        warnings.warnings(),
        ["the token's role is not accepted here"]
    );
}

#[tokio::test]
async fn a_pool_that_rests_elsewhere_is_told_what_is_missing() {
    let database = with_notes().await;
    if database.pgbouncer().is_some() {
        // ALTER ROLE says where sessions rest there, and so the file has done it already.
        return;
    }
    let pool = database.pool().await;
    let error = pool.begin(&scope("web_user")).query("SELECT 1", &[]).await;
    let error = error.expect_err("the anonymous role may not call set_config");
    assert_eq!(error.kind(), ErrorKind::Statement);
    assert!(error.to_string().contains("set_config"), "{error}");
}

/// Each part of the file, by what it takes away from the roles of requests.
#[tokio::test]
async fn what_it_closes_is_closed() {
    let database = database().await;
    database
        .execute("CREATE SCHEMA theirs; GRANT ALL ON SCHEMA theirs TO anon, web_user")
        .await;
    let pool = pool_builder(&database).max_size(1);
    let pool = pool.build().await.expect("the set-up is good");
    for sql in [
        "CREATE FUNCTION theirs.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SELECT set_config('app.x', 'y', true)",
        "CREATE TEMP TABLE x (y int)",
        "CREATE TABLE public.x (y int)",
        "DO 'BEGIN END'",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_advisory_xact_lock(1, 2)",
        "SELECT pg_try_advisory_lock_shared(1)",
        "SELECT pg_notify('c', 'x')",
        "SELECT lo_create(0)",
        "SELECT lo_get(1)",
        "SELECT pg_sleep(0)",
        "SELECT pg_sleep_for('0 s')",
        "SELECT pg_sleep_until(now())",
        "SELECT pg_cancel_backend(0)",
        "SELECT pg_terminate_backend(0)",
        "SELECT pg_logical_emit_message(false, 'x', 'y')",
        "SELECT setseed(0.5)",
    ] {
        for role in ["anon", "web_user"] {
            let error = pool.begin(&scope(role)).execute(sql, &[]).await;
            let error = error.expect_err(sql);
            assert_eq!(
                error.code().map(|code| code.code()),
                Some("42501"),
                "{role}: {sql}"
            );
        }
    }
    // What follows a stray end can do nothing but become others, as the session user can.
    let db = pool.begin(&scope("web_user"));
    db.batch_execute("COMMIT").await.expect("it runs");
    for sql in [
        "CREATE TEMP TABLE x (y int)",
        "CREATE TABLE x (y int)",
        "DO 'BEGIN END'",
    ] {
        let error = db.execute(sql, &[]).await.expect_err(sql);
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{sql}");
    }
}
