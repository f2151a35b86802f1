//! Who gets a connection and when: the queue, its deadlines, a database that is away, shutdown and the counters.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use futures_util::poll;
use rolescope::{
    Error, ErrorKind, RoleScope, RoleScopedConnection, RoleScopedPool, role::RoleName,
};

use crate::support::proxy::{Proxy, within};
use crate::support::service::{self, Reply, service};
use crate::support::{Database, database};

const SHORT: Duration = Duration::from_millis(500);
/// Longer than the tests' patience, so that a test which waits for it fails.
const LONG: Duration = Duration::from_secs(600);

async fn read(db: RoleScopedConnection) -> Result<String, Error> {
    db.query_one_scalar("SELECT 'read'", &[]).await
}

fn app(pool: &RoleScopedPool) -> Router {
    service(pool, Router::new().route("/read", get(read)))
}

async fn ask(pool: &RoleScopedPool) -> Reply {
    within(service::get(&app(pool), "/read", None)).await
}

fn begin(pool: &RoleScopedPool) -> RoleScopedConnection {
    pool.begin(&RoleScope::for_role(
        RoleName::parse("web_user").expect("a name"),
    ))
}

fn unavailable(reply: &Reply, kind: ErrorKind) {
    assert_eq!(
        (reply.status.as_u16(), reply.kind()),
        (503, kind),
        "{reply:?}"
    );
    assert_eq!(reply.headers["retry-after"], "1");
    assert!(reply.body.contains("try again"), "{reply:?}");
}

/// The error that made a response, and its sources.
fn causes(reply: &Reply) -> String {
    let error = reply.error.as_ref().expect("there is an error");
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

async fn sessions(database: &Database) -> i64 {
    let count = "SELECT count(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND usename = 'authenticator'";
    let admin = database.admin().await;
    admin
        .query_one(count, &[])
        .await
        .expect("it is counted")
        .get(0)
}

// --- the queue ---

#[tokio::test]
async fn all_connections_in_use_until_the_deadline_are_a_503() {
    let database = database().await;
    let pool = database.pool_builder().max_size(2).acquire_timeout(SHORT);
    let pool = pool.build().await.expect("it is built");
    let (one, two) = (begin(&pool), begin(&pool));
    within(read(one.clone())).await.expect("it runs");
    within(read(two.clone())).await.expect("it runs");
    unavailable(&ask(&pool).await, ErrorKind::PoolExhausted);
    within(one.rollback()).await.expect("it is rolled back");
    assert_eq!(ask(&pool).await.ok(), "read");
}

#[tokio::test]
async fn those_who_wait_are_served_in_turn_and_whoever_gives_up_holds_up_nobody() {
    let database = database().await;
    let pool = database.pool_builder().max_size(1).acquire_timeout(LONG);
    let pool = pool.build().await.expect("it is built");
    let holder = begin(&pool);
    within(read(holder.clone())).await.expect("it runs");
    let (served, mut order) = tokio::sync::mpsc::unbounded_channel();
    let mut waiting: Vec<_> = (0..4)
        .map(|number| {
            let (db, served) = (begin(&pool), served.clone());
            Box::pin(async move {
                read(db).await.expect("it runs");
                served.send(number).expect("the test listens");
            })
        })
        .collect();
    for one in &mut waiting {
        assert!(poll!(one).is_pending());
    }
    drop((waiting.remove(1), holder));
    // Whoever comes now does not pass them, although it is polled first.
    let mut newcomer = Box::pin(read(begin(&pool)));
    assert!(poll!(&mut newcomer).is_pending());
    waiting.reverse();
    within(futures_util::future::join_all(waiting)).await;
    within(newcomer).await.expect("it runs");
    let order: Vec<_> = std::iter::from_fn(|| order.try_recv().ok()).collect();
    assert_eq!(order, [0, 2, 3]);
}

#[tokio::test]
async fn of_64_tasks_on_two_connections_none_is_starved() {
    const TASKS: usize = 64;
    const STATEMENTS: usize = TASKS * 20;
    let database = database().await;
    let pool = database.pool_builder().max_size(2).acquire_timeout(LONG);
    let pool = pool.build().await.expect("it is built");
    let done = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (pool, done) = (pool.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let mut count = 0;
                while done.fetch_add(1, Ordering::Relaxed) < STATEMENTS {
                    read(begin(&pool)).await.expect("it runs");
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut counts = Vec::new();
    for task in tasks {
        counts.push(within(task).await.expect("no panic"));
    }
    counts.sort_unstable();
    let (least, median, most) = (counts[0], counts[TASKS / 2], counts[TASKS - 1]);
    assert!(least + 2 >= median && most <= median + 2, "{counts:?}");
}

// --- a database that is away ---

#[tokio::test]
async fn a_database_that_refuses_connections_is_a_503_at_once_that_names_the_cause() {
    let database = database().await;
    let mut proxy = Proxy::start(&database);
    proxy.refuse().await;
    let pool = proxy
        .pool_builder()
        .acquire_timeout(LONG)
        .connect_timeout(LONG);
    let pool = pool.build_lazy().expect("it is built");
    for _ in 0..3 {
        let reply = ask(&pool).await;
        unavailable(&reply, ErrorKind::Unavailable);
        assert!(causes(&reply).contains("refused"), "{}", causes(&reply));
        assert!(!reply.body.contains("refused"), "{reply:?}");
    }
    assert_eq!(pool.status().in_use, 0);

    proxy.listen();
    within(async {
        while !ask(&pool).await.status.is_success() {
            // A failed attempt speaks for a second; nothing else tells when it is over.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn those_who_wait_for_a_connection_that_is_refused_are_told_at_once_too() {
    let database = database().await;
    let mut proxy = Proxy::start(&database);
    let pool = proxy
        .pool_builder()
        .acquire_timeout(LONG)
        .connect_timeout(LONG);
    let pool = pool.build().await.expect("it is built");
    let app = app(&pool);
    assert_eq!(ask(&pool).await.ok(), "read");
    proxy.rests().await;
    proxy.refuse().await;
    proxy.cut();
    let replies = (0..8).map(|_| service::get(&app, "/read", None));
    for reply in within(futures_util::future::join_all(replies)).await {
        assert_eq!(reply.status, 503, "{reply:?}");
        assert!(causes(&reply).contains("refused"), "{}", causes(&reply));
    }
    assert_eq!(pool.status().connections, 0);
}

#[tokio::test]
async fn a_connection_attempt_that_hangs_is_a_503_after_its_deadline() {
    let database = database().await;
    let proxy = Proxy::start(&database);
    proxy.hold();
    let pool = proxy
        .pool_builder()
        .acquire_timeout(LONG)
        .connect_timeout(SHORT);
    let pool = pool.build_lazy().expect("it is built");
    let reply = ask(&pool).await;
    unavailable(&reply, ErrorKind::Unavailable);
    assert!(
        causes(&reply).contains("attempt to connect"),
        "{}",
        causes(&reply)
    );
    // A failed attempt speaks for a second: nobody waits for another one so soon.
    unavailable(&ask(&pool).await, ErrorKind::Unavailable);
    assert_eq!(proxy.connections(), 1);

    proxy.pass();
    within(async {
        while !ask(&pool).await.status.is_success() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_that_left_while_connecting_leaves_its_connection_to_the_next() {
    let database = database().await;
    let proxy = Proxy::start(&database);
    let pool = proxy.pool_builder().build_lazy().expect("it is built");
    proxy.hold();
    let mut left = Box::pin(ask(&pool));
    assert!(poll!(&mut left).is_pending());
    proxy.sees(&["startup"]).await;
    drop(left);
    proxy.pass();
    assert_eq!(ask(&pool).await.ok(), "read");
    assert_eq!(proxy.connections(), 1);
}

// --- shutdown ---

#[tokio::test]
async fn close_refuses_what_is_new_lets_finish_what_runs_and_ends_all_sessions() {
    let database = database().await;
    database
        .execute("CREATE TABLE t (x text); GRANT SELECT, INSERT ON t TO web_user")
        .await;
    let pool = database.pool_builder().max_size(3).build().await;
    let pool = pool.expect("it is built");
    let (running, idle) = (begin(&pool), begin(&pool));
    let insert = "INSERT INTO t VALUES ('x')";
    within(running.execute(insert, &[])).await.expect("it runs");
    within(idle.execute(insert, &[])).await.expect("it runs");
    within(idle.rollback()).await.expect("it is rolled back");
    assert_eq!(sessions(&database).await, 2);

    let mut closing = Box::pin(pool.close());
    assert!(poll!(&mut closing).is_pending());
    unavailable(&ask(&pool).await, ErrorKind::PoolClosed);
    let late = begin(&pool).execute(insert, &[]).await;
    assert_eq!(
        late.expect_err("it is refused").kind(),
        ErrorKind::PoolClosed
    );

    within(running.execute(insert, &[]))
        .await
        .expect("it runs on");
    assert!(poll!(&mut closing).is_pending());
    within(running.commit()).await.expect("it is committed");
    within(closing).await;
    assert_eq!(pool.status().connections, 0);
    within(async { while sessions(&database).await > 0 {} }).await;
    let rows = database.admin().await;
    let rows = rows.query_one("SELECT count(*) FROM t", &[]).await;
    assert_eq!(rows.expect("it is counted").get::<_, i64>(0), 2);

    within(pool.close()).await;
    unavailable(&ask(&pool).await, ErrorKind::PoolClosed);
}

#[tokio::test]
async fn close_waits_for_a_commit_that_nobody_else_waits_for() {
    let database = database().await;
    database
        .execute("CREATE TABLE t (x text); GRANT SELECT, INSERT ON t TO web_user")
        .await;
    let proxy = Proxy::start(&database);
    let pool = proxy.pool_builder().build().await.expect("it is built");
    let running = begin(&pool);
    within(running.execute("INSERT INTO t VALUES ('x')", &[]))
        .await
        .expect("it runs");
    proxy.hold();
    let mut commit = Box::pin(running.commit());
    assert!(poll!(&mut commit).is_pending());
    drop(commit);
    let mut closing = Box::pin(pool.close());
    proxy.sees(&["BE", "Q", "Q"]).await;
    assert!(poll!(&mut closing).is_pending());
    proxy.pass();
    within(closing).await;
    let rows = database.admin().await;
    let rows = rows.query_one("SELECT count(*) FROM t", &[]).await;
    assert_eq!(rows.expect("it is counted").get::<_, i64>(0), 1);
}

#[tokio::test]
async fn whoever_waits_for_a_connection_when_the_pool_closes_is_refused() {
    let database = database().await;
    let pool = database.pool_builder().max_size(1).acquire_timeout(LONG);
    let pool = pool.build().await.expect("it is built");
    let running = begin(&pool);
    within(read(running.clone())).await.expect("it runs");
    let mut waiting = Box::pin(ask(&pool));
    assert!(poll!(&mut waiting).is_pending());
    let mut closing = Box::pin(pool.close());
    assert!(poll!(&mut closing).is_pending());
    drop(running);
    unavailable(&within(waiting).await, ErrorKind::PoolClosed);
    within(closing).await;
}

// --- counters ---

#[tokio::test]
async fn the_counters_tell_the_truth() {
    let database = database().await;
    let pool = database.pool_builder().max_size(3);
    let pool = pool.build_lazy().expect("it is built");
    let counters = || {
        let s = pool.status();
        assert_eq!(s.max_size, 3);
        (
            s.connections,
            s.idle_connections,
            s.in_use,
            s.connections_created,
            s.connections_discarded,
        )
    };
    assert_eq!(counters(), (0, 0, 0, 0, 0));
    let (one, two) = (begin(&pool), begin(&pool));
    assert_eq!(
        counters(),
        (0, 0, 0, 0, 0),
        "nothing is taken before the first statement"
    );
    within(read(one.clone())).await.expect("it runs");
    assert_eq!(counters(), (1, 0, 1, 1, 0));
    within(read(two.clone())).await.expect("it runs");
    assert_eq!(counters(), (2, 0, 2, 2, 0));
    within(one.rollback()).await.expect("it is rolled back");
    assert_eq!(counters(), (2, 1, 1, 2, 0));
    // A connection in doubt is not kept.
    within(two.batch_execute("DISCARD PLANS"))
        .await
        .expect("it runs");
    within(two.rollback()).await.expect("it is rolled back");
    assert_eq!(counters(), (1, 1, 0, 2, 1));
    within(pool.close()).await;
    let (connections, idle, in_use, created, _) = counters();
    assert_eq!((connections, idle, in_use, created), (0, 0, 0, 2));
}

// --- the end ---

#[tokio::test]
async fn sessions_whose_last_answers_nobody_has_read_end_with_their_pool() {
    let database = database().await;
    let pool = database.pool().await;
    assert_eq!(ask(&pool).await.ok(), "read");
    drop(pool);
    within(async { while sessions(&database).await > 0 {} }).await;
}

#[tokio::test]
async fn the_longest_deadlines_are_none() {
    let database = database().await;
    let pool = database
        .pool_builder()
        .acquire_timeout(Duration::MAX)
        .connect_timeout(Duration::MAX)
        .begin_timeout(Duration::MAX)
        .reset_timeout(Duration::MAX)
        .statement_timeout(Duration::MAX)
        .idle_in_transaction_timeout(Duration::MAX)
        .idle_timeout(Duration::MAX)
        .max_lifetime(Duration::MAX);
    let pool = pool.build().await.expect("it is built");
    assert_eq!(ask(&pool).await.ok(), "read");
}
