//! Attempts to connect that fail: whom they hold up, and for how long.

use futures_util::future::join_all;

use super::{LONG, SHORT, SIZE, Service, causes, read, unavailable};
use crate::support::database;
use crate::support::proxy::Proxy;
use crate::support::service::{self, service};
use axum::Router;
use axum::routing::get;
use rolescope::ErrorKind;

#[tokio::test]
async fn while_others_hold_sessions_nobody_waits_for_one_that_is_refused() {
    let database = database().await;
    let mut proxy = Proxy::start(&database);
    let pool = proxy.pool_builder().max_size(SIZE);
    let pool = pool.acquire_timeout(LONG).connect_timeout(LONG);
    let service = Service::over(pool.build().await.expect("it is built"));
    let held = service.send("/hold");
    service.gate.is_reached_by(1).await;
    proxy.refuse().await;
    // The first sees the refusal, and it speaks for those that follow.
    for _ in 0..3 {
        let reply = service.ask("/read").await;
        unavailable(&reply, ErrorKind::Unavailable);
        assert!(causes(&reply).contains("refused"), "{}", causes(&reply));
    }
    // A session that is there serves on: for its transaction, and then for all.
    service.gate.open(1);
    assert_eq!(held.await.expect("no panic").ok(), "read");
    for _ in 0..3 {
        assert_eq!(service.ask("/read").await.ok(), "read");
    }
    proxy.listen();
    let held = service.send("/hold");
    service.gate.is_reached_by(1).await;
    service.until_it_serves("refused").await;
    service.gate.open(1);
    assert_eq!(held.await.expect("no panic").ok(), "read");
    service.is_whole().await;
}

#[tokio::test]
async fn while_attempts_fail_one_a_second_is_made_and_the_others_are_told_at_once() {
    const CALLERS: u32 = 32;
    let database = database().await;
    let proxy = Proxy::start(&database);
    proxy.hold();
    let pool = proxy.pool_builder().max_size(CALLERS);
    let pool = pool.acquire_timeout(LONG).connect_timeout(SHORT);
    let pool = pool.build_lazy().expect("it is built");
    let app = service(&pool, Router::new().route("/read", get(read)));
    let began = std::time::Instant::now();
    let one = service::get(&app, "/read", None).await;
    unavailable(&one, ErrorKind::Unavailable);
    assert_eq!(proxy.connections(), 1);
    for _ in 0..2 {
        let before = proxy.connections();
        while proxy.connections() == before {
            let burst = (0..CALLERS).map(|_| service::get(&app, "/read", None));
            for reply in join_all(burst).await {
                unavailable(&reply, ErrorKind::Unavailable);
            }
        }
        let most = 1 + began.elapsed().as_secs() as usize;
        assert!(proxy.connections() <= most, "{}", proxy.connections());
    }
    proxy.pass();
    while service::get(&app, "/read", None).await.status != 200 {
        tokio::time::sleep(SHORT / 10).await;
    }
}

/// Reading them takes a connection of its own.
#[tokio::test]
async fn settings_of_roles_that_cannot_be_read_hold_up_nobody_either() {
    let database = database().await;
    let proxy = Proxy::start(&database);
    proxy.hold();
    let pool = proxy.pool_builder().role_settings(true);
    let pool = pool.acquire_timeout(LONG).connect_timeout(SHORT);
    let pool = pool.build_lazy().expect("it is built");
    let service = Service::over(pool);
    for _ in 0..8 {
        unavailable(&service.ask("/read").await, ErrorKind::Unavailable);
    }
    assert!(proxy.connections() < 5, "{}", proxy.connections());
    proxy.pass();
    service.until_it_serves("settings of roles").await;
}
