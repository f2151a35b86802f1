//! A service under random load from many clients, and whoever judges it.
//!
//! [`plan`] says what is sent, [`service`] what answers, [`client`] looks at each answer, [`database`] watches and troubles
//! the sessions, [`audit`] compares the table with what the clients were told, [`report`] says it all.

pub(crate) mod audit;
pub(crate) mod client;
pub(crate) mod database;
pub(crate) mod plan;
pub(crate) mod report;
mod service;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use axum::serve::ListenerExt;
use fastrand::Rng;
use rolescope::{JwtVerifier, RoleScopedPool};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::local_postgres::LocalPostgres;
use client::{Service, client};
use report::{Report, Seen};

/// How many connections the service has.
const POOL: u32 = 8;

/// The numbers of a client's requests begin at this times its own number.
const REQUESTS: i64 = 1_000_000_000;

/// How long the pool may take to get all connections back after the last answer.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    pub(crate) clients: u32,
    /// How many requests each client sends at most.
    pub(crate) requests: i64,
    pub(crate) chaos: bool,
}

/// Runs the soak in the database that [`database::prepare`] made, until its time is over or `interrupted` comes about.
pub(crate) async fn run(
    postgres: &LocalPostgres,
    options: &Options,
    interrupted: impl Future<Output = ()>,
) -> Result<Report, String> {
    // Only for making tokens. It fails where one is installed, and any will do.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let mut random = Rng::with_seed(options.seed);
    let secret: String = std::iter::repeat_with(|| random.alphanumeric())
        .take(64)
        .collect();
    let pool = pool(postgres).await?;
    let verifier = JwtVerifier::builder()
        .hs256(&secret)
        .map_err(|e| chain(&e))?
        .build()
        .map_err(|e| chain(&e))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.map_err(|e| format!("cannot listen: {e}"))?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    let app = service::app(verifier, pool.clone());
    // What belongs together is not kept back for the client's acknowledgement.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    // The load stops first, then what watches and troubles it.
    let (stop_load, load) = watch::channel(false);
    let (stop_all, all) = watch::channel(false);
    let watcher = tokio::spawn(database::watch(
        database::connect(postgres, "soak").await?,
        all.clone(),
    ));
    // Drawn in any case, so that the clients send the same with chaos and without.
    let of_chaos = random.fork();
    let chaos = if options.chaos {
        let client = database::connect(postgres, "soak").await?;
        Some(tokio::spawn(database::chaos(
            client,
            of_chaos,
            load.clone(),
        )))
    } else {
        None
    };

    let begun = Instant::now();
    let (sender, mut events) = mpsc::unbounded_channel();
    let service = Service { address, secret };
    for number in 0..options.clients {
        let first = i64::from(number) * REQUESTS;
        let numbers = first..first + options.requests.clamp(1, REQUESTS);
        let (service, sender, stop) = (service.clone(), sender.clone(), load.clone());
        tokio::spawn(client(numbers, random.fork(), service, sender, stop));
    }
    drop(sender);
    let mut collector = tokio::spawn(async move {
        let mut seen = Seen::default();
        while let Some(event) = events.recv().await {
            seen.take(event);
        }
        seen
    });
    let early = tokio::select! {
        seen = &mut collector => Some(seen),
        () = tokio::time::sleep(options.time) => None,
        () = interrupted => None,
    };
    stop_load.send_replace(true);
    let seen = match early {
        Some(seen) => seen,
        None => collector.await,
    };
    let seen = seen.map_err(|e| e.to_string())?;
    let time = begun.elapsed();
    let killed = match chaos {
        Some(chaos) => chaos.await.map_err(|e| e.to_string())??,
        None => database::Killed::default(),
    };

    let in_use_at_end = in_use_after(&pool, COMES_BACK_WITHIN).await;
    stop_all.send_replace(true);
    let watched = watcher.await.map_err(|e| e.to_string())??;
    server.abort();
    let connections_created = pool.status().connections_created;
    pool.close().await;
    let admin = database::connect(postgres, "soak").await?;
    let sessions_at_end = database::wait_for_rest(&admin).await?;
    let findings = database::audit_table(&admin, &seen.ledger).await?;
    Ok(Report {
        time,
        seen,
        findings,
        watched,
        killed,
        chaos: options.chaos,
        in_use_at_end,
        sessions_at_end,
        connections_created,
    })
}

async fn pool(postgres: &LocalPostgres) -> Result<RoleScopedPool, String> {
    RoleScopedPool::builder(&postgres.url("authenticator", "soak"))
        .map_err(|e| chain(&e))?
        .anonymous_role("anon")
        .max_size(POOL)
        .build()
        .await
        .map_err(|e| chain(&e))
}

async fn in_use_after(pool: &RoleScopedPool, patience: Duration) -> u32 {
    let until = Instant::now() + patience;
    while pool.status().in_use > 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    pool.status().in_use
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
