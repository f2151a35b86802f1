//! A standby that is away: the primary serves, nobody waits for long, and it is found again.

use std::os::unix::fs::symlink;

use super::{
    LONG, Proxied, SHORT, TOKEN, place_of, replicated_database, routes, service, until_on_standby,
};
use crate::support::events::Recorder;
use crate::support::files::TemporaryDirectory;
use crate::support::proxy::{Cut, Proxy, within};
use crate::support::service as client;
use crate::support::standby::Standby;

#[tokio::test]
async fn a_standby_that_dies_costs_no_request_and_serves_again_when_it_is_back() {
    let database = replicated_database().await;
    let standby = Standby::of(&database).await;
    // One place for both, the one that dies and the one that comes after it.
    let place = TemporaryDirectory::new("replica");
    let link = place.path().join("s");
    symlink(standby.server().directory(), &link).expect("a link can be made");
    let host = link.display().to_string().replace('/', "%2F");
    let url = format!("postgresql://authenticator@{host}/{}", database.name());
    let pool = database.pool_builder().replica(&url).expect("a URL");
    let pool = pool.acquire_timeout(LONG).connect_timeout(LONG);
    let pool = pool.build().await.expect("it is built");
    assert_eq!(place_of(&pool).await, "standby");

    let log = Recorder::start();
    drop(standby);
    let app = service(&pool, routes());
    let requests = (0..50).map(|_| client::get(&app, "/place", TOKEN));
    for reply in within(futures_util::future::join_all(requests)).await {
        assert_eq!(reply.ok(), "primary");
    }
    let mut warnings = log.warnings();
    // The last read's end may have been on its way.
    warnings.retain(|warning| warning.contains("replica"));
    assert!(
        matches!(&warnings[..], [one] if one.contains("the primary serves")),
        "{warnings:?}"
    );

    let standby = Standby::of(&database).await;
    std::fs::remove_file(&link).expect("the link is there");
    symlink(standby.server().directory(), &link).expect("a link can be made");
    until_on_standby(&pool).await;
}

#[tokio::test]
async fn a_standby_that_is_away_at_the_start_is_warned_of_and_used_once_it_is_there() {
    let mut proxied = Proxied::new().await;
    proxied.proxy.refuse().await;
    let log = Recorder::start();
    let pool = within(proxied.pool_builder().build())
        .await
        .expect("it is built");
    let warnings = log.warnings();
    assert!(
        matches!(&warnings[..], [one] if one.contains("is away") && one.contains("refused")),
        "{warnings:?}"
    );
    assert_eq!(place_of(&pool).await, "primary");
    proxied.proxy.listen();
    until_on_standby(&pool).await;
}

#[tokio::test]
async fn a_session_that_is_dead_before_begin_is_answered_costs_the_request_nothing() {
    let proxied = Proxied::new().await;
    let pool = proxied.pool_builder().build().await.expect("it is built");
    for cut in [Cut::Unsent, Cut::Unanswered] {
        assert_eq!(place_of(&pool).await, "standby");
        proxied.proxy.rests().await;
        proxied.proxy.cut_at(cut, "BEGIN");
        assert_eq!(place_of(&pool).await, "primary", "{cut:?}");
        // One session is not the whole standby: the next read goes there again.
    }
    assert_eq!(place_of(&pool).await, "standby");
}

#[tokio::test]
async fn a_standby_that_falls_silent_delays_one_read_and_no_other() {
    let proxied = Proxied::new().await;
    let pool = proxied.pool_builder().begin_timeout(SHORT);
    let pool = pool.build().await.expect("it is built");
    assert_eq!(place_of(&pool).await, "standby");
    proxied.proxy.rests().await;
    let connections = proxied.proxy.connections();
    proxied.proxy.hold();
    let app = service(&pool, routes());
    let delayed = tokio::spawn(async move { client::get(&app, "/place", TOKEN).await });
    proxied.proxy.sees(&["Q", "BE", "BE"]).await;
    assert_eq!(within(delayed).await.expect("no panic").ok(), "primary");
    for _ in 0..3 {
        assert_eq!(place_of(&pool).await, "primary");
    }
    assert_eq!(proxied.proxy.connections(), connections);
    proxied.proxy.pass();
    until_on_standby(&pool).await;
}

#[tokio::test]
async fn those_who_wait_for_a_place_at_a_silent_standby_do_so_no_longer_than_the_first() {
    let proxied = Proxied::new().await;
    let pool = proxied
        .pool_builder()
        .begin_timeout(SHORT)
        .acquire_timeout(LONG)
        .connect_timeout(LONG);
    let pool = pool.build().await.expect("it is built");
    assert_eq!(place_of(&pool).await, "standby");
    proxied.proxy.rests().await;
    proxied.proxy.hold();
    let app = service(&pool, routes());
    let requests = (0..8).map(|_| client::get(&app, "/place", TOKEN));
    for reply in within(futures_util::future::join_all(requests)).await {
        assert_eq!(reply.ok(), "primary");
    }
}

#[tokio::test]
async fn a_standby_that_does_not_answer_a_connection_delays_one_read_and_no_other() {
    let proxied = Proxied::new().await;
    proxied.proxy.hold();
    let pool = proxied.pool_builder().connect_timeout(SHORT);
    let pool = pool.build_lazy().expect("it is built");
    for _ in 0..4 {
        assert_eq!(place_of(&pool).await, "primary");
    }
    assert_eq!(proxied.proxy.connections(), 1);
    proxied.proxy.pass();
    until_on_standby(&pool).await;
}

#[tokio::test]
async fn while_it_is_looked_for_nobody_waits_and_nobody_else_looks() {
    let mut proxied = Proxied::new().await;
    let pool = proxied
        .pool_builder()
        .connect_timeout(LONG)
        .acquire_timeout(LONG);
    let pool = pool.build().await.expect("it is built");
    proxied.proxy.refuse().await;
    proxied.proxy.cut();
    // The first finds its session dead, the second that no other can be made.
    for _ in 0..2 {
        assert_eq!(place_of(&pool).await, "primary");
    }
    proxied.proxy.hold();
    proxied.proxy.listen();
    let before = proxied.proxy.connections();
    within(async {
        while proxied.proxy.connections() == before {
            assert_eq!(place_of(&pool).await, "primary");
        }
    })
    .await;
    // Whoever looks hangs. More than a second passes, in which others could.
    let began = std::time::Instant::now();
    while began.elapsed() < 3 * SHORT {
        assert_eq!(place_of(&pool).await, "primary");
    }
    assert_eq!(proxied.proxy.connections(), before + 1);
    proxied.proxy.pass();
    proxied.proxy.release();
    until_on_standby(&pool).await;
}

#[tokio::test]
async fn reads_go_on_where_the_primary_is_away() {
    let database = replicated_database().await;
    let standby = Standby::of(&database).await;
    let mut proxy = Proxy::start(&database);
    let builder = proxy
        .pool_builder()
        .replica(&standby.url("authenticator"))
        .expect("the URL can be read");
    let pool = builder.build().await.expect("it is built");
    proxy.refuse().await;
    proxy.cut();
    let app = service(&pool, routes());
    let write = within(client::post(&app, "/place", TOKEN)).await;
    assert_eq!(write.status, 503, "{write:?}");
    assert_eq!(place_of(&pool).await, "standby");
}
