//! What the server ran, and for whom, as its own log has it.
//!
//! For a server that only an example uses: a log of all statements holds whatever their parameters hold, passwords too.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::feed::Feed;

/// What the server must be started with.
pub(crate) const SETTINGS: [&str; 4] = ["-c", "log_statement=all", "-c", "log_line_prefix=%p %e "];

/// A line of the log that belongs to the holder of a token.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Logged {
    #[serde(skip)]
    pub(crate) jti: Arc<str>,
    /// Which transaction it was, counted from the start of the example.
    transaction: u64,
    #[serde(flatten)]
    what: What,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum What {
    Statement {
        sql: String,
        parameters: Vec<Option<String>>,
    },
    Error {
        code: String,
        message: String,
    },
}

/// Reads the log while it grows. It ends with an error only.
pub(crate) async fn follow(log: &Path, feed: &Feed<Logged>) -> io::Result<()> {
    let mut file = File::open(log)?;
    let mut text = Vec::new();
    let mut reader = Reader::default();
    let mut tick = tokio::time::interval(Duration::from_millis(25));
    loop {
        // A file tells nobody that it grew. It is a local one, so that reading it takes no time to speak of.
        tick.tick().await;
        let quiet = file.read_to_end(&mut text)? == 0;
        // Where lines end with a tab before the next, the message goes on; whether it does shows only in the next line.
        let whole = if quiet {
            text.len()
        } else {
            last_message(&text)
        };
        let messages: Vec<u8> = text.drain(..whole).collect();
        reader.read(&String::from_utf8_lossy(&messages), feed);
        if quiet {
            reader.flush(feed);
        }
    }
}

/// Where the last message begins.
fn last_message(text: &[u8]) -> usize {
    let begins = |at: &usize| text[*at] == b'\n' && text.get(at + 1).is_some_and(|b| *b != b'\t');
    (0..text.len()).rev().find(begins).map_or(0, |at| at + 1)
}

#[derive(Debug, Default)]
struct Reader {
    transactions: u64,
    sessions: HashMap<String, Session>,
}

/// What is known of a session on the server.
#[derive(Debug, Default)]
struct Session {
    transaction: u64,
    caller: Caller,
    /// A statement whose parameters, if it has any, stand in the next line.
    statement: Option<String>,
}

#[derive(Debug, Default)]
enum Caller {
    /// Nobody, or nobody with a token.
    #[default]
    Nobody,
    /// A transaction that nobody's claims have been set in yet, with its statements.
    Unknown(Vec<What>),
    Known(Arc<str>),
    /// The transaction of this token has been told to end.
    Gone(Arc<str>),
}

impl Reader {
    fn read(&mut self, text: &str, feed: &Feed<Logged>) {
        let mut messages: Vec<String> = Vec::new();
        for line in text.lines() {
            match (line.strip_prefix('\t'), messages.last_mut()) {
                (Some(rest), Some(message)) => {
                    message.push('\n');
                    message.push_str(rest);
                }
                _ => messages.push(line.to_owned()),
            }
        }
        for message in messages {
            // Lines of the server itself have other forms.
            let mut parts = message.splitn(4, ' ');
            if let (Some(pid), Some(code), Some(level), Some(text)) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            {
                self.message(pid, code, level, text.trim_start(), feed);
            }
        }
    }

    fn message(&mut self, pid: &str, code: &str, level: &str, text: &str, feed: &Feed<Logged>) {
        let session = self.sessions.entry(pid.to_owned()).or_default();
        if level == "DETAIL:" {
            // The word is written with a capital letter from PostgreSQL 16 on.
            let parameters = text
                .split_once("arameters: ")
                .filter(|(before, _)| before.len() == 1)
                .map(|(_, text)| parameters(text));
            if let Some(sql) = session.statement.take() {
                let parameters = parameters.unwrap_or_default();
                session.ran(sql, parameters, &mut self.transactions, feed);
            }
            return;
        }
        session.flush(&mut self.transactions, feed);
        match level {
            "LOG:" => {
                let (how, sql) = text.split_once(": ").unwrap_or_default();
                if how == "statement" || how.starts_with("execute ") {
                    session.statement = Some(sql.to_owned());
                }
            }
            "ERROR:" | "FATAL:" => session.publish(
                What::Error {
                    code: code.to_owned(),
                    message: text.to_owned(),
                },
                feed,
            ),
            _ => {}
        }
    }

    fn flush(&mut self, feed: &Feed<Logged>) {
        for session in self.sessions.values_mut() {
            session.flush(&mut self.transactions, feed);
        }
    }
}

impl Session {
    fn flush(&mut self, transactions: &mut u64, feed: &Feed<Logged>) {
        if let Some(sql) = self.statement.take() {
            self.ran(sql, Vec::new(), transactions, feed);
        }
    }

    fn ran(
        &mut self,
        sql: String,
        parameters: Vec<Option<String>>,
        transactions: &mut u64,
        feed: &Feed<Logged>,
    ) {
        let jti = switched_to(&sql, &parameters);
        let ends = sql == "ROLLBACK" || sql.ends_with("COMMIT");
        let begins = sql.starts_with("BEGIN");
        let statement = What::Statement { sql, parameters };
        if begins && ends {
            // The session is cleared for its next caller.
            self.publish(statement, feed);
            return;
        }
        if begins {
            *transactions += 1;
            self.transaction = *transactions;
            self.caller = Caller::Unknown(vec![statement]);
            return;
        }
        if let Caller::Unknown(before) = &mut self.caller {
            before.push(statement);
            // The first claims count: SQL of a handler's could set others later.
            if let Some(jti) = jti {
                let before = std::mem::take(before);
                self.caller = jti.map_or(Caller::Nobody, |jti| Caller::Known(jti.into()));
                before.into_iter().for_each(|what| self.publish(what, feed));
            }
            return;
        }
        if let Caller::Known(jti) = &self.caller {
            let jti = Arc::clone(jti);
            self.publish(statement, feed);
            if ends {
                self.caller = Caller::Gone(jti);
            }
        }
    }

    fn publish(&self, what: What, feed: &Feed<Logged>) {
        let (Caller::Known(jti) | Caller::Gone(jti)) = &self.caller else {
            return;
        };
        feed.push(Logged {
            jti: Arc::clone(jti),
            transaction: self.transaction,
            what,
        });
    }
}

/// Reads whose claims a statement sets: nothing where it sets none, and no `jti` where the token has none.
fn switched_to(sql: &str, parameters: &[Option<String>]) -> Option<Option<String>> {
    if !sql.starts_with("SELECT pg_catalog.set_config('role', $1, true)") {
        return None;
    }
    let claims = parameters.get(1)?.as_deref().unwrap_or_default();
    let claims: serde_json::Value = serde_json::from_str(claims).unwrap_or_default();
    Some(claims["jti"].as_str().map(str::to_owned))
}

/// Reads `$1 = 'it''s', $2 = NULL`.
fn parameters(mut text: &str) -> Vec<Option<String>> {
    let mut found = Vec::new();
    while let Some((_, rest)) = text.split_once(" = ") {
        let Some(quoted) = rest.strip_prefix('\'') else {
            found.push(None);
            text = rest;
            continue;
        };
        let mut value = String::new();
        let mut rest = quoted;
        while let Some((part, after)) = rest.split_once('\'') {
            value.push_str(part);
            rest = after;
            match rest.strip_prefix('\'') {
                Some(after) => {
                    value.push('\'');
                    rest = after;
                }
                None => break,
            }
        }
        found.push(Some(value));
        text = rest;
    }
    found
}
