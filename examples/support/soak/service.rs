//! The service under test: one route for each kind of request.

use axum::body::Body;
use axum::extract::Query;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::TryStreamExt;
use rolescope::{
    Error, Isolation, JwtAuthLayer, JwtVerifier, RoleScopeLayer, RoleScopedConnection,
    RoleScopedPool,
};
use serde::{Deserialize, Serialize};

use super::plan::Asked;

/// A row as a caller sees it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) request: i64,
    pub(crate) asked_role: String,
    pub(crate) asked_tenant: i32,
    pub(crate) by_role: String,
    pub(crate) by_tenant: i32,
}

/// Whom the database takes the caller for, and what it finds on the session.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Probed {
    pub(crate) role: String,
    pub(crate) sub: String,
    /// What another request has left behind, if anything.
    pub(crate) leftovers: String,
}

const NOTES: &str = "\
    SELECT request, asked_role, asked_tenant, by_role::text, by_tenant FROM notes ORDER BY id DESC LIMIT 10";

const NOTES_AS_LINES: &str = "\
    SELECT row_to_json(n)::text FROM (SELECT request, asked_role, asked_tenant, by_role, by_tenant \
    FROM notes ORDER BY id DESC LIMIT 50) n";

const INSERT: &str = "\
    INSERT INTO notes (request, part, asked_role, asked_sub, asked_tenant, parent) VALUES ($1, $2, $3, $4, $5, $6)";

const INSERT_RETURNING: &str = "\
    INSERT INTO notes (request, part, asked_role, asked_sub, asked_tenant) VALUES ($1, 0, $2, $3, $4) \
    RETURNING repeat('x', 1000)";

/// What handlers leave on their session, each of which a later request would see: see [`PROBE`].
const LEFT_BEHIND: [&str; 8] = [
    "SET app.left_behind = 'a setting'",
    "SET row_security = off",
    "SET search_path = nowhere",
    "CREATE TEMPORARY TABLE notes (request bigint)",
    "SELECT pg_try_advisory_lock(floor(random() * 1000000)::bigint)",
    "DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1",
    "LISTEN left_behind",
    "PREPARE left_behind AS SELECT 1",
];

const PROBE: &str = "\
    SELECT current_user::text, current_setting('request.jwt.claims')::json ->> 'sub', concat_ws(', ', \
    nullif(current_setting('app.left_behind', true), ''), \
    CASE WHEN current_setting('row_security') <> 'on' THEN 'row_security' END, \
    CASE WHEN current_setting('search_path') = 'nowhere' THEN 'search_path' END, \
    CASE WHEN to_regclass('pg_temp.notes') IS NOT NULL THEN 'a temporary table' END, \
    (SELECT 'a lock' FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory' LIMIT 1), \
    (SELECT 'a cursor' FROM pg_cursors WHERE is_holdable LIMIT 1), \
    (SELECT 'a channel' FROM pg_listening_channels() LIMIT 1), \
    (SELECT 'a prepared statement' FROM pg_prepared_statements WHERE from_sql AND name <> 'rolescope_end' LIMIT 1))";

/// The routes, behind both layers.
pub(crate) fn app(verifier: JwtVerifier, pool: RoleScopedPool) -> Router {
    Router::new()
        .route("/list", get(list))
        .route("/stream", get(stream))
        .route("/probe", get(probe))
        .route("/snapshot", get(snapshot))
        .route("/write", post(write))
        .route("/write_last", post(write_last))
        .route("/write_two", post(write_two))
        .route("/write_stream", post(write_stream))
        .route("/leave", post(leave))
        .route("/breaks_check", post(breaks_check))
        .route("/forbidden", post(forbidden))
        .route("/other_tenant", post(other_tenant))
        .route("/deferred", post(deferred))
        .route("/deferred_last", post(deferred_last))
        .route("/divides_by_zero", post(divides_by_zero))
        .route("/swallows", post(swallows))
        .route("/get_writes", get(get_writes))
        .route("/leaves_role", post(leaves_role))
        .route("/slow", post(slow))
        .layer(RoleScopeLayer::new(pool))
        .layer(JwtAuthLayer::new(verifier))
}

type Db = RoleScopedConnection;

async fn insert(db: &Db, asked: &Asked, part: i32, parent: Option<i64>) -> Result<u64, Error> {
    let Asked {
        request,
        role,
        sub,
        tenant,
        ..
    } = asked;
    db.execute(INSERT, &[request, &part, role, sub, tenant, &parent])
        .await
}

async fn insert_and_commit(db: &Db, asked: &Asked, parent: Option<i64>) -> Result<u64, Error> {
    let Asked {
        request,
        role,
        sub,
        tenant,
        ..
    } = asked;
    db.execute_and_commit(INSERT, &[request, &0, role, sub, tenant, &parent])
        .await
}

// --- reads ---

async fn list(db: Db) -> Result<Json<Vec<Note>>, Error> {
    let rows = db.query(NOTES, &[]).await?;
    let notes = rows.iter().map(|row| Note {
        request: row.get(0),
        asked_role: row.get(1),
        asked_tenant: row.get(2),
        by_role: row.get(3),
        by_tenant: row.get(4),
    });
    Ok(Json(notes.collect()))
}

async fn stream(db: Db) -> Result<Body, Error> {
    let rows = db.query_stream(NOTES_AS_LINES, &[]).await?;
    let lines = rows.and_then(async |row| Ok(row.try_get::<_, String>(0)? + "\n"));
    Ok(Body::from_stream(lines))
}

async fn probe(db: Db) -> Result<Json<Probed>, Error> {
    let row = db.query_one(PROBE, &[]).await?;
    Ok(Json(Probed {
        role: row.get(0),
        sub: row.get(1),
        leftovers: row.get(2),
    }))
}

async fn snapshot(db: Db) -> Result<String, Error> {
    db.isolation(Isolation::RepeatableRead)?;
    let count = "SELECT count(*) FROM notes";
    let before: i64 = db.query_one_scalar(count, &[]).await?;
    let after: i64 = db.query_one_scalar(count, &[]).await?;
    Ok(if before == after { "" } else { "torn" }.to_owned())
}

// --- writes ---

async fn write(db: Db, Json(asked): Json<Asked>) -> Result<StatusCode, Error> {
    insert(&db, &asked, 0, None).await?;
    Ok(StatusCode::CREATED)
}

async fn write_last(db: Db, Json(asked): Json<Asked>) -> Result<StatusCode, Error> {
    insert_and_commit(&db, &asked, None).await?;
    Ok(StatusCode::CREATED)
}

async fn write_two(db: Db, Json(asked): Json<Asked>) -> Result<StatusCode, Error> {
    insert(&db, &asked, 0, None).await?;
    let savepoint = db.savepoint().await?;
    insert(&db, &asked, 1, None).await?;
    // Refused by its CHECK, which the savepoint heals.
    if asked.way.is_multiple_of(2) {
        let _ = insert(&db, &asked, -1, None).await;
    }
    savepoint.rollback().await?;
    insert(&db, &asked, 2, None).await?;
    Ok(StatusCode::CREATED)
}

async fn write_stream(db: Db, Json(asked): Json<Asked>) -> Result<(StatusCode, Body), Error> {
    let Asked {
        request,
        role,
        sub,
        tenant,
        ..
    } = &asked;
    db.commit_at_end_of_body()?;
    let rows = db
        .query_stream(INSERT_RETURNING, &[request, role, sub, tenant])
        .await?;
    let pieces = rows.and_then(async |row| Ok(row.try_get::<_, String>(0)?));
    Ok((StatusCode::CREATED, Body::from_stream(pieces)))
}

async fn leave(db: Db, Json(asked): Json<Asked>) -> Result<StatusCode, Error> {
    insert(&db, &asked, 0, None).await?;
    let what = usize::from(asked.way) % LEFT_BEHIND.len();
    db.batch_execute(LEFT_BEHIND[what]).await?;
    Ok(StatusCode::CREATED)
}

// --- what fails ---

async fn breaks_check(db: Db, Json(asked): Json<Asked>) -> Result<StatusCode, Error> {
    insert(&db, &asked, 0, None).await?;
    insert(&db, &asked, -1, None).await?;
    Ok(StatusCode::CREATED)
}

async fn forbidden(db: Db, Json(asked): Json<Asked>) -> Result<StatusCode, Error> {
    insert(&db, &asked, 0, None).await?;
    db.query("SELECT id FROM secrets", &[]).await?;
    Ok(StatusCode::CREATED)
}

async fn other_tenant(db: Db, Json(mut asked): Json<Asked>) -> Result<StatusCode, Error> {
    insert(&db, &asked, 0, None).await?;
    asked.tenant += 1;
    insert(&db, &asked, 0, None).await?;
    Ok(StatusCode::CREATED)
}

async fn deferred(db: Db, Json(asked): Json<Asked>) -> Result<StatusCode, Error> {
    insert(&db, &asked, 0, Some(-1)).await?;
    Ok(StatusCode::CREATED)
}

async fn deferred_last(db: Db, Json(asked): Json<Asked>) -> Result<StatusCode, Error> {
    insert_and_commit(&db, &asked, Some(-1)).await?;
    Ok(StatusCode::CREATED)
}

async fn divides_by_zero(db: Db, Json(asked): Json<Asked>) -> Result<StatusCode, Error> {
    insert(&db, &asked, 0, None).await?;
    db.query("SELECT 1 / 0", &[]).await?;
    Ok(StatusCode::CREATED)
}

async fn swallows(db: Db, Json(asked): Json<Asked>) -> Result<StatusCode, Error> {
    insert(&db, &asked, 0, None).await?;
    let _ = db.query("SELECT 1 / 0", &[]).await;
    Ok(StatusCode::CREATED)
}

async fn get_writes(db: Db, Query(asked): Query<Asked>) -> Result<StatusCode, Error> {
    insert(&db, &asked, 0, None).await?;
    Ok(StatusCode::CREATED)
}

async fn leaves_role(db: Db, Json(asked): Json<Asked>) -> Result<StatusCode, Error> {
    insert(&db, &asked, 0, None).await?;
    let other = ["SET ROLE anon", "RESET ROLE", "SET ROLE NONE"];
    let other = other[usize::from(asked.way) % other.len()];
    db.batch_execute(other).await?;
    Ok(StatusCode::CREATED)
}

async fn slow(db: Db, Json(asked): Json<Asked>) -> Result<StatusCode, Error> {
    insert(&db, &asked, 0, None).await?;
    db.query("SELECT pg_sleep(0.03)", &[]).await?;
    Ok(StatusCode::CREATED)
}
