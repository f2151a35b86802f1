//! One statement of a transaction: in the first flight or a later one, prepared or not, once more where that is safe.

use std::future::Future;
use std::pin::pin;

use futures_util::TryStreamExt;
use futures_util::future::{Either, join, select};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error as PgError, Row, RowStream, Statement};

use super::connection::is_about_prepared;
use super::ending::BeginError;
use super::gate::{Gate, Message, Running};
use super::hidden::Hidden;
use super::session::{self, FirstWord};
use super::transaction::{Current, Transaction};
use crate::error::{Error, ErrorKind};

/// The parameters of a statement.
#[derive(Clone, Copy)]
pub(crate) enum Params<'a> {
    /// The server says their types.
    Inferred(&'a [&'a (dyn ToSql + Sync)]),
    /// The caller says their types.
    Typed(&'a [(&'a (dyn ToSql + Sync), Type)]),
}

/// What a statement returned.
pub(crate) struct Answer {
    pub(crate) rows: Vec<Row>,
    pub(crate) affected: u64,
}

/// Why a statement failed, and whether sending it again is safe and of use.
pub(super) struct Failure {
    error: Error,
    retry: Option<Retry>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// The session was dead before `BEGIN` was answered, or is the silent one of a replica.
    OnAnotherSession,
    /// The cached statement no longer fits the tables that it names.
    PreparedAnew,
}

impl Transaction {
    /// Runs one statement, in the same flight as `BEGIN` and the switch where it is the first.
    pub(crate) async fn run(&self, sql: &str, params: Params<'_>) -> Result<Answer, Error> {
        let first_word = session::first_word(sql);
        if first_word == FirstWord::Copy {
            return Err(Error::new(
                ErrorKind::Statement,
                "COPY cannot be run as a query",
            ));
        }
        let mut retried = None;
        loop {
            let current = self.open().await?;
            if first_word == FirstWord::Prepared {
                current.session.doubt();
            }
            let anew = retried == Some(Retry::PreparedAnew);
            let failure = match self.attempt(&current, sql, params, anew).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            match failure.retry {
                Some(retry) if retried.is_none() && self.start_again(&current, retry) => {
                    retried = Some(retry);
                }
                _ => return Err(failure.error.token_sent(self.scope.token_sent())),
            }
        }
    }

    /// Runs a text of several statements by the simple protocol.
    pub(crate) async fn run_batch(&self, sql: &str) -> Result<(), Error> {
        let current = self.open().await?;
        if session::mentions_prepared(sql) {
            current.session.doubt();
        }
        let result = async {
            self.rested(&current).await?;
            let batch = async { current.session.client.batch_execute(sql).await };
            let mut running = Running::new(self, &current, Message::Batch);
            let sent = self.send_gated(&mut running, batch, Gate::FirstPoll);
            let (begun, result) = behind(&current, sent).await?;
            self.settle(&mut running, begun, result?)
        }
        .await;
        result.map_err(|failure: Failure| failure.error.token_sent(self.scope.token_sent()))
    }

    async fn attempt(
        &self,
        current: &Current,
        sql: &str,
        params: Params<'_>,
        anew: bool,
    ) -> Result<Answer, Failure> {
        self.rested(current).await?;
        let client = &current.session.client;
        let values = match params {
            Params::Inferred(values) => values,
            Params::Typed(typed) => {
                let values = typed.iter().map(|(value, ty)| (Hidden(*value), ty.clone()));
                let mut running = Running::new(self, current, Message::Statement);
                let sent = self.send_typed(&mut running, client.query_typed_raw(sql, values));
                let (begun, answer) = behind(current, sent).await?;
                return self.settle(&mut running, begun, answer?);
            }
        };
        let role = self.scope.role();
        let statements = &current.session.statements;
        if anew {
            self.forget(current, sql);
        } else if let Some(statement) = statements.get(role, sql) {
            return self
                .execute(current, &statement, values, Message::Statement)
                .await
                .map_err(|mut failure| {
                    if names_another_shape(&failure.error) {
                        self.forget(current, sql);
                    }
                    if is_stale(&failure.error) {
                        failure.retry = Some(Retry::PreparedAnew);
                    }
                    failure
                });
        } else if let Some(types) = self.pool.parameter_types().get(role, sql)
            && types.len() == values.len()
        {
            let answer = self.prepare_and_execute(current, sql, values, &types).await;
            return answer.inspect_err(|failure| {
                if names_another_shape(&failure.error) {
                    self.forget(current, sql);
                }
            });
        }
        let statement = self.prepare(current, sql).await?;
        self.execute(current, &statement, values, Message::Execution)
            .await
    }

    /// A session that does not rest in the resting role gets no statement before the switch is known to hold.
    async fn rested(&self, current: &Current) -> Result<(), Failure> {
        if !current.session.rests {
            current.begun.clone().await?;
        }
        Ok(())
    }

    async fn execute(
        &self,
        current: &Current,
        statement: &Statement,
        values: &[&(dyn ToSql + Sync)],
        message: Message,
    ) -> Result<Answer, Failure> {
        let execute = async {
            let values = values.iter().map(|value| Hidden(*value));
            collect(current.session.client.query_raw(statement, values).await?).await
        };
        let mut running = Running::new(self, current, message);
        let sent = self.send_gated(&mut running, execute, Gate::FirstPoll);
        let (begun, answer) = behind(current, sent).await?;
        self.settle(&mut running, begun, answer?)
    }

    async fn prepare(&self, current: &Current, sql: &str) -> Result<Statement, Failure> {
        let mut running = Running::new(self, current, Message::Preparation);
        let prepare = current.session.client.prepare(sql);
        let sent = self.send_gated(&mut running, prepare, Gate::EveryPoll);
        let (begun, prepared) = behind(current, sent).await?;
        let statement = self.settle(&mut running, begun, prepared?)?;
        self.keep(current, sql, &statement);
        Ok(statement)
    }

    /// Another session has told the parameters' types: sends the statement with them, and prepares it for the next time.
    async fn prepare_and_execute(
        &self,
        current: &Current,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
        types: &[Type],
    ) -> Result<Answer, Failure> {
        let client = &current.session.client;
        let typed = values
            .iter()
            .zip(types)
            .map(|(value, ty)| (Hidden(*value), ty.clone()));
        let mut preparing = Running::new(self, current, Message::Preparation);
        let mut running = Running::new(self, current, Message::Execution);
        let sent = join(
            self.send_gated(&mut preparing, client.prepare(sql), Gate::EveryPoll),
            self.send_typed(&mut running, client.query_typed_raw(sql, typed)),
        );
        let (begun, (prepared, answer)) = behind(current, sent).await?;
        // In the order in which they were sent: the second fails if the first did.
        let statement = self.settle(&mut preparing, begun.clone(), prepared?);
        let answer = self.settle(&mut running, begun, answer?);
        self.keep(current, sql, &statement?);
        answer
    }

    /// Sends a statement with its parameters' types, and reads its rows.
    async fn send_typed(
        &self,
        running: &mut Running<'_>,
        statement: impl Future<Output = Result<RowStream, PgError>>,
    ) -> Result<Result<Answer, PgError>, Failure> {
        match self.send_gated(running, statement, Gate::EveryPoll).await? {
            Ok(rows) => Ok(collect(rows).await),
            Err(error) => Ok(Err(error)),
        }
    }

    fn keep(&self, current: &Current, sql: &str, statement: &Statement) {
        let role = self.scope.role();
        current
            .session
            .statements
            .insert(role, sql, statement.clone());
        self.pool
            .parameter_types()
            .insert(role, sql, statement.params());
    }

    fn forget(&self, current: &Current, sql: &str) {
        let role = self.scope.role();
        current.session.statements.remove(role, sql);
        self.pool.parameter_types().remove(role, sql);
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, retry: None }
    }
}

impl From<BeginError> for Failure {
    fn from(failure: BeginError) -> Self {
        let dead = failure.begin_unanswered
            && (failure.error.kind() == ErrorKind::ConnectionLost || failure.is_silence());
        Self {
            error: failure.error,
            retry: dead.then_some(Retry::OnAnotherSession),
        }
    }
}

/// Waits for the answers to `BEGIN`, to the switch and to what was sent behind them. Where `BEGIN` is not answered in time,
/// nothing else will be.
async fn behind<F: Future>(
    current: &Current,
    sent: F,
) -> Result<(Result<(), BeginError>, F::Output), BeginError> {
    // Polled first, so that nothing more is sent once that is known.
    match select(current.begun.clone(), pin!(sent)).await {
        Either::Left((Err(failure), _)) if failure.is_silence() => Err(failure),
        Either::Left((begun, sent)) => Ok((begun, sent.await)),
        Either::Right((answer, begun)) => Ok((begun.await, answer)),
    }
}

async fn collect(stream: RowStream) -> Result<Answer, PgError> {
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

/// Whether an error may come from what is remembered of a statement: its plan, or the types of its parameters.
fn names_another_shape(error: &Error) -> bool {
    is_stale(error)
        || error.code().is_some_and(|code| {
            code.code().starts_with("42") && *code != SqlState::INSUFFICIENT_PRIVILEGE
        })
}

/// PostgreSQL's answers to a prepared statement that no longer fits, or no longer is.
fn is_stale(error: &Error) -> bool {
    error
        .code()
        .is_some_and(|code| *code == SqlState::FEATURE_NOT_SUPPORTED || is_about_prepared(code))
}
