//! Named statements: nobody's are in anybody's way.

use std::process::{Command, Stdio};

use rolescope::scope::Pooler;
use rolescope::{RoleScopedPool, tokio_postgres::Client};

use crate::support::proxy::within;
use crate::{ONE_SERVER_CONNECTION, Pooled, scope};

async fn statements(stranger: &Client) -> i64 {
    let count = "SELECT count(*) FROM pg_prepared_statements";
    let rows = stranger.query_typed(count, &[]).await.expect("it answers");
    rows[0].get(0)
}

/// Plants statements of the names that the driver gives next.
async fn plant(stranger: &Client) {
    let planted: String = (0..2000)
        .map(|number| format!("PREPARE s{number} AS SELECT 'planted';"))
        .collect();
    stranger.batch_execute(&planted).await.expect("planted");
    assert_eq!(statements(stranger).await, 2000);
}

#[tokio::test]
async fn statements_of_the_drivers_names_are_in_nobodys_way_and_none_is_left() {
    let pooled = Pooled::start(ONE_SERVER_CONNECTION).await;
    let setup = "CREATE TYPE mood AS ENUM ('good'); CREATE TABLE t (x int, m mood);
                 GRANT SELECT, INSERT ON t TO web_user";
    pooled.database.execute(setup).await;
    let stranger = pooled.stranger().await;
    let pool = pooled.builder().max_size(1);
    let pool = pool.build().await.expect("it is built");
    for sql in [
        "INSERT INTO t (x) VALUES ($1)",
        "SELECT x FROM t WHERE x = $1",
        "SELECT m, $1::int FROM t",
    ] {
        for round in 0..3 {
            plant(&stranger).await;
            let db = pool.begin(&scope("web_user"));
            // A first statement would be tried again.
            within(db.query_typed("SELECT 1", &[])).await.expect(sql);
            within(db.query(sql, &[&1])).await.expect(sql);
            within(db.query(sql, &[&2])).await.expect(sql);
            within(db.commit()).await.expect(sql);
            assert_eq!(statements(&stranger).await, 0, "{sql}, round {round}");
        }
    }
}

#[tokio::test]
async fn a_statement_that_fails_or_whose_client_goes_leaves_no_name() {
    let pooled = Pooled::start(ONE_SERVER_CONNECTION).await;
    let pool = pooled.pool().await;
    let stranger = pooled.stranger().await;
    let db = pool.begin(&scope("web_user"));
    let divide = "SELECT 1 / $1::int";
    within(db.query(divide, &[&0])).await.expect_err("by zero");
    drop(db);
    assert_eq!(statements(&stranger).await, 0);
    let db = pool.begin(&scope("web_user"));
    within(db.query("SELECT nothing, $1", &[&0]))
        .await
        .expect_err("there is no such column");
    drop(db);
    assert_eq!(statements(&stranger).await, 0);
    // Dropped at each of its polls.
    for polls in 1..4 {
        let db = pool.begin(&scope("web_user"));
        let sql = format!("SELECT {polls} + $1::int, pg_sleep(0.05)");
        let mut query = Box::pin(db.query(&sql, &[&1]));
        for _ in 0..polls {
            let _ = futures_util::poll!(&mut query);
            tokio::task::yield_now().await;
        }
        drop(query);
        drop(db);
        assert_eq!(within(statements(&stranger)).await, 0, "{polls}");
    }
}

const URL: &str = "ROLESCOPE_TEST_POOLER_URL";

/// Statements of all kinds, from several tasks at once: each met for the first time, and again.
async fn load(url: &str) {
    let pool = RoleScopedPool::builder(url)
        .expect("the URL can be read")
        .anonymous_role("anon")
        .pooler(Pooler::Transaction)
        .max_size(4);
    let pool = pool.build().await.expect("it is built");
    let tasks = (0..4).map(|task| {
        let pool = pool.clone();
        tokio::spawn(async move {
            for number in 0..40_i32 {
                let db = pool.begin(&scope(["web_user", "author"][task % 2]));
                let sum = format!("SELECT $1::int + {}", number % 20);
                let sum: i32 = db.query_one_scalar(&sum, &[&1]).await.expect("it runs");
                assert_eq!(sum, 1 + number % 20);
                let mood = "SELECT m FROM moods WHERE m = $1::text::mood";
                db.query(mood, &[&"good"]).await.expect("it runs");
                let last: String = db
                    .query_one_scalar("SELECT $1", &[&"x"])
                    .await
                    .expect("runs");
                assert_eq!(last, "x");
                db.commit().await.expect("it commits");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("no panic");
    }
}

/// Two processes count their statements from the same number.
#[tokio::test]
async fn two_processes_share_two_server_connections_and_do_not_meet() {
    if let Ok(url) = std::env::var(URL) {
        return load(&url).await;
    }
    let pooled = Pooled::start("default_pool_size = 2").await;
    let setup =
        "CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TABLE moods AS SELECT 'good'::mood AS m;
                 GRANT SELECT ON moods TO web_user, author";
    pooled.database.execute(setup).await;
    let url = pooled.url("authenticator");
    let this = "names::two_processes_share_two_server_connections_and_do_not_meet";
    let processes = [(), ()].map(|()| {
        Command::new(std::env::current_exe().expect("this binary has a path"))
            .args(["--exact", this])
            .env(URL, &url)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("this binary starts")
    });
    for process in processes {
        let ended = tokio::task::spawn_blocking(|| process.wait_with_output());
        let output = ended.await.expect("no panic").expect("it ends");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
    }
    assert_eq!(statements(&pooled.stranger().await).await, 0);
}
