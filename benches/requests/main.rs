//! What a request costs through this crate, against code that people write by hand, on a real PostgreSQL and over real
//! HTTP: `cargo bench --bench requests`. See the README of this folder's parent.

mod check;
mod cpu;
mod database;
mod load;
#[path = "../../examples/support/local_postgres/mod.rs"]
mod local_postgres;
mod messages;
mod proxy;
mod report;
mod rounds;
mod scale;
mod tokens;
mod variants;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tokio::runtime::Runtime;

use database::{Database, round_trip};
use proxy::Proxy;
use rounds::{Cell, Plan};
use scale::Extent;
use variants::{Series, Servers};

/// Compares the variants through HTTP on a PostgreSQL of its own.
#[derive(Debug, Parser)]
struct Args {
    /// What to measure.
    #[arg(value_enum, default_value_t = Mode::Requests)]
    mode: Mode,
    /// How many connections send requests.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 256])]
    connections: Vec<usize>,
    /// How many milliseconds are added to a round trip to the database, both directions together.
    #[arg(long, value_delimiter = ',', default_values_t = [0.0, 1.0, 5.0])]
    latency: Vec<f64>,
    /// How many turns each variant has.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How long a turn is.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Which variants, by their letters, or which parts of `scale`: tokens, crowd, roles, claims; all by default.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How long 256 connections share 10 in `scale`.
    #[arg(long, default_value_t = 60.0)]
    crowd_seconds: f64,
    /// How many tokens there are in `scale`.
    #[arg(long, default_value_t = 1_000_000)]
    tokens: usize,
    /// 16 connections, 0 ms, 3 short turns; a shorter `scale`.
    #[arg(long)]
    quick: bool,
    /// Said by `cargo bench`. Without it nothing is measured, only checked: so does `cargo test --benches`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    /// The variants, side by side.
    Requests,
    /// This crate with more and more callers, tokens, roles and claims.
    Scale,
    /// What the messages of one request cost PostgreSQL.
    Messages,
}

impl Args {
    fn read() -> Self {
        let mut this = Self::parse();
        if this.quick || !this.bench {
            (this.connections, this.latency) = (vec![16], vec![0.0]);
            (this.rounds, this.seconds) = (3, 0.3);
            (this.crowd_seconds, this.tokens) = (3.0, 100_000);
        }
        if !this.bench {
            (this.rounds, this.seconds) = (1, 0.05);
            (this.crowd_seconds, this.tokens) = (0.2, 1_000);
        }
        this
    }

    fn plan(&self) -> Plan {
        Plan {
            rounds: self.rounds,
            slice: Duration::from_secs_f64(self.seconds),
        }
    }

    /// Those of `all` that are wanted.
    fn only<T>(&self, mut all: Vec<T>, name: fn(&T) -> &str) -> Result<Vec<T>, String> {
        let known = |only: &&String| all.iter().any(|one| name(one) == only.as_str());
        if let Some(unknown) = self.only.iter().find(|only| !known(only)) {
            let names: Vec<&str> = all.iter().map(name).collect();
            return Err(format!("no `{unknown}` here, but {}", names.join(", ")));
        }
        all.retain(|one| self.only.is_empty() || self.only.iter().any(|only| only == name(one)));
        Ok(all)
    }
}

fn main() -> ExitCode {
    match run(&Args::read()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(errors) => {
            eprintln!("{errors} requests were not answered as they should");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the number of errors.
fn run(args: &Args) -> Result<u64, String> {
    // With both signature backends on it cannot choose.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    // The services have a runtime of their own. The load generator is this thread.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let database = runtime.block_on(Database::start())?;
    println!("{}", runtime.block_on(database.describe())?);
    if args.bench {
        println!(
            "{} rounds of {} s, in turns; ratios are medians of the rounds' ratios",
            args.rounds, args.seconds
        );
    } else {
        println!("Only a check that all of it works: `cargo bench --bench requests` measures");
    }
    match args.mode {
        Mode::Requests => {
            let all = args.only(Series::available().collect(), |series| series.letter())?;
            let cells = measure(args, &runtime, &database, &all)?;
            if args.bench {
                report::print_targets(&cells);
            }
            let lines = cells.iter().flat_map(|cell| &cell.lines);
            Ok(lines.map(|line| line.errors()).sum())
        }
        Mode::Messages => messages::run(&database, args.bench).map(|()| 0),
        Mode::Scale => {
            let parts = args.only(scale::PARTS.to_vec(), |part| part)?;
            let extent = Extent {
                plan: args.plan(),
                crowd: Duration::from_secs_f64(args.crowd_seconds),
                tokens: args.tokens,
            };
            scale::run(extent, &runtime, &database, &parts)
        }
    }
}

fn measure(
    args: &Args,
    runtime: &Runtime,
    database: &Database,
    all: &[Series],
) -> Result<Vec<Cell>, String> {
    let plan = args.plan();
    let mut cells = Vec::new();
    for &latency in &args.latency {
        let proxy = match latency {
            0.0 => None,
            _ => Some(Proxy::start(
                database.port(),
                Duration::from_secs_f64(latency / 1e3),
            )?),
        };
        let port = proxy.as_ref().map_or(database.port(), Proxy::port);
        if proxy.is_some() {
            let direct = runtime.block_on(round_trip(database.port()))?;
            let through = runtime.block_on(round_trip(port))?;
            println!(
                "\nA prepared SELECT 1 takes {direct:.2?}, and {through:.2?} through the proxy for {latency} ms"
            );
        }
        let servers = runtime.block_on(Servers::start(port))?;
        runtime.block_on(check::check(database, &servers, all))?;
        for &connections in &args.connections {
            let cell = rounds::cell(plan, &servers, all, connections, latency)?;
            report::print(&cell);
            cells.push(cell);
        }
    }
    Ok(cells)
}
