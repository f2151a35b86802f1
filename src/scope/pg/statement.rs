//! One statement of a transaction: in the first flight or a later one, prepared or not, once more where that is safe.

use std::future::Future;
use std::pin::pin;

use futures_util::TryStreamExt;
use futures_util::future::{Either, select};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error as PgError, Row, RowStream, Statement};

use super::attempts::{Attempts, Failure, Retry, is_stale, names_another_shape};
use super::ending::BeginError;
use super::gate::{Gate, Message, Running};
use super::hidden::Hidden;
use super::lease::Reset;
use super::session;
use super::transaction::{Current, Transaction};
use crate::error::Error;

/// The parameters of a statement.
#[derive(Clone, Copy)]
pub(crate) enum Params<'a> {
    /// The server says their types.
    Inferred(&'a [&'a (dyn ToSql + Sync)]),
    /// The caller says their types.
    Typed(&'a [(&'a (dyn ToSql + Sync), Type)]),
}

/// A statement whose answer has begun, with its rows still to come.
pub(super) struct Flow<'a> {
    pub(super) running: Running<'a>,
    pub(super) rows: RowStream,
}

/// What a statement returned.
pub(crate) struct Answer {
    pub(crate) rows: Vec<Row>,
    pub(crate) affected: u64,
}

impl Transaction {
    /// Runs one statement and reads its rows.
    pub(crate) async fn run(&self, sql: &str, params: Params<'_>) -> Result<Answer, Error> {
        let Flow { mut running, rows } = self.flow(sql, params).await?;
        let answer = collect(rows).await;
        self.settle(&mut running, Ok(()), answer)
            .map_err(|failure| failure.told_to(&self.scope))
    }

    /// Sends one statement, in the same flight as `BEGIN` and the switch where it is the first.
    pub(super) async fn flow(&self, sql: &str, params: Params<'_>) -> Result<Flow<'_>, Error> {
        let mut attempts = Attempts::at(sql)?;
        loop {
            let current = attempts.open(self, Reset::Sent).await?;
            let flow = self.attempt(&current, sql, params, attempts.anew()).await;
            match flow {
                Ok(flow) => return Ok(flow),
                Err(failure) => attempts.once_more(self, &current, failure)?,
            }
        }
    }

    /// Runs a text of several statements by the simple protocol.
    pub(crate) async fn run_batch(&self, sql: &str) -> Result<(), Error> {
        let current = self.open(Reset::Answered).await?;
        if session::mentions_prepared(sql) {
            current.session.doubt();
        }
        let result = async {
            self.rested(&current).await?;
            let batch = pin!(async { current.session.client.batch_execute(sql).await });
            let mut running = Running::new(self, &current.session, Message::Batch);
            let sent = self.send_gated(&mut running, batch, Gate::FirstPoll);
            let (begun, result) = behind(&current, sent).await?;
            self.settle(&mut running, begun, result?)
        }
        .await;
        result.map_err(|failure: Failure| failure.told_to(&self.scope))
    }

    /// What does not happen for a statement that the session knows is boxed: the futures of handlers hold this one, and
    /// their frameworks move them about.
    async fn attempt(
        &self,
        current: &Current,
        sql: &str,
        params: Params<'_>,
        anew: bool,
    ) -> Result<Flow<'_>, Failure> {
        self.rested(current).await?;
        let values = match params {
            Params::Inferred(values) => values,
            Params::Typed(typed) => {
                return Box::pin(self.attempt_typed(current, sql, typed)).await;
            }
        };
        if anew {
            self.forget(current, sql);
        }
        match current.session.statements.get(self.scope.role(), sql) {
            Some(statement) => {
                let flow = self.execute(current, &statement, values, Message::Statement);
                let flow = flow.await;
                flow.map_err(|failure| self.of_known_statement(current, sql, failure))
            }
            None => Box::pin(self.first_use(current, sql, values, anew)).await,
        }
    }

    /// Notes what the failure of a statement says about what is remembered of it.
    pub(super) fn of_known_statement(
        &self,
        current: &Current,
        sql: &str,
        mut failure: Failure,
    ) -> Failure {
        if names_another_shape(&failure.error) {
            self.forget(current, sql);
        }
        if is_stale(&failure.error) {
            failure.retry = Some(Retry::PreparedAnew);
        }
        failure
    }

    /// A session that does not rest in the resting role gets no statement before the switch is known to hold.
    pub(super) async fn rested(&self, current: &Current) -> Result<(), Failure> {
        if !current.session.rests {
            current.begun.clone().await?;
        }
        Ok(())
    }

    pub(super) async fn execute(
        &self,
        current: &Current,
        statement: &Statement,
        values: &[&(dyn ToSql + Sync)],
        message: Message,
    ) -> Result<Flow<'_>, Failure> {
        let values = values.iter().map(|value| Hidden(*value));
        let execute = pin!(current.session.client.query_raw(statement, values));
        let mut running = Running::new(self, &current.session, message);
        let sent = self.send_gated(&mut running, execute, Gate::FirstPoll);
        let (begun, rows) = behind(current, sent).await?;
        self.begin_flow(running, begun, rows?)
    }

    pub(super) fn begin_flow<'a>(
        &'a self,
        mut running: Running<'a>,
        begun: Result<(), BeginError>,
        rows: Result<RowStream, PgError>,
    ) -> Result<Flow<'a>, Failure> {
        let rows = self.settle_head(&mut running, begun, rows)?;
        Ok(Flow { running, rows })
    }
}

/// Waits for the answers to `BEGIN`, to the switch and to what was sent behind them. Where `BEGIN` is not answered in time,
/// nothing else will be.
pub(super) async fn behind<F: Future>(
    current: &Current,
    sent: F,
) -> Result<(Result<(), BeginError>, F::Output), BeginError> {
    // Polled first, so that nothing more is sent once that is known. And polled at all: the driver holds back what comes
    // behind an answer of which nobody takes the parts.
    match select(current.begun.clone(), pin!(sent)).await {
        Either::Left((Err(failure), _)) if failure.is_silence() => Err(failure),
        Either::Left((begun, sent)) => Ok((begun.map(|_| ()), sent.await)),
        Either::Right((answer, begun)) => Ok((begun.await.map(|_| ()), answer)),
    }
}

pub(super) async fn collect(stream: RowStream) -> Result<Answer, PgError> {
    let mut stream = pin!(stream);
    let mut rows = Vec::new();
    while let Some(row) = stream.try_next().await? {
        rows.push(row);
    }
    Ok(Answer {
        rows,
        affected: stream.rows_affected().unwrap_or(0),
    })
}
