//! The table at the end, and what decides the exit code.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::audit::{Findings, Ledger, Verdict, judge};
use super::client::{Answer, Event};
use super::database::{Killed, Watched};
use super::plan::Kind;

/// How many unexpected answers are shown.
const EXAMPLES: usize = 8;

/// What came of all requests.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    tallies: BTreeMap<(Kind, bool), Tally>,
    pub(crate) ledger: Ledger,
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) foreign_rows: u64,
    pub(crate) lies: u64,
    examples: Vec<String>,
}

#[derive(Debug)]
struct Tally {
    /// Microseconds.
    latencies: Histogram<u64>,
    answers: BTreeMap<String, u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            latencies: Histogram::new_with_bounds(1, 100_000_000, 3)
                .expect("the bounds are in order"),
            answers: BTreeMap::new(),
        }
    }
}

impl Seen {
    pub(crate) fn take(&mut self, event: Event) {
        let kind = event.plan.kind;
        let (outcome, verdict) = judge(kind, &event.answer);
        self.requests += 1;
        self.foreign_rows += event.foreign_rows;
        if let Some(rows) = kind.rows() {
            self.ledger
                .insert(event.plan.asked.request, (rows, outcome));
        }
        let tally = self
            .tallies
            .entry((kind, event.plan.leaves_after.is_some()))
            .or_default();
        if matches!(event.answer, Answer::Came(..)) {
            let micros = event.took.as_micros().try_into().unwrap_or(u64::MAX);
            tally.latencies.saturating_record(micros);
        }
        let label = match &event.answer {
            Answer::Left => "left".to_owned(),
            Answer::Lost(_) => "lost".to_owned(),
            Answer::Came(status, _) => status.to_string(),
        };
        *tally.answers.entry(label).or_default() += 1;

        self.errors += u64::from(verdict == Verdict::Unexpected);
        let is_lie = verdict == Verdict::Lie || event.lie.is_some();
        self.lies += u64::from(is_lie);
        let is_strange = is_lie || event.foreign_rows > 0 || verdict == Verdict::Unexpected;
        if is_strange && self.examples.len() < EXAMPLES {
            self.examples.push(format!(
                "{} (request {}): {:?}{}",
                kind.name(),
                event.plan.asked.request,
                event.answer,
                event.lie.map(|lie| format!(": {lie}")).unwrap_or_default()
            ));
        }
    }
}

/// All that a soak has shown.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) time: Duration,
    pub(crate) seen: Seen,
    pub(crate) findings: Findings,
    pub(crate) watched: Watched,
    pub(crate) killed: Killed,
    /// Whether backends were to be terminated.
    pub(crate) chaos: bool,
    /// Requests that held a connection of the pool when all had been answered.
    pub(crate) in_use_at_end: u32,
    /// What was left of the sessions when the pool had been closed.
    pub(crate) sessions_at_end: Vec<String>,
    pub(crate) connections_created: u64,
}

impl Report {
    /// How many errors there may be.
    fn errors_allowed(&self) -> u64 {
        self.killed.in_flight + self.seen.requests / 100
    }

    /// Says what must not be; nothing where all is well.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures = self.findings.failures();
        let allowed = self.errors_allowed();
        let errors = self.seen.errors;
        for (is_wrong, text) in [
            (
                self.seen.requests == 0,
                "no request was answered".to_owned(),
            ),
            (
                self.seen.foreign_rows > 0,
                format!("{} foreign rows seen", self.seen.foreign_rows),
            ),
            (
                self.seen.lies > 0,
                format!("{} answers that cannot be true", self.seen.lies),
            ),
            (
                self.watched.idle_too_long > 0,
                format!(
                    "{} times a session idle in transaction > 1 s",
                    self.watched.idle_too_long
                ),
            ),
            (
                // A soak that was interrupted at once had no time for it.
                self.time > Duration::from_secs(1) && self.watched.looks == self.watched.late_looks,
                "nobody looked for sessions idle in transaction in time".to_owned(),
            ),
            (
                self.chaos && self.killed.all == 0,
                "no backend was terminated".to_owned(),
            ),
            (
                errors > allowed,
                format!("{errors} errors where {allowed} are allowed"),
            ),
            (
                self.in_use_at_end > 0,
                format!("{} connections not given back", self.in_use_at_end),
            ),
            (
                !self.sessions_at_end.is_empty(),
                format!("sessions open after the end: {:?}", self.sessions_at_end),
            ),
        ] {
            if is_wrong {
                failures.push(text);
            }
        }
        failures
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seen,
            watched,
            killed,
            ..
        } = self;
        writeln!(
            f,
            "{:<18} {:>9} {:>8} {:>8} {:>8} {:>8}  answers (latencies in ms)",
            "kind", "requests", "p50", "p99", "p99.9", "max"
        )?;
        for ((kind, leaves), tally) in &seen.tallies {
            let name = match leaves {
                true => format!("{}, left", kind.name()),
                false => kind.name().to_owned(),
            };
            let requests: u64 = tally.answers.values().sum();
            write!(f, "{name:<18} {requests:>9}")?;
            for quantile in [0.5, 0.99, 0.999, 1.0] {
                let micros = tally.latencies.value_at_quantile(quantile);
                write!(f, " {:>8.1}", micros as f64 / 1e3)?;
            }
            for (answer, count) in &tally.answers {
                write!(f, "  {answer}: {count}")?;
            }
            writeln!(f)?;
        }
        let seconds = self.time.as_secs_f64();
        writeln!(
            f,
            "\n{} requests in {seconds:.0} s, {:.0} a second; {} connections made; {} backends terminated, {} of them in flight",
            seen.requests,
            seen.requests as f64 / seconds,
            self.connections_created,
            killed.all,
            killed.in_flight
        )?;
        writeln!(
            f,
            "{} looks for sessions idle in transaction: longest {:.3} s, behind `{}` ({} looks came late and do not count)",
            watched.looks,
            watched.longest_idle.as_secs_f64(),
            watched.last_query,
            watched.late_looks
        )?;
        writeln!(f, "\nwhat the auditor found:")?;
        write!(f, "{}", self.findings)?;
        for (what, count) in [
            ("foreign rows seen", seen.foreign_rows),
            ("answers that cannot be true", seen.lies),
            ("idle in transaction > 1 s", watched.idle_too_long),
            ("connections not given back", self.in_use_at_end.into()),
            (
                "sessions open after the end",
                self.sessions_at_end.len() as u64,
            ),
            ("errors", seen.errors),
        ] {
            writeln!(f, "  {what:<32} {count:>10}")?;
        }
        writeln!(
            f,
            "  {:<32} {:>10}",
            "errors allowed",
            self.errors_allowed()
        )?;
        if !seen.examples.is_empty() {
            writeln!(f, "\nthe first answers that were not as planned:")?;
            for example in &seen.examples {
                writeln!(f, "  {example}")?;
            }
        }
        for failure in self.failures() {
            writeln!(f, "\nFAILED: {failure}")?;
        }
        Ok(())
    }
}
