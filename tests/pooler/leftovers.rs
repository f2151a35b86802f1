//! What a request leaves on a server connection, the next one there does not see.

use rolescope::scope::Pooler;
use rolescope::{ErrorKind, RoleScopedPool};

use crate::support::database;
use crate::support::events::Recorder;
use crate::support::proxy::within;
use crate::{ONE_SERVER_CONNECTION, Pooled, backend, scope};

/// Everything that a server connection can carry over, as one row.
const TRACES: &str = "SELECT concat_ws(' | ', \
    current_user, session_user, \
    current_setting('request.jwt.claims', true), \
    coalesce(nullif(current_setting('app.kept', true), ''), 'unset'), \
    current_setting('search_path'), current_setting('work_mem'), current_setting('client_encoding'), \
    (SELECT count(*) FROM pg_cursors WHERE is_holdable), \
    (SELECT count(*) FROM pg_listening_channels()), \
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), \
    (SELECT count(*) FROM pg_prepared_statements), \
    (SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND pg_table_is_visible(oid)))";

const LEAVE: [&str; 13] = [
    "SET app.kept = 'value'",
    "SELECT set_config('app.kept', 'value', false)",
    "SET search_path = other",
    "SET work_mem = '1MB'; SET client_encoding = 'LATIN1'; SET client_encoding = 'UTF8'",
    "SELECT set_config('request.jwt.claims', '{\"sub\":\"mallory\"}', false)",
    "CREATE TEMP TABLE left_behind (x int)",
    "CREATE TEMP VIEW left_behind AS SELECT 1",
    "DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1",
    "LISTEN left_behind",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_advisory_lock_shared(2)",
    "PREPARE left_behind AS SELECT 1",
    "SET SESSION AUTHORIZATION authenticator; SET LOCAL ROLE web_user",
];

async fn prepared(settings: &str) -> Pooled {
    let pooled = Pooled::start(settings).await;
    let grant = format!(
        "GRANT TEMPORARY ON DATABASE {} TO PUBLIC; CREATE SCHEMA other; GRANT USAGE ON SCHEMA other TO PUBLIC;
         CREATE SEQUENCE numbers; GRANT USAGE ON SEQUENCE numbers TO web_user, author;
         CREATE TABLE unique_later (x int UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO unique_later VALUES (1);
         GRANT SELECT, INSERT ON unique_later TO web_user",
        pooled.database.name()
    );
    pooled.database.execute(&grant).await;
    pooled
}

async fn traces(pool: &RoleScopedPool) -> String {
    let db = pool.begin(&scope("anon"));
    let traces = within(db.query_typed(TRACES, &[])).await;
    traces.expect("the traces can be read")[0].get(0)
}

#[tokio::test]
async fn nothing_that_a_request_leaves_reaches_the_next_on_the_same_server_connection() {
    let pooled = prepared(ONE_SERVER_CONNECTION).await;
    let (one, other) = (pooled.pool().await, pooled.pool().await);
    let (clean, process) = (traces(&other).await, backend(&other).await);
    for leave in LEAVE {
        for end in ["commit", "rollback", "read only", "dropped"] {
            let db = one.begin(&scope("web_user"));
            if end == "read only" && leave.starts_with("CREATE") {
                continue;
            }
            if end == "read only" {
                db.read_only().expect("it has not begun");
            }
            db.batch_execute(leave).await.expect(leave);
            match end {
                "commit" | "read only" => db.commit().await.expect(leave),
                "rollback" => db.rollback().await.expect(leave),
                _ => drop(db),
            }
            assert_eq!(traces(&other).await, clean, "{leave}, {end}");
        }
    }
    assert_eq!(
        backend(&other).await,
        process,
        "a reset, not a new connection"
    );
}

#[tokio::test]
async fn nothing_is_left_by_a_request_whose_commit_is_refused() {
    let pooled = prepared(ONE_SERVER_CONNECTION).await;
    let (one, other) = (pooled.pool().await, pooled.pool().await);
    let (clean, process) = (traces(&other).await, backend(&other).await);
    for leave in LEAVE {
        let db = one.begin(&scope("web_user"));
        db.batch_execute(leave).await.expect(leave);
        db.execute("INSERT INTO public.unique_later VALUES (1)", &[])
            .await
            .expect("it is checked later");
        let error = db.commit().await.expect_err("it is checked now");
        assert_eq!(
            error.code().map(|code| code.code()),
            Some("23505"),
            "{leave}"
        );
        assert_eq!(traces(&other).await, clean, "{leave}");
    }
    assert_eq!(
        backend(&other).await,
        process,
        "a reset, not a new connection"
    );
}

#[tokio::test]
async fn the_last_value_of_a_sequence_is_not_the_next_requests_to_read() {
    let pooled = prepared(ONE_SERVER_CONNECTION).await;
    let (one, other) = (pooled.pool().await, pooled.pool().await);
    for refused in [false, true] {
        let db = one.begin(&scope("web_user"));
        let draw = "SELECT nextval('numbers')";
        db.query_one_scalar::<i64>(draw, &[])
            .await
            .expect("granted");
        if refused {
            let insert = "INSERT INTO public.unique_later VALUES (1)";
            db.execute(insert, &[]).await.expect("it is checked later");
        }
        assert_eq!(db.commit().await.is_err(), refused);
        let db = other.begin(&scope("author"));
        let error = db.query("SELECT lastval()", &[]).await;
        let error = error.expect_err("nothing was drawn in this request");
        assert_eq!(error.code().map(|code| code.code()), Some("55000"));
    }
}

#[tokio::test]
async fn a_server_connection_that_cannot_be_reset_is_closed() {
    let pooled = prepared(ONE_SERVER_CONNECTION).await;
    let pool = pooled.builder().max_size(1);
    let pool = pool.build().await.expect("it is built");
    let clean = traces(&pool).await;
    // Sessions are cleared as the request's role, and reset as the one that they rest in.
    pooled
        .database
        .execute(
            "REVOKE EXECUTE ON FUNCTION pg_advisory_unlock_all() FROM PUBLIC;
             GRANT EXECUTE ON FUNCTION pg_advisory_unlock_all() TO web_user",
        )
        .await;
    let warnings = Recorder::start();
    for end in ["rollback", "commit", "dropped"] {
        let db = pool.begin(&scope("web_user"));
        let process: i32 = within(db.query_one_scalar("SELECT pg_backend_pid()", &[]))
            .await
            .expect("it runs");
        let traces: String = within(db.query_typed(TRACES, &[])).await.expect("it runs")[0].get(0);
        assert_eq!(traces.replace("web_user", "anon"), clean, "{end}");
        db.batch_execute("SET app.kept = 'value'")
            .await
            .expect("it runs");
        match end {
            "rollback" => db.rollback().await.expect("it is rolled back"),
            "commit" => db
                .commit()
                .await
                .expect("it is committed, whatever becomes of the reset"),
            _ => drop(db),
        }
        let db = pool.begin(&scope("web_user"));
        let next: i32 = within(db.query_one_scalar("SELECT pg_backend_pid()", &[]))
            .await
            .expect("it runs");
        assert_ne!(next, process, "{end}");
    }
    let warnings = warnings.warnings();
    assert!(warnings.len() >= 2, "{warnings:?}");
    for warning in warnings {
        assert!(warning.contains("could not be reset"), "{warning}");
    }
}

#[tokio::test]
async fn a_session_that_cannot_be_cleared_commits_nothing_and_the_error_says_why() {
    let pooled = prepared(ONE_SERVER_CONNECTION).await;
    let pool = pooled.pool().await;
    pooled
        .database
        .execute("REVOKE EXECUTE ON FUNCTION pg_advisory_unlock_all() FROM PUBLIC")
        .await;
    let db = pool.begin(&scope("web_user"));
    db.execute("INSERT INTO public.unique_later VALUES (2)", &[])
        .await
        .expect("it runs");
    let error = db.commit().await.expect_err("it is not cleared");
    assert_eq!(
        (error.kind(), error.status().as_u16()),
        (ErrorKind::Statement, 500)
    );
    assert!(
        error.to_string().contains("pg_advisory_unlock_all"),
        "{error}"
    );
    let admin = pooled.database.admin().await;
    let rows = admin.query_one("SELECT count(*) FROM public.unique_later", &[]);
    assert_eq!(rows.await.expect("it is counted").get::<_, i64>(0), 1);
}

#[tokio::test]
async fn sessions_speak_utf8_in_a_database_of_another_encoding() {
    let pooled = Pooled::start(ONE_SERVER_CONNECTION).await;
    let name = format!("latin_{}", pooled.database.name());
    pooled
        .database
        .execute(&format!(
            "CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
        ))
        .await;
    let url = pooled
        .url("authenticator")
        .replace(pooled.database.name(), &name);
    let pool = RoleScopedPool::builder(&url)
        .expect("the URL can be read")
        .anonymous_role("anon")
        .pooler(Pooler::Transaction);
    let pool = pool.max_size(1).build().await.expect("it is built");
    for _ in 0..3 {
        let db = pool.begin(&scope("web_user"));
        let text: String = db
            .query_one_scalar("SELECT 'ü' || $1::text || length('ü' || $1)", &[&"é"])
            .await
            .expect("it runs");
        assert_eq!(text, "üé2");
        db.commit().await.expect("it commits");
    }
}

#[tokio::test]
async fn pgbouncers_own_reset_clears_what_a_stray_commit_leaves() {
    let settings = format!("{ONE_SERVER_CONNECTION}\nserver_reset_query_always = 1");
    let pooled = prepared(&settings).await;
    let (one, other) = (pooled.pool().await, pooled.pool().await);
    let clean = traces(&other).await;
    let db = one.begin(&scope("web_user"));
    db.batch_execute("SET app.kept = 'value'; COMMIT")
        .await
        .expect("it runs");
    assert_eq!(traces(&other).await, clean);
    let error = db.commit().await.expect_err("it was left");
    assert_eq!(error.kind(), ErrorKind::ScopeLeft);
    assert_eq!(traces(&other).await, clean);
}

#[tokio::test]
async fn it_serves_for_session_pooling_as_well() {
    let settings = format!("{ONE_SERVER_CONNECTION}\npool_mode = session");
    let pooled = prepared(&settings).await;
    let pool = pooled.builder().max_size(1);
    let pool = within(pool.build()).await.expect("it is built");
    let (clean, process) = (traces(&pool).await, backend(&pool).await);
    for leave in ["SET app.kept = 'value'", "SELECT pg_advisory_lock(1)"] {
        let db = pool.begin(&scope("web_user"));
        db.batch_execute(leave).await.expect(leave);
        db.commit().await.expect(leave);
        assert_eq!(traces(&pool).await, clean, "{leave}");
    }
    assert_eq!(backend(&pool).await, process);
}

#[tokio::test]
async fn without_a_pooler_the_option_does_no_harm() {
    let database = database().await;
    let pool = database
        .pool_builder()
        .pooler(Pooler::Transaction)
        .max_size(1);
    let pool = pool.build().await.expect("it is built");
    let (clean, process) = (traces(&pool).await, backend(&pool).await);
    for leave in ["SET app.kept = 'value'", "SELECT pg_advisory_lock(1)"] {
        let db = pool.begin(&scope("web_user"));
        db.batch_execute(leave).await.expect(leave);
        db.commit().await.expect(leave);
        assert_eq!(traces(&pool).await, clean, "{leave}");
    }
    assert_eq!(backend(&pool).await, process);
}
