//! The table from SQLSTATEs to answers: PostgREST's, and where this crate differs from it on purpose.

use axum::http::Method;

use super::{By, app, ask, ask_anybody, check, prepared_database, sqlstate};
use crate::support::events::Recorder;

/// What the database said reaches the client, and nobody is woken up.
#[rustfmt::skip] // A table.
const CLIENTS: &[(&str, &str, u16, i32)] = &[
    ("INSERT INTO parent VALUES (1, 'again')", "23505", 409, 6),
    ("INSERT INTO child VALUES (3)", "23503", 409, 9),
    ("INSERT INTO parent VALUES (3, '')", "23514", 400, 3),
    ("INSERT INTO parent VALUES (3, NULL)", "23502", 400, 3),
    ("SELECT '2026-02-30'::date", "22008", 400, 3),
    ("SELECT 'x'::int", "22P02", 400, 3),
    ("SELECT 1 / 0", "22012", 400, 3),
    ("SELECT raise('P0001', 'no such order')", "P0001", 400, 3),
    // PostgREST has 401 here for a role that does not exist: there it is the token's, which never gets this far.
    ("SET ROLE nobody_at_all", "22023", 400, 3),
    ("SELECT set_config('work_mem', 'x', true)", "22023", 400, 3),
    ("SELECT raise('21000', 'UPDATE requires a WHERE clause')", "21000", 400, 3),
    ("SELECT raise('0L000')", "0L000", 403, 7),
    ("SELECT raise('0LP01')", "0LP01", 403, 7),
    ("SELECT raise('0P000')", "0P000", 403, 7),
    ("SELECT raise('28000')", "28000", 403, 7),
    ("SELECT raise('28P01')", "28P01", 403, 7),
    ("SELECT raise('44000')", "44000", 400, 3),
    ("SELECT raise('01000')", "01000", 400, 3),
    ("SELECT raise('72000')", "72000", 400, 3),
];

/// What the database said stays with the operator.
#[rustfmt::skip] // A table.
const OURS: &[(&str, &str, u16, i32)] = &[
    ("SELECT raise('08000')", "08000", 503, 14),
    ("SELECT raise('08006')", "08006", 503, 14),
    ("SELECT raise('09000')", "09000", 500, 13),
    ("SELECT id FROM parent WHERE id = (SELECT id FROM parent)", "21000", 500, 13),
    ("SELECT raise('25000')", "25000", 500, 13),
    ("SELECT raise('2D000')", "2D000", 500, 13),
    ("SELECT raise('38000')", "38000", 500, 13),
    ("SELECT raise('39000')", "39000", 500, 13),
    ("ROLLBACK TO SAVEPOINT never", "3B001", 500, 13),
    ("SELECT raise('40002')", "40002", 500, 13),
    ("SELECT raise('40003')", "40003", 500, 13),
    ("SELECT raise('53000')", "53000", 503, 14),
    ("SELECT raise('53100')", "53100", 503, 8),
    ("SELECT raise('53200')", "53200", 503, 8),
    ("SELECT raise('53300')", "53300", 503, 8),
    ("SELECT raise('54000')", "54000", 500, 13),
    ("SELECT raise('55000')", "55000", 500, 13),
    ("SELECT raise('55006')", "55006", 500, 13),
    ("SELECT raise('57000')", "57000", 500, 13),
    ("SELECT raise('57P01')", "57P01", 503, 14),
    ("SELECT raise('57P04')", "57P04", 500, 13),
    ("SELECT raise('58030')", "58030", 500, 13),
    ("SELECT raise('F0001')", "F0001", 500, 13),
    ("SELECT raise('HV000')", "HV000", 500, 13),
    ("DO $$ DECLARE p parent; BEGIN SELECT * INTO STRICT p FROM parent; END $$", "P0003", 500, 13),
    ("DO $$ DECLARE p parent; BEGIN SELECT * INTO STRICT p FROM parent WHERE id = 9; END $$", "P0002", 500, 13),
    ("DO $$ BEGIN ASSERT false; END $$", "P0004", 500, 13),
    ("SELECT raise('XX000')", "XX000", 500, 13),
    ("SELECT * FROM loops", "42P17", 500, 13),
    // From here on PostgREST answers otherwise. There the SQL follows from the client's request, here it is the service's.
    ("SELECT * FROM nowhere", "42P01", 500, 13), // 404
    ("SELECT nothing()", "42883", 500, 13), // 404
    ("SELECT xmlagg(1)", "42883", 500, 13), // 406
    ("SELECT nothing FROM parent", "42703", 500, 13), // 400, as for the rest of class 42
    ("SELEC 1", "42601", 500, 13),
    ("SELECT 1 = 'x'::text", "42883", 500, 13),
    ("SELECT id, count(*) FROM parent", "42803", 500, 13),
    ("SELECT 1::nothing", "42704", 500, 13),
    ("SELECT nothing.f()", "3F000", 500, 13), // 400
    ("SELECT 1 FROM parent FOR UPDATE OF nothing", "42P01", 500, 13),
    ("SELECT DISTINCT id FROM parent FOR UPDATE", "0A000", 500, 13), // 400
    ("EXECUTE never", "26000", 500, 13), // 400
    ("FETCH FROM never", "34000", 500, 13), // 400
    // The client may try again, or take its time: PostgREST has 500 for all of these.
    ("SELECT raise('53400')", "53400", 503, 8),
    ("SELECT raise('40001')", "40001", 503, 10),
    ("SELECT raise('40P01')", "40P01", 503, 10),
    ("SELECT raise('55P03')", "55P03", 503, 14),
    ("SELECT raise('25P03')", "25P03", 503, 14),
    ("SELECT raise('25P04')", "25P04", 504, 4),
    ("SELECT raise('57P02')", "57P02", 503, 14),
    ("SELECT raise('57P03')", "57P03", 503, 14),
    ("SELECT raise('57014')", "57014", 504, 4),
];

#[tokio::test]
async fn what_the_client_can_cure_is_told_to_the_client() {
    let database = prepared_database().await;
    let app = app(&database.pool().await);
    let recorder = Recorder::start();
    for &(sql, state, status, grpc) in CLIENTS {
        let reply = ask_anybody(&app, sql).await;
        assert_eq!(sqlstate(&reply), state, "{sql}: {reply:?}");
        check(&reply, &recorder, status, grpc, state);
    }
}

#[tokio::test]
async fn what_the_service_must_cure_is_told_to_its_operator_only() {
    let database = prepared_database().await;
    let app = app(&database.pool().await);
    let recorder = Recorder::start();
    for &(sql, state, status, grpc) in OURS {
        let reply = ask_anybody(&app, sql).await;
        assert_eq!(sqlstate(&reply), state, "{sql}: {reply:?}");
        check(&reply, &recorder, status, grpc, "database_error");
    }
}

#[tokio::test]
async fn a_client_reads_all_that_the_database_said() {
    let database = prepared_database().await;
    let app = app(&database.pool().await);
    let reply = ask_anybody(&app, "INSERT INTO parent VALUES (1, 'again')").await;
    assert_eq!(
        reply.json(),
        serde_json::json!({
            "code": "23505",
            "message": "duplicate key value violates unique constraint \"parent_pkey\"",
            "details": "Key (id)=(1) already exists.",
            "hint": null,
        })
    );
    let reply = ask_anybody(&app, "SELECT raise('P0001')").await;
    assert_eq!(
        reply.json(),
        serde_json::json!({ "code": "P0001", "message": "needle m", "details": "needle d", "hint": "needle h" })
    );
}

/// PostgREST asks whether the role is the anonymous one; here it counts whether a token was sent.
#[tokio::test]
async fn a_missing_privilege_asks_for_a_token_only_where_none_was_sent() {
    let database = prepared_database().await;
    let app = app(&database.pool().await);
    let recorder = Recorder::start();
    let sql = "SELECT * FROM closed";
    let reply = ask_anybody(&app, sql).await;
    check(&reply, &recorder, 401, 16, "42501");
    let reply = ask(&app, Method::POST, "/", By::WebUser, sql).await;
    check(&reply, &recorder, 403, 7, "42501");

    // A token without role runs as the anonymous role, and has been sent all the same.
    let routes = axum::Router::new().route(
        "/",
        axum::routing::post(async |db: rolescope::RoleScopedConnection| {
            db.execute("SELECT * FROM closed", &[]).await.map(|_| ())
        }),
    );
    let app = super::service(&database.pool().await, routes);
    for claims in [r#"{"role":"anon"}"#, r#"{"sub":"alice"}"#] {
        let reply = super::service::post(&app, "/", Some(claims)).await;
        check(&reply, &recorder, 403, 7, "42501");
    }
}

/// PostgREST has 405 here: the client chose the method. Here the service chose to write in a GET handler.
#[tokio::test]
async fn a_write_in_a_get_handler_is_the_services_fault() {
    let database = prepared_database().await;
    let app = app(&database.pool().await);
    let recorder = Recorder::start();
    let sql = "DELETE FROM parent";
    let reply = ask(&app, Method::GET, "/", By::Anybody, sql).await;
    assert_eq!(sqlstate(&reply), "25006");
    check(&reply, &recorder, 500, 13, "database_error");
}

#[tokio::test]
async fn an_error_that_was_ignored_is_named_with_its_cure() {
    let database = prepared_database().await;
    let app = app(&database.pool().await);
    let recorder = Recorder::start();
    let sql = "SELECT * FROM nowhere;;SELECT 1";
    let reply = ask(&app, Method::POST, "/ignoring", By::Anybody, sql).await;
    assert_eq!(sqlstate(&reply), "25P02");
    let errors = recorder.take();
    let event = errors.iter().find(|line| line.get("sqlstate").is_some());
    let cure = event
        .and_then(|event| event.get("cure"))
        .unwrap_or_default();
    assert!(cure.contains("savepoint"), "{errors:?}");
}

#[tokio::test]
async fn the_log_names_the_cure_and_the_cause() {
    let database = prepared_database().await;
    let app = app(&database.pool().await);
    let recorder = Recorder::start();
    for (method, sql, cause, cure) in [
        (
            Method::GET,
            "DELETE FROM parent",
            Some("cannot execute DELETE in a read-only transaction"),
            Some("AccessMode::ReadWrite"),
        ),
        (
            Method::POST,
            "SELECT * FROM nowhere",
            Some("relation \"nowhere\" does not exist"),
            Some("search_path"),
        ),
        (
            Method::POST,
            "SELECT nothing()",
            Some("function nothing() does not exist"),
            Some("search_path"),
        ),
        (
            Method::POST,
            "SELECT nothing.f()",
            Some("schema \"nothing\" does not exist"),
            Some("search_path"),
        ),
        (
            Method::POST,
            "SELECT nothing FROM parent",
            Some("column \"nothing\" does not exist"),
            Some("search_path"),
        ),
        (
            Method::POST,
            "EXECUTE never",
            Some("prepared statement \"never\" does not exist"),
            Some("PREPARE"),
        ),
        (Method::POST, "SELECT raise('42P05')", None, Some("PREPARE")),
        (Method::POST, "SELECT raise('40001')", None, Some("again")),
        (Method::POST, "SELECT raise('40P01')", None, Some("again")),
        (
            Method::POST,
            "SELECT raise('53300')",
            None,
            Some("max_size"),
        ),
        (Method::POST, "SELECT raise('57014')", None, Some("timeout")),
        (
            Method::POST,
            "SELECT * FROM loops",
            Some("infinite recursion detected in policy for relation \"loops\""),
            None,
        ),
        (Method::POST, "SELECT raise('XX000')", None, None),
        (Method::POST, "SELECT raise('P0004')", None, None),
    ] {
        let reply = ask(&app, method, "/", By::Anybody, sql).await;
        let errors = recorder.errors();
        let [event] = &errors[..] else {
            panic!("one event for {sql}, not {errors:?}: {reply:?}");
        };
        assert_eq!(event.get("cause"), cause, "{sql}: {event:?}");
        match cure {
            Some(cure) => assert!(
                event.get("cure").is_some_and(|text| text.contains(cure)),
                "{sql}: {event:?}"
            ),
            None => assert_eq!(event.get("cure"), None, "{sql}: {event:?}"),
        }
    }
}
