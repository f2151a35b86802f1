//! Statements that nobody waits for, at the edges: before `BEGIN` is answered, and where the runtime is gone.

use std::time::Duration;

use rolescope::{RoleName, RoleScope, RoleScopedConnection, RoleScopedPool};

use super::cancel::until;
use crate::support::database;
use crate::support::proxy::{Proxy, within};

/// Sends a statement and leaves it alone.
async fn leave(db: RoleScopedConnection, sql: &'static str, sent: impl Future) {
    let statement = tokio::spawn(async move { db.execute_typed(sql, &[]).await.map(|_| ()) });
    within(sent).await;
    statement.abort();
    let _ = statement.await;
}

fn begin(pool: &RoleScopedPool) -> RoleScopedConnection {
    pool.begin(&RoleScope::for_role(
        RoleName::parse("web_user").expect("a good name"),
    ))
}

#[tokio::test]
async fn nothing_is_cancelled_before_begin_is_answered() {
    let database = database().await;
    let proxy = Proxy::start(&database);
    let builder = proxy
        .pool_builder()
        .begin_timeout(Duration::from_millis(500));
    let pool = within(builder.build()).await.expect("it is built");
    let connections = proxy.connections();
    proxy.hold();
    let sent = proxy.sees(&["Q", "BE", "PBDE"]);
    leave(begin(&pool), "SELECT 1", sent).await;
    within(async {
        while pool.status().in_use > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // Connections are accepted in turn: behind these two no earlier one is left unseen, that of a cancel request included.
    proxy.pass();
    let other = within(proxy.pool_builder().build()).await;
    other.expect("it is built");
    assert_eq!(proxy.connections(), connections + 2);
    assert_eq!(pool.status().connections, 0, "it is closed");
}

#[test]
fn a_runtime_that_ends_with_a_cancel_request_under_way_leaves_no_open_transaction() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("it is built")
    };
    let (main, other) = (runtime(), runtime());
    let (database, proxy, pool) = main.block_on(async {
        let database = database().await;
        database
            .execute("CREATE TABLE t (x int); GRANT ALL ON t TO web_user")
            .await;
        let proxy = Proxy::start(&database);
        let pool = within(proxy.pool_builder().build())
            .await
            .expect("it is built");
        (database, proxy, pool)
    });
    proxy.delay_cancels();
    other.block_on(async {
        let db = begin(&pool);
        db.execute("INSERT INTO t VALUES (1)", &[])
            .await
            .expect("it is inserted");
        let active = until(&database, "state = 'active'", 1);
        leave(db, "SELECT pg_sleep(0.3)", active).await;
    });
    drop(other);
    main.block_on(async {
        let db = begin(&pool);
        let rows = within(db.query_one_scalar::<i64>("SELECT count(*) FROM t", &[])).await;
        assert_eq!(rows.expect("it serves"), 0);
    });
}

#[test]
fn without_a_runtime_a_busy_session_is_closed_and_an_idle_one_serves_on() {
    let main = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("it is built");
    let (database, pool) = main.block_on(async {
        let database = database().await;
        let pool = database.pool_of_one().await;
        (database, pool)
    });
    for created in [1, 2] {
        let db = begin(&pool);
        main.block_on(async {
            within(db.query("SELECT 1", &[])).await.expect("it serves");
            if created == 2 {
                return;
            }
            let active = until(&database, "state = 'active'", 1);
            leave(db.clone(), "SELECT pg_sleep(0.3)", active).await;
        });
        drop(db);
        assert_eq!(pool.status().in_use, 0);
        main.block_on(async {
            within(begin(&pool).query("SELECT 1", &[]))
                .await
                .expect("it serves");
        });
        assert_eq!(pool.status().connections_created, 2);
    }
}
