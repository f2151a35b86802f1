//! Run with: cargo run --release --example soak -- --minutes 10 --seed 7
//!
//! Many clients, roles and tenants on a small pool, for as long as you like: reads, writes, errors, clients that leave, and
//! with `--chaos` backends that die. Nobody may see or write what is another's, and every answer must be true: an auditor
//! compares the table with what each client was told. It needs no set-up, prints a table, and ends with 1 if anything is
//! not as it should be.

#[path = "support/local_postgres/mod.rs"]
mod local_postgres;
#[path = "support/soak/mod.rs"]
mod soak;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};

use local_postgres::LocalPostgres;

/// Soaks a service: random requests of many clients as many roles, audited at the end.
///
/// 70 % of the requests read, 20 % write, 5 % run into an error, and of 5 % the client leaves. It passes where nobody saw
/// or wrote a row of another's, each write that was answered 2xx is stored exactly once and none that was refused, no
/// session was idle in a transaction for more than 1 s, and there were no more errors than backends terminated in flight
/// and 1 % of the requests.
#[derive(Debug, Parser)]
#[command(
    after_help = "Ctrl-C ends the load early, and has it audited all the same; once more ends at once.\n\
    ROLESCOPE_PG_BIN is the directory of the PostgreSQL programs to start, and no other."
)]
struct Args {
    /// For how many minutes.
    #[arg(long, default_value_t = 1.0, conflicts_with = "seconds")]
    minutes: f64,
    /// For how many seconds, in place of minutes.
    #[arg(long)]
    seconds: Option<f64>,
    /// What everything random is drawn from: each client sends the same requests again.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// How many clients send at the same time.
    #[arg(long, default_value_t = 64)]
    clients: u32,
    /// How many requests each client sends at most.
    #[arg(long)]
    requests: Option<i64>,
    /// Terminate a random backend of the service every 100 ms.
    #[arg(long)]
    chaos: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Args::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<bool, String> {
    let seconds = args.seconds.unwrap_or(args.minutes * 60.0);
    let options = soak::Options {
        time: Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())?,
        seed: args.seed,
        clients: args.clients,
        requests: args.requests.unwrap_or(i64::MAX),
        chaos: args.chaos,
    };
    let mut signals = Signals::catch()?;
    let postgres = tokio::task::spawn_blocking(LocalPostgres::start)
        .await
        .map_err(|e| e.to_string())??;
    soak::database::prepare(&postgres, "").await?;
    println!(
        "seed {}: {} clients, {} roles and {} tenants for {seconds} s{}",
        args.seed,
        args.clients,
        soak::plan::ROLES,
        soak::plan::TENANTS,
        if args.chaos { ", with chaos" } else { "" }
    );

    let (interrupt, interrupted) = tokio::sync::oneshot::channel();
    let soak = soak::run(&postgres, &options, async {
        let _ = interrupted.await;
    });
    tokio::pin!(soak);
    let report = tokio::select! {
        report = &mut soak => report?,
        () = signals.next() => {
            let _ = interrupt.send(());
            tokio::select! {
                report = &mut soak => report?,
                () = signals.next() => return Err("interrupted".to_owned()),
            }
        }
    };
    print!("{report}");
    Ok(report.failures().is_empty())
}

/// Ctrl-C and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn catch() -> Result<Self, String> {
        let catch = |kind| signal(kind).map_err(|e| format!("cannot catch signals: {e}"));
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
