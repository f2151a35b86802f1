//! What is left shows later, or in the reset itself.

use std::time::Duration;

use axum::Router;
use axum::http::Method;
use axum::routing::{get, post};
use rolescope::{Error, RoleScopedConnection};

use super::{at_rest, next, permissive, scope};
use crate::support::proxy::within;
use crate::support::service::{self, service};

#[tokio::test]
async fn a_notification_for_the_last_request_does_not_reach_the_next() {
    let database = permissive().await;
    let pool = database.pool_of_one().await;
    let (clean, process) = next(&pool).await;
    let db = pool.begin(&scope("web_user"));
    db.execute("LISTEN left_behind", &[])
        .await
        .expect("it listens");
    db.commit().await.expect("it is committed");
    // It has begun to listen, and stopped again, by the time that the next one is answered.
    assert_eq!(next(&pool).await, (clean.clone(), process));
    database.execute("NOTIFY left_behind, 'too late'").await;
    assert_eq!(next(&pool).await, (clean, process));
}

#[tokio::test]
async fn a_timeout_that_is_left_lets_the_next_request_be() {
    let database = permissive().await;
    let pool = database.pool_of_one().await;
    let (clean, _) = next(&pool).await;
    let rests = at_rest(&pool).await;
    for timeout in [
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "idle_session_timeout",
    ] {
        for _ in 0..5 {
            // It holds from here to the reset, the COMMIT among it: that may fail, and the session may be closed.
            let db = pool.begin(&scope("web_user"));
            let set = format!("SET {timeout} = '1ms'");
            if db.execute(&set, &[]).await.is_ok() {
                let _ = within(db.commit()).await;
            }
            drop(db);
            let (found, _) = within(next(&pool)).await;
            assert_eq!(found, clean, "{timeout}");
        }
    }
    assert_eq!(at_rest(&pool).await, rests);
}

#[tokio::test]
async fn the_reset_waits_for_nobody_whatever_transactions_are_by_default() {
    let database = permissive().await;
    let pool = database
        .pool_builder()
        .max_size(1)
        .reset_timeout(Duration::from_secs(600))
        .build()
        .await
        .expect("it is built");
    let (clean, process) = next(&pool).await;
    // A transaction that is DEFERRABLE waits for the end of this one.
    let other = database.admin().await;
    other
        .batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO t VALUES (3)")
        .await
        .expect("it runs");
    let db = pool.begin(&scope("web_user"));
    let defaults = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE";
    db.execute(defaults, &[]).await.expect("it is set");
    db.commit().await.expect("it is committed");
    assert_eq!(within(next(&pool)).await, (clean, process));
}

#[tokio::test]
async fn a_setting_that_only_a_grant_allows_is_reset_too() {
    let database = permissive().await;
    let admin = database.admin().await;
    let version: i32 = admin
        .query_one("SELECT current_setting('server_version_num')::int", &[])
        .await
        .expect("it tells")
        .get(0);
    if version < 150_000 {
        // There are no grants on parameters.
        return;
    }
    database
        .execute(
            "CREATE ROLE replayer; GRANT replayer TO authenticator;
             GRANT SET ON PARAMETER session_replication_role TO replayer",
        )
        .await;
    let pool = database.pool_of_one().await;
    let (clean, process) = next(&pool).await;
    let db = pool.begin(&scope("replayer"));
    db.execute("SET session_replication_role = replica", &[])
        .await
        .expect("it is granted");
    db.commit().await.expect("it is committed");
    assert_eq!(next(&pool).await, (clean, process));
}

#[tokio::test]
async fn a_row_stream_that_is_half_read_leaves_nothing() {
    let database = permissive().await;
    let pool = database.pool_of_one().await;
    let (clean, process) = next(&pool).await;
    let rows = "SELECT set_config('app.kept', x::text, false), pg_advisory_lock(x % 3) FROM generate_series(1, 20000) x";
    for committed in [false, true] {
        let db = pool.begin(&scope("web_user"));
        let mut stream = db.query_stream(rows, &[]).await.expect("it begins");
        stream.next().await.expect("a row").expect("it is read");
        if committed {
            while let Some(row) = stream.next().await {
                row.expect("it is read");
            }
            drop(stream);
            db.commit().await.expect("it is committed");
        } else {
            drop(stream);
        }
        drop(db);
        let (found, served_by) = within(next(&pool)).await;
        assert_eq!(found, clean);
        assert!(!committed || served_by == process || pool.status().connections_created == 2);
    }
}

#[tokio::test]
async fn a_copy_in_a_text_of_several_statements_closes_the_session() {
    let database = permissive().await;
    let pool = database.pool_of_one().await;
    let (clean, mut process) = next(&pool).await;
    for copy in [
        "COPY t FROM STDIN",
        "SET app.kept = 'left'; COPY t TO STDOUT",
        "COPY t TO STDOUT; SET app.kept = 'left'",
    ] {
        let copies = move |db: RoleScopedConnection| async move {
            db.batch_execute(copy).await?;
            Ok::<_, Error>("copied")
        };
        let app = service(&pool, Router::new().route("/", get(copies).post(copies)));
        for method in [Method::GET, Method::POST] {
            if method == Method::GET && copy.contains("FROM") {
                // A READ ONLY transaction refuses it.
                continue;
            }
            let reply = within(service::call(
                &app,
                method,
                "/",
                Some(r#"{"role":"web_user"}"#),
            ));
            assert!(reply.await.status.is_server_error(), "{copy}");
            let (found, served_by) = within(next(&pool)).await;
            assert_eq!(found, clean, "{copy}");
            assert_ne!(served_by, process, "{copy}");
            process = served_by;
        }
    }
}

/// Up to PostgreSQL 15 `RESET` makes a READ ONLY transaction write; then its reset has more to do.
#[tokio::test]
async fn a_read_that_made_itself_a_write_and_back_leaves_nothing() {
    let database = permissive().await;
    database
        .execute(
            "CREATE FUNCTION leave() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
                 PERFORM set_config('transaction_read_only', NULL, true);
                 CREATE TEMP TABLE t (x int);
                 PERFORM nextval('numbers');
                 PERFORM set_config('transaction_read_only', 'on', true);
             END $$",
        )
        .await;
    let pool = database.pool_of_one().await;
    let (clean, process) = next(&pool).await;
    let leave = async |db: RoleScopedConnection| {
        db.query("SELECT leave()", &[]).await?;
        Ok::<_, Error>("left")
    };
    let app = service(&pool, Router::new().route("/", get(leave)));
    // Where it is refused, from 16 on, the answer says so.
    let reply = service::get(&app, "/", Some(r#"{"role":"web_user"}"#)).await;
    assert_eq!(next(&pool).await, (clean, process), "{reply:?}");
}

/// Pins what no command of PostgreSQL resets.
#[tokio::test]
async fn the_seed_of_random_stays() {
    let database = permissive().await;
    let pool = database.pool_of_one().await;
    let mut told = Vec::new();
    for _ in 0..2 {
        let seed = async |db: RoleScopedConnection| {
            db.query("SELECT setseed(0.5)", &[]).await?;
            Ok::<_, Error>("seeded")
        };
        let app = service(&pool, Router::new().route("/", post(seed)));
        service::post(&app, "/", Some(r#"{"role":"web_user"}"#))
            .await
            .ok();
        let db = pool.begin(&scope("author"));
        let random: f64 = db
            .query_one_scalar("SELECT random()", &[])
            .await
            .expect("it runs");
        told.push(random);
    }
    assert!((told[0] - told[1]).abs() < f64::EPSILON, "{told:?}");
    assert_eq!(pool.status().connections_created, 1);
}
