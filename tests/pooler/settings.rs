//! What startup options say elsewhere.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use rolescope::scope::Pooler;
use rolescope::{RoleScopedConnection, RoleScopedPool};

use crate::support::events::Recorder;
use crate::support::proxy::within;
use crate::support::service::{self, service};
use crate::{ONE_SERVER_CONNECTION, Pooled, scope};

const SETTINGS: &str = "SELECT concat_ws(' ', current_setting('statement_timeout'), \
    current_setting('idle_in_transaction_session_timeout'), current_setting('application_name'))";

#[tokio::test]
async fn timeouts_hold_in_each_transaction_and_not_behind_it() {
    let pooled = Pooled::start(ONE_SERVER_CONNECTION).await;
    let stranger = pooled.stranger().await;
    let settings = async || {
        let rows = stranger
            .query_typed(SETTINGS, &[])
            .await
            .expect("it answers");
        rows[0].get::<_, String>(0)
    };
    let before = settings().await;
    let builder = pooled.builder().max_size(1);
    for (builder, expected) in [
        (builder.clone(), "0 1min rolescope"),
        (
            builder
                .clone()
                .statement_timeout(Duration::from_secs(3))
                .idle_in_transaction_timeout(Duration::from_secs(5)),
            "3s 5s rolescope",
        ),
        (builder.idle_in_transaction_timeout(None), "0 0 rolescope"),
    ] {
        let pool = builder.build().await.expect("it is built");
        for _ in 0..2 {
            let db = pool.begin(&scope("web_user"));
            let set: String = db.query_one_scalar(SETTINGS, &[]).await.expect("it runs");
            assert_eq!(set, expected);
            db.commit().await.expect("it commits");
        }
        assert_eq!(settings().await, before);
    }
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_a_gateways_timeout() {
    let pooled = Pooled::start(ONE_SERVER_CONNECTION).await;
    let pool = pooled
        .builder()
        .statement_timeout(Duration::from_millis(50));
    let pool = pool.build().await.expect("it is built");
    let sleep = async |db: RoleScopedConnection| {
        db.query("SELECT pg_sleep(60)", &[]).await.map(|_| "slept")
    };
    let app = service(&pool, Router::new().route("/", get(sleep)));
    let reply = within(service::get(&app, "/", None)).await;
    assert_eq!(reply.status.as_u16(), 504);
}

#[tokio::test]
async fn a_transaction_in_which_nothing_happens_ends() {
    let pooled = Pooled::start(ONE_SERVER_CONNECTION).await;
    let pool = pooled
        .builder()
        .idle_in_transaction_timeout(Duration::from_millis(50));
    let pool = pool.build().await.expect("it is built");
    let db = pool.begin(&scope("web_user"));
    within(db.query("SELECT 1", &[])).await.expect("it runs");
    // PgBouncer says so by closing the session.
    let ended = async {
        while db.query("SELECT 1", &[]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within(ended).await;
    let db = pool.begin(&scope("web_user"));
    within(db.query("SELECT 1", &[]))
        .await
        .expect("the pool serves on");
}

#[tokio::test]
async fn options_in_the_url_are_refused_before_anything_is_connected() {
    let builder = RoleScopedPool::builder("postgres://a@h/db?options=-c%20work_mem%3D8MB")
        .expect("the URL can be read")
        .pooler(Pooler::Transaction);
    let error = builder.build_lazy().expect_err("it is refused");
    assert!(error.to_string().contains("ALTER ROLE"), "{error}");
}

#[tokio::test]
async fn the_settings_of_roles_are_read_and_replayed() {
    let pooled = Pooled::start(ONE_SERVER_CONNECTION).await;
    let alter = format!(
        "ALTER ROLE web_user IN DATABASE {} SET statement_timeout = '7s'",
        pooled.database.name()
    );
    pooled.database.execute(&alter).await;
    let pool = pooled.builder().role_settings(true);
    let pool = pool.build().await.expect("it is built");
    for (role, expected) in [
        ("web_user", "7s 1min rolescope"),
        ("author", "0 1min rolescope"),
    ] {
        let db = pool.begin(&scope(role));
        let set: String = db.query_one_scalar(SETTINGS, &[]).await.expect("it runs");
        assert_eq!(set, expected, "{role}");
    }
}

#[tokio::test]
async fn sessions_that_do_not_rest_serve_with_one_warning_that_names_the_cure() {
    let pooled = Pooled::start("default_pool_size = 2").await;
    let role = "CREATE ROLE unresting_login LOGIN NOINHERIT IN ROLE anon, web_user";
    pooled.database.execute(role).await;
    let warnings = Recorder::start();
    let pool = RoleScopedPool::builder(&pooled.url("unresting_login"))
        .expect("the URL can be read")
        .anonymous_role("anon")
        .pooler(Pooler::Transaction);
    let pool = pool.build().await.expect("it is built");
    for _ in 0..3 {
        let (one, two) = (pool.begin(&scope("web_user")), pool.begin(&scope("anon")));
        let who = "SELECT current_user::text";
        let role: String = one.query_one_scalar(who, &[]).await.expect("it runs");
        assert_eq!(role, "web_user");
        let role: String = two.query_one_scalar(who, &[]).await.expect("it runs");
        assert_eq!(role, "anon");
    }
    let warnings = warnings.warnings();
    assert!(
        matches!(&warnings[..], [one] if one.contains("ALTER ROLE of the login role SET role")),
        "{warnings:?}"
    );
}
