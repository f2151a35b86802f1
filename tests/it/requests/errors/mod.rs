//! What a client is told of an error, and what the operator is.

mod answers;
mod kinds;
mod metadata;
mod raised;
mod real;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use axum::routing::post;
use rolescope::{Error, RoleScopedConnection, RoleScopedPool};
use serde_json::{Value, json};

use crate::support::events::Recorder;
use crate::support::service::{self, Reply, send, service, token};
use crate::support::{Database, database};

/// What the service stands on: `parent` and `child` for what can go wrong with rows, and functions that fail.
const SCHEMA: &str = "
    CREATE TABLE parent (id int PRIMARY KEY, name text NOT NULL CHECK (name <> ''));
    INSERT INTO parent VALUES (1, 'one'), (2, 'two');
    CREATE TABLE child (parent int REFERENCES parent DEFERRABLE);
    CREATE TABLE closed (id int);
    CREATE TABLE loops (id int);
    ALTER TABLE loops ENABLE ROW LEVEL SECURITY;
    CREATE POLICY itself ON loops USING (id IN (SELECT id FROM loops));
    GRANT SELECT, INSERT, UPDATE, DELETE ON parent, child, loops TO anon, web_user;
    GRANT UPDATE ON parent TO anon, web_user;

    CREATE FUNCTION raise(state text) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION USING ERRCODE = state, MESSAGE = 'needle m', DETAIL = 'needle d', HINT = 'needle h';
    END $$;
    CREATE FUNCTION raise(state text, message text) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message;
    END $$;
    CREATE FUNCTION raise(state text, message text, detail text) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message, DETAIL = detail;
    END $$;
    CREATE FUNCTION end_session() RETURNS bool LANGUAGE sql SECURITY DEFINER AS
        'SELECT pg_terminate_backend(pg_backend_pid())';
    GRANT EXECUTE ON FUNCTION end_session() TO anon, web_user;";

async fn prepared_database() -> Database {
    let database = database().await;
    database.execute(SCHEMA).await;
    database
}

/// A service that runs what it is sent: statements with `;;` between. No service should.
fn app(pool: &RoleScopedPool) -> Router {
    let routes = Router::new()
        .route("/", post(run).get(run))
        .route("/ignoring", post(ignoring));
    service(pool, routes)
}

async fn run(db: RoleScopedConnection, sql: String) -> Result<&'static str, Error> {
    for statement in sql.split(";;") {
        db.execute(statement, &[]).await?;
    }
    Ok("done")
}

async fn ignoring(db: RoleScopedConnection, sql: String) -> &'static str {
    for statement in sql.split(";;") {
        let _ = db.batch_execute(statement).await;
    }
    "done"
}

/// Who sends a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Anybody,
    WebUser,
}

async fn ask(app: &Router, method: Method, uri: &str, by: By, sql: &str) -> Reply {
    let mut request = Request::builder().method(method).uri(uri);
    if by == By::WebUser {
        let token = token(r#"{"role":"web_user"}"#);
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Body::from(sql.to_owned()));
    send(app, request.expect("the request is well formed")).await
}

async fn ask_anybody(app: &Router, sql: &str) -> Reply {
    ask(app, Method::POST, "/", By::Anybody, sql).await
}

/// The SQLSTATE of the error that made a response.
fn sqlstate(reply: &Reply) -> &str {
    let error = reply.error.as_ref();
    let error = error.unwrap_or_else(|| panic!("no error in the extensions: {reply:?}"));
    error.code().map_or("", |code| code.code())
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    let value = reply.headers.get(name)?;
    Some(value.to_str().expect("it is text"))
}

/// Checks all of an answer that follows from its status, and the operator's event.
///
/// `code` is the body's, for a 4xx that repeats what the database said; 5xx bodies say one of three things.
#[track_caller]
fn check(reply: &Reply, recorder: &Recorder, status: u16, grpc: i32, code: &str) {
    assert_eq!(reply.status.as_u16(), status, "{reply:?}");
    let error = reply
        .error
        .as_ref()
        .expect("the error is in the extensions");
    assert_eq!(error.status().as_u16(), status, "{reply:?}");
    assert_eq!(error.grpc_code(), grpc, "{reply:?}");
    assert_eq!(header(reply, "content-type"), Some("application/json"));
    let challenge = (status == 401).then_some("Bearer");
    assert_eq!(header(reply, "www-authenticate"), challenge, "{reply:?}");
    let retry = (status == 503).then_some("1");
    assert_eq!(header(reply, "retry-after"), retry, "{reply:?}");

    let body = reply.json();
    let errors = recorder.errors();
    if status < 500 {
        assert_eq!(body["code"], code, "{reply:?}");
        let mut names: Vec<_> = body.as_object().expect("an object").keys().collect();
        names.sort();
        assert_eq!(names, ["code", "details", "hint", "message"], "{reply:?}");
        assert!(errors.is_empty(), "{errors:?}");
        return;
    }
    assert_eq!(body, server_error(status, code), "{reply:?}");
    let [event] = &errors[..] else {
        panic!("one event for {reply:?}, not {errors:?}");
    };
    assert_eq!(event.get("kind"), Some(code), "{event:?}");
    assert_eq!(event.get("status"), Some(&*status.to_string()), "{event:?}");
    let state = sqlstate(reply);
    assert_eq!(
        event.get("sqlstate").unwrap_or_default(),
        state,
        "{event:?}"
    );
    assert!(!event.message().is_empty(), "{event:?}");
}

/// All that the body of a 5xx may say.
fn server_error(status: u16, code: &str) -> Value {
    let message = match (status, code) {
        (_, "commit_unknown") => {
            "the connection to the database was lost while it committed: it is unknown whether the change was stored"
        }
        (503, _) => "the database cannot serve this request now: try again",
        (504, _) => "the database took too long",
        _ => "internal server error",
    };
    json!({ "code": code, "message": message, "details": null, "hint": null })
}
