//! The example of the module's documentation, as it stands there, run.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::{Router, routing::get};
use rolescope::testing::{Mint, SigningKey, as_role};
use rolescope::{JwtAuthLayer, RoleScopeLayer, RoleScopedConnection, RoleScopedPool};
use serde_json::json;
use tower::ServiceExt;

use crate::support::database;

#[rustfmt::skip]
async fn alice_sees_what_is_hers(pool: RoleScopedPool) -> Result<(), Box<dyn std::error::Error>> {
    // The policies, without a service. All of it is rolled back.
    let alice = as_role(&pool, "web_user").claims(json!({ "sub": "alice" }));
    let tasks: Vec<String> = alice.sees("SELECT task FROM todos ORDER BY task", &[]).await;
    assert_eq!(tasks, ["buy a present for bob", "read the policies"]);
    assert_eq!(alice.changes("UPDATE todos SET task = 'mine' WHERE owner = 'bob'", &[]).await, 0);
    alice.is_denied("INSERT INTO todos (owner, task) VALUES ('bob', 'hire alice')", &[]).await;
    as_role(&pool, "anon").is_denied("DELETE FROM todos", &[]).await;

    // The service, as it is built for production but for its keys.
    let mint = Mint::new(SigningKey::es256("test")).issuer("https://login.example").audience("todos");
    let app = Router::new()
        .route("/todos", get(list))
        .layer(RoleScopeLayer::new(pool))
        .layer(JwtAuthLayer::new(mint.verifier()));
    let claims = json!({ "sub": "alice", "role": "web_user" });
    for (token, status) in [
        (mint.token(&claims), StatusCode::OK),
        (mint.expired(&claims), StatusCode::UNAUTHORIZED),
        (mint.for_another_audience(&claims), StatusCode::UNAUTHORIZED),
        (mint.signed_by_another_key(&claims), StatusCode::UNAUTHORIZED),
        (mint.token(json!({ "sub": "alice", "role": "postgres" })), StatusCode::FORBIDDEN),
    ] {
        let request = Request::get("/todos").header("authorization", format!("Bearer {token}"));
        let response = app.clone().oneshot(request.body(Body::empty())?).await?;
        assert_eq!(response.status(), status);
    }
    Ok(())
}

#[rustfmt::skip]
async fn list(db: RoleScopedConnection) -> Result<String, rolescope::Error> {
    let tasks: Vec<String> = db.query_scalar("SELECT task FROM todos", &[]).await?;
    Ok(tasks.join("\n"))
}

#[tokio::test]
async fn the_complete_example_passes() {
    let database = database().await;
    let sql = "CREATE TABLE todos (owner text, task text);
        INSERT INTO todos VALUES
            ('alice', 'read the policies'), ('alice', 'buy a present for bob'), ('bob', 'water the plants');
        ALTER TABLE todos ENABLE ROW LEVEL SECURITY;
        CREATE POLICY own ON todos TO web_user
            USING (owner = current_setting('request.jwt.claims')::json ->> 'sub');
        GRANT SELECT, INSERT, UPDATE ON todos TO web_user;";
    database.execute(sql).await;
    alice_sees_what_is_hers(database.pool().await)
        .await
        .unwrap();
}

#[test]
fn it_is_the_one_of_the_documentation() {
    let here = include_str!("complete.rs");
    let page = include_str!("../../../src/testing/mod.rs");
    let (_, example) = page.split_once("# mod example {").unwrap();
    let (example, _) = example.split_once("//! # }").unwrap();
    let lines = example
        .lines()
        .map(|line| line.trim_start_matches("//!").trim());
    let lines: Vec<_> = lines.map(|line| line.trim_start_matches("# ")).collect();
    assert!(lines.len() > 30);
    for line in lines {
        assert!(here.contains(line), "not run: {line}");
    }
}
