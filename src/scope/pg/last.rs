//! A transaction's last statement: its COMMIT is sent behind it without waiting for its answer.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio_postgres::types::ToSql;
use tokio_postgres::{Error as PgError, RowStream, Statement};

use super::attempts::{Attempts, Failure, is_stale};
use super::ending::{Ending, Verdict};
use super::gate::{Message, Running};
use super::hidden::Hidden;
use super::judgement::ends_session;
use super::lease::Reset;
use super::statement::{Answer, Params, behind, collect};
use super::transaction::{Current, Finished, Known, Phase, State, Transaction, finished};
use crate::error::{Error, ErrorKind};

/// A `COMMIT` on its way, behind the statement that it is to commit.
struct Last {
    ending: Ending,
    known: Known,
    /// Whether the statement is all that was asked of the transaction.
    alone: bool,
}

impl Transaction {
    /// Runs one statement and commits, in one flight.
    pub(crate) async fn run_last(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Answer, Error> {
        let mut unsent = Unsent {
            transaction: self,
            known: Known::default(),
        };
        let result = self.try_last(sql, values).await;
        if let Err(error) = &result {
            unsent.known = Arc::new(OnceLock::from(Err(error.clone())));
        }
        drop(unsent);
        result
    }

    async fn try_last(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Answer, Error> {
        let mut attempts = Attempts::at(sql)?;
        loop {
            // A COMMIT behind a reset that may have failed could not be taken back.
            let current = attempts.open(self, Reset::Answered).await?;
            if current.session.is_pooled() {
                return Box::pin(self.run_and_commit(sql, values)).await;
            }
            let statement = match self.known_or_prepared(&current, sql, attempts.anew()).await {
                Ok(statement) => statement,
                Err(failure) => {
                    attempts.once_more(self, &current, failure)?;
                    continue;
                }
            };
            let (answer, last) = match self.send_last(&current, &statement, values).await {
                Ok(sent) => sent,
                // It was not sent, nor was the end.
                Err(failure) => return Err(failure.told_to(&self.scope)),
            };
            let Last { known, alone, .. } = &last;
            let (known, alone) = (Arc::clone(known), *alone);
            let result = last.told(answer).await;
            let result = result.map_err(|error| error.token_sent(self.scope.token_sent()));
            if let Err(error) = &result
                && is_stale(error)
            {
                self.forget(&current, sql);
                if alone && !attempts.anew() && self.start_over(&known) {
                    attempts.prepare_anew();
                    continue;
                }
            }
            let _ = known.set(result.as_ref().map(|_| ()).map_err(Error::clone));
            return result;
        }
    }

    /// As it is behind a pooler: what the driver might have to ask behind the statement would reach another server
    /// connection there.
    async fn run_and_commit(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Answer, Error> {
        self.lock().no_stream_is_open()?;
        let answer = self.run(sql, Params::Inferred(values)).await?;
        self.commit().await?;
        Ok(answer)
    }

    async fn known_or_prepared(
        &self,
        current: &Current,
        sql: &str,
        anew: bool,
    ) -> Result<Statement, Failure> {
        self.rested(current).await?;
        if !anew && let Some(statement) = current.session.statements.get(self.scope.role(), sql) {
            return Ok(statement);
        }
        let statement = Box::pin(self.prepare(current, sql, &[])).await?;
        self.keep(current, sql, &statement);
        Ok(statement)
    }

    /// Sends the statement and the end, and waits for the statement's answer.
    async fn send_last(
        &self,
        current: &Current,
        statement: &Statement,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<(Result<Answer, Error>, Last), Failure> {
        let values = values.iter().map(|value| Hidden(*value));
        let mut execute = pin!(current.session.client.query_raw(statement, values));
        let mut running = Running::new(self, &current.session, Message::Statement);
        let mut last = None;
        let sent = poll_fn(|cx| {
            if last.is_some() {
                return execute.as_mut().poll(cx).map(Ok);
            }
            match self.poll_last(&mut running, execute.as_mut(), cx) {
                Ok((poll, ending)) => {
                    last = ending;
                    poll.map(Ok)
                }
                Err(error) => Poll::Ready(Err(error)),
            }
        });
        let answered = behind(current, sent).await;
        let Some(last) = last else {
            // Ready at its first poll, it was refused by the driver or by the gate.
            let (begun, rows) = answered?;
            return Err(match self.settle(&mut running, begun, rows?) {
                Err(failure) => failure,
                Ok(_) => Failure::from(Error::new(
                    ErrorKind::ConnectionLost,
                    "the driver answered a statement before it was sent",
                )),
            });
        };
        let answer = match answered {
            Err(failure) | Ok((Err(failure), _)) => Err(failure.error),
            Ok((Ok(()), rows)) => read(rows?).await,
        };
        Ok((answer, last))
    }

    /// Sends the statement and, under the same lock, the end behind it.
    #[allow(
        clippy::type_complexity,
        reason = "the poll and what it has brought about, used once"
    )]
    fn poll_last<F: Future<Output = Result<RowStream, PgError>>>(
        &self,
        running: &mut Running<'_>,
        execute: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Result<(Poll<F::Output>, Option<Last>), Failure> {
        let mut state = self.lock();
        state.no_stream_is_open()?;
        let poll = self.poll_first(&mut state, running, execute, cx)?;
        // On a busy machine the answer can be there before the first poll has ended.
        if matches!(poll, Poll::Ready(Err(_))) {
            return Ok((poll, None));
        }
        let known = Known::default();
        let committed = Phase::Finished(Finished::Committed(Arc::clone(&known)));
        let Phase::Open(open) = std::mem::replace(&mut state.phase, committed) else {
            return Err(finished().into());
        };
        let matters = open.end_matters();
        let alone = open.is_alone();
        let last = Last {
            ending: Ending::send(open.opened, Verdict::Commit, matters),
            known,
            alone,
        };
        Ok((poll, Some(last)))
    }

    /// Goes back to `Idle` where the one statement was refused, and rolled back with the transaction.
    fn start_over(&self, known: &Known) -> bool {
        let mut state = self.lock();
        match &state.phase {
            Phase::Finished(Finished::Committed(by)) if Arc::ptr_eq(by, known) => {
                state.phase = Phase::Idle;
                true
            }
            _ => false,
        }
    }
}

/// Whoever has asked for a last statement gets no success without it: where it was not sent, for whatever reason, the
/// transaction ends here and now, and the response learns why.
struct Unsent<'a> {
    transaction: &'a Transaction,
    known: Known,
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        let by = Finished::Committed(Arc::clone(&self.known));
        // Nothing is left to be ended where the statement was sent, or the transaction had ended before.
        drop(self.transaction.end(Verdict::Rollback, by));
    }
}

impl Last {
    /// Waits until it is certain what became of the statement and of the transaction.
    async fn told(self, answer: Result<Answer, Error>) -> Result<Answer, Error> {
        let outcome = self.ending.outcome().await;
        let error = match answer {
            Ok(answer) => return outcome.map(|()| answer),
            Err(error) => error,
        };
        match outcome {
            // A statement that was refused is not committed, whatever became of the connection.
            Err(outcome)
                if outcome.kind() == ErrorKind::CommitUnknown
                    && error.code().is_none_or(ends_session) =>
            {
                Err(outcome)
            }
            _ => Err(error),
        }
    }
}

async fn read(rows: Result<RowStream, PgError>) -> Result<Answer, Error> {
    Ok(collect(rows?).await?)
}

impl State {
    fn no_stream_is_open(&self) -> Result<(), Error> {
        match &self.phase {
            Phase::Open(open) if !open.streams.is_empty() => Err(Error::new(
                ErrorKind::Statement,
                "a stream is open, and COMMIT would wait until it is read: read it to its end, or drop it, first",
            )),
            _ => Ok(()),
        }
    }
}
