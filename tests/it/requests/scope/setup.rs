//! A set-up that is not safe is refused with its cure, and what is no set-up at all with its cause.
//!
//! Roles belong to the whole server: each test makes its own, named after the test.

use rolescope::scope::{RoleScopedPoolBuilder, SetupProblemKind as Kind};
use rolescope::{RoleScopedPool, SetupError};

use crate::support::events::Recorder;
use crate::support::proxy::{Proxy, within};
use crate::support::{Database, database};

impl Database {
    fn builder_for(&self, login: &str) -> RoleScopedPoolBuilder {
        self.pool_builder_for(login)
    }
}

async fn refused(builder: RoleScopedPoolBuilder) -> SetupError {
    within(builder.build()).await.expect_err("it is refused")
}

fn problems(error: &SetupError) -> Vec<(Kind, &str)> {
    let problems = error.problems().iter();
    problems.map(|p| (p.kind(), p.subject())).collect()
}

/// Says that a login role is refused for one reason alone, that the text names the cure and how to accept it, and that
/// accepting exactly that lets it pass with one warning.
async fn dangerous(builder: RoleScopedPoolBuilder, kind: Kind, subject: &str, cure: &str) {
    let error = refused(builder.clone()).await;
    assert_eq!(problems(&error), [(kind, subject)], "{error}");
    let text = error.to_string();
    assert!(text.contains(subject) && text.contains(cure), "{text}");
    let accept = format!("accept_setup_problem(SetupProblemKind::{kind:?})");
    assert!(text.contains(&accept), "{text}");

    let others = [
        Kind::ServerTooOld,
        Kind::RoleMissing,
        Kind::RoleNotGranted,
        Kind::ReachesSuperuser,
        Kind::ReachesBypassRls,
        Kind::ReachesCreateRole,
        Kind::Inherits,
        Kind::OwnsTables,
    ];
    let others = others.into_iter().filter(|other| *other != kind);
    let error =
        refused(others.fold(builder.clone(), |b, other| b.accept_setup_problem(other))).await;
    assert_eq!(problems(&error), [(kind, subject)], "{error}");

    let warnings = Recorder::start();
    let accepted = within(builder.accept_setup_problem(kind).build()).await;
    accepted.expect("it is accepted");
    let warnings = warnings.warnings();
    assert!(
        matches!(&warnings[..], [one] if one.contains("accepted") && one.contains(cure)),
        "{warnings:?}"
    );
}

// --- dangerous, unless accepted ---

#[tokio::test]
async fn a_superuser_is_refused() {
    let database = database().await;
    let builder = database.builder_for("postgres").anonymous_role("anon");
    dangerous(
        builder,
        Kind::ReachesSuperuser,
        "postgres",
        "log in as a role that is only a member",
    )
    .await;
}

#[tokio::test]
async fn a_login_role_that_may_become_a_superuser_is_refused() {
    let database = database().await;
    database
        .execute(
            "CREATE ROLE super_boss SUPERUSER; CREATE ROLE super_middle IN ROLE super_boss;
             CREATE ROLE super_login LOGIN NOINHERIT IN ROLE anon, super_middle",
        )
        .await;
    let builder = database.builder_for("super_login").anonymous_role("anon");
    dangerous(
        builder,
        Kind::ReachesSuperuser,
        "super_boss",
        "log in as a role that is only a member",
    )
    .await;
}

#[tokio::test]
async fn a_login_role_with_or_near_bypassrls_is_refused() {
    let database = database().await;
    database
        .execute(
            "CREATE ROLE bypass_login LOGIN NOINHERIT BYPASSRLS IN ROLE anon;
             CREATE ROLE bypass_boss BYPASSRLS;
             CREATE ROLE bypass_near LOGIN NOINHERIT IN ROLE anon, bypass_boss",
        )
        .await;
    for (login, subject) in [
        ("bypass_login", "bypass_login"),
        ("bypass_near", "bypass_boss"),
    ] {
        let builder = database.builder_for(login).anonymous_role("anon");
        dangerous(builder, Kind::ReachesBypassRls, subject, "NOBYPASSRLS").await;
    }
}

#[tokio::test]
async fn a_login_role_with_or_near_createrole_is_refused() {
    let database = database().await;
    database
        .execute(
            "CREATE ROLE create_login LOGIN NOINHERIT CREATEROLE IN ROLE anon;
             CREATE ROLE create_boss CREATEROLE;
             CREATE ROLE create_near LOGIN NOINHERIT IN ROLE anon, create_boss",
        )
        .await;
    for (login, subject) in [
        ("create_login", "create_login"),
        ("create_near", "create_boss"),
    ] {
        let builder = database.builder_for(login).anonymous_role("anon");
        dangerous(builder, Kind::ReachesCreateRole, subject, "NOCREATEROLE").await;
    }
}

#[tokio::test]
async fn a_login_role_that_inherits_is_refused() {
    let database = database().await;
    database
        .execute("CREATE ROLE inherit_login LOGIN INHERIT IN ROLE anon, web_user")
        .await;
    let builder = database.builder_for("inherit_login").anonymous_role("anon");
    dangerous(builder, Kind::Inherits, "anon, web_user", "NOINHERIT").await;
}

#[tokio::test]
async fn a_login_role_that_inherits_despite_noinherit_is_refused() {
    let database = database().await;
    let login = "CREATE ROLE inherit_grant LOGIN NOINHERIT IN ROLE anon";
    database.execute(login).await;
    let grant = "GRANT web_user TO inherit_grant WITH INHERIT TRUE";
    let granted = database.admin().await.batch_execute(grant).await;
    let builder = database.builder_for("inherit_grant").anonymous_role("anon");
    if granted.is_ok() {
        dangerous(builder, Kind::Inherits, "web_user", "INHERIT FALSE").await;
    } else {
        // Up to 15 a membership has no such option, so that there is nothing to be refused.
        within(builder.build()).await.expect("it is built");
    }
}

#[tokio::test]
async fn a_login_role_that_owns_tables_is_refused() {
    let database = database().await;
    database
        .execute(
            "CREATE ROLE owning_login LOGIN NOINHERIT IN ROLE anon;
             CREATE TABLE a_table (x int); ALTER TABLE a_table OWNER TO owning_login;
             CREATE SCHEMA s; CREATE TABLE s.parted (x int) PARTITION BY LIST (x); ALTER TABLE s.parted OWNER TO owning_login",
        )
        .await;
    let builder = database.builder_for("owning_login").anonymous_role("anon");
    dangerous(builder, Kind::OwnsTables, "a_table, s.parted", "OWNER TO").await;
}

// --- unusable, whatever is accepted ---

#[tokio::test]
async fn an_anonymous_or_resting_role_that_does_not_exist_is_refused() {
    let database = database().await;
    let builder = database.builder_for("authenticator");
    for builder in [
        builder.clone().anonymous_role("nowhere"),
        builder.anonymous_role("anon").resting_role("nowhere"),
    ] {
        let builder = builder.accept_setup_problem(Kind::RoleMissing);
        let error = refused(builder).await;
        assert_eq!(
            problems(&error),
            [(Kind::RoleMissing, "nowhere")],
            "{error}"
        );
        assert!(
            error
                .to_string()
                .contains(r#"CREATE ROLE "nowhere" NOLOGIN; GRANT "nowhere" TO "authenticator";"#),
            "{error}"
        );
        assert!(
            !error.to_string().contains("accept_setup_problem"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_anonymous_or_resting_role_that_is_not_granted_is_refused() {
    let database = database().await;
    let builder = database.builder_for("authenticator");
    for builder in [
        builder.clone().anonymous_role("not_granted"),
        builder.anonymous_role("anon").resting_role("not_granted"),
    ] {
        let builder = builder.accept_setup_problem(Kind::RoleNotGranted);
        let error = refused(builder).await;
        assert_eq!(
            problems(&error),
            [(Kind::RoleNotGranted, "not_granted")],
            "{error}"
        );
        assert!(
            error
                .to_string()
                .contains(r#"GRANT "not_granted" TO "authenticator";"#),
            "{error}"
        );
    }
}

#[tokio::test]
async fn the_login_role_is_refused_as_the_anonymous_one() {
    let database = database().await;
    let builder = database
        .builder_for("authenticator")
        .anonymous_role("authenticator")
        .accept_setup_problem(Kind::RoleIsLogin);
    let error = refused(builder).await;
    assert_eq!(
        problems(&error),
        [(Kind::RoleIsLogin, "authenticator")],
        "{error}"
    );
}

#[tokio::test]
async fn all_that_is_wrong_is_said_at_once() {
    let database = database().await;
    database
        .execute(
            "CREATE ROLE many_boss BYPASSRLS CREATEROLE;
             CREATE ROLE many_login LOGIN INHERIT IN ROLE many_boss;
             CREATE TABLE mine (x int); ALTER TABLE mine OWNER TO many_login",
        )
        .await;
    let builder = database
        .builder_for("many_login")
        .anonymous_role("nobody_at_all")
        .resting_role("not_granted");
    let all = [
        (Kind::RoleMissing, "nobody_at_all"),
        (Kind::RoleNotGranted, "not_granted"),
        (Kind::ReachesBypassRls, "many_boss"),
        (Kind::ReachesCreateRole, "many_boss"),
        (Kind::Inherits, "many_boss"),
        (Kind::OwnsTables, "mine"),
    ];
    let error = refused(builder.clone()).await;
    assert_eq!(problems(&error), all, "{error}");
    let lines = error.to_string();
    assert_eq!(lines.lines().count(), 1 + all.len(), "{lines}");

    let error = refused(builder.accept_setup_problem(Kind::Inherits)).await;
    assert_eq!(problems(&error).len(), all.len() - 1, "{error}");
}

// --- options that cannot be used ---

#[tokio::test]
async fn options_that_cannot_be_used_are_refused_before_anything_is_connected() {
    let error = RoleScopedPool::builder("postgres://a@h:port/db").expect_err("it is refused");
    assert!(
        error.to_string().contains("URL cannot be read: "),
        "{error}"
    );

    let nowhere = || RoleScopedPool::builder("postgres://a@%2Fnowhere/db").expect("it can be read");
    for (builder, expected) in [
        (
            nowhere().anonymous_role("none"),
            r#""none" cannot be the name of a role: "#,
        ),
        (
            nowhere().anonymous_role(""),
            r#""" cannot be the name of a role: "#,
        ),
        (
            nowhere().anonymous_role("a").resting_role("x".repeat(64)),
            "cannot be the name of a role: ",
        ),
        (
            nowhere().app_setting("role", "postgres"),
            r#""role" cannot be set"#,
        ),
        (
            nowhere().app_setting("request.jwt.claims", "{}"),
            r#""request.jwt.claims" cannot be set"#,
        ),
        (
            nowhere().app_setting("app.x", "\0"),
            r#""app.x" cannot be set"#,
        ),
    ] {
        let lazy = builder.clone().build_lazy().expect_err("it is refused");
        for error in [lazy, refused(builder).await] {
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.problems().is_empty());
        }
    }
}

#[test]
fn without_a_runtime_a_pool_is_refused_and_nothing_panics() {
    let builder = RoleScopedPool::builder("postgres://a@%2Fnowhere/db").expect("it can be read");
    let error = builder.build_lazy().expect_err("it is refused");
    assert!(error.to_string().contains("tokio runtime"), "{error}");
}

// --- a database that cannot be asked ---

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_an_error_that_names_the_cause() {
    let database = database().await;
    let mut proxy = Proxy::start(&database);
    proxy.refuse().await;
    let error = refused(proxy.pool_builder()).await;
    for part in [
        "cannot use the database at ",
        ".s.PGSQL.",
        "refused",
        "is it running there?",
    ] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(error.problems().is_empty());

    proxy.listen();
    proxy.hold();
    let timeout = std::time::Duration::from_millis(100);
    let error = refused(proxy.pool_builder().connect_timeout(timeout)).await;
    assert!(
        error.to_string().contains("did not answer in time"),
        "{error}"
    );

    let error = refused(database.builder_for("nobody_at_all")).await;
    assert!(
        error
            .to_string()
            .contains(r#"role "nobody_at_all" does not exist"#),
        "{error}"
    );

    let url = format!(
        "{}?options=-c%20no_such_setting%3D1",
        database.url("authenticator")
    );
    let error = refused(RoleScopedPool::builder(&url).expect("it can be read")).await;
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}
