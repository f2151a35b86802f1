//! What handlers do: a few things as the request's seed says, and an answer as it says.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Path;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt;
use rolescope::tokio_postgres::types::Type;
use rolescope::{Error, RoleScopedConnection};

use super::super::{LEAVE_TRACES, traces};
use super::Seeded;
use super::ledger::Ledger;

const INSERT: &str = "INSERT INTO audit (request, claimed_sub) VALUES ($1, $2)";
const ROWS: &str = "SELECT repeat('x', 500) FROM generate_series(1, $1) x";

/// How many requests only read.
pub(super) fn method(storm: u64, request: u64) -> Method {
    match Seeded::of(storm ^ 0x6e75, request).below(10) {
        0..3 => Method::GET,
        _ => Method::POST,
    }
}

pub(super) fn role(request: u64) -> &'static str {
    ["web_user", "author", "jdoe123"][(request % 3) as usize]
}

struct Act {
    ledger: Arc<Ledger>,
    db: RoleScopedConnection,
    seed: Seeded,
    request: u64,
    id: i64,
    /// Rows that are stored if the transaction commits as it is.
    stored: i64,
    leaves_traces: bool,
}

pub(super) async fn act(
    ledger: Arc<Ledger>,
    storm: u64,
    db: RoleScopedConnection,
    Path(request): Path<u64>,
) -> Result<Response, Error> {
    let act = Act {
        ledger: Arc::clone(&ledger),
        db,
        seed: Seeded::of(storm ^ 0x6163_7473, request),
        request,
        id: i64::try_from(request).expect("a small number"),
        stored: 0,
        leaves_traces: false,
    };
    let reads = method(storm, request) == Method::GET;
    let result = act.run(reads).await;
    result.inspect_err(|error| ledger.saw(request, error))
}

impl Act {
    async fn run(mut self, reads: bool) -> Result<Response, Error> {
        if self.seed.below(4) == 0 {
            let seen = traces(&self.db).await?;
            let role = role(self.request);
            let clean = format!(
                r#"{role} {{"exp":4102444800,"role":"{role}","sub":"s{}"}}"#,
                self.request
            );
            self.ledger.session(self.request, &clean, &seen);
        }
        for _ in 0..self.seed.below(4) {
            let result = match (reads, self.seed.below(18)) {
                (true, kind) => self.read(kind % 9).await,
                (false, kind @ 0..6) => self.read(kind + 3).await,
                (false, _) => self.write().await,
            };
            if let Err(error) = result {
                // Whoever ignores it gets a 500 in place of a success.
                if self.seed.below(2) == 0 {
                    return Err(error);
                }
                self.ledger.saw(self.request, &error);
            }
        }
        self.end(reads).await
    }

    async fn insert(&self, db: &RoleScopedConnection) -> Result<i64, Error> {
        let sub = format!("s{}", self.request);
        let rows = db.execute(INSERT, &[&self.id, &sub]).await?;
        Ok(i64::try_from(rows).expect("a small number"))
    }

    async fn read(&mut self, kind: u64) -> Result<(), Error> {
        let db = self.db.clone();
        match kind {
            0 | 1 => {
                let sql = format!("SELECT {}", self.seed.below(40));
                db.query(&sql, &[]).await?;
            }
            2 => drop(
                db.query_typed("SELECT 'good'::mood, $1", &[(&"x", Type::TEXT)])
                    .await?,
            ),
            3 => {
                let seconds = [0.0005, 0.002, 0.005][self.seed.below(3) as usize];
                db.query("SELECT pg_sleep($1)", &[&seconds]).await?;
            }
            4 => drop(db.query("SELECT 1 / 0", &[]).await?),
            5 => {
                // Sent, and nobody waits for it.
                let mut sent = Box::pin(db.query("SELECT pg_sleep(0.002)", &[]));
                let _ = futures_util::poll!(&mut sent);
            }
            6 => {
                let count = [1_i32, 10, 120][self.seed.below(3) as usize];
                let mut rows = db.query_stream(ROWS, &[&count]).await?;
                for _ in 0..self.seed.below(12) {
                    rows.next().await.transpose()?;
                }
            }
            7 => {
                let mut data = db
                    .copy_out(
                        "COPY (SELECT repeat('x', 500) FROM generate_series(1, 50)) TO STDOUT",
                    )
                    .await?;
                for _ in 0..self.seed.below(60) {
                    data.next().await.transpose()?;
                }
            }
            _ => {
                let other = db.clone();
                let sent = tokio::spawn(async move { other.query("SELECT 1", &[]).await });
                sent.await.expect("no panic")?;
            }
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), Error> {
        let db = self.db.clone();
        match self.seed.below(10) {
            0 => {
                let other = db.clone();
                let (one, two) = tokio::join!(self.insert(&db), self.insert(&other));
                self.stored += one? + two?;
            }
            1 => {
                let savepoint = db.savepoint().await?;
                self.insert(&db).await?;
                if self.seed.below(2) == 0 {
                    db.query("SELECT 1 / 0", &[]).await.expect_err("it fails");
                    savepoint.rollback().await?;
                } else {
                    savepoint.release().await?;
                    self.stored += 1;
                }
            }
            2 if !self.leaves_traces => {
                self.leaves_traces = true;
                db.batch_execute(LEAVE_TRACES).await?;
            }
            3 => {
                let mut copy = db
                    .copy_in("COPY audit (request, claimed_sub) FROM STDIN")
                    .await?;
                copy.send(format!("{0}\ts{0}\n", self.request)).await?;
                if self.seed.below(4) > 0 {
                    self.stored += i64::try_from(copy.finish().await?).expect("a small number");
                }
            }
            4 => {
                let mut sent = Box::pin(db.query("SELECT pg_sleep(0.002)", &[]));
                let _ = futures_util::poll!(&mut sent);
            }
            _ => self.stored += self.insert(&db).await?,
        }
        Ok(())
    }

    /// Ends the transaction, or has it ended.
    async fn end(mut self, reads: bool) -> Result<Response, Error> {
        let mut ended = false;
        let mut body = Body::empty();
        let mut at_end = false;
        match self.seed.below(20) {
            0 => panic!("on purpose"),
            1..5 if !reads => {
                self.asks(self.stored + 1);
                let sub = format!("s{}", self.request);
                self.db
                    .execute_and_commit(INSERT, &[&self.id, &sub])
                    .await?;
                self.stored += 1;
                ended = true;
            }
            5 => {
                self.asks(self.stored);
                self.db.commit().await?;
                ended = true;
            }
            6 => {
                self.db.rollback().await?;
                self.stored = 0;
                ended = true;
            }
            7..11 => {
                if !reads {
                    self.db.commit_at_end_of_body()?;
                }
                at_end = true;
                let count = [5_i32, 50, 200][self.seed.below(3) as usize];
                let rows = self.db.query_stream(ROWS, &[&count]).await?;
                body =
                    Body::from_stream(rows.and_then(async |row| Ok(row.try_get::<_, String>(0)?)));
            }
            _ => {}
        }
        let status = match self.seed.below(8) {
            0 => StatusCode::CONFLICT,
            _ => StatusCode::OK,
        };
        if status.is_success() && !ended {
            self.asks(self.stored);
        }
        let stored = match status {
            StatusCode::CONFLICT if !ended => 0,
            _ => self.stored,
        };
        let headers = [
            ("x-stored", stored.to_string()),
            ("x-at-end", (at_end && status.is_success()).to_string()),
        ];
        Ok((status, headers, body).into_response())
    }

    /// From here on this many rows may be committed.
    fn asks(&self, rows: i64) {
        self.ledger.asks(self.request, rows);
    }
}
