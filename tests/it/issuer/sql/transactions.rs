//! What the statement does to its transaction, and what it costs.

use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Extension, Router};
use rolescope::issuer::TokenIssuer;
use rolescope::{AccessMode, Error, RoleScopedConnection};

use super::{ask, begin, issuer, service, told, verifier};
use crate::support::database;
use crate::support::proxy::{Proxy, within};

const LOGIN: &str = "
    CREATE TYPE public.jwt_claims AS (role text, sub text);
    CREATE TABLE attempts (n int);
    GRANT INSERT, SELECT ON attempts TO anon, web_user;
    CREATE FUNCTION login(pass text) RETURNS jwt_claims LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO attempts VALUES (1);
        IF pass = 'raise' THEN RAISE 'no'; END IF;
        IF pass <> 'right' THEN RETURN NULL; END IF;
        RETURN ROW('web_user'::text, 'alice'::text);
    END $$;
    CREATE FUNCTION stable() RETURNS jwt_claims LANGUAGE plpgsql STABLE AS $$
    BEGIN
        PERFORM set_config('test.calls', (current_setting('test.calls')::int + 1)::text, true);
        RETURN ROW('web_user'::text, 'alice'::text);
    END $$;
    CREATE FUNCTION volatile() RETURNS SETOF jwt_claims LANGUAGE plpgsql VOLATILE AS $$
    BEGIN
        PERFORM set_config('test.calls', (current_setting('test.calls')::int + 1)::text, true);
        RETURN NEXT ROW('web_user'::text, 'alice'::text);
    END $$;
    CREATE FUNCTION step_up() RETURNS jwt_claims LANGUAGE sql AS $$
        SELECT 'author', current_setting('request.jwt.claims')::json ->> 'sub'
    $$;";

async fn login(
    db: RoleScopedConnection,
    Extension(issuer): Extension<TokenIssuer>,
    pass: String,
) -> Result<axum::response::Response, Error> {
    let token = db
        .issue_token(&issuer, "SELECT login($1)", &[&pass])
        .await?;
    Ok(match token {
        Some(token) => token.into_string().into_response(),
        None => {
            db.commit().await?;
            StatusCode::UNAUTHORIZED.into_response()
        }
    })
}

async fn forgetful(
    db: RoleScopedConnection,
    Extension(issuer): Extension<TokenIssuer>,
) -> Result<StatusCode, Error> {
    let token = db
        .issue_token(&issuer, "SELECT login('wrong')", &[])
        .await?;
    Ok(if token.is_some() {
        StatusCode::OK
    } else {
        StatusCode::UNAUTHORIZED
    })
}

async fn wrong(
    db: RoleScopedConnection,
    Extension(issuer): Extension<TokenIssuer>,
) -> Result<StatusCode, Error> {
    db.issue_token(&issuer, "SELECT login('right'), 'n33dle'", &[])
        .await?;
    Ok(StatusCode::OK)
}

async fn step_up(
    db: RoleScopedConnection,
    Extension(issuer): Extension<TokenIssuer>,
) -> Result<String, Error> {
    let token = db.issue_token(&issuer, "SELECT step_up()", &[]).await?;
    Ok(token.map(|token| token.into_string()).unwrap_or_default())
}

async fn who(db: RoleScopedConnection) -> Result<String, Error> {
    let sql =
        "SELECT current_user || ' ' || (current_setting('request.jwt.claims')::json ->> 'sub')";
    db.query_one_scalar(sql, &[]).await
}

fn routes() -> Router {
    Router::new()
        .route(
            "/login/{pass}",
            post(
                async |db, issuer, axum::extract::Path(pass): axum::extract::Path<String>| {
                    login(db, issuer, pass).await
                },
            ),
        )
        .route("/forgetful", post(forgetful))
        .route("/wrong", post(wrong))
        .route("/step_up", get(step_up).post(step_up))
        .route("/who", get(who))
        .layer(Extension(issuer()))
}

#[tokio::test]
async fn a_refusal_leaves_its_trace_if_the_handler_commits() {
    let database = database().await;
    database.execute(LOGIN).await;
    let pool = database.pool().await;
    let app = service(&pool, routes());
    let admin = database.admin().await;
    for (uri, status, left) in [
        ("/login/wrong", StatusCode::UNAUTHORIZED, 1),
        ("/login/right", StatusCode::OK, 1),
        ("/login/raise", StatusCode::BAD_REQUEST, 0),
        ("/forgetful", StatusCode::UNAUTHORIZED, 0),
        ("/wrong", StatusCode::INTERNAL_SERVER_ERROR, 0),
    ] {
        let reply = ask(&app, Method::POST, uri, None).await;
        assert_eq!(reply.status, status, "{uri}");
        if status.is_server_error() {
            assert!(
                !reply.body.contains("n33dle") && !reply.body.contains("SELECT"),
                "{}",
                reply.body
            );
        }
        let rows = admin
            .query("DELETE FROM attempts RETURNING n", &[])
            .await
            .expect("it runs");
        assert_eq!(rows.len(), left, "{uri}");
    }
}

#[tokio::test]
async fn a_caller_with_a_token_gets_another_one_also_in_a_read() {
    let database = database().await;
    database.execute(LOGIN).await;
    let pool = database.pool().await;
    let app = service(&pool, routes());
    let first = ask(&app, Method::POST, "/login/right", None).await.ok();
    assert_eq!(
        ask(&app, Method::GET, "/who", Some(&first)).await.ok(),
        "web_user alice"
    );
    for method in [Method::GET, Method::POST] {
        let second = ask(&app, method, "/step_up", Some(&first)).await.ok();
        assert_ne!(second, first);
        assert_eq!(
            ask(&app, Method::GET, "/who", Some(&second)).await.ok(),
            "author alice"
        );
    }
}

#[tokio::test]
async fn a_function_is_called_once_whatever_it_promises() {
    let database = database().await;
    database.execute(LOGIN).await;
    let pool = database.pool().await;
    for mode in [AccessMode::ReadOnly, AccessMode::ReadWrite] {
        for function in ["stable()", "volatile()"] {
            let db = begin(&pool, "web_user");
            if mode == AccessMode::ReadOnly {
                db.read_only().expect("it has not begun");
            }
            db.batch_execute("SET LOCAL test.calls = 0")
                .await
                .expect("it may");
            let sql = format!("SELECT {function}");
            let token = db
                .issue_token(&issuer(), &sql, &[])
                .await
                .expect("it is issued");
            let token = token.expect("it is not refused");
            assert!(verifier(&issuer()).verify(token.as_str()).is_ok());
            let calls: String = db
                .query_one_scalar("SELECT current_setting('test.calls')", &[])
                .await
                .expect("it is set");
            assert_eq!(calls, "1", "{function}");
            db.rollback().await.expect("it is rolled back");
        }
    }
}

#[tokio::test]
async fn the_transaction_goes_on_behind_a_token_and_behind_a_refusal() {
    let database = database().await;
    database.execute(LOGIN).await;
    let pool = database.pool().await;
    let db = begin(&pool, "anon");
    let sql = "SELECT login($1)";
    for (pass, issued) in [("right", true), ("wrong", false), ("right", true)] {
        let token = db
            .issue_token(&issuer(), sql, &[&pass])
            .await
            .expect("it runs");
        assert_eq!(token.is_some(), issued);
    }
    // A type that does not fit is found out by the service: the transaction has not failed.
    let wrong = "SELECT login('wrong') IS NULL";
    assert!(told(db.issue_token(&issuer(), wrong, &[]).await, wrong).contains("`bool`"));
    let attempts: i64 = db
        .query_one_scalar("SELECT count(*) FROM attempts", &[])
        .await
        .expect("it may");
    assert_eq!(attempts, 4);
    db.rollback().await.expect("it is rolled back");
    let ended = db
        .issue_token(&issuer(), sql, &[&"right"])
        .await
        .expect_err("it has ended");
    assert_eq!(ended.kind(), rolescope::ErrorKind::Finished);
}

#[tokio::test]
async fn parameters_have_the_types_of_the_function() {
    let database = database().await;
    database
        .execute(
            "CREATE TYPE jwt_claims AS (role text, sub text);
             CREATE FUNCTION f(a bigint, b bytea, c text[]) RETURNS jwt_claims LANGUAGE sql AS $$
                 SELECT 'web_user', a || encode(b, 'hex') || array_to_string(c, '') $$",
        )
        .await;
    let pool = database.pool().await;
    let db = begin(&pool, "anon");
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
        [&7_i64, &&b"\xff"[..], &vec!["a", "b'; --"]];
    let token = db
        .issue_token(&issuer(), "SELECT f($1, $2, $3)", &parameters)
        .await
        .expect("it is issued");
    let claims = verifier(&issuer())
        .verify(token.expect("it is not refused").as_str())
        .expect("it is good");
    assert_eq!(claims.subject(), Some("7ffab'; --"));
    db.rollback().await.expect("it is rolled back");
}

/// As many messages as `query_one`: with `BEGIN` and the switch in one flight.
#[tokio::test]
async fn it_takes_the_round_trips_of_a_query() {
    let database = database().await;
    database.execute(LOGIN).await;
    let proxy = Proxy::start(&database);
    let pool = proxy.pool_builder().build().await.expect("it is built");
    let app = service(&pool, routes());
    let first = ask(&app, Method::POST, "/login/right", None).await.ok();
    let seen = ask(&app, Method::GET, "/step_up", Some(&first)).await;
    assert!(seen.status.is_success());
    proxy.rests().await;
    proxy.hold();
    let again = tokio::spawn(async move { ask(&app, Method::GET, "/step_up", Some(&first)).await });
    // BEGIN, the switch, the statement.
    proxy.flight(&["Q", "BE", "BE"]).await;
    assert!(within(again).await.expect("no panic").status.is_success());
    proxy.sees(&["Q"]).await;
    proxy.pass();
}
