//! What becomes of the cost of a request where there is more of something: callers, tokens, roles, claims.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Runtime;

use crate::database::{self, Database, SECRET, claims, token};
use crate::load::{self, Script, Slice};
use crate::proxy::Proxy;
use crate::rounds::{Line, Plan, interleave, scripts};
use crate::variants::{Series, Servers, rolescope, serve};

const CONNECTIONS: usize = 16;
/// How many roles, and how many statements each session keeps.
const ROLES: [(usize, usize); 6] = [
    (1, KEPT),
    (2, KEPT),
    (10, KEPT),
    (100, KEPT),
    (1000, KEPT),
    (1000, 256),
];
/// The pool's default.
pub(crate) const KEPT: usize = 1024;
/// Roles for (f), whose sessions have one statement for all roles.
const SHARED: [usize; 2] = [1, 2];
const CLAIMS: [usize; 5] = [100, 1024, 2048, 4096, 8192];

pub(crate) const PARTS: [&str; 4] = ["tokens", "crowd", "roles", "claims"];

/// How much of it is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) plan: Plan,
    pub(crate) crowd: Duration,
    pub(crate) tokens: usize,
}

/// Returns the number of errors.
pub(crate) fn run(
    extent: Extent,
    runtime: &Runtime,
    database: &Database,
    parts: &[&str],
) -> Result<u64, String> {
    let mut errors = 0;
    // First, since it looks at how this process grows.
    if parts.contains(&"tokens") {
        crate::tokens::run(extent.tokens)?;
    }
    if parts.contains(&"crowd") {
        errors += crowd(extent.crowd, runtime, database)?;
    }
    if parts.contains(&"roles") {
        errors += roles(extent.plan, runtime, database)?;
    }
    if parts.contains(&"claims") {
        errors += claims_size(extent.plan, runtime, database)?;
    }
    Ok(errors)
}

fn crowd(time: Duration, runtime: &Runtime, database: &Database) -> Result<u64, String> {
    let servers = runtime.block_on(Servers::start(database.port()))?;
    println!("\n### 256 connections on a pool of 10 for {time:?}\n");
    println!("| | variant | requests/s | p50 ms | p99 ms | max ms | max / p50 | errors |");
    println!("|---|---|--:|--:|--:|--:|--:|--:|");
    let mut errors = 0;
    for series in [Series::Read, Series::Write, Series::Careful] {
        let warm_up = (time / 10).min(Duration::from_secs(2));
        let slice = load::run(servers.port(series), &scripts(series, 256)?, warm_up, time);
        let p50 = slice.quantile(0.5);
        let max = slice.quantile(1.0);
        println!(
            "| {} | {} | {:.0} | {p50:.2} | {:.2} | {max:.2} | {:.1} | {} |",
            series.letter(),
            series.name(),
            slice.per_second(),
            slice.quantile(0.99),
            max / p50,
            slice.errors,
        );
        errors += slice.errors;
    }
    println!("\nTarget of (b): no errors, and max ≤ 20 × p50.");
    Ok(errors)
}

/// One pool for each number of roles, so that none evicts another's statements.
fn roles(plan: Plan, runtime: &Runtime, database: &Database) -> Result<u64, String> {
    runtime.block_on(async {
        let count = ROLES.iter().map(|(count, _)| *count).max().unwrap_or(0);
        let mut sql = String::new();
        for role in 0..count {
            let _ = write!(sql, "CREATE ROLE user_{role} NOLOGIN IN ROLE web_user; GRANT user_{role} TO authenticator; ");
        }
        database.run(&sql).await
    })?;
    // For those who only count: no delay.
    let proxy = Proxy::start(database.port(), Duration::ZERO)?;
    let mut parses = Vec::new();
    let mut lines = Vec::new();
    for (count, kept) in ROLES {
        let scripts = role_scripts(count)?;
        let counted = runtime.block_on(start(proxy.port(), kept))?;
        // Until each session has seen each role, or given some of them up again.
        let turns = if count < 1000 { 3 } else { 15 };
        let settled = (plan.slice * turns).max(Duration::from_millis(200));
        load::run(counted, &scripts, Duration::ZERO, settled);
        let before = proxy.parses();
        let slice = load::run(counted, &scripts, Duration::ZERO, plan.slice);
        let requests = slice.latencies.len() as f64;
        // Those under way at the end are counted there and not here.
        parses.push((proxy.parses() - before) as f64 / (requests + CONNECTIONS as f64));
        let timed = runtime.block_on(start(database.port(), kept))?;
        load::run(timed, &scripts, Duration::ZERO, settled);
        lines.push((timed, scripts));
    }
    let servers = runtime.block_on(Servers::start(database.port()))?;
    for count in SHARED {
        lines.push((servers.port(Series::Careful), role_scripts(count)?));
    }
    let lines = measure(plan, &lines);
    println!("\n### Roles, at random: {CONNECTIONS} connections, a pool of 10\n");
    println!(
        "| roles, statements that a session keeps | requests/s | time × that of the first | p99 ms | CPU µs: service | PostgreSQL | found in the statement cache | errors |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for (((count, kept), line), parses) in ROLES.iter().zip(&lines).zip(&parses) {
        let hits = (1.0 - parses).max(0.0) * 100.0;
        println!(
            "{} {hits:.1} % | {} |",
            figures(&format!("{count}, {kept}"), line, &lines[0]),
            line.errors()
        );
    }
    // For comparison.
    for (count, line) in SHARED.iter().zip(&lines[ROLES.len()..]) {
        println!(
            "{} | {} |",
            figures(&format!("(f) {count}"), line, &lines[ROLES.len()]),
            line.errors()
        );
    }
    Ok(lines.iter().map(Line::errors).sum())
}

/// Starts the service with a pool of its own.
async fn start(database: u16, kept: usize) -> Result<u16, String> {
    let url = database::url("authenticator", database);
    serve(rolescope::app(&url, kept).await?).await
}

fn role_scripts(count: usize) -> Result<Vec<Script>, String> {
    let request = |role| {
        let claims = claims("alice", &format!("user_{role}"), role);
        Ok(Series::Read.request(&token(&claims, SECRET)?, 0, 0))
    };
    let requests: Vec<Arc<[u8]>> = (0..count).map(request).collect::<Result<_, String>>()?;
    // At random, since a turn of roles could keep step with the pool's turn of sessions.
    let mut random = Random(1);
    let mut script = || {
        (0..4096)
            .map(|_| Arc::clone(&requests[random.below(count)]))
            .collect()
    };
    Ok((0..CONNECTIONS).map(|_| script()).collect())
}

/// Xorshift: the same numbers in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end
    }
}

fn claims_size(plan: Plan, runtime: &Runtime, database: &Database) -> Result<u64, String> {
    let port = runtime.block_on(start(database.port(), KEPT))?;
    let mut lines = Vec::new();
    for bytes in CLAIMS {
        let scripts = (0..CONNECTIONS).map(|connection| {
            let token = token(&claims_of(bytes, connection), SECRET)?;
            Ok(vec![Series::Read.request(&token, 0, 0)])
        });
        lines.push((port, scripts.collect::<Result<Vec<Script>, String>>()?));
    }
    let lines = measure(plan, &lines);
    println!("\n### Claims: {CONNECTIONS} connections, a pool of 10\n");
    println!(
        "| bytes | requests/s | time × that of the first | p99 ms | CPU µs: service | PostgreSQL | more CPU per KiB more, µs | errors |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|--:|");
    let cpu = |line: &Line| {
        line.median(|slice| {
            slice
                .cpu()
                .map_or(f64::NAN, |(service, database)| service + database)
        })
    };
    for (bytes, line) in CLAIMS.iter().zip(&lines) {
        let kibibytes = (bytes - CLAIMS[0]) as f64 / 1024.0;
        let slope = (cpu(line) - cpu(&lines[0])) / kibibytes;
        let slope = if slope.is_finite() {
            format!("{slope:.1}")
        } else {
            String::new()
        };
        println!(
            "{} {slope} | {} |",
            figures(&bytes.to_string(), line, &lines[0]),
            line.errors()
        );
    }
    println!("\nLinear growth is a last but one column that does not rise.");
    Ok(lines.iter().map(Line::errors).sum())
}

/// Claims of so many bytes.
fn claims_of(bytes: usize, session: usize) -> Value {
    let mut claims = claims("alice", "web_user", session);
    if let Some(claims) = claims.as_object_mut() {
        claims.remove("email");
        let length = Value::Object(claims.clone()).to_string().len();
        // A list of short words, as of groups or scopes.
        let mut words = Vec::new();
        let mut left = bytes.saturating_sub(length + r#","groups":[]"#.len());
        while left >= 12 {
            words.push(Value::from(format!("group{:04}", words.len())));
            left -= 12;
        }
        claims.insert("groups".into(), words.into());
    }
    claims
}

fn measure(plan: Plan, lines: &[(u16, Vec<Script>)]) -> Vec<Line> {
    let all: Vec<usize> = (0..lines.len()).collect();
    let slices = interleave(plan, &all, |line, time| {
        let (port, scripts) = &lines[line];
        load::run(*port, scripts, Duration::from_millis(100), time)
    });
    let series = Series::Read;
    slices
        .into_iter()
        .map(|slices| Line { series, slices })
        .collect()
}

fn figures(name: &str, line: &Line, first: &Line) -> String {
    let cpu = |of: fn((f64, f64)) -> f64| line.median(|slice| slice.cpu().map_or(f64::NAN, of));
    format!(
        "| {name} | {:.0} | {:.2} | {:.2} | {:.0} | {:.0} |",
        line.median(Slice::per_second),
        line.ratio(first, |slice| 1.0 / slice.per_second()),
        line.median(|slice| slice.quantile(0.99)),
        cpu(|(service, _)| service),
        cpu(|(_, database)| database),
    )
}
