//! What a handler's statements run as, and what they can read.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, Request};
use axum::routing::get;
use rolescope::auth::Header;
use rolescope::{Error, ErrorKind, Isolation, RoleName, RoleScope, RoleScopedConnection};

use crate::support::database;
use crate::support::service::{self, post, service};

const WHO: &str = "SELECT concat_ws(' ', current_user, session_user, \
    current_setting('request.jwt.claims'), current_setting('request.method'), current_setting('request.path'), \
    current_setting('transaction_read_only'))";

async fn who(db: RoleScopedConnection) -> Result<String, Error> {
    db.query_one_scalar(WHO, &[]).await
}

fn app() -> Router {
    Router::new().route("/who", get(who).post(who))
}

#[tokio::test]
async fn a_token_runs_as_its_role_and_nobody_as_the_anonymous_one() {
    let database = database().await;
    let app = service(&database.pool().await, app());
    let claims = r#"{"role":"web_user","sub":"alice","n":12345678901234567890123}"#;
    assert_eq!(
        service::get(&app, "/who", Some(claims)).await.ok(),
        "web_user authenticator {\"exp\":4102444800,\"role\":\"web_user\",\"sub\":\"alice\",\
         \"n\":12345678901234567890123} GET /who on"
    );
    assert_eq!(
        post(&app, "/who", None).await.ok(),
        r#"anon authenticator {"role":"anon"} POST /who off"#
    );
}

/// Reads one setting in a handler.
fn reading(setting: &'static str) -> Router {
    Router::new().route(
        "/some/path",
        get(move |db: RoleScopedConnection| async move {
            db.query_one_scalar::<Option<String>>("SELECT current_setting($1, true)", &[&setting])
                .await
                .map(|value| value.unwrap_or_else(|| "NULL".to_owned()))
        }),
    )
}

#[tokio::test]
async fn each_claim_is_a_setting_of_its_own_by_choice() {
    let database = database().await;
    let pool = database
        .pool_builder()
        .claim_settings(true)
        .max_size(1)
        .build()
        .await
        .expect("the pool is built");
    let claims = r#"{"role":"web_user","user_id":42,"https://x/y":1,"name":"O'Neill"}"#;
    for (setting, value) in [
        ("request.jwt.claim.user_id", "42"),
        ("request.jwt.claim.name", "O'Neill"),
        ("request.jwt.claim.role", "web_user"),
    ] {
        let app = service(&pool, reading(setting));
        assert_eq!(
            service::get(&app, "/some/path", Some(claims)).await.ok(),
            value
        );
        // The next request on the session does not see it.
        let next = service::get(&app, "/some/path", None).await.ok();
        assert_eq!(
            next,
            if setting.ends_with("role") {
                "anon"
            } else {
                ""
            }
        );
    }
}

#[tokio::test]
async fn a_services_own_settings_are_set_in_every_transaction() {
    let database = database().await;
    let pool = database
        .pool_builder()
        .app_setting("app.region", "eu; DROP TABLE x")
        .build()
        .await
        .expect("the pool is built");
    let app = service(&pool, reading("app.region"));
    assert_eq!(
        service::get(&app, "/some/path", None).await.ok(),
        "eu; DROP TABLE x"
    );
}

#[tokio::test]
async fn headers_are_read_by_choice_and_never_the_secret_ones() {
    let database = database().await;
    let pool = database.pool().await;
    let app = reading("request.headers")
        .layer(rolescope::RoleScopeLayer::new(pool.clone()).request_headers(true))
        .layer(service::auth());
    let request = Request::get("/some/path")
        .header("authorization", format!("Bearer {}", service::token("{}")))
        .header("cookie", "session=secret")
        .header("x-two", "1")
        .header("X-Two", "2")
        .body(Body::empty())
        .expect("the request is well formed");
    assert_eq!(
        service::send(&app, request).await.ok(),
        r#"{"x-two":"1, 2"}"#
    );
    // What carries the token is secret whatever its name.
    let custom = reading("request.headers")
        .layer(rolescope::RoleScopeLayer::new(pool.clone()).request_headers(true))
        .layer(service::auth().token_source(Header::new(HeaderName::from_static("x-token"))));
    let request = Request::get("/some/path")
        .header("x-token", service::token("{}"))
        .header("x-other", "1")
        .body(Body::empty())
        .expect("the request is well formed");
    assert_eq!(
        service::send(&custom, request).await.ok(),
        r#"{"x-other":"1"}"#
    );
    // Where nobody asked for them there are none.
    let app = service(&pool, reading("request.headers"));
    let without = service::get(&app, "/some/path", None).await.ok();
    assert!(["", "NULL"].contains(&without.as_str()), "{without}");
}

#[tokio::test]
async fn the_isolation_level_is_the_handlers_to_choose() {
    let database = database().await;
    let pool = database.pool().await;
    for (level, name) in [
        (Isolation::ReadCommitted, "read committed"),
        (Isolation::RepeatableRead, "repeatable read"),
        (Isolation::Serializable, "serializable"),
    ] {
        let app = Router::new().route(
            "/",
            get(move |db: RoleScopedConnection| async move {
                db.isolation(level)?;
                db.query_one_scalar::<String>("SHOW transaction_isolation", &[])
                    .await
            }),
        );
        let reply = service::get(&service(&pool, app), "/", None).await;
        assert_eq!(reply.ok(), name);
    }
}

#[tokio::test]
async fn the_access_mode_cannot_be_changed_once_a_statement_has_run() {
    let database = database().await;
    let pool = database.pool().await;
    let app = Router::new().route(
        "/",
        get(async |db: RoleScopedConnection| db.batch_execute("SET TRANSACTION READ WRITE").await),
    );
    let reply = service::get(&service(&pool, app), "/", None).await;
    assert_eq!(
        reply
            .error
            .as_ref()
            .and_then(Error::code)
            .map(|code| code.code()),
        Some("25001")
    );
}

#[tokio::test]
async fn roles_that_do_not_exist_or_are_not_granted_are_refused_alike() {
    let database = database().await;
    let pool = database.pool_of_one().await;
    let app = service(&pool, app());
    let unknown = service::get(&app, "/who", Some(r#"{"role":"nobody_such"}"#)).await;
    let not_granted = service::get(&app, "/who", Some(r#"{"role":"not_granted"}"#)).await;
    assert_eq!(unknown.status, 403);
    assert_eq!(unknown.kind(), ErrorKind::RoleRefused);
    assert_eq!(
        (unknown.status, unknown.body),
        (not_granted.status, not_granted.body)
    );
    // The session serves on.
    service::get(&app, "/who", None).await.ok();
    assert_eq!(pool.status().connections_created, 1);
}

#[tokio::test]
async fn odd_role_names_are_bound_and_never_spliced() {
    let database = database().await;
    database
        .execute(
            r#"CREATE ROLE "Odd ""role""; --'" IN ROLE author; GRANT "Odd ""role""; --'" TO authenticator"#,
        )
        .await;
    let pool = database.pool().await;
    let app = Router::new().route(
        "/",
        get(async |db: RoleScopedConnection| {
            db.query_one_scalar::<String>("SELECT current_user::text", &[])
                .await
        }),
    );
    let claims = r#"{"role":"Odd \"role\"; --'"}"#;
    let reply = service::get(&service(&pool, app), "/", Some(claims)).await;
    assert_eq!(reply.ok(), r#"Odd "role"; --'"#);
}

#[tokio::test]
async fn the_login_role_cannot_be_claimed_nor_begun_with() {
    let database = database().await;
    let pool = database.pool().await;
    let claimed = service::get(
        &service(&pool, app()),
        "/who",
        Some(r#"{"role":"authenticator"}"#),
    )
    .await;
    assert_eq!(claimed.kind(), ErrorKind::RoleRefused);
    let scope = RoleScope::for_role(RoleName::parse("authenticator").expect("a good name"));
    let error = pool
        .begin(&scope)
        .query("SELECT 1", &[])
        .await
        .expect_err("the login role");
    assert_eq!(error.kind(), ErrorKind::RoleRefused);
}
