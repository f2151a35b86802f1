//! Clients that go away while their statement runs.

use crate::support::proxy::within;
use crate::{Pooled, backend, scope};

#[tokio::test]
async fn the_statement_is_cancelled_and_pgbouncer_serves_on() {
    let pooled = Pooled::start("default_pool_size = 4").await;
    let pool = pooled.builder().max_size(4);
    let pool = pool.build().await.expect("it is built");
    let admin = pooled.database.admin().await;
    let asleep = "SELECT count(*) FROM pg_stat_activity \
        WHERE datname = current_database() AND state = 'active' AND query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()";
    let asleep = async || {
        let row = admin.query_one(asleep, &[]).await.expect("it answers");
        row.get::<_, i64>(0)
    };
    for _ in 0..10 {
        let sleeping = (0..4).map(|_| {
            let db = pool.begin(&scope("web_user"));
            tokio::spawn(async move { db.query("SELECT pg_sleep(600)", &[]).await.map(drop) })
        });
        let sleeping: Vec<_> = sleeping.collect();
        within(async { while asleep().await < 4 {} }).await;
        sleeping.iter().for_each(tokio::task::JoinHandle::abort);
        within(async { while asleep().await > 0 {} }).await;
        within(backend(&pool)).await;
    }
}
