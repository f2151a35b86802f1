//! Failures that PostgreSQL has by itself: between transactions, in time, and at the end.

use std::time::Duration;

use axum::Router;
use axum::routing::post;
use rolescope::{Error, Isolation, RoleScopedConnection, RoleScopedPool};
use tokio_postgres::Client;

use super::{app, ask_anybody, check, prepared_database, sqlstate};
use crate::support::Database;
use crate::support::events::Recorder;
use crate::support::service::{Reply, post as send_post, service};

/// Puts one handler at `/`.
fn with<H, T>(pool: &RoleScopedPool, handler: H) -> Router
where
    H: axum::handler::Handler<T, ()>,
    T: 'static,
{
    service(pool, Router::new().route("/", post(handler)))
}

async fn ask(app: &Router) -> Reply {
    send_post(app, "/", None).await
}

async fn pid(client: &Client) -> i32 {
    let row = client.query_one("SELECT pg_backend_pid()", &[]).await;
    row.expect("it runs").get(0)
}

/// Waits until a condition on `pg_stat_activity` of one backend holds.
async fn until(admin: &Client, pid: i32, condition: &str) {
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND {condition}");
    let wanted = i64::from(condition != "true");
    tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let row = admin.query_one(&sql, &[&pid]).await.expect("it runs");
            if row.get::<_, i64>(0) == wanted {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it comes about");
}

#[tokio::test]
async fn a_lost_race_may_be_run_again() {
    let database = prepared_database().await;
    let admin = std::sync::Arc::new(database.admin().await);
    let recorder = Recorder::start();
    let rival = std::sync::Arc::clone(&admin);
    let app = with(
        &database.pool().await,
        async move |db: RoleScopedConnection| {
            db.isolation(Isolation::RepeatableRead)?;
            db.query("SELECT * FROM parent", &[]).await?;
            let update = rival.batch_execute("UPDATE parent SET name = 'theirs' WHERE id = 1");
            update.await.expect("nothing is in its way");
            db.execute("UPDATE parent SET name = 'ours' WHERE id = 1", &[])
                .await?;
            Ok::<_, Error>(())
        },
    );
    let reply = ask(&app).await;
    assert_eq!(sqlstate(&reply), "40001");
    check(&reply, &recorder, 503, 10, "database_error");
}

#[tokio::test]
async fn a_deadlocks_victim_may_be_run_again() {
    let database = prepared_database().await;
    database
        .execute(&format!(
            "ALTER DATABASE {} SET deadlock_timeout = '10ms'",
            name(&database).await
        ))
        .await;
    let watcher = database.admin().await;
    let rival = database.admin().await;
    // The other one looks for deadlocks, and so it is the one that is chosen.
    rival
        .batch_execute(
            "SET deadlock_timeout = '1h'; BEGIN; UPDATE parent SET name = 'r' WHERE id = 2",
        )
        .await
        .expect("it runs");
    let rival_pid = pid(&rival).await;
    let shared = std::sync::Arc::new((rival, watcher));
    let handlers = std::sync::Arc::clone(&shared);
    let recorder = Recorder::start();
    let app = with(
        &database.pool().await,
        async move |db: RoleScopedConnection| {
            db.execute("UPDATE parent SET name = 'h' WHERE id = 1", &[])
                .await?;
            let shared = std::sync::Arc::clone(&handlers);
            tokio::spawn(async move {
                shared
                    .0
                    .batch_execute("UPDATE parent SET name = 'r' WHERE id = 1")
                    .await
            });
            until(&handlers.1, rival_pid, "wait_event_type = 'Lock'").await;
            db.execute("UPDATE parent SET name = 'h' WHERE id = 2", &[])
                .await?;
            Ok::<_, Error>(())
        },
    );
    let reply = ask(&app).await;
    assert_eq!(sqlstate(&reply), "40P01");
    check(&reply, &recorder, 503, 10, "database_error");
}

async fn name(database: &Database) -> String {
    let row = database
        .admin()
        .await
        .query_one("SELECT current_database()::text", &[])
        .await;
    row.expect("it runs").get(0)
}

#[tokio::test]
async fn a_lock_that_is_held_may_be_free_later() {
    let database = prepared_database().await;
    let holder = database.admin().await;
    holder
        .batch_execute("BEGIN; SELECT * FROM parent FOR UPDATE")
        .await
        .expect("it runs");
    let app = app(&database.pool().await);
    let recorder = Recorder::start();
    for sql in [
        "SELECT * FROM parent FOR UPDATE NOWAIT",
        "SET LOCAL lock_timeout = '10ms';;SELECT * FROM parent FOR UPDATE",
    ] {
        let reply = ask_anybody(&app, sql).await;
        assert_eq!(sqlstate(&reply), "55P03", "{sql}: {reply:?}");
        check(&reply, &recorder, 503, 14, "database_error");
    }
}

/// PostgREST has 500 here.
#[tokio::test]
async fn a_statement_that_takes_too_long_is_a_gateways_timeout() {
    let database = prepared_database().await;
    let pool = database
        .pool_builder()
        .statement_timeout(Duration::from_millis(200))
        .build()
        .await
        .expect("the pool is built");
    let app = app(&pool);
    let recorder = Recorder::start();
    let reply = ask_anybody(&app, "SELECT pg_sleep(600)").await;
    assert_eq!(sqlstate(&reply), "57014");
    check(&reply, &recorder, 504, 4, "database_error");
    assert_eq!(ask_anybody(&app, "SELECT 1").await.ok(), "done");
}

#[tokio::test]
async fn a_session_that_the_server_ends_is_replaced() {
    let database = prepared_database().await;
    let app = app(&database.pool_of_one().await);
    let recorder = Recorder::start();
    let reply = ask_anybody(&app, "SELECT 1;;SELECT end_session()").await;
    assert_eq!(sqlstate(&reply), "57P01");
    check(&reply, &recorder, 503, 14, "database_error");
    assert_eq!(ask_anybody(&app, "SELECT 1").await.ok(), "done");
}

#[tokio::test]
async fn a_handler_that_idles_in_its_transaction_loses_it() {
    let database = prepared_database().await;
    let pool = database
        .pool_builder()
        .idle_in_transaction_timeout(Duration::from_millis(500))
        .build()
        .await
        .expect("the pool is built");
    let admin = std::sync::Arc::new(database.admin().await);
    let watcher = std::sync::Arc::clone(&admin);
    let app = with(&pool, async move |db: RoleScopedConnection| {
        let pid: i32 = db.query_one_scalar("SELECT pg_backend_pid()", &[]).await?;
        until(&watcher, pid, "true").await;
        db.execute("SELECT 1", &[]).await?;
        Ok::<_, Error>(())
    });
    let recorder = Recorder::start();
    let reply = ask(&app).await;
    check(&reply, &recorder, 503, 14, "connection_lost");
}

#[tokio::test]
async fn a_database_that_takes_no_more_connections_is_away_for_now() {
    let database = prepared_database().await;
    let pool = database
        .pool_builder()
        .build_lazy()
        .expect("the options are good");
    let app = app(&pool);
    let recorder = Recorder::start();
    let limit = format!("ALTER DATABASE {} CONNECTION LIMIT", name(&database).await);
    database.execute(&format!("{limit} 0")).await;
    let reply = ask_anybody(&app, "SELECT 1").await;
    let body = reply.json();
    assert_eq!(body["code"], "database_unavailable");
    let event = &recorder
        .take()
        .into_iter()
        .find(|line| line.get("kind").is_some());
    let event = event.as_ref().expect("an event");
    let cause = event.get("cause").expect("a cause");
    assert!(cause.contains("too many connections"), "{cause}");
    assert_eq!(reply.status, 503);

    database.execute(&format!("{limit} -1")).await;
    // For a second the last failure speaks for the next attempts.
    tokio::time::timeout(Duration::from_secs(30), async {
        while ask_anybody(&app, "SELECT 1").await.status != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the pool recovers");
}

#[tokio::test]
async fn a_deferred_constraint_that_fails_at_commit_is_the_answer() {
    let database = prepared_database().await;
    let app = app(&database.pool().await);
    let recorder = Recorder::start();
    let reply = ask_anybody(
        &app,
        "SET CONSTRAINTS ALL DEFERRED;;INSERT INTO child VALUES (9)",
    )
    .await;
    check(&reply, &recorder, 409, 9, "23503");
}

/// A missing privilege that shows at COMMIT is told by the layer, which must know of the token, too.
#[tokio::test]
async fn a_privilege_that_is_missed_at_commit_asks_for_a_token_only_where_none_was_sent() {
    let database = prepared_database().await;
    database
        .execute(
            "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN PERFORM * FROM closed; RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER late AFTER INSERT ON parent INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION look()",
        )
        .await;
    let app = with(&database.pool().await, async |db: RoleScopedConnection| {
        db.execute("INSERT INTO parent VALUES (7, 'seven')", &[])
            .await
            .map(|_| ())
    });
    let recorder = Recorder::start();
    check(&ask(&app).await, &recorder, 401, 16, "42501");
    let web_user = Some(r#"{"role":"web_user"}"#);
    check(
        &send_post(&app, "/", web_user).await,
        &recorder,
        403,
        7,
        "42501",
    );
}
