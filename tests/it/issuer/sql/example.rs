//! `examples/sql/tokens_from_sql.sql`, and the page that shows it.

use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Extension, Json, Router};
use rolescope::issuer::TokenIssuer;
use rolescope::{Error, RoleScopedConnection};
use serde_json::{Value, json};

use super::{ask, issuer, service};
use crate::support::database;

const SQL: &str = include_str!("../../../../examples/sql/tokens_from_sql.sql");
const PAGE: &str = include_str!("../../../../src/guide/tokens_from_sql.md");

/// As psql puts the names in.
fn sql() -> String {
    SQL.replace(":\"anon\"", "anon")
        .replace(":\"web_user\"", "web_user")
}

#[rustfmt::skip]
mod page {
    use super::*;

    pub(super) async fn redeem(
        db: RoleScopedConnection,
        Extension(issuer): Extension<TokenIssuer>,
        code: String,
    ) -> Result<axum::response::Response, Error> {
        let token = db.issue_token(&issuer, "SELECT redeem($1)", &[&code]).await?;
        let Some(token) = token else {
            // What the function wrote is stored, though the answer is a 401.
            db.commit().await?;
            return Ok(StatusCode::UNAUTHORIZED.into_response());
        };
        // RFC 6749 section 5.1.
        let body = json!({
            "access_token": token.as_str(),
            "token_type": "Bearer",
            "expires_in": token.expires_in().as_secs(),
        });
        Ok(([("cache-control", "no-store")], Json(body)).into_response())
    }

    pub(super) async fn elevate(
        db: RoleScopedConnection,
        Extension(issuer): Extension<TokenIssuer>,
    ) -> Result<String, Error> {
        let token = db.issue_token(&issuer, "SELECT elevate()", &[]).await?;
        Ok(token.map(|token| token.into_string()).unwrap_or_default())
    }
}

#[tokio::test]
async fn a_code_is_good_once_and_a_refusal_is_counted() {
    let database = database().await;
    database.execute(&sql()).await;
    database
        .execute(
            "INSERT INTO sign_in.codes (hash, email, role, expires_at) VALUES
                (sha256('alices code'), 'alice@example.org', 'web_user', now() + interval '1 minute'),
                (sha256('an old one'), 'bob@example.org', 'web_user', now())",
        )
        .await;
    let pool = database.pool().await;
    let redeem = async |db, issuer, axum::extract::Path(code): axum::extract::Path<String>| {
        page::redeem(db, issuer, code).await
    };
    let routes = Router::new()
        .route("/redeem/{code}", post(redeem))
        .route("/elevate", post(page::elevate))
        .layer(Extension(issuer()));
    let app = service(&pool, routes);
    let reply = ask(&app, Method::POST, "/redeem/alices%20code", None).await;
    assert_eq!(reply.headers["cache-control"], "no-store");
    let answer: Value = reply.json();
    assert_eq!(
        (&answer["token_type"], &answer["expires_in"]),
        (&json!("Bearer"), &json!(299))
    );
    let token = answer["access_token"].as_str().expect("a token");
    let claims = super::verifier(&issuer())
        .verify(token)
        .expect("it is good");
    assert_eq!(claims.raw("email"), Some(r#""alice@example.org""#));
    for uri in [
        "/redeem/alices%20code",
        "/redeem/an%20old%20one",
        "/redeem/none",
    ] {
        let reply = ask(&app, Method::POST, uri, None).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{uri}");
    }
    // Who has a token has no part in signing in, and the other way round.
    assert_eq!(
        ask(&app, Method::POST, "/redeem/none", Some(token))
            .await
            .status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        ask(&app, Method::POST, "/elevate", None).await.status,
        StatusCode::UNAUTHORIZED
    );
    let elevated = ask(&app, Method::POST, "/elevate", Some(token)).await.ok();
    let claims = super::verifier(&issuer())
        .verify(&elevated)
        .expect("it is good");
    assert_eq!(claims.subject(), Some("alice@example.org"));

    let admin = database.admin().await;
    let counts =
        "SELECT (SELECT count(*) FROM sign_in.refusals), (SELECT count(*) FROM sign_in.codes)";
    let counts = admin.query_one(counts, &[]).await.expect("it runs");
    assert_eq!((counts.get::<_, i64>(0), counts.get::<_, i64>(1)), (3, 1));
    for sql in [
        "SELECT * FROM sign_in.codes",
        "SELECT * FROM sign_in.refusals",
    ] {
        for role in ["anon", "web_user"] {
            let error = super::begin(&pool, role)
                .query(sql, &[])
                .await
                .expect_err("it may not");
            assert_eq!(
                error.code().map(|code| code.code()),
                Some("42501"),
                "{role}: {sql}"
            );
        }
    }
}

fn lines(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

/// What the page shows is what is tested here.
#[test]
fn the_page_shows_what_is_tested() {
    let file = lines(&sql());
    let handlers = lines(include_str!("example.rs"));
    let mut shown = 0;
    for (language, tested) in [("sql", &file), ("rust", &handlers)] {
        for block in PAGE.split(&format!("```{language}\n")).skip(1) {
            let (code, _) = block.split_once("```").expect("it ends");
            let code = code.lines().filter(|line| !line.starts_with('#'));
            let code = lines(&code.collect::<Vec<_>>().join("\n"))
                .replace("pub async", "pub(super) async");
            let code = code
                .replace("async fn", "pub(super) async fn")
                .replace("pub(super) pub(super)", "pub(super)");
            assert!(tested.contains(&code), "not tested:\n{code}");
            shown += 1;
        }
    }
    assert!(shown >= 3, "{shown}");
}
