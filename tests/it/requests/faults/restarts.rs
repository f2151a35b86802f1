//! A server that ends and comes back.

use std::process::Command;
use std::time::{Duration, Instant};

use rolescope::ErrorKind;

use super::{LONG, SHORT, Server, Service, backends, causes, terminate, unavailable, until_active};
use crate::support::processes::end_with;
use crate::support::proxy::within;
use crate::support::run;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_back_is_used_again() {
    let server = Server::start(&[]).await;
    // Nobody is to wait for any of these.
    let pool = server.pool_builder();
    let pool = pool
        .acquire_timeout(LONG)
        .connect_timeout(LONG)
        .begin_timeout(LONG);
    let service = Service::over(pool.build().await.expect("it is built"));

    // One session ends in the middle of a statement, one between two, the others idle.
    service.fill().await;
    let admin = server.admin().await;
    let (sleeping, held) = (service.send("/sleep"), service.send("/hold"));
    service.gate.is_reached_by(1).await;
    until_active(&admin, "SELECT pg_sleep").await;
    terminate(&admin).await;
    let reply = within(sleeping).await.expect("no panic");
    unavailable(&reply, ErrorKind::Database);
    service.gate.open(1);
    unavailable(
        &within(held).await.expect("no panic"),
        ErrorKind::ConnectionLost,
    );
    for reply in service.ask_all(8, "/read").await {
        assert_eq!(reply.ok(), "read");
    }
    service.is_whole().await;

    for (how, signal) in [("fast", "INT"), ("immediate", "QUIT")] {
        let admin = server.admin().await;
        let (sleeping, held) = (service.send("/sleep"), service.send("/hold"));
        service.gate.is_reached_by(1).await;
        until_active(&admin, "SELECT pg_sleep").await;
        server.postgres.stop(signal);
        service.gate.open(1);
        for running in [sleeping, held] {
            let reply = within(running).await.expect("no panic");
            assert_eq!(
                (reply.status.as_u16(), &reply.headers["retry-after"]),
                (503, &"1".try_into().expect("a value")),
                "{reply:?}"
            );
        }
        let began = Instant::now();
        for reply in service.ask_all(32, "/read").await {
            unavailable(&reply, ErrorKind::Unavailable);
        }
        for reply in service.ask_all(32, "/write").await {
            unavailable(&reply, ErrorKind::Unavailable);
        }
        eprintln!("stopped ({how}): 64 answers in {:?}", began.elapsed());
        assert_eq!(service.pool.status().connections, 0);
        server.postgres.start_again();
        service.until_it_serves(how).await;
        service.is_whole().await;
    }
    assert_eq!(server.rows().await, 0);
}

/// It ends all sessions, recovers, and answers 57P03 meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_recovers_from_a_crash_is_used_again() {
    let server = Server::start(&[]).await;
    let pool = server.pool_builder();
    let pool = pool.acquire_timeout(LONG).connect_timeout(LONG);
    let pool = pool.begin_timeout(SHORT).reset_timeout(SHORT);
    let service = Service::over(pool.build().await.expect("it is built"));
    service.fill().await;
    let admin = server.admin().await;
    let backends = backends(&admin).await;
    // The servers of tests write late: without it the roles would not outlive the crash.
    run(&admin, "CHECKPOINT").await;
    let [victim, .., frozen] = &backends[..] else {
        panic!("there are sessions");
    };
    // The server recovers once all have ended. For those that do not by themselves it waits 5 s.
    end_with("STOP", frozen);
    end_with("KILL", victim);
    within(async {
        let mut recovers = false;
        while !recovers {
            for reply in service.ask_all(8, "/read").await {
                match reply.status.as_u16() {
                    503 => assert_eq!(reply.headers["retry-after"], "1"),
                    status => assert_eq!(status, 200, "{reply:?}"),
                }
                recovers |= reply.error.is_some() && causes(&reply).contains("recovery mode");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let _ = Command::new("kill").args(["-CONT", frozen]).status();
    service.until_it_serves("crash").await;
    service.is_whole().await;
}
