//! Statements that SQL prepares or removes: the driver knows its own by names that anybody on the session can use.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use rolescope::{Error, ErrorKind, RoleScopedConnection, RoleScopedPool};

use super::{next, permissive};
use crate::support::proxy::within;
use crate::support::service::{self, Reply, service};

const ALICE: Option<&str> = Some(r#"{"role":"web_user","sub":"alice"}"#);

/// A block that puts a statement in the place of one of ours, without a word that gives it away in the text.
fn replacing(ours: &str, parameters: &str, by: &str) -> String {
    format!(
        "DO $do$ DECLARE ours text; BEGIN
             SELECT name INTO ours FROM pg_prepared_statements WHERE statement LIKE '%{ours}%' AND statement NOT LIKE '%unnest%';
             EXECUTE 'DEALL' || 'OCATE ' || ours;
             EXECUTE 'PREP' || 'ARE ' || ours || '{parameters} AS ' || $by${by}$by$;
         END $do$"
    )
}

async fn post_sql(pool: &RoleScopedPool, sql: String, batch: bool) -> Reply {
    let app = Router::new().route(
        "/",
        post(move |db: RoleScopedConnection| {
            let sql = sql.clone();
            async move {
                if batch {
                    db.batch_execute(&sql).await?;
                } else {
                    db.execute(&sql, &[]).await?;
                }
                Ok::<_, Error>(StatusCode::OK)
            }
        }),
    );
    within(service::post(&service(pool, app), "/", ALICE)).await
}

#[tokio::test]
async fn a_statement_in_the_place_of_ours_serves_nobody() {
    let database = permissive().await;
    let pool = database.pool_of_one().await;
    let switch = replacing(
        "request.method",
        "(text, text, text, text)",
        "SELECT set_config('role', 'web_user', true), set_config('rolescope.role', $1, true), $1, $2, $3, $4, now()",
    );
    for batch in [false, true] {
        let (clean, process) = next(&pool).await;
        post_sql(&pool, switch.clone(), batch).await.ok();
        let (found, served_by) = within(next(&pool)).await;
        assert_eq!(found, clean);
        assert_ne!(served_by, process, "in several statements: {batch}");
    }
}

#[tokio::test]
async fn a_statement_in_the_place_of_the_check_does_not_hide_a_stray_end() {
    let database = permissive().await;
    let pool = database.pool_of_one().await;
    let check = replacing("SELECT 1 OPERATOR", "(timestamptz, text, text)", "SELECT 1");
    for (sql, batch) in [
        (format!("COMMIT; {check}; SET ROLE author"), true),
        (check, false),
    ] {
        let (_, process) = next(&pool).await;
        let reply = post_sql(&pool, sql, batch).await;
        if batch {
            assert_eq!(reply.kind(), ErrorKind::ScopeLeft);
        } else {
            reply.ok();
        }
        assert_ne!(within(next(&pool)).await.1, process);
    }
}

/// Only queries end with it, and they have a session to themselves whose statements nobody has touched.
#[tokio::test]
async fn a_statement_in_the_place_of_the_end_of_reads_serves_nobody() {
    let database = permissive().await;
    let pool = database.pool_of_one().await;
    for by in [
        "SELECT 1 AS rolescope",
        "SELECT pg_advisory_unlock_all(), 1 AS rolescope",
    ] {
        let (clean, process) = next(&pool).await;
        let end = replacing("pg_advisory_unlock_all", "", by);
        post_sql(&pool, end, false).await.ok();
        let (found, served_by) = within(next(&pool)).await;
        assert_eq!(found, clean);
        assert_ne!(served_by, process);
    }
}

#[tokio::test]
async fn a_session_without_our_statements_serves_nobody() {
    let database = permissive().await;
    let pool = database.pool_of_one().await;
    for ours in [
        "request.method",
        "SELECT 1 OPERATOR",
        "unnest",
        "rolescope_end",
        "",
    ] {
        let (clean, process) = next(&pool).await;
        let remove = format!(
            "DO $do$ DECLARE ours text; BEGIN
                 FOR ours IN SELECT name FROM pg_prepared_statements WHERE statement LIKE '%{ours}%' LOOP
                     EXECUTE 'DEALL' || 'OCATE ' || ours;
                 END LOOP;
             END $do$"
        );
        post_sql(&pool, remove, false).await.ok();
        let served = within(next(&pool)).await;
        assert_eq!(served.0, clean, "{ours}");
        assert_ne!(served.1, process, "{ours}");
    }
}

#[tokio::test]
async fn a_request_that_finds_no_switch_on_its_session_is_served_by_another() {
    let database = permissive().await;
    database
        .execute(
            "CREATE FUNCTION remove_switch() RETURNS void LANGUAGE plpgsql AS $$ DECLARE ours text; BEGIN
                 SELECT name INTO ours FROM pg_prepared_statements WHERE statement LIKE '%request.method%';
                 EXECUTE 'DEALLOCATE ' || ours;
             END $$",
        )
        .await;
    let pool = database.pool_of_one().await;
    let (clean, process) = next(&pool).await;
    post_sql(&pool, "SELECT remove_switch()".to_owned(), false)
        .await
        .ok();
    let (found, served_by) = within(next(&pool)).await;
    assert_eq!(found, clean);
    assert_ne!(served_by, process);
}

/// Pins what a function can do that exists: its owner is trusted. The README and the documentation of the module `scope` say so.
#[tokio::test]
async fn a_statement_that_a_function_prepared_stays() {
    let database = permissive().await;
    database
        .execute(
            "CREATE FUNCTION plant() RETURNS void LANGUAGE plpgsql AS
             $$ BEGIN EXECUTE 'PREPARE left_behind AS SELECT 1'; END $$;
             CREATE FUNCTION remove_all() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$",
        )
        .await;
    let pool = database.pool_of_one().await;
    let (clean, process) = next(&pool).await;
    post_sql(&pool, "SELECT plant()".to_owned(), false)
        .await
        .ok();
    let (found, served_by) = next(&pool).await;
    assert_eq!(served_by, process);
    let planted = "\nprepared left_behind\nadvisory";
    assert_eq!(found, clean.replace("\nadvisory", planted));
    // The check is gone with the others: then nothing is committed.
    let reply = post_sql(&pool, "SELECT remove_all()".to_owned(), false).await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    let (found, served_by) = within(next(&pool)).await;
    assert_eq!(found, clean);
    assert_ne!(served_by, process);
}
