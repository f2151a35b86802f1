//! The README's code, as it stands there: it compiles, and no line of it is missing here.

use std::error::Error;
use std::time::Duration;

use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use rolescope::scope::Pooler;
use rolescope::scope::revocation::RevocationListener;
use rolescope::{JwtAuthLayer, JwtVerifier, RoleScopeLayer, RoleScopedConnection, RoleScopedPool};
use tower::ServiceBuilder;
use tower_http::trace::TraceLayer;

#[rustfmt::skip]
async fn service(secret: &str) -> Result<Router, Box<dyn Error>> {
    let auth = JwtAuthLayer::new(JwtVerifier::builder().hs256(secret)?.audience("todos").build()?);
    let pool = RoleScopedPool::builder("postgres://authenticator@localhost/app")?.anonymous_role("anon").build().await?;

    let app = Router::new()
        .route("/todos", get(list).post(add))
        .layer(ServiceBuilder::new().layer(TraceLayer::new_for_http()).layer(auth).layer(RoleScopeLayer::new(pool)));

    async fn list(db: RoleScopedConnection) -> Result<Json<Vec<String>>, rolescope::Error> {
        Ok(Json(db.query_scalar("SELECT task FROM todos", &[]).await?)) // row-level security decides what is seen
    }

    async fn add(db: RoleScopedConnection, Json(task): Json<String>) -> Result<StatusCode, rolescope::Error> {
        db.execute("INSERT INTO todos (task) VALUES ($1)", &[&task]).await?;
        Ok(StatusCode::CREATED) // the response waits for the COMMIT
    }

    Ok(app)
}

#[rustfmt::skip]
async fn with_revocations(secret: &str) -> Result<JwtVerifier, Box<dyn Error>> {
    let listener = RevocationListener::builder("postgres://authenticator@localhost/app")?.build().await?;
    let verifier = JwtVerifier::builder().hs256(secret)?.audience("todos").revocations(listener.revocations()).build()?;

    Ok(verifier)
}

#[rustfmt::skip]
async fn with_a_replica() -> Result<RoleScopedPool, Box<dyn Error>> {
    let pool = RoleScopedPool::builder("postgres://authenticator@db-1/app")?
        .replica("postgres://authenticator@db-2,db-3/app?load_balance_hosts=random")?
        .primary_after_write(Duration::from_secs(2))
        .anonymous_role("anon").build().await?;

    Ok(pool)
}

#[rustfmt::skip]
async fn behind_pgbouncer() -> Result<RoleScopedPool, Box<dyn Error>> {
    let pool = RoleScopedPool::builder("postgres://authenticator@localhost:6432/app")?
        .anonymous_role("anon")
        .pooler(Pooler::Transaction) // pool_mode = transaction
        .build()
        .await?;

    Ok(pool)
}

fn lines(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_the_readme_shows_compiles() {
    // Each is a database away from being run.
    let _ = (service, with_revocations, with_a_replica, behind_pgbouncer);
    let here = lines(include_str!("readme.rs"));
    let readme = include_str!("../../README.md");
    let blocks: Vec<_> = readme.split("```rust\n").skip(1).collect();
    assert_eq!(blocks.len(), 4);
    for block in blocks {
        let (code, _) = block.split_once("```").expect("it ends");
        assert!(here.contains(&lines(code)), "not compiled:\n{code}");
    }
}
