//! What each side of a request knows, and what the table has to say about it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rolescope::{Error, ErrorKind};
use tokio_postgres::Client;

/// What the client of a request was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// How many rows are stored.
    Stored(i64),
    Unknown,
}

#[derive(Default)]
pub(super) struct Ledger(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    told: HashMap<u64, Told>,
    /// How many rows the handler has asked to have stored, if it has.
    asked: HashMap<u64, i64>,
    kinds: BTreeMap<&'static str, [u64; 2]>,
    sessions: u64,
    errors: BTreeMap<String, u64>,
    wrong: Vec<String>,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn told(&self, request: u64, kind: &'static str, told: Told) {
        let mut entries = self.lock();
        entries.told.insert(request, told);
        let [count, unknown] = entries.kinds.entry(kind).or_default();
        *count += 1;
        *unknown += u64::from(told == Told::Unknown);
    }

    pub(super) fn asks(&self, request: u64, rows: i64) {
        self.lock().asked.insert(request, rows);
    }

    /// Notes how a handler has found its session.
    pub(super) fn session(&self, request: u64, clean: &str, seen: &str) {
        let mut entries = self.lock();
        entries.sessions += 1;
        if seen != clean {
            entries.wrong.push(format!(
                "request {request} found {seen:?} in place of {clean:?}"
            ));
        }
    }

    /// Notes an error of a handler. Those that it has not made itself are wrong: a handler whose client has left sees none,
    /// so that a statement that was cancelled is another's.
    pub(super) fn saw(&self, request: u64, error: &Error) {
        let code = error.code().map(|code| code.code().to_owned());
        let own = matches!(code.as_deref(), Some("22012" | "25P02"))
            || matches!(
                error.kind(),
                ErrorKind::TransactionAborted | ErrorKind::Finished
            );
        let mut entries = self.lock();
        *entries
            .errors
            .entry(format!("{:?} {code:?}", error.kind()))
            .or_default() += 1;
        if !own {
            entries
                .wrong
                .push(format!("request {request} failed: {error:?}"));
        }
    }

    pub(super) fn summary(&self) -> String {
        let entries = self.lock();
        let mut text = String::new();
        for (kind, [count, unknown]) in &entries.kinds {
            let _ = writeln!(text, "{count:6} {kind}, {unknown} of them told nothing");
        }
        let _ = writeln!(
            text,
            "{:6} handlers looked at their session",
            entries.sessions
        );
        let _ = write!(text, "errors of handlers: {:?}", entries.errors);
        text
    }

    /// Compares with the rows that are stored.
    pub(super) async fn audit(&self, admin: &Client) {
        let wrong = "SELECT count(*) FROM audit WHERE who <> role OR sub <> claimed_sub OR sub IS NULL \
             OR path <> '/' || request OR who = 'anon' OR kept <> 'kept'";
        let foreign: i64 = admin
            .query_one_scalar(wrong, &[])
            .await
            .expect("it is counted");
        assert_eq!(foreign, 0, "rows of somebody else");
        let rows = "SELECT request, count(*) FROM audit GROUP BY request";
        let rows = admin.query(rows, &[]).await.expect("they can be counted");
        let mut stored: HashMap<u64, i64> = HashMap::new();
        for row in rows {
            let request = u64::try_from(row.get::<_, i64>(0)).expect("a request's number");
            stored.insert(request, row.get(1));
        }
        let mut entries = self.lock();
        let mut wrong = std::mem::take(&mut entries.wrong);
        let mut unknown = [0, 0];
        for (request, told) in &entries.told {
            let found = stored.remove(request).unwrap_or_default();
            let asked = entries.asked.get(request).copied().unwrap_or_default();
            match told {
                Told::Stored(rows) if found == *rows => {}
                Told::Unknown if found == 0 => unknown[0] += 1,
                Told::Unknown if found == asked => unknown[1] += 1,
                told => wrong.push(format!(
                    "request {request} has {found} rows, asked for {asked}, and its client was told {told:?}"
                )),
            }
        }
        println!(
            "of those told nothing, {} had stored nothing, and {} what they had asked for",
            unknown[0], unknown[1]
        );
        wrong.extend(
            stored
                .keys()
                .map(|request| format!("nobody sent request {request}")),
        );
        assert!(
            wrong.is_empty(),
            "{} are wrong: {:#?}",
            wrong.len(),
            &wrong[..wrong.len().min(20)]
        );
    }
}
