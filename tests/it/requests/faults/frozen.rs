//! Processes of the server that are stopped: they neither answer nor end.

use std::time::Instant;

use rolescope::ErrorKind;

use super::{LONG, SHORT, SIZE, Server, Service, backends, unavailable, until_active};
use crate::support::processes::end_with;
use crate::support::proxy::within;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_frozen_costs_one_request_and_is_replaced() {
    let server = Server::start(&[]).await;
    let pool = server.pool_builder();
    let pool = pool
        .begin_timeout(SHORT)
        .reset_timeout(SHORT)
        .acquire_timeout(LONG);
    let service = Service::over(pool.build().await.expect("it is built"));
    let admin = server.admin().await;
    for (round, uri) in ["/read", "/write", "/read", "/write"]
        .into_iter()
        .enumerate()
    {
        service.is_whole().await;
        let discarded = service.pool.status().connections_discarded;
        let frozen = backends(&admin).await.swap_remove(round % SIZE as usize);
        end_with("STOP", &frozen);
        let began = Instant::now();
        let mut failed = 0;
        for _ in 0..3 * SIZE {
            let reply = service.ask(uri).await;
            if !reply.status.is_success() {
                unavailable(&reply, ErrorKind::Unavailable);
                failed += 1;
            }
        }
        eprintln!(
            "one of four frozen ({uri}): {failed} failed of 12 in {:?}",
            began.elapsed()
        );
        assert!(failed <= 1, "{failed}");
        assert_eq!(service.pool.status().connections_discarded, discarded + 1);
        end_with("CONT", &frozen);
    }

    // The rest of a transaction, and its ROLLBACK.
    let rows = server.rows().await;
    let refused = service.send("/refuse");
    service.gate.is_reached_by(1).await;
    let all = backends(&admin).await;
    all.iter().for_each(|pid| end_with("STOP", pid));
    let began = Instant::now();
    service.gate.open(1);
    let reply = within(refused).await.expect("no panic");
    eprintln!("frozen before ROLLBACK: answered in {:?}", began.elapsed());
    assert_eq!(reply.status, 409, "{reply:?}");
    all.iter().for_each(|pid| end_with("CONT", pid));
    service.is_whole().await;
    assert_eq!(server.rows().await, rows);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_frozen_is_used_again_once_it_thaws() {
    let server = Server::start(&[]).await;
    let pool = server.pool_builder();
    let pool = pool.begin_timeout(SHORT).reset_timeout(SHORT);
    let pool = pool.acquire_timeout(2 * SHORT).connect_timeout(SHORT);
    let service = Service::over(pool.build().await.expect("it is built"));
    service.is_whole().await;
    let admin = server.admin().await;
    let sleeping = service.send("/sleep");
    until_active(&admin, "SELECT pg_sleep").await;
    let mut all = backends(&admin).await;
    all.push(server.postgres.pid().to_string());
    all.iter().for_each(|pid| end_with("STOP", pid));
    // Until all that a request may wait for has been waited for, several times over.
    for round in 0..4 {
        let began = Instant::now();
        for reply in service
            .ask_all(8, if round % 2 == 0 { "/read" } else { "/write" })
            .await
        {
            assert_eq!(reply.status, 503, "{reply:?}");
            assert_eq!(reply.headers["retry-after"], "1");
        }
        eprintln!("all frozen: 8 answers in {:?}", began.elapsed());
    }
    assert!(!sleeping.is_finished(), "nothing bounds a statement");
    assert_eq!(service.pool.status().in_use, 1);
    all.iter().for_each(|pid| end_with("CONT", pid));
    service.until_it_serves("all frozen").await;
    within(sleeping).await.expect("no panic").ok();
    service.is_whole().await;
    assert_eq!(server.rows().await, 0);
}
