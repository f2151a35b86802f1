//! What a handler's error becomes: a status for the client, one event for the operator, an `Error` for layers outside.

use std::error::Error as StdError;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Extensions, Method, Response};
use axum::routing::post;
use rolescope::{Error, RoleName, RoleScope, RoleScopeLayer, RoleScopedConnection, RoleScopedPool};
use tonic::{Code, Request, Status};
use tower::ServiceBuilder;
use tower::util::MapResponseLayer;

use super::{layers, run};
use crate::support::events::Recorder;
use crate::support::grpc::{Caller, Methods};
use crate::support::service::{self, auth, service};
use crate::support::{Database, database};

const SCHEMA: &str = "
    CREATE TABLE parent (id int PRIMARY KEY, name text CHECK (name <> ''));
    INSERT INTO parent VALUES (1, 'one');
    CREATE TABLE child (parent int REFERENCES parent);
    GRANT SELECT, INSERT ON parent, child TO anon;
    CREATE FUNCTION raise(state text) RETURNS text LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION USING ERRCODE = state, MESSAGE = 'needle 100 % ü', DETAIL = 'needle'; END $$;";

async fn prepared() -> Database {
    let database = database().await;
    database.execute(SCHEMA).await;
    database
}

async fn serve(pool: &RoleScopedPool) -> Caller {
    let methods = Methods::default().unary("/t.T/Run", run);
    Caller::connect(methods.serve(layers(pool)).await).await
}

async fn rows(database: &Database) -> i64 {
    let admin = database.admin().await;
    let row = admin.query_one("SELECT count(*) FROM parent", &[]).await;
    row.expect("it can be counted").get(0)
}

#[rustfmt::skip] // A table.
const TABLE: &[(&str, Code, &str)] = &[
    ("INSERT INTO parent VALUES (1, 'again')", Code::AlreadyExists, "duplicate key value violates unique constraint \"parent_pkey\""),
    ("INSERT INTO child VALUES (3)", Code::FailedPrecondition, "insert or update on table \"child\" violates foreign key constraint \"child_parent_fkey\""),
    ("INSERT INTO parent VALUES (3, '')", Code::InvalidArgument, "new row for relation \"parent\" violates check constraint \"parent_name_check\""),
    ("SELECT 'x'::int::text", Code::InvalidArgument, "invalid input syntax for type integer: \"x\""),
    ("SELECT raise('P0001')", Code::InvalidArgument, "needle 100 % ü"),
    ("SELECT raise('PT404')", Code::NotFound, "needle 100 % ü"),
    ("SELECT raise('PT412')", Code::FailedPrecondition, "needle 100 % ü"),
    ("SELECT raise('0L000')", Code::PermissionDenied, "needle 100 % ü"),
    ("SELECT nothing()", Code::Internal, "internal server error"),
    ("SELECT raise('XX000')", Code::Internal, "internal server error"),
    ("SELECT raise('PT500')", Code::Internal, "internal server error"),
    ("SELECT raise('40001')", Code::Aborted, "the database cannot serve this request now: try again"),
    ("SELECT raise('53300')", Code::ResourceExhausted, "the database cannot serve this request now: try again"),
    ("SELECT raise('55P03')", Code::Unavailable, "the database cannot serve this request now: try again"),
    ("SELECT raise('57014')", Code::DeadlineExceeded, "the database took too long"),
];

#[tokio::test]
async fn a_handlers_error_is_the_status_of_the_one_table() {
    let database = prepared().await;
    let caller = serve(&database.pool().await).await;
    let recorder = Recorder::start();
    for &(sql, code, message) in TABLE {
        // What went well before is rolled back.
        let sql = format!("INSERT INTO parent VALUES (7, 'seven');;{sql}");
        let status = caller.unary("/t.T/Run", &sql).await.expect_err("it fails");
        assert_eq!((status.code(), status.message()), (code, message), "{sql}");
        assert_eq!(status.metadata().get("www-authenticate"), None);
        assert!(!format!("{status:?}").contains("DETAIL"), "{status:?}");
        // The operator is told of what is the server's, once.
        let errors = recorder.errors();
        let told = usize::from(!message.contains(['"', '%']));
        assert_eq!(errors.len(), told, "{sql}: {errors:?}");
    }
    assert_eq!(rows(&database).await, 1);
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_deadline_exceeded() {
    let database = prepared().await;
    let pool = database
        .pool_builder()
        .statement_timeout(Duration::from_millis(200))
        .build()
        .await
        .expect("the pool is built");
    let caller = serve(&pool).await;
    let status = caller.unary("/t.T/Run", "SELECT pg_sleep(600)::text").await;
    let status = status.expect_err("it takes too long");
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
}

#[tokio::test]
async fn an_exhausted_pool_is_unavailable() {
    let database = prepared().await;
    let pool = database
        .pool_builder()
        .max_size(1)
        .acquire_timeout(Duration::from_millis(100))
        .build()
        .await
        .expect("the pool is built");
    let caller = serve(&pool).await;
    let job = pool.begin(&RoleScope::for_role(
        RoleName::parse("anon").expect("a name"),
    ));
    job.query("SELECT 1", &[])
        .await
        .expect("it takes the only place");
    let recorder = Recorder::start();
    let status = caller.unary("/t.T/Run", "SELECT 'a'").await;
    let status = status.expect_err("no place is free");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let errors = recorder.errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].get("kind"), Some("pool_exhausted"), "{errors:?}");
}

#[tokio::test]
async fn the_error_reaches_layers_outside_and_nothing_of_the_database_the_text_of_a_status() {
    let database = prepared().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (by_handler, by_layer) = (Arc::clone(&seen), Arc::clone(&seen));
    let methods = Methods::default().unary("/t.T/Run", move |db, sql| {
        let seen = Arc::clone(&by_handler);
        async move {
            let status = run(db, sql).await.expect_err("it fails");
            // Within the layers it is among the sources.
            let mut source = status.source();
            while source.is_some_and(|source| !source.is::<Error>()) {
                source = source.and_then(StdError::source);
            }
            let error = source.and_then(|source| source.downcast_ref::<Error>());
            let state = error.and_then(|error| error.code().cloned());
            assert_eq!(state.expect("the error").code(), "23505");
            let mut seen = seen.lock().expect("no panic");
            seen.push(format!("{status} {status:?}"));
            Err(status)
        }
    });
    let outside = MapResponseLayer::new(move |response: Response<_>| {
        if let Some(error) = response.extensions().get::<Error>() {
            let state = error.code().map(|state| state.code().to_owned());
            let mut seen = by_layer.lock().expect("no panic");
            seen.push(format!("{:?} {state:?}", error.kind()));
        }
        response
    });
    let stack = ServiceBuilder::new()
        .layer(outside)
        .layer(auth())
        .layer(RoleScopeLayer::new(database.pool().await));
    let caller = Caller::connect(methods.serve(stack).await).await;
    let sql = "INSERT INTO parent VALUES (1, 'again')";
    caller.unary("/t.T/Run", sql).await.expect_err("it fails");
    let refused = caller.saying("Bearer garbage");
    refused.unary("/t.T/Run", sql).await.expect_err("no token");
    let seen = seen.lock().expect("no panic");
    let [status, error, refusal] = &seen[..] else {
        panic!("{seen:?}");
    };
    assert!(!status.contains("(1)"), "the key's value: {status}");
    assert_eq!(error, "Database Some(\"23505\")");
    assert_eq!(refusal, "InvalidToken None");
}

#[tokio::test]
async fn a_panic_in_a_handler_rolls_back_and_its_session_serves_the_next() {
    let database = prepared().await;
    let pool = database.pool_of_one().await;
    let methods = Methods::default().unary("/t.T/Run", run).unary(
        "/t.T/Panic",
        async |db: RoleScopedConnection, sql: String| {
            run(db, sql).await?;
            panic!("as a mistake would")
        },
    );
    let address = methods.serve(layers(&pool)).await;
    let sql = "INSERT INTO parent VALUES (7, 'seven') RETURNING name";
    let caller = Caller::connect(address).await;
    let status = caller.unary("/t.T/Panic", sql).await.expect_err("a panic");
    assert!(status.code() != Code::Ok, "{status:?}");
    let caller = Caller::connect(address).await;
    let next = caller.unary("/t.T/Run", "SELECT 'next'").await;
    assert_eq!(next.expect("it serves"), "next");
    assert_eq!(rows(&database).await, 1);
}

/// tonic drops the request when the time is over that its client gives it.
#[tokio::test]
async fn a_clients_deadline_rolls_back_and_frees_the_session() {
    let database = prepared().await;
    let pool = database.pool_of_one().await;
    let caller = serve(&pool).await;
    let mut request = Request::new(
        "INSERT INTO parent VALUES (7, 'seven');;SELECT pg_sleep(600)::text".to_owned(),
    );
    request.set_timeout(Duration::from_millis(300));
    let status = caller.send("/t.T/Run", request).await.expect_err("in vain");
    assert!(
        matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded),
        "{status:?}"
    );
    let next = caller.unary("/t.T/Run", "SELECT 'next'").await;
    assert_eq!(next.expect("it serves"), "next");
    assert_eq!(rows(&database).await, 1);
}

/// A response that a handler made in HTTP's words, by `Error::to_response`, is the same to a gRPC client.
#[tokio::test]
async fn an_http_response_of_an_error_says_the_same() {
    let database = prepared().await;
    let pool = database.pool().await;
    let routes = Router::new().route(
        "/",
        post(async |db: RoleScopedConnection| {
            let error = db.query("SELECT nothing()", &[]).await;
            error.expect_err("a mistake").to_response::<Body>()
        }),
    );
    let app = service(&pool, routes);
    let recorder = Recorder::start();
    for (content_type, status) in [
        ("application/grpc", 200),
        ("application/grpc-web+proto", 200),
        ("text/plain", 500),
    ] {
        let mut request = service::request(Method::POST, "/", &[]);
        let value = content_type.parse().expect("a value");
        request.headers_mut().insert("content-type", value);
        let reply = service::send(&app, request).await;
        assert_eq!(reply.status.as_u16(), status, "{reply:?}");
        assert_eq!(recorder.errors().len(), 1);
        let code = reply.headers.get("grpc-status");
        let code = code.map(|code| code.to_str().expect("text"));
        assert_eq!(code, (status == 200).then_some("13"), "{reply:?}");
        if status == 200 {
            assert_eq!(reply.headers["content-type"], content_type);
        }
    }
}

#[test]
fn a_status_carries_no_more_than_code_and_message() {
    let status: Status = RoleScopedConnection::from_extensions(&Extensions::new())
        .expect_err("there is no layer")
        .into();
    assert_eq!(status.code(), Code::Internal);
    assert!(status.metadata().is_empty() && status.details().is_empty());
}
