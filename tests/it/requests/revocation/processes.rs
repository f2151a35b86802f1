//! Two processes of a service on one database: what is revoked is refused by both.

use std::time::{Duration, Instant};

use super::{FIXTURE, revoke, run};
use crate::support::database;
use crate::support::example::Example;
use crate::support::service::{SECRET, token};

/// How often. `ROLESCOPE_TRIES=100` measures.
fn tries() -> usize {
    let tries = std::env::var("ROLESCOPE_TRIES").ok();
    tries.map_or(3, |tries| tries.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_refuse_a_cached_token_soon_after_the_commit() {
    let database = database().await;
    let admin = database.admin().await;
    run(&admin, FIXTURE).await;
    let start = || {
        let mut command = Example::command("whoami");
        command.args([&database.url("authenticator"), "--port", "0"]);
        command.args([
            "--anonymous",
            "anon",
            "--jwt-secret",
            SECRET,
            "--revocations",
        ]);
        Example::start(&mut command)
    };
    let processes = [start(), start()];
    let mut latencies = Vec::new();
    for number in 0..tries() {
        let jti = format!("token{number}");
        let token = token(&format!(r#"{{"role":"web_user","jti":"{jti}"}}"#));
        for process in &processes {
            for _ in 0..2 {
                let reply = process.get(Some(&token));
                assert_eq!(reply.status, 200, "{reply:?}");
            }
        }
        revoke(&admin, &jti).await;
        let committed = Instant::now();
        let refused: Vec<Duration> = std::thread::scope(|scope| {
            let refusals = processes.each_ref().map(|process| {
                scope.spawn(|| {
                    loop {
                        let reply = process.get(Some(&token));
                        let passed = committed.elapsed();
                        if reply.status == 401 {
                            return passed;
                        }
                        assert_eq!(reply.status, 200, "{reply:?}");
                        assert!(passed < Duration::from_secs(20), "it is still accepted");
                    }
                })
            });
            refusals
                .map(|refusal| refusal.join().expect("no panic"))
                .into()
        });
        latencies.extend(refused);
        // Another one of the same kind is good.
        let other =
            super::service::token(&format!(r#"{{"role":"web_user","jti":"other{number}"}}"#));
        for process in &processes {
            assert_eq!(process.get(Some(&other)).status, 200);
        }
    }
    latencies.sort();
    let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize];
    eprintln!(
        "from the COMMIT to the refusal, {} times: median {:?}, p99 {:?}, longest {:?}",
        latencies.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}
