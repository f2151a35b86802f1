//! The ways in which a request can do what a row says, and how each ends.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::routing::{get, post};
use rolescope::{Error, ErrorKind, RoleScopedConnection, RoleScopedPool};

use super::rows::{Fate, ROWS, Row};
use super::{at_rest, next, permissive};
use crate::support::proxy::within;
use crate::support::service::{self, service};

const ALICE: Option<&str> = Some(r#"{"role":"web_user","sub":"alice"}"#);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    /// One message of all statements.
    Simple,
    /// One message for each.
    Extended,
    /// The last statement with the COMMIT behind it.
    Last,
    /// One block for each statement, which executes it as text.
    Block,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Commit,
    Rollback,
    /// The transaction is READ ONLY, and where nothing speaks against it nobody waits for its end.
    Read,
}

async fn run(db: &RoleScopedConnection, sql: &[String], protocol: Protocol) -> Result<(), Error> {
    match protocol {
        Protocol::Simple => db.batch_execute(&sql.join("; ")).await,
        Protocol::Extended | Protocol::Block => {
            for (at, sql) in sql.iter().enumerate() {
                match at % 2 {
                    0 => db.execute(sql, &[]).await?,
                    _ => db.execute_typed(sql, &[]).await?,
                };
            }
            Ok(())
        }
        Protocol::Last => {
            let (last, before) = sql.split_last().expect("there is one");
            for sql in before {
                db.execute(sql, &[]).await?;
            }
            db.execute_and_commit(last, &[]).await.map(|_| ())
        }
    }
}

/// What the handler is to do, and what it saw.
#[derive(Clone)]
struct Task {
    sql: Vec<String>,
    protocol: Protocol,
    end: End,
    saw: Arc<Mutex<Option<String>>>,
}

async fn handler(task: Task, db: RoleScopedConnection) -> Result<StatusCode, Error> {
    run(&db, &task.sql, task.protocol).await?;
    if task.protocol == Protocol::Extended && matches!(task.end, End::Commit) {
        let row = db.query_typed_one("SELECT public.traces()", &[]).await?;
        *task.saw.lock().expect("no panic") = Some(row.get(0));
    }
    Ok(match task.end {
        End::Commit | End::Read => StatusCode::OK,
        End::Rollback => StatusCode::IM_A_TEAPOT,
    })
}

/// Whether PostgreSQL refused the SQL, which then has left nothing.
fn was_refused(reply: &service::Reply) -> bool {
    reply.error.as_ref().is_some_and(|error| {
        error.code().is_some() && !matches!(error.kind(), ErrorKind::ScopeLeft)
    })
}

fn fate(row: &Row, protocol: Protocol, refused: bool) -> Fate {
    match row.fate {
        // No words of PostgreSQL's own say what a block has in it: only what it did counts.
        Fate::ClosedAnyway if protocol == Protocol::Block => {
            let planted = ["PREPARE left_behind", "DEALLOCATE"];
            if !refused && planted.iter().any(|word| row.sql[0].starts_with(word)) {
                Fate::Closed
            } else {
                Fate::Kept
            }
        }
        Fate::Closed if refused => Fate::Kept,
        fate => fate,
    }
}

/// What the handler sees that does nothing.
async fn own_traces(pool: &RoleScopedPool) -> String {
    let task = Task {
        sql: Vec::new(),
        protocol: Protocol::Extended,
        end: End::Commit,
        saw: Arc::default(),
    };
    let saw = Arc::clone(&task.saw);
    let look = move |db: RoleScopedConnection| handler(task.clone(), db);
    let app = service(pool, Router::new().route("/", post(look)));
    service::post(&app, "/", ALICE).await.ok();
    let saw = saw.lock().expect("no panic").take();
    saw.expect("it was asked")
}

/// The lines that are not the same.
fn difference(found: &str, clean: &str) -> String {
    let lines = found
        .lines()
        .filter(|line| !clean.lines().any(|c| c == *line));
    lines.collect::<Vec<_>>().join("; ")
}

async fn nothing_is_left(protocol: Protocol, ends: &[End]) {
    let database = permissive().await;
    let pool = database.pool_of_one().await;
    let rests = at_rest(&pool).await;
    let (clean, _) = next(&pool).await;
    let own = own_traces(&pool).await;
    let mut wrong = Vec::new();
    for row in ROWS {
        for &end in ends {
            let what = format!("{:?}, {protocol:?}, {end:?}", row.sql);
            let (_, process) = next(&pool).await;
            let sql = row.sql.iter().map(|sql| match protocol {
                Protocol::Block => format!("DO $do$ BEGIN EXECUTE $sql${sql}$sql$; END $do$"),
                _ => (*sql).to_owned(),
            });
            let task = Task {
                sql: sql.collect(),
                protocol,
                end,
                saw: Arc::default(),
            };
            let saw = Arc::clone(&task.saw);
            let leave = move |db: RoleScopedConnection| handler(task.clone(), db);
            let app = service(
                &pool,
                Router::new().route("/", get(leave.clone()).post(leave)),
            );
            let method = match end {
                End::Read => Method::GET,
                End::Commit | End::Rollback => Method::POST,
            };
            let reply = within(service::call(&app, method, "/", ALICE)).await;
            let refused = was_refused(&reply);
            let saw = saw.lock().expect("no panic").take();
            if row.seen && saw.is_some_and(|saw| saw == own) {
                wrong.push(format!("{what}: the traces do not show it"));
            }
            let (found, served_by) = within(next(&pool)).await;
            if found != clean {
                wrong.push(format!("{what}: {}", difference(&found, &clean)));
            }
            let fate = fate(row, protocol, refused);
            if (served_by == process) != (fate == Fate::Kept) {
                let refused = if refused { ", refused" } else { "" };
                wrong.push(format!("{what}{refused}: the session should be {fate:?}"));
            }
        }
        let resting = within(at_rest(&pool)).await;
        if resting != rests {
            wrong.push(format!("{:?}: {}", row.sql, difference(&resting, &rests)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn by_several_statements_in_one_message() {
    nothing_is_left(Protocol::Simple, &[End::Commit, End::Rollback, End::Read]).await;
}

#[tokio::test]
async fn by_statements_one_by_one() {
    nothing_is_left(Protocol::Extended, &[End::Commit, End::Rollback, End::Read]).await;
}

#[tokio::test]
async fn by_a_last_statement() {
    nothing_is_left(Protocol::Last, &[End::Commit, End::Read]).await;
}

#[tokio::test]
async fn by_blocks_of_code() {
    nothing_is_left(Protocol::Block, &[End::Commit, End::Rollback, End::Read]).await;
}
