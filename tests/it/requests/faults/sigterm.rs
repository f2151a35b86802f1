//! A service that is told to end while it is busy, as a process of its own.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::routing::post;
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rolescope::{Error, RoleScopedConnection, RoleScopedPool};
use tokio::signal::unix::{SignalKind, signal};

use crate::support::database;
use crate::support::processes::end_with;
use crate::support::proxy::within;
use crate::support::service::service;

const REQUESTS: u32 = 100;
/// In the environment, it has the test be the service.
const URL: &str = "ROLESCOPE_TEST_SIGTERM_URL";
/// Whether the pool is closed at once, not behind the last request.
const AT_ONCE: &str = "ROLESCOPE_TEST_SIGTERM_AT_ONCE";

/// Is half done in between.
async fn add(db: RoleScopedConnection, Path(id): Path<i32>) -> Result<(), Error> {
    db.execute("INSERT INTO t VALUES ($1)", &[&id]).await?;
    db.execute("SELECT pg_sleep(0.02)", &[]).await?;
    db.execute("INSERT INTO t VALUES ($1)", &[&id]).await?;
    Ok(())
}

async fn serve(url: &str, at_once: bool) {
    let pool = RoleScopedPool::builder(url).expect("the URL can be read");
    let pool = pool
        .anonymous_role("anon")
        .max_size(4)
        .acquire_timeout(Duration::from_secs(60));
    let pool = pool.build().await.expect("it is built");
    let arrived = Arc::new(AtomicU32::new(0));
    let routes = Router::new().route("/{id}", post(add));
    let app = service(&pool, routes).layer(axum::middleware::from_fn(
        move |request, next: axum::middleware::Next| {
            if arrived.fetch_add(1, Ordering::Relaxed) + 1 == REQUESTS {
                println!("all are here");
            }
            next.run(request)
        },
    ));
    let mut terminate = signal(SignalKind::terminate()).expect("it can be caught");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    println!(
        "\nlistening on {}",
        listener.local_addr().expect("it is bound")
    );
    let closed_at_once = pool.clone();
    let stop = async move {
        terminate.recv().await;
        if at_once {
            tokio::spawn(async move { closed_at_once.close().await });
        }
    };
    let server = axum::serve(listener, app).with_graceful_shutdown(stop);
    server.await.expect("it serves");
    pool.close().await;
    assert_eq!(pool.status().connections, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_told_to_end_finishes_or_refuses_what_it_has_begun() {
    if let Ok(url) = std::env::var(URL) {
        return serve(&url, std::env::var(AT_ONCE).is_ok()).await;
    }
    for at_once in [false, true] {
        let database = database().await;
        database
            .execute("CREATE TABLE t (id int); GRANT INSERT ON t TO anon")
            .await;
        let mut child = Command::new(std::env::current_exe().expect("this program is somewhere"));
        child
            .args(["--exact", "requests::faults::sigterm::a_service_that_is_told_to_end_finishes_or_refuses_what_it_has_begun"])
            .args(["--nocapture", "--test-threads=1"])
            .env(URL, database.url("authenticator"))
            .stdout(Stdio::piped());
        if at_once {
            child.env(AT_ONCE, "yes");
        }
        let mut child = child.spawn().expect("this program can be run");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut line = |wanted: &str| {
            let line = lines.find_map(|line| Some(line.ok()?.strip_prefix(wanted)?.to_owned()));
            line.unwrap_or_else(|| panic!("it does not say {wanted:?}"))
        };
        let address = line("listening on ");
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
        let sent: Vec<_> = (0..REQUESTS)
            .map(|id| {
                let request = http::Request::post(format!("http://{address}/{id}"));
                let request = request.body(Empty::new()).expect("it is well formed");
                tokio::spawn(client.request(request))
            })
            .collect();
        tokio::task::block_in_place(|| line("all are here"));
        end_with("TERM", &child.id().to_string());
        let mut answers = std::collections::BTreeMap::<u16, u32>::new();
        let mut stored = Vec::new();
        for (id, answer) in (0_i32..).zip(sent) {
            let answer = within(answer)
                .await
                .expect("no panic")
                .expect("it is answered");
            let status = answer.status().as_u16();
            match status {
                200 => stored.extend([id, id]),
                503 => assert_eq!(answer.headers()["retry-after"], "1"),
                _ => panic!("{answer:?}"),
            }
            *answers.entry(status).or_default() += 1;
        }
        assert!(child.wait().expect("it ends").success());
        eprintln!(
            "SIGTERM, pool closed {}: {answers:?}",
            if at_once { "at once" } else { "at the end" }
        );
        assert!(
            answers[&200] > 0 && answers.contains_key(&503) == at_once,
            "{answers:?}"
        );
        let admin = database.admin().await;
        let rows = admin.query("SELECT id FROM t ORDER BY id", &[]).await;
        let rows = rows.expect("they are listed");
        let rows: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(rows, stored);
    }
}
