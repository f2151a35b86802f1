//! Where sessions rest between transactions, and what is different where they do not.

use axum::Router;
use axum::routing::get;
use rolescope::role::RoleName;
use rolescope::{Error, RoleScope, RoleScopedConnection};

use crate::support::database;
use crate::support::events::Recorder;
use crate::support::proxy::{Proxy, within};
use crate::support::service::{self, service};

async fn who(db: RoleScopedConnection) -> Result<String, Error> {
    db.query_one_scalar("SELECT concat_ws(' ', current_user, session_user)", &[])
        .await
}

#[tokio::test]
async fn the_resting_role_beats_what_is_stored_for_the_login_role() {
    let database = database().await;
    database
        .execute(
            "CREATE ROLE poisoned_login LOGIN NOINHERIT IN ROLE anon, web_user, author;
             ALTER ROLE poisoned_login SET role = 'author'",
        )
        .await;
    let proxy = Proxy::start(&database);
    let warnings = Recorder::start();
    for resting in ["anon", "web_user"] {
        let builder = proxy.pool_builder_for("poisoned_login").max_size(1);
        let builder = builder.anonymous_role("anon").resting_role(resting);
        let pool = within(builder.build()).await.expect("it is built");
        proxy.hold();
        let app = service(&pool, Router::new().route("/", get(who)));
        let sent = tokio::spawn(async move { service::get(&app, "/", None).await });
        // The statement travels with the switch, as it does only where the session rests where it should.
        proxy.flight(&["Q", "BE", "PD"]).await;
        proxy.pass();
        let reply = within(sent).await.expect("no panic");
        assert_eq!(reply.ok(), "anon poisoned_login");
        proxy.rests().await;
    }
    assert_eq!(warnings.warnings(), [""; 0]);
}

#[tokio::test]
async fn sessions_that_do_not_rest_get_no_statement_before_the_switch_and_one_warning_for_all() {
    let database = database().await;
    let proxy = Proxy::start(&database);
    let warnings = Recorder::start();
    let pool = within(proxy.pool_builder_for("authenticator").max_size(2).build());
    let pool = pool.await.expect("it is built");
    let app = service(&pool, Router::new().route("/", get(who).post(who)));
    let claims = Some(r#"{"role":"web_user"}"#);
    within(service::get(&app, "/", claims)).await.ok();
    proxy.rests().await;

    for round in 0..2 {
        proxy.hold();
        let sent = {
            let app = app.clone();
            tokio::spawn(async move { service::post(&app, "/", claims).await })
        };
        proxy.flight(&["Q", "BE"]).await;
        proxy.flight(&["BE"]).await;
        proxy.flight(&["BE", "Q", "Q"]).await;
        let reply = within(sent).await.expect("no panic");
        assert_eq!(reply.ok(), "web_user authenticator", "round {round}");
        proxy.pass();
    }
    let scope = RoleScope::for_role(RoleName::parse("web_user").expect("a name"));
    let (one, two) = (pool.begin(&scope), pool.begin(&scope));
    within(one.execute("SELECT 1", &[])).await.expect("it runs");
    within(two.execute("SELECT 1", &[])).await.expect("it runs");
    assert_eq!(pool.status().connections_created, 2);
    let warnings = warnings.warnings();
    assert!(
        matches!(&warnings[..], [one] if one.contains("RoleScopedPoolBuilder::resting_role")),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn a_resting_role_can_have_any_name_and_leaves_the_urls_options_alone() {
    let database = database().await;
    let name = "odd \\ ' \" =\t\u{b}\u{c} -c role=author ü";
    let quoted = name.replace('"', "\"\"");
    database
        .execute(&format!(
            "CREATE ROLE \"{quoted}\"; GRANT \"{quoted}\" TO authenticator"
        ))
        .await;
    let url = database.url("authenticator");
    let sign = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{sign}options=-c%20work_mem%3D8MB%20-c%20role%3Dauthor");
    let pool = rolescope::RoleScopedPool::builder(&url)
        .expect("the URL can be read")
        .anonymous_role(name);
    let pool = within(pool.build()).await.expect("it is built");
    let scope = RoleScope::for_role(RoleName::parse("web_user").expect("a name"));
    let db = pool.begin(&scope);
    db.batch_execute("COMMIT").await.expect("it runs");
    let rests: String = db
        .query_one_scalar(
            "SELECT current_user || ', ' || current_setting('work_mem')",
            &[],
        )
        .await
        .expect("it runs");
    assert_eq!(rests, format!("{name}, 8MB"));
}
