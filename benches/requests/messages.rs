//! What the messages of a request cost PostgreSQL, one by one, and what fewer of them would: the protocol spoken by hand, so
//! that nothing of a driver or of HTTP is in it.
//!
//! The SQL is what `src/scope/pg/session.rs` sends.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use bytes::BytesMut;
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

use crate::database::{Database, LIST};

const ROUNDS: usize = 9;
const REPEATED: usize = 2000;

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY";
const SWITCH: &str = "SELECT pg_catalog.set_config('role', $1, true), pg_catalog.set_config('request.jwt.claims', $2, true), \
    pg_catalog.set_config('request.method', $3, true), pg_catalog.set_config('request.path', $4, true), \
    pg_catalog.set_config('rolescope.role', $1, true), pg_catalog.now()";
/// Not `=` but `>=`, which costs the same: when the transaction began is not known here.
const CHECK: &str = "SELECT 1 OPERATOR(pg_catalog./) (coalesce(pg_catalog.now() OPERATOR(pg_catalog.>=) \
    $1::pg_catalog.timestamptz, true) AND current_user::pg_catalog.text OPERATOR(pg_catalog.=) $2::pg_catalog.text \
    AND coalesce(pg_catalog.current_setting('rolescope.role', true) OPERATOR(pg_catalog.=) $2::pg_catalog.text, false) AND ($3::pg_catalog.text OPERATOR(pg_catalog.=) 'off' \
    OR pg_catalog.current_setting('transaction_read_only') OPERATOR(pg_catalog.=) 'on'))::pg_catalog.int4";
const END_OF_READ: &str = "SELECT pg_catalog.pg_advisory_unlock_all(), 1 OPERATOR(pg_catalog./) (\
    coalesce(current_user::pg_catalog.text OPERATOR(pg_catalog.=) pg_catalog.current_setting('rolescope.role', true), false) \
    AND pg_catalog.current_setting('transaction_read_only') OPERATOR(pg_catalog.=) 'on')::pg_catalog.int4";
const RESET_OF_READ: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *";
const REST_OF_RESET: &str =
    "SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";
const CLAIMS: &str = r#"{"role":"web_user","sub":"alice","aud":"bench","exp":4102444800}"#;
const SWITCHED: [&str; 4] = ["web_user", CLAIMS, "GET", "/items"];
const CHECKED: [&str; 3] = ["epoch", "web_user", "on"];

/// Messages that are sent together, and how many of them the server answers by itself.
#[derive(Default)]
struct Flight {
    bytes: BytesMut,
    answers: usize,
}

impl Flight {
    fn query(mut self, sql: &str) -> Self {
        frontend::query(sql, &mut self.bytes).expect("no NUL");
        self.answers += 1;
        self
    }

    /// Bind and Execute, and with `sync` a Sync, without which the server does not answer yet.
    fn execute(mut self, statement: &str, values: &[&str], sync: bool) -> Self {
        let bound = frontend::bind(
            "",
            statement,
            [0_i16; 0],
            values.iter(),
            |value, bytes| {
                bytes.extend_from_slice(value.as_bytes());
                Ok(IsNull::No)
            },
            Some(1),
            &mut self.bytes,
        );
        assert!(bound.is_ok(), "a text fits");
        frontend::execute("", 0, &mut self.bytes).expect("no NUL");
        if sync {
            frontend::sync(&mut self.bytes);
            self.answers += 1;
        }
        self
    }

    /// `BEGIN`, the switch and the statement.
    fn opening() -> Self {
        Self::default()
            .query(BEGIN)
            .execute("switch", &SWITCHED, true)
            .execute("list", &[], true)
    }

    fn check(self) -> Self {
        self.execute("check", &CHECKED, true)
    }
}

struct Session {
    stream: TcpStream,
    backend: u32,
    unread: Vec<u8>,
}

impl Session {
    fn open(port: u16) -> Result<Self, String> {
        let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let mut this = Self {
            stream,
            backend: 0,
            unread: Vec::new(),
        };
        let mut startup = BytesMut::new();
        let options = [
            ("user", "authenticator"),
            ("database", "postgres"),
            ("options", "-c role=anon"),
        ];
        frontend::startup_message(options, &mut startup).map_err(|e| e.to_string())?;
        this.send(&startup, 1)?;
        Ok(this)
    }

    fn prepare(&mut self, name: &str, sql: &str) -> Result<(), String> {
        let mut bytes = BytesMut::new();
        frontend::parse(name, sql, [], &mut bytes).map_err(|e| e.to_string())?;
        frontend::sync(&mut bytes);
        self.send(&bytes, 1)
    }

    fn fly(&mut self, flight: &Flight) -> Result<(), String> {
        self.send(&flight.bytes, flight.answers)
    }

    /// Sends bytes and reads until the server was ready for a query so often.
    fn send(&mut self, bytes: &[u8], mut answers: usize) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(|e| e.to_string())?;
        let mut chunk = [0; 16 * 1024];
        loop {
            let mut at = 0;
            while let Some(head) = self.unread.get(at..at + 5) {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize + 1;
                let Some(message) = self.unread.get(at..at + length) else {
                    break;
                };
                match (message[0], &message[5..]) {
                    (b'Z', _) => answers -= 1,
                    (b'K', [a, b, c, d, ..]) => {
                        self.backend = u32::from_be_bytes([*a, *b, *c, *d]);
                    }
                    (b'E', text) => return Err(String::from_utf8_lossy(text).into_owned()),
                    _ => {}
                }
                at += length;
            }
            self.unread.drain(..at);
            if answers == 0 {
                return Ok(());
            }
            let read = self.stream.read(&mut chunk).map_err(|e| e.to_string())?;
            if read == 0 {
                return Err("the server closed the connection".to_owned());
            }
            self.unread.extend_from_slice(&chunk[..read]);
        }
    }

    /// Microseconds of processor time since it began, as Linux tells it, and 0 elsewhere.
    fn spent(&self) -> f64 {
        let spent = fs::read_to_string(format!("/proc/{}/schedstat", self.backend));
        let spent = spent.ok();
        let nanos = spent.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
        nanos.unwrap_or(0.0) / 1e3
    }
}

/// What is compared: a name, and the flights of one request.
fn variants() -> Vec<(&'static str, Vec<Flight>)> {
    let reset = format!("{RESET_OF_READ}; {REST_OF_RESET}");
    let end_of_read = format!("EXECUTE end_of_read; {RESET_OF_READ}; COMMIT");
    let end_up_to_15 =
        format!("EXECUTE end_of_read; {RESET_OF_READ}; DISCARD TEMP; DISCARD SEQUENCES; COMMIT");
    let sequential = |end: &str| {
        vec![
            Flight::default().query(BEGIN),
            Flight::default().execute("switch", &SWITCHED, true),
            Flight::default().execute("list", &[], true),
            Flight::default().query(end),
        ]
    };
    vec![
        (
            "the transaction alone: BEGIN, switch, statement; COMMIT",
            vec![Flight::opening(), Flight::default().query("COMMIT")],
        ),
        ("the same, one by one: (f)", sequential("COMMIT")),
        (
            "and the check",
            vec![Flight::opening(), Flight::default().check().query("COMMIT")],
        ),
        (
            "check, COMMIT and reset: as it was before",
            vec![
                Flight::opening(),
                Flight::default().check().query(&format!("COMMIT; {reset}")),
            ],
        ),
        (
            "check with unlock, in a message of its own; reset and COMMIT",
            vec![
                Flight::opening(),
                Flight::default()
                    .execute("check_and_unlock", &CHECKED, true)
                    .query(&format!("{RESET_OF_READ}; COMMIT")),
            ],
        ),
        (
            "all of it in one message: (b)",
            vec![Flight::opening(), Flight::default().query(&end_of_read)],
        ),
        (
            "the same up to PostgreSQL 15, with DISCARD TEMP and SEQUENCES",
            vec![Flight::opening(), Flight::default().query(&end_up_to_15)],
        ),
        (
            "all in one flight: (g)",
            vec![Flight::opening().query(&end_of_read)],
        ),
        (
            "check, COMMIT, and the reset by itself: the end of (c)",
            vec![
                Flight::opening(),
                Flight::default().check().query("COMMIT").query(&format!(
                    "BEGIN NOT DEFERRABLE ISOLATION LEVEL READ COMMITTED; {reset}; COMMIT"
                )),
            ],
        ),
        (
            "(b) with one Sync for a flight, if the driver could",
            vec![
                Flight::default()
                    .execute("begin", &[], false)
                    .execute("switch", &SWITCHED, false)
                    .execute("list", &[], true),
                Flight::default().query(&end_of_read),
            ],
        ),
    ]
}

/// Measures all of it on one session, in turns.
pub(crate) fn run(database: &Database, measured: bool) -> Result<(), String> {
    let mut session = Session::open(database.port())?;
    for (name, sql) in [
        ("begin", BEGIN),
        ("switch", SWITCH),
        ("list", LIST),
        ("check", CHECK),
        (
            "check_and_unlock",
            &CHECK.replacen("SELECT", "SELECT pg_catalog.pg_advisory_unlock_all(),", 1),
        ),
    ] {
        session.prepare(name, sql)?;
    }
    let end_of_read = format!("PREPARE end_of_read AS {END_OF_READ}");
    session.fly(&Flight::default().query(&end_of_read))?;
    let variants = variants();
    let (rounds, repeated) = if measured { (ROUNDS, REPEATED) } else { (1, 2) };
    let mut spent = vec![Vec::new(); variants.len() + 1];
    for _ in 0..rounds {
        for ((_, flights), spent) in variants.iter().zip(&mut spent[1..]) {
            spent.push(turn(&mut session, flights, repeated)?);
        }
        let become_it = format!(
            "SET ROLE web_user; SELECT pg_catalog.set_config('request.jwt.claims', '{CLAIMS}', false)"
        );
        session.fly(&Flight::default().query(&become_it))?;
        let floor = [Flight::default().execute("list", &[], true)];
        spent[0].push(turn(&mut session, &floor, repeated)?);
        session.fly(&Flight::default().query("SET ROLE anon; RESET ALL"))?;
    }
    println!("\n#### Messages of one request, one session, {rounds} rounds of {repeated}\n");
    println!("| | CPU µs: PostgreSQL | µs in all |\n|---|--:|--:|");
    let names = ["the statement alone: (a)"];
    let names = names
        .into_iter()
        .chain(variants.iter().map(|(name, _)| *name));
    for (name, mut spent) in names.zip(spent) {
        let mut median = |value: fn(&(f64, f64)) -> f64| {
            spent.sort_by(|a, b| value(a).total_cmp(&value(b)));
            value(&spent[spent.len() / 2])
        };
        println!(
            "| {name} | {:.1} | {:.1} |",
            median(|turn| turn.0),
            median(|turn| turn.1)
        );
    }
    Ok(())
}

/// Processor time of the server, and time, of one request in microseconds.
fn turn(session: &mut Session, flights: &[Flight], repeated: usize) -> Result<(f64, f64), String> {
    let (spent, began) = (session.spent(), Instant::now());
    for _ in 0..repeated {
        for flight in flights {
            session.fly(flight)?;
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "a small number")]
    let repeated = repeated as f64;
    let elapsed = began.elapsed().as_secs_f64() * 1e6;
    Ok(((session.spent() - spent) / repeated, elapsed / repeated))
}
