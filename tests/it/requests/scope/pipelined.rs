//! What a request leaves on its session, where the next one is sent before the reset is answered.

use axum::Router;
use axum::routing::{get, post};
use rolescope::{Error, ErrorKind, RoleName, RoleScope, RoleScopedConnection, RoleScopedPool};

use crate::support::proxy::{Cut, Proxy, within};
use crate::support::service::{self, service};
use crate::support::{Database, database};

const ALICE: Option<&str> = Some(r#"{"role":"web_user","sub":"alice"}"#);

const TRACES: &str = "SELECT concat_ws(' | ', \
    current_user, \
    current_setting('request.jwt.claims', true), \
    coalesce(nullif(current_setting('app.kept', true), ''), 'unset'), \
    current_setting('search_path'), current_setting('work_mem'), current_setting('TimeZone'), \
    current_setting('statement_timeout'), current_setting('default_transaction_deferrable'), \
    current_setting('transaction_deferrable'), \
    (SELECT count(*) FROM pg_cursors WHERE is_holdable), \
    (SELECT count(*) FROM pg_listening_channels()), \
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), \
    (SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND pg_table_is_visible(oid)))";

async fn temp_allowed() -> Database {
    let database = database().await;
    database
        .execute(&format!(
            "GRANT TEMPORARY ON DATABASE {} TO PUBLIC; CREATE SCHEMA other; GRANT USAGE ON SCHEMA other TO PUBLIC;
             CREATE SEQUENCE numbers; GRANT USAGE ON SEQUENCE numbers TO PUBLIC",
            database.name()
        ))
        .await;
    database
}

async fn traces(pool: &RoleScopedPool) -> String {
    let role = RoleName::parse("author").expect("a name");
    pool.begin(&RoleScope::for_role(role))
        .query_one_scalar(TRACES, &[])
        .await
        .expect("the traces can be read")
}

/// Runs statements one by one in a handler of a GET request, whatever they answer, and has the next request follow.
async fn read(
    pool: &RoleScopedPool,
    statements: &'static [&'static str],
    ignore: bool,
) -> service::Reply {
    let leave = move |db: RoleScopedConnection| async move {
        for sql in statements {
            let answer = db.execute(sql, &[]).await;
            if !ignore {
                answer?;
            }
        }
        Ok::<_, Error>("left")
    };
    service::get(
        &service(pool, Router::new().route("/", get(leave))),
        "/",
        ALICE,
    )
    .await
}

#[tokio::test]
async fn nothing_that_a_read_leaves_reaches_the_next() {
    let database = temp_allowed().await;
    let pool = database.pool_of_one().await;
    let clean = traces(&pool).await;
    for leave in [
        &["SET app.kept = 'value'"][..],
        &["SET ROLE web_user"],
        &["SELECT set_config('role', 'web_user', false)"],
        &[
            "SET SESSION AUTHORIZATION DEFAULT",
            "SELECT set_config('role', 'web_user', true)",
        ],
        &["SELECT set_config('app.kept', 'value', false)"],
        &["SET search_path = other"],
        &["SET work_mem = '1MB'"],
        &["SET LOCAL work_mem = '1MB'", "SET work_mem = '2MB'"],
        &["SAVEPOINT a", "SET work_mem = '1MB'"],
        &[
            "SAVEPOINT a",
            "SET LOCAL ROLE web_user",
            "SET ROLE web_user",
            "SAVEPOINT b",
            "SET app.kept = 'v'",
        ],
        &["SET statement_timeout = 1"],
        &["SET statement_timeout = 1", "SAVEPOINT a"],
        &["SET default_transaction_deferrable = on"],
        &["SET SESSION CHARACTERISTICS AS TRANSACTION DEFERRABLE"],
        &["SELECT set_config('request.jwt.claims', '{\"sub\":\"mallory\"}', false)"],
        &["DECLARE left_behind CURSOR WITH HOLD FOR SELECT pg_advisory_lock(7)"],
        &[
            "DECLARE left_behind CURSOR WITH HOLD FOR SELECT pg_advisory_lock(7) FROM generate_series(1,3)",
            "FETCH 1 FROM left_behind",
        ],
        &["LISTEN left_behind"],
        &["SELECT pg_advisory_lock(1)"],
        &["SELECT pg_advisory_lock_shared(2)"],
        &["DO $$ BEGIN EXECUTE 'SET app.kept = 1'; EXECUTE 'LISTEN x'; END $$"],
        &["COMMIT"],
        &["ROLLBACK"],
        &["COMMIT AND CHAIN"],
        &["COMMIT", "SET app.kept = 'value'"],
        &["COMMIT", "SET statement_timeout = 1"],
        &[
            "COMMIT",
            "BEGIN READ WRITE",
            "CREATE TEMP TABLE left_behind (x int)",
        ],
        &[
            "COMMIT",
            "DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1",
        ],
        &["COMMIT", "SELECT pg_advisory_lock(1)"],
        &["COMMIT", "SET idle_session_timeout = 1"],
        &[
            "SET TRANSACTION READ WRITE",
            "CREATE TEMP TABLE left_behind (x int)",
        ],
        &[
            "SAVEPOINT a",
            "SET transaction_read_only = off",
            "CREATE TEMP TABLE left_behind (x int)",
        ],
        &[
            "SET default_transaction_read_only = off",
            "COMMIT AND CHAIN",
            "CREATE TEMP TABLE left_behind (x int)",
        ],
        &["DO $$ BEGIN EXECUTE 'CREATE TEMP TABLE left_behind (x int)'; END $$"],
        &["DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$"],
        &["DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; EXECUTE 'SET app.kept = 1'; END $$"],
        &["DO $$ BEGIN COMMIT; CREATE TEMP TABLE left_behind (x int); END $$"],
        &["SET idle_in_transaction_session_timeout = 1"],
        &["SET lock_timeout = 1", "SET client_min_messages = debug5"],
        &["LISTEN left_behind", "NOTIFY left_behind"],
        &[
            "SET default_transaction_isolation = 'serializable'",
            "SET default_transaction_deferrable = on",
            "SET default_transaction_read_only = on",
        ],
    ] {
        for ignore in [false, true] {
            read(&pool, leave, ignore).await;
            assert_eq!(traces(&pool).await, clean, "{leave:?}");
        }
    }
}

#[tokio::test]
async fn a_read_that_left_its_transaction_leaves_no_temporary_table() {
    let database = temp_allowed().await;
    let pool = database.pool_of_one().await;
    let clean = traces(&pool).await;
    read(
        &pool,
        &["COMMIT", "CREATE TEMP TABLE left_behind (x int)"],
        false,
    )
    .await;
    assert_eq!(traces(&pool).await, clean);
}

#[tokio::test]
async fn a_read_that_left_its_transaction_leaves_no_value_of_a_sequence() {
    let database = temp_allowed().await;
    let pool = database.pool_of_one().await;
    read(&pool, &["ROLLBACK", "SELECT nextval('numbers')"], false).await;
    let role = RoleName::parse("author").expect("a name");
    let db = pool.begin(&RoleScope::for_role(role));
    let error = db.query("SELECT lastval()", &[]).await;
    let error = error.expect_err("nothing was drawn in this request");
    assert_eq!(error.code().map(|code| code.code()), Some("55000"));
}

#[tokio::test]
async fn a_trap_set_by_a_read_does_not_wait_for_the_next_role() {
    let database = temp_allowed().await;
    database
        .execute(
            "CREATE TABLE t (x int); GRANT ALL ON t TO web_user, author;
                  CREATE TABLE ran (who text); GRANT ALL ON ran TO web_user, author, anon",
        )
        .await;
    let pool = database.pool_of_one().await;
    read(
        &pool,
        &[
            "COMMIT",
            "CREATE TEMP TABLE t (x int)",
            "CREATE FUNCTION pg_temp.spy() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO ran VALUES (current_user); RETURN NEW; END $$",
            "CREATE TRIGGER spy AFTER INSERT ON pg_temp.t FOR EACH ROW EXECUTE FUNCTION pg_temp.spy()",
            "GRANT ALL ON pg_temp.t TO author",
        ],
        false,
    )
    .await;
    let role = RoleName::parse("author").expect("a name");
    let db = pool.begin(&RoleScope::for_role(role));
    db.execute("INSERT INTO t VALUES (1)", &[])
        .await
        .expect("it is inserted");
    db.commit().await.expect("it is committed");
    let ran: i64 = database
        .admin()
        .await
        .query_one_scalar("SELECT count(*) FROM ran", &[])
        .await
        .expect("counted");
    assert_eq!(ran, 0);
}

#[tokio::test]
async fn a_read_that_made_a_transaction_of_its_own_look_like_its_own_leaves_nothing() {
    let database = temp_allowed().await;
    let pool = database.pool_of_one().await;
    let clean = traces(&pool).await;
    let leave = async |db: RoleScopedConnection| {
        let role: String = db
            .query_one_scalar("SELECT current_setting('rolescope.role')", &[])
            .await?;
        db.execute("COMMIT", &[]).await?;
        db.execute("BEGIN READ WRITE", &[]).await?;
        db.query(
            "SELECT set_config('rolescope.role', $1, true), set_config('role', 'web_user', true)",
            &[&role],
        )
        .await?;
        db.execute("CREATE TEMP TABLE left_behind (x int)", &[])
            .await?;
        Ok::<_, Error>("left")
    };
    let reply = service::get(
        &service(&pool, Router::new().route("/", get(leave))),
        "/",
        ALICE,
    )
    .await;
    assert_eq!(reply.kind(), ErrorKind::ScopeLeft);
    assert_eq!(traces(&pool).await, clean);
}

/// When its transaction began is not known yet where the end is sent, so that nothing tells another one from it.
#[tokio::test]
async fn what_may_have_ended_a_transaction_that_has_not_begun_yet_is_not_taken_for_success() {
    let database = temp_allowed().await;
    let proxy = Proxy::start(&database);
    let pool = proxy.pool_builder().build().await.expect("it is built");
    let leave = async |db: RoleScopedConnection| {
        let other = "COMMIT; BEGIN; SET LOCAL ROLE web_user; SET LOCAL rolescope.role = 'web_user'";
        tokio::select! {
            biased;
            _ = db.batch_execute(other) => "answered",
            () = std::future::ready(()) => "given up",
        }
    };
    let app = service(&pool, Router::new().route("/", post(leave)));
    // No answer comes before the end was sent.
    proxy.hold();
    let reply = tokio::spawn(async move { service::post(&app, "/", ALICE).await });
    proxy.sees(&["Q", "BE", "Q", "PBDE", "Q", "Q"]).await;
    proxy.pass();
    let reply = within(reply).await.expect("no panic");
    assert_eq!(reply.kind(), ErrorKind::ScopeLeft);
}

const NOTES: &str = "CREATE TABLE notes (note text); GRANT SELECT, INSERT ON notes TO web_user";

async fn stored(database: &Database) -> i64 {
    database
        .admin()
        .await
        .query_one_scalar("SELECT count(*) FROM notes", &[])
        .await
        .expect("counted")
}

#[tokio::test]
async fn whoever_gives_up_the_first_use_of_a_last_statement_cannot_answer_with_success() {
    let database = database().await;
    database.execute(NOTES).await;
    let pool = database.pool_of_one().await;
    let give_up = async |db: RoleScopedConnection| {
        let mut sent = Box::pin(db.execute_and_commit("INSERT INTO notes VALUES ('x')", &[]));
        tokio::select! {
            biased;
            _ = &mut sent => "answered",
            () = std::future::ready(()) => "given up",
        }
    };
    let app = service(&pool, Router::new().route("/", post(give_up)));
    let reply = within(service::post(&app, "/", ALICE)).await;
    let stored = stored(&database).await;
    assert!(
        !reply.status.is_success() || stored == 1,
        "{reply:?} {stored}"
    );
}

#[tokio::test]
async fn nothing_is_committed_where_another_clones_statement_before_it_fails() {
    let database = database().await;
    database.execute(NOTES).await;
    let pool = database.pool_of_one().await;
    let both = async |db: RoleScopedConnection| {
        let other = db.clone();
        let (_, last) = tokio::join!(
            other.query("SELECT 1 / (SELECT 0)", &[]),
            db.execute_and_commit("INSERT INTO notes VALUES ('x')", &[]),
        );
        last.map(|_| "stored")
    };
    let app = service(&pool, Router::new().route("/", post(both)));
    for round in 0..4 {
        let before = stored(&database).await;
        let reply = within(service::post(&app, "/", ALICE)).await;
        let after = stored(&database).await;
        assert_eq!(
            i64::from(reply.status.is_success()),
            after - before,
            "{round} {reply:?}"
        );
    }
}

#[test]
fn any_capacity_of_the_token_cache_can_be_asked_for() {
    for bytes in [1, 1230, 1231, usize::MAX] {
        let verifier = rolescope::JwtVerifier::builder()
            .hs256(service::SECRET)
            .expect("long enough")
            .any_audience();
        let verifier = verifier.token_cache(bytes).build().expect("it is built");
        let token = service::token(r#"{"role":"web_user"}"#);
        for _ in 0..3 {
            verifier.verify(&token).expect("it is good");
        }
        assert!(
            verifier.cache_status().bytes <= bytes,
            "{:?}",
            verifier.cache_status()
        );
    }
}

#[tokio::test]
async fn a_savepoint_of_another_clone_does_not_undo_the_last_statement() {
    let database = database().await;
    database.execute(NOTES).await;
    let pool = database.pool_of_one().await;
    let both = async |db: RoleScopedConnection| {
        let savepoint = db.savepoint().await?;
        let (last, undone) = tokio::join!(
            db.execute_and_commit("INSERT INTO notes VALUES ('x')", &[]),
            savepoint.rollback(),
        );
        assert!(undone.is_ok() || last.is_ok());
        last.map(|_| "stored")
    };
    let app = service(&pool, Router::new().route("/", post(both)));
    for _ in 0..3 {
        let before = stored(&database).await;
        let reply = within(service::post(&app, "/", ALICE)).await;
        let after = stored(&database).await;
        assert_eq!(
            i64::from(reply.status.is_success()),
            after - before,
            "{reply:?}"
        );
    }
}

#[tokio::test]
async fn a_last_statement_that_was_not_sent_is_no_success() {
    let database = database().await;
    database.execute(NOTES).await;
    let pool = database.pool_of_one().await;
    let swallow = async |db: RoleScopedConnection| {
        let error = db
            .execute_and_commit("INSERT INTO notes VALUES ($1)", &[&7_i32])
            .await;
        format!("{:?}", error.map_err(|e| e.kind()))
    };
    let app = service(&pool, Router::new().route("/", post(swallow)));
    let reply = within(service::post(&app, "/", ALICE)).await;
    let stored = stored(&database).await;
    assert!(
        !reply.status.is_success() || stored == 1,
        "{reply:?} {stored}"
    );
}

#[tokio::test]
async fn a_last_statement_behind_a_session_that_was_not_reset_is_sent_on_another() {
    let database = database().await;
    database.execute(NOTES).await;
    let pool = database.pool_of_one().await;
    let write = async |db: RoleScopedConnection| {
        db.execute_and_commit("INSERT INTO notes VALUES ('x')", &[])
            .await?;
        Ok::<_, Error>("stored")
    };
    let ordinary = async |db: RoleScopedConnection| {
        db.execute("INSERT INTO notes VALUES ('x')", &[]).await?;
        Ok::<_, Error>("stored")
    };
    let app = service(
        &pool,
        Router::new()
            .route("/", post(write))
            .route("/ordinary", post(ordinary)),
    );
    service::post(&app, "/ordinary", ALICE).await.ok();
    database
        .execute("REVOKE EXECUTE ON FUNCTION pg_advisory_unlock_all() FROM PUBLIC")
        .await;
    service::post(&app, "/ordinary", ALICE).await.ok();
    service::post(&app, "/ordinary", ALICE).await.ok();
    let reply = service::post(&app, "/", ALICE).await;
    assert!(reply.status.is_success(), "{reply:?}");
}

#[tokio::test]
async fn a_read_whose_last_statement_notifies_waits_for_its_commit() {
    let database = database().await;
    let proxy = Proxy::start(&database);
    let pool = proxy.pool_builder().build().await.expect("it is built");
    let notify = async |db: RoleScopedConnection| {
        db.execute_and_commit("SELECT pg_notify('c', 'x')", &[])
            .await?;
        Ok::<_, Error>("notified")
    };
    let app = service(&pool, Router::new().route("/", get(notify)));
    within(service::get(&app, "/", ALICE)).await.ok();
    proxy.rests().await;
    proxy.cut_at(Cut::Unsent, "EXECUTE rolescope_end");
    let reply = within(service::get(&app, "/", ALICE)).await;
    assert_eq!(reply.kind(), ErrorKind::ConnectionLost, "it was not sent");
}
