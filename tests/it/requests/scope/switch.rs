//! What a handler's statements run as, and what they can read.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, Method, Request};
use axum::routing::{any, get};
use rolescope::auth::Header;
use rolescope::{
    AccessMode, Error, ErrorKind, Isolation, RoleName, RolePolicy, RoleScope, RoleScopeLayer,
    RoleScopedConnection,
};

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
        .layer(RoleScopeLayer::new(pool.clone()).request_headers(true))
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
        .layer(RoleScopeLayer::new(pool.clone()).request_headers(true))
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

#[tokio::test]
async fn a_setting_that_postgresql_refuses_is_not_blamed_on_the_callers_role() {
    let database = database().await;
    let pool = database
        .pool_builder()
        // Known to the server only once PL/pgSQL is loaded, and then only with certain values.
        .app_setting("plpgsql.variable_conflict", "nonsense")
        .build()
        .await
        .expect("the pool is built");
    let load = Router::new().route(
        "/",
        get(async |db: RoleScopedConnection| db.batch_execute("DO $$ BEGIN NULL; END $$").await),
    );
    let load = service(&pool, load);
    let mut reply = service::get(&load, "/", None).await;
    for _ in 0..2 {
        reply = service::get(&load, "/", None).await;
    }
    assert_eq!(reply.status, 500);
    assert_eq!(reply.kind(), ErrorKind::Statement);
    assert!(!reply.body.contains("variable_conflict"), "{}", reply.body);
}

#[tokio::test]
async fn the_methods_that_read_run_read_only_and_a_layer_can_say_otherwise() {
    let database = database().await;
    let pool = database.pool().await;
    let mode = async |db: RoleScopedConnection| {
        db.query_one_scalar::<String>("SHOW transaction_read_only", &[])
            .await
            .map(|mode| [("x-read-only", mode)])
    };
    let routes = || {
        Router::new()
            .route("/reports/x", any(mode))
            .route("/", any(mode))
    };
    let by_method = service(&pool, routes());
    let by_path = routes()
        .layer(RoleScopeLayer::new(pool.clone()).access_mode(|_, uri| {
            if uri.path().starts_with("/reports/") {
                AccessMode::ReadOnly
            } else {
                AccessMode::ReadWrite
            }
        }))
        .layer(service::auth());
    for (app, method, path, read_only) in [
        (&by_method, Method::GET, "/", "on"),
        (&by_method, Method::HEAD, "/", "on"),
        (&by_method, Method::OPTIONS, "/", "on"),
        (&by_method, Method::POST, "/", "off"),
        (&by_method, Method::PUT, "/", "off"),
        (&by_method, Method::PATCH, "/", "off"),
        (&by_method, Method::DELETE, "/", "off"),
        (&by_path, Method::POST, "/reports/x", "on"),
        (&by_path, Method::GET, "/", "off"),
    ] {
        let reply = service::call(app, method.clone(), path, None).await;
        assert_eq!(reply.headers["x-read-only"], read_only, "{method} {path}");
    }
}

#[tokio::test]
async fn a_closure_decides_the_role_of_verified_claims() {
    let database = database().await;
    let pool = database.pool().await;
    let policy = RolePolicy::from_fn(|claims| {
        let groups: Vec<String> = claims.get("groups")?.unwrap_or_default();
        Ok(groups
            .into_iter()
            .find_map(|group| group.strip_prefix("db:").map(str::to_owned)))
    });
    let app = app()
        .layer(RoleScopeLayer::new(pool).roles(policy))
        .layer(service::auth());
    let claims = r#"{"role":"web_user","groups":["staff","db:author"]}"#;
    let who = service::get(&app, "/who", Some(claims)).await.ok();
    assert!(who.starts_with("author authenticator {"), "{who}");
    let who = service::get(&app, "/who", Some(r#"{"role":"web_user"}"#))
        .await
        .ok();
    assert!(who.starts_with("anon authenticator {"), "{who}");
    let refused = service::get(&app, "/who", Some(r#"{"groups":"db:author"}"#)).await;
    assert_eq!(refused.kind(), ErrorKind::RoleRefused);
}

#[tokio::test]
async fn cookies_are_read_only_where_that_was_asked_for() {
    let database = database().await;
    let pool = database.pool().await;
    let layer = RoleScopeLayer::new(pool)
        .request_headers(true)
        .request_cookies(true);
    let app = reading("request.headers")
        .layer(layer)
        .layer(service::auth());
    let request = Request::get("/some/path")
        .header("cookie", "theme=dark")
        .body(Body::empty())
        .expect("the request is well formed");
    assert_eq!(
        service::send(&app, request).await.ok(),
        r#"{"cookie":"theme=dark"}"#
    );
}
