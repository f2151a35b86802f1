//! The soak's database: made, watched, troubled and read at the end, all as superuser.

use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::TryStreamExt;
use rolescope::tokio_postgres::{self, Client, NoTls};
use tokio::sync::watch;

use super::audit::{Findings, Ledger, Owner, StoredRow, audit};
use super::{LocalPostgres, chain};

const SCHEMA: &str = include_str!("schema.sql");

/// How often the watcher looks.
const LOOKS_EVERY: Duration = Duration::from_millis(100);

/// How often `--chaos` terminates a backend.
const KILLS_EVERY: Duration = Duration::from_millis(100);

/// A session that waits in an open transaction for longer than this is a finding.
const LONGEST_IDLE: Duration = Duration::from_secs(1);

/// Makes the database `soak`, and spoils it as `flaw` says: SQL, empty for none.
pub(crate) async fn prepare(postgres: &LocalPostgres, flaw: &str) -> Result<(), String> {
    let run = async |database: &str, sql: &str| {
        let client = connect(postgres, database).await?;
        let done = client.batch_execute(sql).await;
        done.map_err(|e| format!("the database cannot be made: {}", chain(&e)))
    };
    run("postgres", "CREATE DATABASE soak").await?;
    run("soak", SCHEMA).await?;
    run("soak", flaw).await
}

pub(crate) async fn connect(postgres: &LocalPostgres, database: &str) -> Result<Client, String> {
    let (client, connection) = tokio_postgres::connect(&postgres.superuser_url(database), NoTls)
        .await
        .map_err(|e| format!("cannot connect: {}", chain(&e)))?;
    tokio::spawn(connection);
    Ok(client)
}

/// What the watcher saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    pub(crate) looks: u64,
    /// How often a session was idle in a transaction for more than a second.
    pub(crate) idle_too_long: u64,
    pub(crate) longest_idle: Duration,
    /// What the session had run that was idle for longest.
    pub(crate) last_query: String,
    /// Looks that came so late themselves that the machine, or this process, must have stood still.
    pub(crate) late_looks: u64,
}

/// Looks at the service's sessions until told to stop.
pub(crate) async fn watch(
    client: Client,
    mut stop: watch::Receiver<bool>,
) -> Result<Watched, String> {
    let sql = "SELECT extract(epoch FROM clock_timestamp() - state_change)::float8, query FROM pg_stat_activity \
         WHERE usename = 'authenticator' AND state LIKE 'idle in transaction%'";
    let mut watched = Watched::default();
    let mut last = Instant::now();
    while !pause(&mut stop, LOOKS_EVERY).await {
        let rows = client.query(sql, &[]).await;
        let rows = rows.map_err(|e| format!("the watcher: {}", chain(&e)))?;
        watched.looks += 1;
        let stood_still = last.elapsed() > LOOKS_EVERY + LONGEST_IDLE / 4;
        last = Instant::now();
        if stood_still {
            // A session that waits for a process that does not run is nobody's fault.
            watched.late_looks += 1;
            continue;
        }
        for row in rows {
            let idle = Duration::from_secs_f64(row.get::<_, f64>(0).max(0.0));
            watched.idle_too_long += u64::from(idle > LONGEST_IDLE);
            if idle > watched.longest_idle {
                watched.longest_idle = idle;
                watched.last_query = row.get(1);
            }
        }
    }
    Ok(watched)
}

/// How many backends were terminated.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Killed {
    pub(crate) all: u64,
    /// Those that were not idle.
    pub(crate) in_flight: u64,
}

/// Terminates a random backend of the service every 100 ms until told to stop.
pub(crate) async fn chaos(
    client: Client,
    mut random: Rng,
    mut stop: watch::Receiver<bool>,
) -> Result<Killed, String> {
    let fail = |e: tokio_postgres::Error| format!("the chaos: {}", chain(&e));
    let list = "SELECT pid FROM pg_stat_activity WHERE usename = 'authenticator' ORDER BY pid";
    let kill =
        "SELECT state <> 'idle', pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1";
    let mut killed = Killed::default();
    while !pause(&mut stop, KILLS_EVERY).await {
        let backends = client.query(list, &[]).await.map_err(fail)?;
        if backends.is_empty() {
            continue;
        }
        let pid: i32 = backends[random.usize(0..backends.len())].get(0);
        let row = client.query_opt(kill, &[&pid]).await.map_err(fail)?;
        if let Some(row) = row.filter(|row| row.get(1)) {
            killed.all += 1;
            // Without a state it is still logging in.
            killed.in_flight += u64::from(row.get::<_, Option<bool>>(0).unwrap_or(true));
        }
    }
    Ok(killed)
}

/// Waits a while; tells whether it is to stop.
async fn pause(stop: &mut watch::Receiver<bool>, time: Duration) -> bool {
    tokio::time::timeout(time, stop.wait_for(|stop| *stop))
        .await
        .is_ok()
}

/// Waits until the service has no session left, for ten seconds at most: then there is nothing that could still store.
/// Says what is left after that.
pub(crate) async fn wait_for_rest(client: &Client) -> Result<Vec<String>, String> {
    let sessions = "SELECT concat_ws(' ', state, wait_event, 'for', clock_timestamp() - state_change, 'behind', query) \
         FROM pg_stat_activity WHERE usename = 'authenticator'";
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let rows = client.query(sessions, &[]).await;
        let rows = rows.map_err(|e| format!("the auditor: {}", chain(&e)))?;
        if rows.is_empty() || Instant::now() > until {
            return Ok(rows.iter().map(|row| row.get(0)).collect());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Reads all rows and compares them with what the clients know.
pub(crate) async fn audit_table(client: &Client, ledger: &Ledger) -> Result<Findings, String> {
    let fail = |e: tokio_postgres::Error| format!("the auditor: {}", chain(&e));
    let sql = "SELECT request, asked_role, asked_sub, asked_tenant, by_role::text, by_sub, by_tenant \
         FROM notes WHERE request >= 0";
    let rows = client
        .query_raw(sql, std::iter::empty::<i32>())
        .await
        .map_err(fail)?;
    let rows: Vec<StoredRow> = rows
        .map_ok(|row| StoredRow {
            request: row.get(0),
            asked: Owner {
                role: row.get(1),
                sub: row.get(2),
                tenant: row.get(3),
            },
            by: Owner {
                role: row.get(4),
                sub: row.get(5),
                tenant: row.get(6),
            },
        })
        .try_collect()
        .await
        .map_err(fail)?;
    Ok(audit(ledger, rows))
}
