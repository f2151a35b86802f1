//! A network that passes nothing on.

use std::time::Instant;

use rolescope::ErrorKind;

use super::{SHORT, SIZE, Service, TABLE, unavailable};
use crate::support::database;
use crate::support::proxy::Proxy;

/// Connections are made and nothing is answered, neither on these nor on those of before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_was_silent_is_used_again_once_it_is_healed() {
    let database = database().await;
    database.execute(TABLE).await;
    let proxy = Proxy::start(&database);
    let pool = proxy.pool_builder().max_size(SIZE);
    let pool = pool.begin_timeout(SHORT).reset_timeout(SHORT);
    let pool = pool.acquire_timeout(2 * SHORT).connect_timeout(SHORT);
    let service = Service::over(pool.build().await.expect("it is built"));
    for (what, half_open) in [("silent", false), ("half-open", true)] {
        service.is_whole().await;
        proxy.hold();
        if half_open {
            // These are never answered, not even later.
            proxy.freeze();
        }
        for round in 0..4 {
            let began = Instant::now();
            for reply in service
                .ask_all(8, if round % 2 == 0 { "/read" } else { "/write" })
                .await
            {
                assert_eq!(reply.status, 503, "{reply:?}");
                assert_eq!(reply.headers["retry-after"], "1");
            }
            eprintln!("{what}: 8 answers in {:?}", began.elapsed());
        }
        // All sessions were given up, and attempts fail: nobody waits.
        unavailable(&service.ask("/read").await, ErrorKind::Unavailable);
        proxy.pass();
        service.until_it_serves(what).await;
    }
    service.is_whole().await;
    let admin = database.admin().await;
    let rows = admin.query_one("SELECT count(*) FROM t", &[]).await;
    assert_eq!(rows.expect("it is counted").get::<_, i64>(0), 0);
}
