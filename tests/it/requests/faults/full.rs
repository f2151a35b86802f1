//! A pool all of whose connections are in use.

use axum::http::Method;
use rolescope::ErrorKind;

use super::{LONG, SHORT, Service};
use crate::support::database;
use crate::support::proxy::within;
use crate::support::service::{request, send};

#[tokio::test]
async fn a_refused_token_is_answered_while_nobody_else_gets_a_connection() {
    let database = database().await;
    let pool = database.pool_builder().max_size(1).acquire_timeout(LONG);
    let service = Service::over(pool.build().await.expect("it is built"));
    let held = service.send("/hold");
    service.gate.is_reached_by(1).await;
    let waiting = service.send("/read");
    let created = service.pool.status().connections_created;
    let began = std::time::Instant::now();
    for _ in 0..100 {
        let refused = request(Method::GET, "/read", &["Bearer not.a.token"]);
        let reply = within(send(&service.app, refused)).await;
        assert_eq!(
            (reply.status, reply.kind()),
            (401.try_into().expect("a status"), ErrorKind::InvalidToken)
        );
    }
    eprintln!(
        "a refused token, pool exhausted: {:?} each",
        began.elapsed() / 100
    );
    assert!(!held.is_finished() && !waiting.is_finished());
    let status = service.pool.status();
    assert_eq!((status.in_use, status.connections_created), (1, created));
    service.gate.open(1);
    assert_eq!(held.await.expect("no panic").ok(), "read");
    assert_eq!(within(waiting).await.expect("no panic").ok(), "read");
}

#[tokio::test]
async fn whoever_waits_for_a_place_until_the_deadline_may_try_again() {
    let database = database().await;
    let pool = database.pool_builder().max_size(1).acquire_timeout(SHORT);
    let service = Service::over(pool.build().await.expect("it is built"));
    let held = service.send("/hold");
    service.gate.is_reached_by(1).await;
    for reply in service.ask_all(8, "/read").await {
        super::unavailable(&reply, ErrorKind::PoolExhausted);
    }
    service.gate.open(1);
    assert_eq!(held.await.expect("no panic").ok(), "read");
    assert_eq!(service.ask("/read").await.ok(), "read");
}
