//! What a policy costs a statement by how it is written, on a real PostgreSQL with 100 000 rows: `cargo bench --bench
//! policies`. See the README beside this file.
//!
//! The figures are processor time of PostgreSQL's session where the system tells it, as Linux does: what else the machine does
//! hardly counts there.
//!
//! Each form is a policy for a role of its own on the same two tables, with and without an index on the owner. All forms
//! answer the same 100 rows, which is checked before anything is measured.

#[path = "../examples/support/local_postgres/mod.rs"]
mod local_postgres;

use std::fmt::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use local_postgres::LocalPostgres;
use rolescope::tokio_postgres::{self, Client, NoTls, Statement};

/// The claim, read as the guide and `examples/sql` have it.
const CLAIM: &str = "nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub'";

/// The one whose rows are read. A role has that name, too, for policies that ask for `current_user`.
const CALLER: &str = "caller";

const CLAIMS: &str = r#"{"iss":"https://login.example.com","aud":"todos","sub":"caller","role":"web_user","tenant":"acme","email":"caller@example.org","exp":4102444800,"jti":"01920b1c-6c9a-7e11-8d5f-3b1f0c2e9a44"}"#;

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A superuser's statement that names the owner: what there is to be compared with.
    Where,
    Policy,
    View,
}

struct Form {
    name: &'static str,
    kind: Kind,
    /// What the owner is compared with.
    value: String,
}

fn forms() -> Vec<Form> {
    let form = |kind, name, value: String| Form { name, kind, value };
    let policy = |name, value: &str| form(Kind::Policy, name, value.to_owned());
    let flat = "current_setting('request.jwt.claim.sub', true)";
    let claims = format!("({CLAIM})");
    let claims_once = format!("(SELECT {CLAIM})");
    vec![
        form(Kind::Where, "no policy, `WHERE owner = $1`", String::new()),
        policy("claims, bare", &claims),
        policy("claims, `(SELECT ..)`", &claims_once),
        policy("setting of the claim, bare", flat),
        policy(
            "setting of the claim, `(SELECT ..)`",
            &format!("(SELECT {flat})"),
        ),
        policy("`current_user`", "current_user"),
        policy(
            "`current_user COLLATE \"default\"`",
            "current_user COLLATE \"default\"",
        ),
        policy("`STABLE` function in SQL, bare", "jwt_claim('sub')"),
        policy(
            "`STABLE` function in SQL, `(SELECT ..)`",
            "(SELECT jwt_claim('sub'))",
        ),
        policy(
            "`STABLE` function in PL/pgSQL, bare",
            "jwt_claim_plpgsql('sub')",
        ),
        policy(
            "`STABLE` function in PL/pgSQL, `(SELECT ..)`",
            "(SELECT jwt_claim_plpgsql('sub'))",
        ),
        form(Kind::View, "`security_barrier` view, claims, bare", claims),
        form(
            Kind::View,
            "`security_barrier` view, claims, `(SELECT ..)`",
            claims_once,
        ),
    ]
}

impl Form {
    /// The role that this form is for. `current_user` needs one that is called like the owner.
    fn role(&self, number: usize) -> String {
        match (self.kind, self.value.contains("current_user")) {
            (Kind::Where, _) => "postgres".to_owned(),
            (_, true) => CALLER.to_owned(),
            _ => format!("form_{number}"),
        }
    }
}

const TABLES: [&str; 2] = ["without_index", "with_index"];

/// Measures forms of policies in turns on a PostgreSQL of its own.
#[derive(Debug, Parser)]
struct Args {
    /// How many rows a table has; one in a thousand is the caller's.
    #[arg(long, default_value_t = 100_000)]
    rows: u32,
    /// How many turns each form has.
    #[arg(long, default_value_t = 31)]
    rounds: usize,
    /// How many milliseconds a turn takes, or one statement, if that takes longer.
    #[arg(long, default_value_t = 20)]
    turn: u64,
    /// Said by `cargo bench`. Without it nothing is measured, only checked: so does `cargo test --benches`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut args = Args::parse();
    if !args.bench {
        (args.rows, args.rounds, args.turn) = (5_000, 1, 0);
        println!("Only a check that all of it works: `cargo bench --bench policies` measures");
    }
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<(), String> {
    let server = LocalPostgres::start()?;
    let url = server.superuser_url("postgres");
    let forms = forms();
    let admin = connect(&url).await?;
    for sql in [&*schema(&forms, args.rows), "VACUUM ANALYZE"] {
        let done = admin.batch_execute(sql).await;
        done.map_err(|e| format!("{e:?}"))?;
    }
    let version: String = scalar(&admin, "SHOW server_version").await?;
    println!(
        "PostgreSQL {version}, {} rows, {} rounds in turns; {} and ratios are medians of the rounds",
        args.rows,
        args.rounds,
        match processor_time(std::process::id().cast_signed()) {
            Some(_) => "processor time",
            None => "time",
        }
    );

    let mut columns = Vec::new();
    for table in TABLES {
        let mut tasks = Vec::new();
        for (number, form) in forms.iter().enumerate() {
            tasks.push(Task::new(&url, form, number, table).await?);
        }
        let expected = tasks[0].ids().await?;
        if expected.len() != (args.rows / 1000) as usize {
            return Err(format!("{} rows are the caller's", expected.len()));
        }
        for (task, form) in tasks.iter().zip(&forms) {
            if task.ids().await? != expected {
                return Err(format!("{table}: {} answers other rows", form.name));
            }
        }
        columns.push(measure(&tasks, args).await?);
    }
    print!("{}", report(&forms, &columns));
    Ok(())
}

async fn connect(url: &str) -> Result<Client, String> {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    Ok(client)
}

async fn scalar(client: &Client, sql: &str) -> Result<String, String> {
    let row = client.query_one(sql, &[]).await;
    row.and_then(|row| row.try_get(0))
        .map_err(|e| e.to_string())
}

fn schema(forms: &[Form], rows: u32) -> String {
    let mut sql = format!(
        "CREATE FUNCTION jwt_claim(name text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
             RETURN nullif(current_setting('request.jwt.claims', true), '')::json ->> name;
         CREATE FUNCTION jwt_claim_plpgsql(name text) RETURNS text LANGUAGE plpgsql STABLE PARALLEL SAFE AS
             $$ BEGIN RETURN nullif(current_setting('request.jwt.claims', true), '')::json ->> name; END $$;
         CREATE ROLE {CALLER};
         CREATE TABLE without_index (id int PRIMARY KEY, owner text NOT NULL, title text NOT NULL);
         INSERT INTO without_index
             SELECT i, CASE i % 1000 WHEN 7 THEN '{CALLER}' ELSE 'user' || i % 1000 END, 'item number ' || i
             FROM generate_series(1, {rows}) i;
         CREATE TABLE with_index (LIKE without_index INCLUDING ALL);
         INSERT INTO with_index SELECT * FROM without_index;
         CREATE INDEX ON with_index (owner);
         GRANT SELECT ON without_index, with_index TO {CALLER};"
    );
    for (number, form) in forms.iter().enumerate() {
        let (role, value) = (form.role(number), &form.value);
        if role.starts_with("form") {
            let _ = write!(sql, "CREATE ROLE {role};");
        }
        for table in TABLES {
            let _ = match form.kind {
                Kind::Where => Ok(()),
                // The policies that ask for current_user are the same role's: each has a table of its own.
                Kind::Policy if role == CALLER => write!(
                    sql,
                    "CREATE TABLE {table}_{number} (LIKE {table} INCLUDING ALL); GRANT SELECT ON {table}_{number} TO {role};
                     INSERT INTO {table}_{number} SELECT * FROM {table};
                     ALTER TABLE {table}_{number} ENABLE ROW LEVEL SECURITY;
                     CREATE POLICY form_{number} ON {table}_{number} TO {role} USING (owner = {value});"
                ),
                Kind::Policy => write!(
                    sql,
                    "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; GRANT SELECT ON {table} TO {role};
                     CREATE POLICY form_{number} ON {table} TO {role} USING (owner = {value});"
                ),
                Kind::View => write!(
                    sql,
                    "CREATE VIEW {table}_{number} WITH (security_barrier = true) AS
                         SELECT id, owner, title FROM {table} WHERE owner = {value};
                     GRANT SELECT ON {table}_{number} TO {role};"
                ),
            };
        }
    }
    sql
}

/// One form on one table: a session of its own, with a prepared statement.
struct Task {
    client: Client,
    statement: Statement,
    has_owner: bool,
    /// The process of the session.
    pid: i32,
}

impl Task {
    async fn new(url: &str, form: &Form, number: usize, table: &str) -> Result<Self, String> {
        let role = form.role(number);
        let client = connect(url).await?;
        let pid = client.query_one("SELECT pg_backend_pid()", &[]).await;
        let pid = pid.map_err(|e| e.to_string())?.get(0);
        let set_up = format!(
            "SET max_parallel_workers_per_gather = 0; SET request.jwt.claims = '{CLAIMS}';
             SET request.jwt.claim.sub = '{CALLER}'; SET ROLE {role}"
        );
        client
            .batch_execute(&set_up)
            .await
            .map_err(|e| e.to_string())?;
        let has_owner = matches!(form.kind, Kind::Where);
        let sql = match form.kind {
            Kind::Where => format!("SELECT id, title FROM {table} WHERE owner = $1"),
            Kind::Policy if role != CALLER => format!("SELECT id, title FROM {table}"),
            _ => format!("SELECT id, title FROM {table}_{number}"),
        };
        let statement = client
            .prepare(&sql)
            .await
            .map_err(|e| format!("{sql}: {e:?}"))?;
        Ok(Self {
            client,
            statement,
            has_owner,
            pid,
        })
    }

    async fn ids(&self) -> Result<Vec<i32>, String> {
        let owner: &(dyn tokio_postgres::types::ToSql + Sync) = &CALLER;
        let parameters = if self.has_owner { &[owner][..] } else { &[] };
        let rows = self.client.query(&self.statement, parameters).await;
        let rows = rows.map_err(|e| format!("{e:?}"))?;
        let mut ids: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Returns how many microseconds a statement took.
    async fn turn(&self, length: Duration) -> Result<f64, String> {
        let (begun, mut done) = (Instant::now(), 0_u32);
        let before = processor_time(self.pid);
        while done == 0 || begun.elapsed() < length {
            self.ids().await?;
            done += 1;
        }
        let took = match (before, processor_time(self.pid)) {
            (Some(before), Some(after)) => after - before,
            _ => begun.elapsed(),
        };
        Ok(took.as_secs_f64() * 1e6 / f64::from(done))
    }
}

fn processor_time(pid: i32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    let nanoseconds = text.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

/// Returns the turns of each task. Each round begins with another one.
async fn measure(tasks: &[Task], args: &Args) -> Result<Vec<Vec<f64>>, String> {
    let mut took = vec![Vec::new(); tasks.len()];
    // Six times, so that each statement has the plan that it is going to keep.
    for task in tasks {
        for _ in 0..6 {
            task.ids().await?;
        }
    }
    for round in 0..args.rounds {
        for turn in 0..tasks.len() {
            let at = (round + turn) % tasks.len();
            let length = Duration::from_millis(args.turn);
            took[at].push(tasks[at].turn(length).await?);
        }
    }
    Ok(took)
}

fn report(forms: &[Form], columns: &[Vec<Vec<f64>>]) -> String {
    let mut text = "| the owner is compared with | no index, µs | × | index, µs | × |\n|---|--:|--:|--:|--:|\n".to_owned();
    for (at, form) in forms.iter().enumerate() {
        let _ = write!(text, "| {} |", form.name);
        for column in columns {
            let ratios = column[at].iter().zip(&column[0]);
            let ratio = median(ratios.map(|(own, base)| own / base).collect());
            let _ = write!(text, " {:.0} | {ratio:.2} |", median(column[at].clone()));
        }
        text.push('\n');
    }
    text
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
