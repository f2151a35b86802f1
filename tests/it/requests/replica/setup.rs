//! How a pool with a replica is set up, looked at and closed.

use rolescope::scope::SetupProblemKind;
use rolescope::{ErrorKind, RoleScopedPool};

use super::{Proxied, Service, database_without_standby, place_of, routes, service};
use crate::support::events::Recorder;
use crate::support::proxy::within;
use crate::support::service as client;

#[tokio::test]
async fn a_url_that_cannot_be_read_is_refused() {
    let builder = RoleScopedPool::builder("postgres://localhost/x").expect("a URL");
    let error = builder.replica("postgres://local host:x").err();
    let error = error.expect("it is refused").to_string();
    assert!(error.contains("cannot be read"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_no_standby_is_warned_of() {
    let database = database_without_standby().await;
    let builder = database.pool_builder();
    let builder = builder.replica(&database.url("authenticator"));
    let log = Recorder::start();
    let pool = within(builder.expect("a URL").build()).await;
    let pool = pool.expect("it is built");
    let warnings = log.warnings();
    assert!(
        matches!(&warnings[..], [one] if one.contains("no replica") && one.contains("target_session_attrs")),
        "{warnings:?}"
    );
    assert_eq!(place_of(&pool).await, "primary");
    let status = pool.replica_status().expect("there is a replica");
    assert_eq!(status.connections, 1);
}

#[tokio::test]
async fn a_login_role_that_is_dangerous_on_the_replica_alone_is_refused() {
    let database = database_without_standby().await;
    let builder = database.pool_builder();
    let builder = builder.replica(&database.url("postgres")).expect("a URL");
    let error = within(builder.build()).await.expect_err("it is refused");
    let kinds: Vec<_> = error.problems().iter().map(|p| p.kind()).collect();
    assert_eq!(kinds, [SetupProblemKind::ReachesSuperuser], "{error}");
}

#[tokio::test]
async fn a_replica_that_turns_out_to_be_dangerous_later_is_not_used() {
    let database = database_without_standby().await;
    let mut proxy = crate::support::proxy::Proxy::start(&database);
    proxy.refuse().await;
    let builder = database.pool_builder();
    let builder = builder.replica(&proxy.url("postgres")).expect("a URL");
    let pool = within(builder.build()).await.expect("it is built");
    let log = Recorder::start();
    proxy.listen();
    let mut warnings = Vec::new();
    within(async {
        while warnings.is_empty() {
            place_of(&pool).await;
            warnings = log.warnings();
        }
    })
    .await;
    assert!(
        warnings[0].contains("is not used") && warnings[0].contains("superuser"),
        "{warnings:?}"
    );
    let status = pool.replica_status().expect("there is a replica");
    assert_eq!(status.connections_created, 0);
}

#[tokio::test]
async fn nobody_becomes_the_role_that_the_replica_is_read_as() {
    let database = database_without_standby().await;
    database
        .execute(
            "CREATE ROLE replica_login LOGIN NOINHERIT IN ROLE anon, web_user;
             GRANT replica_login TO authenticator",
        )
        .await;
    let builder = database.pool_builder();
    let builder = builder.replica(&database.url("replica_login"));
    let pool = within(builder.expect("a URL").build()).await;
    let pool = pool.expect("it is built");
    let app = service(&pool, routes());
    let claims = Some(r#"{"role":"replica_login"}"#);
    let read = within(client::get(&app, "/place", claims)).await;
    let write = within(client::post(&app, "/place", claims)).await;
    for reply in [read, write] {
        assert_eq!(
            (reply.status.as_u16(), reply.kind()),
            (403, ErrorKind::RoleRefused)
        );
    }
    let named = database.pool_builder().resting_role("replica_login");
    let named = named.replica(&database.url("replica_login"));
    let error = named.expect("a URL").build_lazy();
    let error = error.expect_err("it is refused");
    assert_eq!(error.problems()[0].kind(), SetupProblemKind::RoleIsLogin);
}

#[tokio::test]
async fn the_counters_tell_of_the_replica_and_close_ends_its_sessions_too() {
    let replicated = Service::new(|b| b.max_size(3)).await;
    let status = || {
        replicated
            .pool
            .replica_status()
            .expect("there is a replica")
    };
    assert_eq!((status().max_size, status().connections), (3, 1));
    replicated.get("/place").await.ok();
    let before = replicated.pool.status().connections_created;
    replicated.get("/place").await.ok();
    assert_eq!(replicated.pool.status().connections_created, before);
    within(replicated.pool.close()).await;
    assert_eq!(
        (status().connections, replicated.pool.status().connections),
        (0, 0)
    );
    let reply = replicated.get("/place").await;
    assert_eq!(
        (reply.status.as_u16(), reply.kind()),
        (503, ErrorKind::PoolClosed)
    );

    let without = replicated.database.pool().await;
    assert!(without.replica_status().is_none());
}

#[tokio::test]
async fn close_waits_for_what_runs_on_the_replica() {
    let proxied = Proxied::new().await;
    let pool = proxied.pool_builder().replica_max_size(7).build().await;
    let pool = pool.expect("it is built");
    assert_eq!(pool.replica_status().expect("it is there").max_size, 7);
    let scope = rolescope::RoleScope::for_role(rolescope::RoleName::parse("anon").expect("a name"));
    let running = pool.begin(&scope);
    running.read_only().expect("it has not begun");
    within(super::place(running.clone()))
        .await
        .expect("it runs");
    let mut closing = Box::pin(pool.close());
    assert!(futures_util::poll!(&mut closing).is_pending());
    assert_eq!(
        within(super::place(running.clone()))
            .await
            .expect("it runs on"),
        "standby"
    );
    drop(running);
    within(closing).await;
    drop(proxied.standby);
}
