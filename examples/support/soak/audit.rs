//! Who judges: was each answer true, and is each row where it belongs?

use std::collections::HashMap;
use std::fmt;

use super::client::Answer;
use super::plan::Kind;

/// What a client knows of the rows that a request was to store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Stored,
    NotStored,
    /// Nobody told the client: all of them or none.
    Unknown,
}

/// Whether an answer is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Expected,
    /// Not what this kind is answered, but true: 503 because the database was away, for example.
    Unexpected,
    /// A success where there can be none.
    Lie,
}

/// Says what an answer means for the rows, and whether it is as it should be.
pub(crate) fn judge(kind: Kind, answer: &Answer) -> (Outcome, Verdict) {
    match answer {
        Answer::Left => (Outcome::Unknown, Verdict::Expected),
        Answer::Lost(_) => (Outcome::Unknown, Verdict::Unexpected),
        Answer::Came(status, _) if (200..300).contains(status) => {
            if kind.status() == *status {
                (Outcome::Stored, Verdict::Expected)
            } else {
                (Outcome::NotStored, Verdict::Lie)
            }
        }
        Answer::Came(_, body) if body.contains("\"commit_unknown\"") => {
            (Outcome::Unknown, Verdict::Unexpected)
        }
        Answer::Came(status, _) if kind.status() == *status => {
            (Outcome::NotStored, Verdict::Expected)
        }
        Answer::Came(..) => (Outcome::NotStored, Verdict::Unexpected),
    }
}

/// What the clients know of all rows: of each request how many it was to store, and what became of them.
pub(crate) type Ledger = HashMap<i64, (u8, Outcome)>;

/// A row as it is stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoredRow {
    pub(crate) request: i64,
    pub(crate) asked: Owner,
    pub(crate) by: Owner,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) role: String,
    pub(crate) sub: String,
    pub(crate) tenant: i32,
}

/// What the auditor has found wrong in the table. All zero is what it should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Rows whose writer, as the database says, is not whoever asked for them.
    pub(crate) wrong_owners: u64,
    /// Requests answered 2xx of which a row is missing.
    pub(crate) missing: u64,
    /// Requests of which there are more rows than they were to store.
    pub(crate) too_often: u64,
    /// Requests answered with an error that stored something all the same.
    pub(crate) in_spite_of_error: u64,
    /// Requests without a known end of which a part is there.
    pub(crate) torn: u64,
    /// Rows of requests that nobody sent.
    pub(crate) of_nobody: u64,
}

impl Findings {
    fn named(&self) -> [(&'static str, u64); 6] {
        [
            ("rows with a wrong owner", self.wrong_owners),
            ("answered 2xx, and not there", self.missing),
            ("stored more than once", self.too_often),
            ("answered an error, and there", self.in_spite_of_error),
            ("half there", self.torn),
            ("rows that nobody asked for", self.of_nobody),
        ]
    }

    /// Says what is wrong, one text for each kind of it.
    pub(crate) fn failures(&self) -> Vec<String> {
        let wrong = self.named().into_iter().filter(|(_, count)| *count > 0);
        wrong
            .map(|(what, count)| format!("{count} {what}"))
            .collect()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in self.named() {
            writeln!(f, "  {what:<32} {count:>10}")?;
        }
        Ok(())
    }
}

/// Compares what is stored with what the clients know.
pub(crate) fn audit(ledger: &Ledger, stored: impl IntoIterator<Item = StoredRow>) -> Findings {
    let mut findings = Findings::default();
    let mut there: HashMap<i64, u64> = HashMap::with_capacity(ledger.len());
    for row in stored {
        if row.by != row.asked {
            findings.wrong_owners += 1;
        }
        if ledger.contains_key(&row.request) {
            *there.entry(row.request).or_default() += 1;
        } else {
            findings.of_nobody += 1;
        }
    }
    for (request, (rows, outcome)) in ledger {
        let there = there.get(request).copied().unwrap_or_default();
        let rows = u64::from(*rows);
        match outcome {
            Outcome::NotStored if there > 0 => findings.in_spite_of_error += 1,
            Outcome::NotStored => {}
            _ if there > rows => findings.too_often += 1,
            Outcome::Stored if there < rows => findings.missing += 1,
            Outcome::Unknown if there > 0 && there < rows => findings.torn += 1,
            Outcome::Stored | Outcome::Unknown => {}
        }
    }
    findings
}
