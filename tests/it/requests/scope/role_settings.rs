//! What `ALTER ROLE .. SET` says applies to that role's requests where it is harmless, and to nobody else's.
//!
//! Roles belong to the whole server: each test makes its own, named after the test.

use axum::Router;
use axum::extract::Query;
use axum::routing::get;
use rolescope::{Error, RoleScopedConnection};
use std::collections::HashMap;

use crate::support::proxy::within;
use crate::support::service::{self, service};
use crate::support::{Database, database};

/// Answers with the settings that the query names, as `a|b`.
async fn settings(
    db: RoleScopedConnection,
    Query(query): Query<HashMap<String, String>>,
) -> Result<String, Error> {
    let names: Vec<_> = query["names"].split(',').collect();
    let sql = "SELECT string_agg(coalesce(current_setting(name, true), 'NULL'), '|' ORDER BY place) \
         FROM unnest($1::text[]) WITH ORDINALITY AS n (name, place)";
    db.query_one_scalar(sql, &[&names]).await
}

async fn table(db: RoleScopedConnection) -> Result<String, Error> {
    db.query_one_scalar("SELECT x FROM things", &[]).await
}

/// A service over one connection of a login role, so that each request follows the last one's traces.
async fn app(database: &Database, login: &str, role_settings: bool) -> Router {
    let pool = rolescope::RoleScopedPool::builder(&database.url(login))
        .expect("the URL can be read")
        .anonymous_role("anon")
        .max_size(1)
        .role_settings(role_settings);
    let pool = within(pool.build()).await.expect("it is built");
    let routes = Router::new()
        .route("/settings", get(settings).post(settings))
        .route("/table", get(table));
    service(&pool, routes)
}

async fn ask(app: &Router, role: &str, names: &str) -> String {
    let claims = format!(r#"{{"role":"{role}"}}"#);
    let uri = format!("/settings?names={names}");
    within(service::get(app, &uri, Some(&claims))).await.ok()
}

#[tokio::test]
async fn a_roles_settings_apply_to_its_requests_and_to_nobody_elses() {
    let database = database().await;
    database
        .execute(
            "CREATE ROLE applied_a; CREATE ROLE applied_b;
             CREATE ROLE applied_login LOGIN NOINHERIT IN ROLE anon, applied_a, applied_b;
             ALTER ROLE applied_a SET statement_timeout = '1234ms';
             ALTER ROLE applied_a SET work_mem = '7MB';
             ALTER ROLE applied_a SET default_transaction_isolation = 'repeatable read';
             ALTER ROLE applied_a SET TimeZone = 'Asia/Tokyo';
             ALTER ROLE applied_b SET work_mem = '9MB'",
        )
        .await;
    const NAMES: &str = "statement_timeout,work_mem,transaction_isolation,TimeZone,role";
    let without = app(&database, "applied_login", false).await;
    let plain = ask(&without, "applied_a", NAMES).await;
    assert_eq!(plain, "0|4MB|read committed|UTC|applied_a");

    let with = app(&database, "applied_login", true).await;
    for _ in 0..2 {
        assert_eq!(
            ask(&with, "applied_a", NAMES).await,
            "1234ms|7MB|repeatable read|Asia/Tokyo|applied_a"
        );
        assert_eq!(
            ask(&with, "applied_b", NAMES).await,
            "0|9MB|read committed|UTC|applied_b"
        );
        let uri = format!("/settings?names={NAMES}");
        let anonymous = within(service::post(&with, &uri, None)).await.ok();
        assert_eq!(anonymous, "0|4MB|read committed|UTC|anon");
    }
}

#[tokio::test]
async fn a_roles_timeout_ends_its_statements_only() {
    let database = database().await;
    database
        .execute(
            "CREATE ROLE hasty; CREATE ROLE hasty_login LOGIN NOINHERIT IN ROLE anon, hasty, web_user;
             ALTER ROLE hasty SET statement_timeout = '10ms'",
        )
        .await;
    let pool =
        rolescope::RoleScopedPool::builder(&database.url("hasty_login")).expect("it can be read");
    let pool = pool.anonymous_role("anon").max_size(1).role_settings(true);
    let pool = within(pool.build()).await.expect("it is built");
    let sleeps = get(async |db: RoleScopedConnection| {
        db.execute("SELECT pg_sleep(0.05)", &[]).await?;
        Ok::<_, Error>("slept")
    });
    let app = service(&pool, Router::new().route("/", sleeps));
    for _ in 0..2 {
        let hasty = within(service::get(&app, "/", Some(r#"{"role":"hasty"}"#))).await;
        assert_eq!(hasty.status, 504, "{hasty:?}");
        let other = within(service::get(&app, "/", Some(r#"{"role":"web_user"}"#))).await;
        assert_eq!(other.ok(), "slept");
    }
}

#[tokio::test]
async fn a_roles_search_path_finds_its_own_tables() {
    let database = database().await;
    database
        .execute(
            "CREATE ROLE tenant_a; CREATE ROLE tenant_b; CREATE ROLE tenant_c;
             CREATE ROLE tenant_login LOGIN NOINHERIT IN ROLE anon, tenant_a, tenant_b, tenant_c;
             CREATE SCHEMA a; CREATE TABLE a.things AS SELECT 'of a' AS x;
             CREATE SCHEMA b; CREATE TABLE b.things AS SELECT 'of b' AS x;
             GRANT USAGE ON SCHEMA a TO tenant_a, tenant_c; GRANT SELECT ON a.things TO tenant_a, tenant_c;
             GRANT USAGE ON SCHEMA b TO tenant_b; GRANT SELECT ON b.things TO tenant_b;
             ALTER ROLE tenant_a SET search_path = a, public;
             ALTER ROLE tenant_b SET search_path = 'b'",
        )
        .await;
    let app = app(&database, "tenant_login", true).await;
    for _ in 0..2 {
        for (role, expected) in [("tenant_a", "of a"), ("tenant_b", "of b")] {
            let claims = format!(r#"{{"role":"{role}"}}"#);
            let reply = within(service::get(&app, "/table", Some(&claims))).await;
            assert_eq!(reply.ok(), expected);
        }
        let reply = within(service::get(&app, "/table", Some(r#"{"role":"tenant_c"}"#))).await;
        assert_eq!(
            reply.status, 500,
            "there is no such table on its path: {reply:?}"
        );
    }
}

#[tokio::test]
async fn settings_that_would_undo_the_switch_or_are_not_the_roles_to_make_are_never_applied() {
    let database = database().await;
    database
        .execute(
            r#"CREATE ROLE hostile; CREATE ROLE hostile_login LOGIN NOINHERIT IN ROLE anon, hostile, web_user;
             ALTER ROLE hostile SET role = 'web_user';
             ALTER ROLE hostile SET client_encoding = 'LATIN1';
             ALTER ROLE hostile SET "request.jwt.claims" = '{"role":"web_user"}';
             ALTER ROLE hostile SET "rolescope.role" = 'x';
             ALTER ROLE hostile SET "app.tenant" = 'of another';
             ALTER ROLE hostile SET log_statement = 'all';
             ALTER ROLE hostile SET session_replication_role = 'replica';
             ALTER ROLE hostile SET default_transaction_read_only = 'off';
             ALTER ROLE hostile SET work_mem = '7MB'"#,
        )
        .await;
    let app = app(&database, "hostile_login", true).await;
    const NAMES: &str = "role,client_encoding,request.jwt.claims,app.tenant,log_statement,\
                         session_replication_role,transaction_read_only,work_mem";
    assert_eq!(
        ask(&app, "hostile", NAMES).await,
        r#"hostile|UTF8|{"exp":4102444800,"role":"hostile"}|NULL|none|origin|on|7MB"#
    );
    let who = "SELECT concat_ws(' ', current_user, session_user)";
    let who =
        get(async move |db: RoleScopedConnection| db.query_one_scalar::<String>(who, &[]).await);
    let pool =
        rolescope::RoleScopedPool::builder(&database.url("hostile_login")).expect("it can be read");
    let pool = pool.anonymous_role("anon").role_settings(true);
    let pool = within(pool.build()).await.expect("it is built");
    let app = service(&pool, Router::new().route("/", who));
    let reply = within(service::get(&app, "/", Some(r#"{"role":"hostile"}"#))).await;
    assert_eq!(reply.ok(), "hostile hostile_login");
}

#[tokio::test]
async fn a_session_authorization_stored_for_a_role_is_never_applied() {
    let database = database().await;
    database
        .execute(
            "CREATE ROLE posing; CREATE ROLE posing_login LOGIN NOINHERIT IN ROLE anon, posing;
             ALTER ROLE posing SET session_authorization = 'postgres'",
        )
        .await;
    let app = app(&database, "posing_login", true).await;
    assert_eq!(
        ask(&app, "posing", "role,session_authorization").await,
        "posing|posing_login"
    );
}

#[tokio::test]
async fn a_privileged_setting_applies_once_it_is_granted_to_the_login_role() {
    let database = database().await;
    database
        .execute(
            "CREATE ROLE granted; CREATE ROLE granted_login LOGIN NOINHERIT IN ROLE anon, granted, web_user;
             CREATE ROLE ungranted_login LOGIN NOINHERIT IN ROLE anon, granted, web_user;
             ALTER ROLE granted SET log_min_duration_statement = '10min'",
        )
        .await;
    const NAME: &str = "log_min_duration_statement";
    let admin = database.admin().await;
    let version = admin
        .query_one("SELECT current_setting('server_version_num')::int4", &[])
        .await;
    let has_parameter_privileges = version.expect("it says so").get::<_, i32>(0) >= 150_000;
    if has_parameter_privileges {
        let grant = format!("GRANT SET ON PARAMETER {NAME} TO granted_login");
        admin.batch_execute(&grant).await.expect("it may");
    }
    let expected = if has_parameter_privileges {
        "10min"
    } else {
        "-1"
    };
    let with = app(&database, "granted_login", true).await;
    let without = app(&database, "ungranted_login", true).await;
    for _ in 0..2 {
        assert_eq!(ask(&with, "granted", NAME).await, expected);
        assert_eq!(ask(&with, "web_user", NAME).await, "-1");
        assert_eq!(ask(&without, "granted", NAME).await, "-1");
    }
}

#[tokio::test]
async fn what_is_stored_for_the_database_wins_over_the_cluster_and_only_in_that_database() {
    let (here, there) = (database().await, database().await);
    here.execute(
        "CREATE ROLE wins; CREATE ROLE wins_login LOGIN NOINHERIT IN ROLE anon, wins;
         DO $$ BEGIN EXECUTE format('ALTER ROLE wins IN DATABASE %I SET work_mem = ''8MB''', current_database()); END $$;
         ALTER ROLE wins SET work_mem = '6MB';
         ALTER ROLE wins SET statement_timeout = '1s';
         DO $$ BEGIN EXECUTE format('ALTER ROLE wins IN DATABASE %I SET default_transaction_isolation = serializable', current_database()); END $$",
    )
    .await;
    const NAMES: &str = "work_mem,statement_timeout,transaction_isolation";
    let app_here = app(&here, "wins_login", true).await;
    assert_eq!(ask(&app_here, "wins", NAMES).await, "8MB|1s|serializable");
    let app_there = app(&there, "wins_login", true).await;
    assert_eq!(
        ask(&app_there, "wins", NAMES).await,
        "6MB|1s|read committed"
    );
}

#[tokio::test]
async fn settings_that_cannot_be_read_are_a_503_that_tells_the_client_nothing() {
    let database = database().await;
    let url = database.url("authenticator");
    let url = url.replace(database.name(), "not_there");
    let pool = rolescope::RoleScopedPool::builder(&url)
        .expect("the URL can be read")
        .anonymous_role("anon")
        .role_settings(true)
        .build_lazy()
        .expect("it is built");
    let app = service(&pool, Router::new().route("/", get(table)));
    let reply = service::get(&app, "/", None).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_eq!(reply.kind(), rolescope::ErrorKind::Unavailable);
    assert!(!reply.body.contains("not_there"), "{reply:?}");
}
