//! What the documents that this crate began with promise, word for word.

use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use rolescope::auth::jwt::ManualClock;
use rolescope::{
    Error, JwtAuthLayer, JwtVerifier, RoleScopeLayer, RoleScopedConnection, RoleScopedPool,
};

use crate::support::local_postgres::LocalPostgres;
use crate::support::{connect, database, service};

/// "Encoded as JWT with a secret of "secret" this becomes"
const SEED_TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJyb2xlIjoiamRvZTEyMyJ9.X_ZeWSS9qsKDCDczv8C-GE2fccrPQjOh_ALMZJa5jsU";

fn bearer(token: &str) -> Request<Body> {
    Request::get("/")
        .header("authorization", format!("Bearer {token}"))
        .body(Body::empty())
        .expect("the request is well formed")
}

fn current_user() -> Router {
    Router::new().route(
        "/",
        get(async |db: RoleScopedConnection| {
            db.query_one_scalar::<String>("SELECT current_user || ' ' || session_user", &[])
                .await
        }),
    )
}

#[tokio::test]
async fn the_first_documents_token_and_roles_work_as_written() {
    // A server of its own, since roles belong to the whole server and these have fixed names.
    let server = tokio::task::spawn_blocking(LocalPostgres::start)
        .await
        .expect("no panic")
        .unwrap_or_else(|error| panic!("{error}"));
    let admin = connect(&server.superuser_url("postgres")).await;
    admin
        .batch_execute(
            "CREATE ROLE authenticator NOINHERIT LOGIN;
             CREATE ROLE anon;
             CREATE ROLE author;

             GRANT anon, author TO authenticator;
             CREATE ROLE jdoe123; GRANT jdoe123 TO authenticator;",
        )
        .await
        .expect("the set-up works");
    let pool = RoleScopedPool::builder(&server.url("authenticator", "postgres"))
        .expect("the URL can be read")
        .anonymous_role("anon")
        .build()
        .await
        .expect("the set-up is safe");
    let verifier = JwtVerifier::builder()
        .dangerous()
        .accept_short_secrets()
        .hs256("secret")
        .expect("a short secret is accepted")
        .dangerous()
        .accept_missing_exp()
        .build()
        .expect("there is a backend");
    let auth = JwtAuthLayer::new(verifier);
    let app = current_user()
        .layer(RoleScopeLayer::new(pool.clone()))
        .layer(auth.clone());

    let reply = service::send(&app, bearer(SEED_TOKEN)).await;
    assert_eq!(reply.ok(), "jdoe123 authenticator");
    // "If no JWT is present .. or if it does not contain the role claim then the server changes to the anonymous role"
    assert_eq!(
        service::get(&app, "/", None).await.ok(),
        "anon authenticator"
    );
    // ".. or if it is invalid": by choice, and refused otherwise.
    let forged = format!("{}x", &SEED_TOKEN[..SEED_TOKEN.len() - 1]);
    assert_eq!(
        service::send(&app, bearer(&forged)).await.status,
        StatusCode::UNAUTHORIZED
    );
    let older = current_user()
        .layer(RoleScopeLayer::new(pool.clone()))
        .layer(auth.treat_invalid_token_as_anonymous());
    assert_eq!(
        service::send(&older, bearer(&forged)).await.ok(),
        "anon authenticator"
    );
    pool.close().await;
}

#[tokio::test]
async fn the_first_documents_token_is_refused_without_either_option() {
    let builder = JwtVerifier::builder()
        .hs256("secret")
        .expect("its length is judged when all is said");
    assert!(builder.build().is_err(), "the secret is too short");
    let verifier = JwtVerifier::builder()
        .dangerous()
        .accept_short_secrets()
        .hs256("secret")
        .expect("a short secret is accepted")
        .build()
        .expect("there is a backend");
    assert!(verifier.verify(SEED_TOKEN).is_err(), "it has no exp");
}

#[tokio::test]
async fn the_second_documents_policy_sees_the_claim_as_a_setting() {
    let database = database().await;
    database
        .execute(
            "CREATE TABLE my_table (id int, user_id int);
             INSERT INTO my_table VALUES (1, 123), (2, 456);
             ALTER TABLE my_table ENABLE ROW LEVEL SECURITY;
             GRANT SELECT ON my_table TO user_role;
             CREATE POLICY access_policy ON my_table FOR SELECT
             USING (user_id = current_setting('request.jwt.claim.user_id')::int);",
        )
        .await;
    let pool = database
        .pool_builder()
        .claim_settings(true)
        .build()
        .await
        .expect("the pool is built");
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_516_239_021));
    let verifier = JwtVerifier::builder()
        .hs256(service::SECRET)
        .expect("the secret is long enough")
        .clock(clock.clone())
        .build()
        .expect("there is a backend");
    let app = Router::new()
        .route(
            "/",
            get(async |db: RoleScopedConnection| {
                let ids = db
                    .query_scalar::<i32>("SELECT id FROM my_table", &[])
                    .await?;
                Ok::<_, Error>(format!("{ids:?}"))
            }),
        )
        .layer(RoleScopeLayer::new(pool))
        .layer(JwtAuthLayer::new(verifier));
    let token = service::sign(
        r#"{
  "role": "user_role",
  "user_id": "123",
  "exp": 1516239022
}"#,
    );
    assert_eq!(service::send(&app, bearer(&token)).await.ok(), "[1]");
    clock.advance(Duration::from_secs(60));
    let expired = service::send(&app, bearer(&token)).await;
    assert_eq!(expired.status, StatusCode::UNAUTHORIZED);
}
