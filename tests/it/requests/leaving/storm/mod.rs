//! Many requests at once, whose clients leave and whose handlers fail whenever their seed says so.
//!
//! `acts` has the handlers, `clients` those who leave, `ledger` what each side knows, and what is wrong if it does not fit.
//! `ROLESCOPE_TEST_SEED` repeats a run's requests, though not their timing; `ROLESCOPE_TEST_REQUESTS` says how many.

mod acts;
mod clients;
mod ledger;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::routing::any;
use rolescope::RoleScopedPool;

use self::clients::Services;
use self::ledger::Ledger;
use super::{begin, grant_temporary, traces};
use crate::support::proxy::within;
use crate::support::service::service;
use crate::support::{Database, database};

const AT_ONCE: u64 = 24;
const SESSIONS: u32 = 8;
const A_WHILE: Duration = Duration::from_secs(60);

/// Marsaglia's xorshift: the same requests for the same seed.
struct Seeded(u64);

impl Seeded {
    fn of(storm: u64, request: u64) -> Self {
        let mut this = Self((storm ^ (request + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)) | 1);
        for _ in 0..4 {
            this.below(2);
        }
        this
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// A number that the environment says.
fn said(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|e| panic!("{name}: {e}")))
}

async fn prepared() -> Database {
    let database = database().await;
    database
        .execute(
            "CREATE TYPE mood AS ENUM ('good');
             CREATE TABLE audit (request bigint, claimed_sub text,
               who text DEFAULT current_user,
               sub text DEFAULT nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub',
               role text DEFAULT nullif(current_setting('request.jwt.claims', true), '')::json ->> 'role',
               path text DEFAULT current_setting('request.path', true),
               kept text DEFAULT nullif(current_setting('app.kept', true), ''));
             GRANT SELECT, INSERT ON audit TO anon, web_user, author, jdoe123",
        )
        .await;
    grant_temporary(&database).await;
    database
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn whoever_leaves_and_whenever_rows_are_theirs_and_sessions_come_back_clean() {
    let storm = said("ROLESCOPE_TEST_SEED").unwrap_or_else(|| {
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("it is later");
        u64::from(now.subsec_nanos())
    });
    let requests = said("ROLESCOPE_TEST_REQUESTS").unwrap_or(20_000);
    println!("ROLESCOPE_TEST_SEED={storm} ROLESCOPE_TEST_REQUESTS={requests}");
    let database = prepared().await;
    let pool = database
        .pool_builder()
        .max_size(SESSIONS)
        // Where many other tests run beside it.
        .acquire_timeout(A_WHILE)
        .connect_timeout(A_WHILE)
        .begin_timeout(A_WHILE)
        .build()
        .await
        .expect("it is built");
    let ledger = Arc::new(Ledger::default());
    let handler = {
        let ledger = Arc::clone(&ledger);
        move |db, path| acts::act(Arc::clone(&ledger), storm, db, path)
    };
    let app = service(&pool, Router::new().route("/{request}", any(handler)));
    let services = Services::new(app).await;
    let started = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (services, ledger, next) =
                (services.clone(), Arc::clone(&ledger), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let request = next.fetch_add(1, Ordering::Relaxed);
                    if request >= requests {
                        break;
                    }
                    let sent = tokio::spawn(services.clone().send(storm, request));
                    let (kind, told) = match sent.await {
                        Ok(told) => told,
                        // The handler's panic, which its client learns nothing from.
                        Err(_) => ("handler panicked", ledger::Told::Unknown),
                    };
                    ledger.told(request, kind, told);
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("no client panics but by its handler");
    }
    let sent = started.elapsed();
    drop(services);

    let ended = Instant::now();
    sessions_come_back(&pool).await;
    println!(
        "{requests} requests in {sent:?}, and the pool whole {:?} later",
        ended.elapsed()
    );
    println!("{}", ledger.summary());
    println!("{:?}", pool.status());
    nothing_stays_open(&database).await;
    ledger.audit(&database.admin().await).await;
}

/// All sessions of the pool can be had at once, and each is clean.
async fn sessions_come_back(pool: &RoleScopedPool) {
    within(async {
        while pool.status().in_use > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let all: Vec<_> = (0..SESSIONS).map(|_| begin(pool, "anon")).collect();
    for db in &all {
        let seen = within(traces(db)).await.expect("it serves");
        assert_eq!(seen, r#"anon {"role":"anon"}"#);
    }
    let status = pool.status();
    assert_eq!((status.in_use, status.connections), (SESSIONS, SESSIONS));
    drop(all);
    assert_eq!(pool.status().in_use, 0);
}

async fn nothing_stays_open(database: &Database) {
    let admin = database.admin().await;
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
         AND state LIKE 'idle in transaction%'";
    let more = format!(
        "SELECT greatest(0, count(*) - {SESSIONS}) FROM pg_stat_activity \
         WHERE datname = current_database() AND usename = 'authenticator'"
    );
    for count in [open, &more] {
        within(async {
            while admin
                .query_one_scalar::<i64, _>(count, &[])
                .await
                .expect("it is counted")
                > 0
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}
