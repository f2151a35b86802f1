//! What the next request on the same session sees of the last one: nothing.

use std::time::Duration;

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::routing::{get, post};
use rolescope::{Error, ErrorKind, RoleName, RoleScope, RoleScopedConnection, RoleScopedPool};

use crate::support::database;
use crate::support::proxy::{Proxy, within};
use crate::support::service::{self, service};

const ALICE: Option<&str> = Some(r#"{"role":"web_user","sub":"alice"}"#);

fn scope(role: &str) -> RoleScope {
    RoleScope::for_role(RoleName::parse(role).expect("a good name"))
}

/// Everything that a session can carry over, as one row.
const TRACES: &str = "SELECT concat_ws(' | ', \
    current_user, \
    current_setting('request.jwt.claims', true), \
    coalesce(nullif(current_setting('app.kept', true), ''), 'unset'), \
    current_setting('search_path'), current_setting('work_mem'), current_setting('TimeZone'), \
    (SELECT count(*) FROM pg_cursors WHERE is_holdable), \
    (SELECT count(*) FROM pg_listening_channels()), \
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), \
    (SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND pg_table_is_visible(oid)))";

async fn traces(pool: &RoleScopedPool) -> String {
    pool.begin(&scope("anon"))
        .query_one_scalar(TRACES, &[])
        .await
        .expect("the traces can be read")
}

#[tokio::test]
async fn nothing_that_a_request_leaves_on_its_session_reaches_the_next() {
    let database = database().await;
    database
        .execute(&format!(
            "GRANT TEMPORARY ON DATABASE {} TO PUBLIC; CREATE SCHEMA other; GRANT USAGE ON SCHEMA other TO PUBLIC",
            database.name()
        ))
        .await;
    let pool = database.pool_of_one().await;
    let clean = traces(&pool).await;
    for leave in [
        "SET app.kept = 'value'",
        "SELECT set_config('app.kept', 'value', false)",
        "SET search_path = other",
        "SET work_mem = '1MB'; SET TimeZone = 'Asia/Tokyo'",
        "SELECT set_config('request.jwt.claims', '{\"sub\":\"mallory\"}', false)",
        "CREATE TEMP TABLE left_behind (x int)",
        "CREATE TEMP VIEW left_behind AS SELECT 1",
        "DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1",
        "LISTEN left_behind",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_advisory_lock_shared(2)",
    ] {
        for commit in [true, false] {
            let db = pool.begin(&scope("web_user"));
            db.batch_execute(leave).await.expect(leave);
            if commit {
                db.commit().await.expect(leave);
            } else {
                db.rollback().await.expect(leave);
            }
            assert_eq!(traces(&pool).await, clean, "{leave}");
        }
    }
    assert_eq!(
        pool.status().connections_created,
        1,
        "a reset, not a new session"
    );
}

#[tokio::test]
async fn sql_level_prepared_statements_end_the_session() {
    let database = database().await;
    let pool = database.pool_of_one().await;
    for (number, sql) in [
        "PREPARE left_behind AS SELECT 1",
        "/* a comment */ DEALLOCATE ALL",
        "DISCARD PLANS",
    ]
    .into_iter()
    .enumerate()
    {
        let db = pool.begin(&scope("web_user"));
        db.execute_typed(sql, &[]).await.expect(sql);
        db.commit()
            .await
            .expect("the check behind it does not go by a name");
        let left: i64 = pool
            .begin(&scope("anon"))
            .query_one_scalar(
                "SELECT count(*) FROM pg_prepared_statements WHERE name = 'left_behind'",
                &[],
            )
            .await
            .expect("it serves");
        assert_eq!(left, 0);
        assert_eq!(
            pool.status().connections_created,
            number as u64 + 2,
            "{sql}"
        );
    }
    // Among several statements too.
    let db = pool.begin(&scope("web_user"));
    db.batch_execute("SELECT 1; PREPARE left_behind AS SELECT 1")
        .await
        .expect("it runs");
    db.commit().await.expect("it commits");
    traces(&pool).await;
    assert_eq!(pool.status().connections_created, 5);
}

#[tokio::test]
async fn the_last_value_of_a_sequence_is_not_the_next_requests_to_read() {
    let database = database().await;
    database
        .execute("CREATE SEQUENCE numbers; GRANT USAGE ON SEQUENCE numbers TO web_user, author")
        .await;
    let pool = database.pool_of_one().await;
    let db = pool.begin(&scope("web_user"));
    let number: i64 = db
        .query_one_scalar("SELECT nextval('numbers')", &[])
        .await
        .expect("granted");
    assert_eq!(number, 1);
    drop(db);
    let error = pool
        .begin(&scope("author"))
        .query("SELECT lastval()", &[])
        .await
        .expect_err("nothing was drawn in this request");
    assert_eq!(error.code().map(|code| code.code()), Some("55000"));
    assert_eq!(pool.status().connections_created, 1);
}

/// Runs SQL in a POST handler that answers 200.
async fn post_sql(pool: &RoleScopedPool, sql: &'static str) -> service::Reply {
    let app = Router::new().route(
        "/",
        post(move |db: RoleScopedConnection| async move {
            db.batch_execute(sql).await?;
            Ok::<_, Error>(StatusCode::OK)
        }),
    );
    service::post(&service(pool, app), "/", ALICE).await
}

#[tokio::test]
async fn a_handler_that_leaves_its_transaction_or_its_role_is_a_500_and_its_session_is_closed() {
    let database = database().await;
    database
        .execute("CREATE TABLE t (x text); GRANT ALL ON t TO web_user, author")
        .await;
    let pool = database.pool_of_one().await;
    for (number, sql) in [
        "RESET ROLE",
        "SET ROLE author",
        "SET LOCAL ROLE author",
        "SELECT set_config('role', 'author', true)",
        "SET ROLE NONE",
        "COMMIT",
        "COMMIT; BEGIN",
        "ROLLBACK",
        "ROLLBACK AND CHAIN",
        "SELECT set_config('rolescope.role', '', true)",
    ]
    .into_iter()
    .enumerate()
    {
        let reply = post_sql(&pool, sql).await;
        assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR, "{sql}");
        assert_eq!(reply.kind(), ErrorKind::ScopeLeft, "{sql}");
        traces(&pool).await;
        assert_eq!(
            pool.status().connections_created,
            number as u64 + 2,
            "{sql}: the session is closed"
        );
    }
    // What was done within the transaction that it left only by its role is not stored.
    let reply = post_sql(&pool, "INSERT INTO t VALUES ('lost'); SET ROLE author").await;
    assert_eq!(reply.kind(), ErrorKind::ScopeLeft);
    let rows: i64 = database
        .admin()
        .await
        .query_one_scalar("SELECT count(*) FROM t", &[])
        .await
        .expect("it can be counted");
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn leaving_the_transaction_is_noticed_behind_a_rollback_and_behind_an_error_too() {
    let database = database().await;
    let pool = database.pool_of_one().await;
    let rolled_back = Router::new().route(
        "/",
        post(async |db: RoleScopedConnection| {
            db.batch_execute("COMMIT").await?;
            assert!(db.rollback().await.is_err());
            Ok::<_, Error>(StatusCode::OK)
        }),
    );
    let failed = Router::new().route(
        "/",
        post(async |db: RoleScopedConnection| {
            db.batch_execute("ROLLBACK; SET ROLE author").await?;
            db.query("SELECT 1 / 0", &[]).await.map(|_| StatusCode::OK)
        }),
    );
    for routes in [rolled_back, failed] {
        let reply = service::post(&service(&pool, routes), "/", ALICE).await;
        assert_eq!(reply.kind(), ErrorKind::ScopeLeft);
        assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    }
    traces(&pool).await;
    assert_eq!(pool.status().connections_created, 3);
}

#[tokio::test]
async fn a_stray_end_of_the_transaction_falls_to_the_resting_role() {
    let database = database().await;
    let pool = database.pool_of_one().await;
    let app = Router::new().route(
        "/",
        get(async |db: RoleScopedConnection| {
            db.batch_execute("COMMIT").await?;
            let role: String = db
                .query_one_scalar("SELECT current_user::text", &[])
                .await?;
            assert_eq!(role, "anon");
            Ok::<_, Error>(role)
        }),
    );
    let reply = service::get(&service(&pool, app), "/", ALICE).await;
    assert_eq!(reply.kind(), ErrorKind::ScopeLeft);
}

#[tokio::test]
async fn a_temporary_table_with_a_trigger_does_not_wait_for_the_next_role() {
    let database = database().await;
    database
        .execute(&format!(
            "GRANT TEMPORARY ON DATABASE {} TO PUBLIC;
             CREATE TABLE t (x int); GRANT ALL ON t TO web_user, author;
             CREATE TABLE ran (who text); GRANT ALL ON ran TO web_user, author",
            database.name()
        ))
        .await;
    let pool = database.pool_of_one().await;
    let db = pool.begin(&scope("web_user"));
    db.batch_execute(
        "CREATE TEMP TABLE t (x int);
         CREATE FUNCTION pg_temp.spy() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN INSERT INTO ran VALUES (current_user); RETURN NEW; END $$;
         CREATE TRIGGER spy AFTER INSERT ON pg_temp.t FOR EACH ROW EXECUTE FUNCTION pg_temp.spy();
         GRANT ALL ON pg_temp.t TO author",
    )
    .await
    .expect("the trap is set");
    db.commit().await.expect("it is committed");
    let db = pool.begin(&scope("author"));
    db.execute("INSERT INTO t VALUES (1)", &[])
        .await
        .expect("it is inserted");
    db.commit().await.expect("it is committed");
    let ran: i64 = database
        .admin()
        .await
        .query_one_scalar("SELECT count(*) FROM ran", &[])
        .await
        .expect("it can be counted");
    assert_eq!(ran, 0);
}

#[tokio::test]
async fn a_session_whose_reset_was_refused_serves_nobody() {
    let database = database().await;
    database
        .execute(
            "REVOKE EXECUTE ON FUNCTION pg_advisory_unlock_all() FROM PUBLIC;
             CREATE SEQUENCE served; GRANT ALL ON served TO web_user",
        )
        .await;
    let pool = database.pool_of_one().await;
    let clean = traces(&pool).await;
    let leave = async |db: RoleScopedConnection| {
        db.query("SELECT set_config('app.kept', 'value', false)", &[])
            .await?;
        Ok::<_, Error>("left")
    };
    // Sequences are not rolled back: they tell of each time that it ran.
    let serve = async |db: RoleScopedConnection| {
        let served: i64 = db.query_one_scalar("SELECT nextval('served')", &[]).await?;
        Ok::<_, Error>(served.to_string())
    };
    let routes = Router::new()
        .route("/", get(leave).post(leave))
        .route("/serve", post(serve));
    let app = service(&pool, routes);
    for (method, served) in [(Method::GET, "1"), (Method::POST, "2")] {
        service::call(&app, method, "/", ALICE).await.ok();
        assert_eq!(service::post(&app, "/serve", ALICE).await.ok(), served);
    }
    for method in [Method::GET, Method::POST] {
        service::call(&app, method, "/", ALICE).await.ok();
        assert_eq!(traces(&pool).await, clean);
    }
}

#[tokio::test]
async fn a_session_whose_reset_never_came_behind_a_refused_commit_is_closed() {
    let database = database().await;
    let pool = database.pool_of_one().await;
    let clean = traces(&pool).await;
    let leave = async |db: RoleScopedConnection| {
        db.query("SELECT pg_advisory_lock(1)", &[]).await?;
        // Read at COMMIT.
        let failing =
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1 / (x - 2) FROM generate_series(1, 3) x";
        db.execute(failing, &[]).await?;
        Ok::<_, Error>("left")
    };
    let app = service(&pool, Router::new().route("/", get(leave)));
    service::get(&app, "/", ALICE).await.ok();
    assert_eq!(traces(&pool).await, clean);
}

#[tokio::test]
async fn whoever_waits_for_an_unanswered_reset_gives_up_at_the_deadline() {
    let database = database().await;
    let proxy = Proxy::start(&database);
    let pool = proxy
        .pool_builder()
        .max_size(3)
        .acquire_timeout(Duration::from_millis(500))
        .reset_timeout(Duration::from_millis(800));
    let pool = within(pool.build()).await.expect("it is built");
    let all: Vec<_> = (0..3).map(|_| pool.begin(&scope("web_user"))).collect();
    for db in &all {
        within(db.query("SELECT 1", &[])).await.expect("it runs");
    }
    proxy.hold();
    drop(all);
    let db = pool.begin(&scope("web_user"));
    let error = within(db.query("SELECT 1", &[])).await;
    assert_eq!(
        error.expect_err("nothing is answered").kind(),
        ErrorKind::Unavailable
    );
    assert_eq!(pool.status().connections_discarded, 1);
}

#[tokio::test]
async fn a_read_whose_statement_ended_the_transaction_is_a_500_and_leaves_nothing() {
    let database = database().await;
    let grant = format!("GRANT TEMPORARY ON DATABASE {} TO PUBLIC", database.name());
    database.execute(&grant).await;
    let pool = database.pool_of_one().await;
    let clean = traces(&pool).await;
    for (number, end) in ["COMMIT", "/* */ rollback", "END", "Abort"]
        .into_iter()
        .enumerate()
    {
        let leave = get(move |db: RoleScopedConnection| async move {
            db.execute(end, &[]).await?;
            // Outside of the transaction it may write, and the reset of a read would leave this behind.
            db.execute("CREATE TEMP TABLE t (x int)", &[]).await?;
            Ok::<_, Error>("left")
        });
        let app = service(&pool, Router::new().route("/", leave));
        let reply = service::get(&app, "/", ALICE).await;
        assert_eq!(reply.kind(), ErrorKind::ScopeLeft, "{end}");
        assert_eq!(traces(&pool).await, clean, "{end}");
        assert_eq!(
            pool.status().connections_created,
            number as u64 + 2,
            "{end}"
        );
    }
}
