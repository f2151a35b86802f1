//! The ways out of the switched role that SQL has inside its request: which of them the crate notices, what they are worth
//! where it cannot, and what of it `examples/sql/hardening.sql` closes.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::routing::get;
use rolescope::{Error, ErrorKind, RoleScopedConnection, RoleScopedPool};

use super::hardened;
use crate::support::events::Recorder;
use crate::support::proxy::within;
use crate::support::service::{self, Reply, service};
use crate::support::{Database, database};

const ALICE: Option<&str> = Some(r#"{"role":"web_user","sub":"alice"}"#);

/// Asks who the request is by then, among the statements of a row.
const WHO: &str = "?";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// PostgreSQL refuses it.
    Refused(&'static str),
    /// It is noticed at the end: 500, nothing is stored, and the session is closed. By then the request was this.
    Noticed(&'static str),
    /// As before, but what was written before is stored: the SQL itself has committed it.
    NoticedTooLate(&'static str),
    /// As `Noticed`; in a GET nobody waits for the end, so that it is logged, not answered.
    NoticedOrLogged(&'static str),
    /// Nobody notices. Meanwhile the request was this.
    Unnoticed(&'static str),
}

use Outcome::{Noticed, NoticedOrLogged, NoticedTooLate, Refused, Unnoticed};

struct Escape {
    sql: &'static [&'static str],
    /// In stock PostgreSQL. `resting` stands for the role that sessions rest in.
    stock: Outcome,
    /// In a hardened database, where that is another.
    hardened: Option<Outcome>,
}

const fn same(sql: &'static [&'static str], stock: Outcome) -> Escape {
    Escape {
        sql,
        stock,
        hardened: None,
    }
}

const fn closed_by_hardening(sql: &'static [&'static str], stock: Outcome) -> Escape {
    Escape {
        sql,
        stock,
        hardened: Some(Refused("42501")),
    }
}

const FORGED: &[&str] = &[
    "COMMIT",
    WHO,
    "BEGIN",
    "SET LOCAL ROLE web_user",
    "SET LOCAL rolescope.role = 'web_user'",
];

const ESCAPES: &[Escape] = &[
    // Whole statements that change the role.
    same(&["RESET ROLE"], Noticed("resting")),
    same(&["SET ROLE author"], Noticed("author")),
    same(&["SET ROLE NONE"], Noticed("authenticator")),
    same(&["SET LOCAL ROLE author"], Noticed("author")),
    same(&["SET \"role\" = 'author'"], Noticed("author")),
    same(
        &["SET SESSION AUTHORIZATION authenticator"],
        Noticed("authenticator"),
    ),
    same(&["SET SESSION AUTHORIZATION author"], Refused("42501")),
    same(&["SET SESSION AUTHORIZATION DEFAULT"], Noticed("resting")),
    same(&["SET ROLE not_granted"], Refused("42501")),
    same(&["SET ROLE postgres"], Refused("42501")),
    // The claims go, the role does not.
    same(&["RESET ALL"], Noticed("web_user")),
    // Expressions that do.
    closed_by_hardening(
        &["SELECT set_config('role', 'author', true)"],
        NoticedOrLogged("author"),
    ),
    closed_by_hardening(
        &["SELECT set_config('role', 'author', false)"],
        NoticedOrLogged("author"),
    ),
    closed_by_hardening(
        &["SELECT set_config('role', 'none', true)"],
        NoticedOrLogged("authenticator"),
    ),
    closed_by_hardening(&["SELECT leave()"], NoticedOrLogged("author")),
    // Code.
    closed_by_hardening(
        &["DO 'BEGIN SET LOCAL ROLE author; END'"],
        Noticed("author"),
    ),
    closed_by_hardening(
        &["DO 'BEGIN PERFORM set_config(''role'', ''author'', true); END'"],
        Noticed("author"),
    ),
    Escape {
        sql: &["DO 'BEGIN COMMIT; END'"],
        stock: Refused("2D000"),
        hardened: Some(Refused("42501")),
    },
    same(&["CALL commits()"], Refused("2D000")),
    same(&["SELECT leaves_as_its_owner()"], Refused("42501")),
    // Functions that somebody else has made, and by which the role comes back.
    same(&["SELECT who_as_author()"], Unnoticed("web_user")),
    same(&["SELECT who_as_owner()"], Unnoticed("web_user")),
    // Ends of the transaction.
    same(&["COMMIT"], NoticedTooLate("resting")),
    same(&["COMMIT AND CHAIN"], NoticedTooLate("resting")),
    same(&["ROLLBACK"], Noticed("resting")),
    same(&["ROLLBACK AND CHAIN"], Noticed("resting")),
    same(
        &["COMMIT", "INSERT INTO notes VALUES ('as the resting role')"],
        Refused("42501"),
    ),
    same(&["ROLLBACK", "SELECT * FROM papers"], Refused("42501")),
    same(
        &["COMMIT", "BEGIN", "SET LOCAL ROLE web_user"],
        NoticedTooLate("web_user"),
    ),
    same(&["PREPARE TRANSACTION 'escaped'"], Refused("55000")),
    same(&["ROLLBACK TO SAVEPOINT nowhere"], Refused("3B001")),
    same(
        &["SAVEPOINT a", "ROLLBACK TO SAVEPOINT a"],
        Unnoticed("web_user"),
    ),
    same(FORGED, NoticedTooLate("resting")),
    // Out and back.
    same(
        &["SET LOCAL ROLE author", WHO, "SET LOCAL ROLE web_user"],
        Unnoticed("author"),
    ),
    same(
        &["SET ROLE author", WHO, "SET ROLE web_user"],
        Unnoticed("author"),
    ),
    same(
        &[
            "SAVEPOINT a",
            "SET LOCAL ROLE author",
            WHO,
            "ROLLBACK TO SAVEPOINT a",
        ],
        Unnoticed("author"),
    ),
    closed_by_hardening(
        &[
            "SELECT set_config('role', 'author', true)",
            WHO,
            "SELECT set_config('role', 'web_user', true)",
        ],
        Unnoticed("author"),
    ),
    // Claims, which any SQL can overwrite.
    same(
        &["SET LOCAL request.jwt.claims = '{\"sub\":\"bob\"}'"],
        Unnoticed("web_user as bob"),
    ),
    closed_by_hardening(
        &["SELECT set_config('request.jwt.claims', '{\"sub\":\"bob\"}', true)"],
        Unnoticed("web_user as bob"),
    ),
];

/// What every role may do is enough for a way out; what a role may not do, `author` may.
async fn prepared(database: Database) -> Database {
    database
        .execute(
            "CREATE TABLE papers (x text); GRANT SELECT ON papers TO author;
             CREATE TABLE notes (note text); GRANT SELECT, INSERT ON notes TO web_user, author;
             CREATE FUNCTION leave() RETURNS text LANGUAGE plpgsql AS
             $$ BEGIN RETURN set_config('role', 'author', true); END $$;
             CREATE FUNCTION leaves_as_its_owner() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS
             $$ BEGIN RETURN set_config('role', 'author', true); END $$;
             CREATE FUNCTION who_as_author() RETURNS text LANGUAGE sql SET role = 'author' AS 'SELECT current_user::text';
             CREATE FUNCTION who_as_owner() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT current_user::text';
             CREATE PROCEDURE commits() LANGUAGE plpgsql AS 'BEGIN COMMIT; END'",
        )
        .await;
    database
}

#[derive(Clone)]
struct Task {
    sql: &'static [&'static str],
    batch: bool,
    write: Option<String>,
    was: Arc<Mutex<Option<String>>>,
}

async fn who(db: &RoleScopedConnection) -> Result<String, Error> {
    let sql = "SELECT concat(current_user, CASE nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub' \
               WHEN 'bob' THEN ' as bob' END)";
    Ok(db.query_typed_one(sql, &[]).await?.get(0))
}

async fn handler(task: Task, db: RoleScopedConnection) -> Result<StatusCode, Error> {
    if let Some(note) = &task.write {
        db.execute("INSERT INTO notes VALUES ($1)", &[note]).await?;
    }
    let mut was = None;
    for part in task.sql.split(|sql| *sql == WHO) {
        if part.as_ptr() != task.sql.as_ptr() {
            was = Some(who(&db).await?);
        }
        if task.batch {
            db.batch_execute(&part.join("; ")).await?;
        } else {
            for sql in part {
                db.execute(sql, &[]).await?;
            }
        }
    }
    let was = match was {
        Some(was) => was,
        None => who(&db).await?,
    };
    *task.was.lock().expect("no panic") = Some(was);
    Ok(StatusCode::OK)
}

/// Tries one way out, and says who the request was by then.
async fn escape(
    pool: &RoleScopedPool,
    sql: &'static [&'static str],
    batch: bool,
    write: Option<String>,
) -> (Reply, Option<String>) {
    let method = match write {
        Some(_) => Method::POST,
        None => Method::GET,
    };
    let task = Task {
        sql,
        batch,
        write,
        was: Arc::default(),
    };
    let was = Arc::clone(&task.was);
    let handler = move |db: RoleScopedConnection| handler(task.clone(), db);
    let routes = Router::new().route("/", get(handler.clone()).post(handler));
    let reply = within(service::call(&service(pool, routes), method, "/", ALICE)).await;
    let was = was.lock().expect("no panic").take();
    (reply, was)
}

async fn backend(pool: &RoleScopedPool) -> i32 {
    let role = rolescope::RoleName::parse("web_user").expect("a good name");
    let db = pool.begin(&rolescope::RoleScope::for_role(role));
    let process = db
        .query_one_scalar(
            "SELECT pg_backend_pid() WHERE current_user = 'web_user'",
            &[],
        )
        .await;
    process.expect("the pool serves")
}

async fn stored(database: &Database, note: &str) -> bool {
    let admin = database.admin().await;
    let sql = "SELECT count(*) > 0 FROM notes WHERE note = $1";
    admin
        .query_one_scalar(sql, &[&note])
        .await
        .expect("counted")
}

async fn all_end_as_the_table_says(
    database: &Database,
    pool: &RoleScopedPool,
    resting: &str,
    outcome_of: fn(&Escape) -> Outcome,
) {
    let recorder = Recorder::start();
    for (number, row) in ESCAPES.iter().enumerate() {
        for (batch, write) in [(false, false), (false, true), (true, false), (true, true)] {
            let what = format!("{:?}, in one message: {batch}, write: {write}", row.sql);
            let note = format!("{number} {batch}");
            let process = backend(pool).await;
            recorder.take();
            let (reply, was) = escape(pool, row.sql, batch, write.then(|| note.clone())).await;
            let outcome = outcome_of(row);
            let (status, expected, is_stored, kept) = match outcome {
                // What PostgreSQL refuses behind a COMMIT is refused too late.
                Refused(_) if row.sql[0] == "COMMIT" => (None, None, true, false),
                Refused(_) if row.sql[0] == "ROLLBACK" => (None, None, false, false),
                Refused(_) => (None, None, false, !row.sql[0].starts_with("PREPARE")),
                Noticed(was) => (Some(500), Some(was), false, false),
                NoticedTooLate(was) => (Some(500), Some(was), true, false),
                NoticedOrLogged(was) if write || batch => (Some(500), Some(was), false, false),
                NoticedOrLogged(was) => (Some(200), Some(was), false, false),
                Unnoticed(was) => (Some(200), Some(was), true, true),
            };
            let expected = expected.map(|was| if was == "resting" { resting } else { was });
            assert_eq!(was.as_deref(), expected, "{what}: {reply:?}");
            match (outcome, status) {
                (Refused(code), _) => {
                    assert!(
                        reply.status.is_client_error() || reply.status.is_server_error(),
                        "{what}"
                    );
                    let left = reply.error.as_ref().map(Error::kind) == Some(ErrorKind::ScopeLeft);
                    let refused = reply
                        .error
                        .as_ref()
                        .and_then(Error::code)
                        .map(|code| code.code());
                    assert!(left || refused == Some(code), "{what}: {reply:?}");
                }
                (_, Some(500)) => {
                    assert_eq!(
                        reply.error.as_ref().map(Error::kind),
                        Some(ErrorKind::ScopeLeft),
                        "{what}: {reply:?}"
                    )
                }
                (_, status) => assert_eq!(Some(reply.status.as_u16()), status, "{what}: {reply:?}"),
            }
            if write {
                assert_eq!(
                    stored(database, &note).await,
                    is_stored,
                    "{what}: {reply:?}"
                );
            }
            assert_eq!(backend(pool).await == process, kept, "{what}: {reply:?}");
            if let (NoticedOrLogged(_), Some(200)) = (outcome, status) {
                let warnings = recorder.warnings();
                let logged =
                    |warning: &String| warning.contains("left its transaction or its role");
                assert!(warnings.iter().any(logged), "{what}: {warnings:?}");
            }
        }
    }
}

#[tokio::test]
async fn in_a_stock_database() {
    let database = prepared(database().await).await;
    let pool = database.pool_of_one().await;
    all_end_as_the_table_says(&database, &pool, "anon", |row| row.stock).await;
}

#[tokio::test]
async fn in_a_hardened_database() {
    let database = prepared(database().await).await;
    hardened::harden(&database).await;
    let pool = hardened::pool_builder(&database).max_size(1);
    let pool = pool.build().await.expect("it is built");
    all_end_as_the_table_says(&database, &pool, "resting", |row| {
        row.hardened.unwrap_or(row.stock)
    })
    .await;
}

/// What a function gets to see by such an escape: PostgreSQL obeys it, and nothing is left to be noticed.
#[tokio::test]
async fn functions_run_as_whom_their_owner_says() {
    let database = prepared(database().await).await;
    let pool = database.pool_of_one().await;
    let role = rolescope::RoleName::parse("web_user").expect("a good name");
    let db = pool.begin(&rolescope::RoleScope::for_role(role));
    let seen: String = db
        .query_one_scalar("SELECT who_as_author() || ' ' || who_as_owner()", &[])
        .await
        .expect("it runs");
    assert_eq!(seen, "author postgres");
    db.commit().await.expect("it is committed");
}

/// A GET is READ ONLY to its end: what up to PostgreSQL 15 `RESET` makes of it is noticed, and from 16 on refused.
#[tokio::test]
async fn a_read_cannot_be_made_a_write() {
    let database = prepared(database().await).await;
    database
        .execute("CREATE FUNCTION write() RETURNS void LANGUAGE sql AS $$ INSERT INTO notes VALUES ('written') $$")
        .await;
    let pool = database.pool_of_one().await;
    let write = "INSERT INTO notes VALUES ('written')";
    let ways: [&[&str]; 7] = [
        &["SET TRANSACTION READ WRITE", write],
        &["SET LOCAL transaction_read_only = off", write],
        &["RESET transaction_read_only", write],
        &["SET transaction_read_only TO DEFAULT", write],
        &[
            "SELECT set_config('transaction_read_only', NULL, true)",
            write,
        ],
        &[
            "SELECT set_config('transaction_read_only', NULL, true)",
            "SELECT write()",
        ],
        &[
            "SELECT set_config('transaction_read_only', 'off', true)",
            write,
        ],
    ];
    for sql in ways {
        for batch in [false, true] {
            let sql: &'static [&'static str] = sql.to_vec().leak();
            let (reply, _) = escape(&pool, sql, batch, None).await;
            let by_functions_alone = sql.iter().all(|sql| sql.starts_with("SELECT"));
            assert!(
                !reply.status.is_success() || (by_functions_alone && !batch),
                "{sql:?}, in one message: {batch}: {reply:?}"
            );
            backend(&pool).await;
            assert!(
                !stored(&database, "written").await,
                "{sql:?}, in one message: {batch}"
            );
        }
    }
}
