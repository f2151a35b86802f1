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
use super::pooler;
use super::session::{self, FirstWord};
use super::transaction::{Current, Transaction};
use super::typed::Guess;
use crate::error::{Error, ErrorKind};
use crate::role::RoleScope;

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

/// Why a statement failed, and whether sending it again is safe and of use.
pub(super) struct Failure {
    pub(super) error: Error,
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
            let current = attempts.open(self).await?;
            let flow = self.attempt(&current, sql, params, attempts.anew()).await;
            match flow {
                Ok(flow) => return Ok(flow),
                Err(failure) => attempts.once_more(self, &current, failure)?,
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
            let mut running = Running::new(self, &current.session, Message::Batch);
            let sent = self.send_gated(&mut running, batch, Gate::FirstPoll);
            let (begun, result) = behind(&current, sent).await?;
            self.settle(&mut running, begun, result?)
        }
        .await;
        result.map_err(|failure: Failure| failure.told_to(&self.scope))
    }

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
            Params::Typed(typed) => return self.attempt_typed(current, sql, typed).await,
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
            let guess = Guess::new(self.pool.parameter_types(), role, sql);
            return if current.session.is_pooled() {
                let values = values.iter().map(|value| Hidden(*value));
                let typed = values.zip(types.iter().cloned());
                let flow = self.send_unnamed(current, sql, typed);
                guess.hold_for(flow, self).await
            } else {
                let flow = self.prepare_and_execute(current, sql, values, &types);
                guess.hold_for(flow, self).await
            };
        }
        let statement = self.prepare(current, sql, &[]).await?;
        self.keep(current, sql, &statement);
        self.execute(current, &statement, values, Message::Execution)
            .await
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
        let execute = current.session.client.query_raw(statement, values);
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

    pub(super) async fn prepare(
        &self,
        current: &Current,
        sql: &str,
        types: &[Type],
    ) -> Result<Statement, Failure> {
        let mut running = Running::new(self, &current.session, Message::Preparation);
        let prepare = current.session.client.prepare_typed(sql, types);
        let sent = self.send_gated(&mut running, prepare, Gate::EveryPoll);
        let (begun, prepared) = behind(current, sent).await?;
        self.settle(&mut running, begun, prepared?)
    }

    /// Sends a statement that leaves no name behind.
    pub(super) async fn send_unnamed<'v>(
        &self,
        current: &Current,
        sql: &str,
        values: impl Iterator<Item = (Hidden<'v>, Type)>,
    ) -> Result<Flow<'_>, Failure> {
        let statement = current.session.client.query_typed_raw(sql, values);
        let mut running = Running::new(self, &current.session, Message::Statement);
        let sent = self.send_gated(&mut running, statement, Gate::EveryPoll);
        let (begun, rows) = behind(current, sent).await?;
        self.begin_flow(running, begun, rows?)
    }

    /// Another session has told the parameters' types: sends the statement with them, and prepares it for the next time.
    async fn prepare_and_execute(
        &self,
        current: &Current,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
        types: &[Type],
    ) -> Result<Flow<'_>, Failure> {
        let client = &current.session.client;
        let typed = values
            .iter()
            .zip(types)
            .map(|(value, ty)| (Hidden(*value), ty.clone()));
        let mut preparing = Running::new(self, &current.session, Message::Preparation);
        let mut running = Running::new(self, &current.session, Message::Execution);
        let sent = join(
            self.send_gated(&mut preparing, client.prepare(sql), Gate::EveryPoll),
            self.send_gated(
                &mut running,
                client.query_typed_raw(sql, typed),
                Gate::EveryPoll,
            ),
        );
        let (begun, (prepared, rows)) = behind(current, sent).await?;
        // In the order in which they were sent: the second fails if the first did.
        let statement = self.settle(&mut preparing, begun.clone(), prepared?);
        let flow = self.begin_flow(running, begun, rows?);
        self.keep(current, sql, &statement?);
        flow
    }

    pub(super) fn keep(&self, current: &Current, sql: &str, statement: &Statement) {
        let role = self.scope.role();
        let looked_up = pooler::were_looked_up(statement.columns())
            || statement.params().iter().any(pooler::is_looked_up);
        if self.note_lookups(current, looked_up) {
            return;
        }
        current
            .session
            .statements
            .insert(role, sql, statement.clone());
        self.pool.parameter_types().insert(role, sql, statement);
    }

    /// Has a pooled session closed after its transaction where the driver had to ask for types: it keeps the names of its
    /// statements for that, which the next server connection does not have.
    pub(super) fn note_lookups(&self, current: &Current, looked_up: bool) -> bool {
        let noted = looked_up && current.session.is_pooled();
        if noted {
            current.session.doubt();
            self.pool.shared().warn_of_lookups();
        }
        noted
    }

    fn forget(&self, current: &Current, sql: &str) {
        let role = self.scope.role();
        current.session.statements.remove(role, sql);
        self.pool.parameter_types().remove(role, sql);
    }
}

/// The attempts at one statement: one, and one more where that is safe and of use.
pub(super) struct Attempts {
    first_word: FirstWord,
    retried: Option<Retry>,
}

impl Attempts {
    pub(super) fn at(sql: &str) -> Result<Self, Error> {
        let first_word = session::first_word(sql);
        if first_word == FirstWord::Copy {
            return Err(Error::new(
                ErrorKind::Statement,
                "COPY cannot be run as a query: use copy_in or copy_out",
            ));
        }
        Ok(Self {
            first_word,
            retried: None,
        })
    }

    pub(super) async fn open(&self, transaction: &Transaction) -> Result<Current, Error> {
        let current = transaction.open().await?;
        if self.first_word == FirstWord::Prepared {
            current.session.doubt();
        }
        Ok(current)
    }

    /// Whether nothing that was remembered of the statement is to be relied on.
    fn anew(&self) -> bool {
        self.retried == Some(Retry::PreparedAnew)
    }

    pub(super) fn once_more(
        &mut self,
        transaction: &Transaction,
        current: &Current,
        failure: Failure,
    ) -> Result<(), Error> {
        let failure = failure.on_pooled(current);
        match failure.retry {
            Some(retry) if self.retried.is_none() && transaction.start_again(current, retry) => {
                self.retried = Some(retry);
                Ok(())
            }
            _ => Err(failure.told_to(&transaction.scope)),
        }
    }
}

impl Failure {
    pub(super) fn told_to(self, scope: &RoleScope) -> Error {
        self.error.token_sent(scope.token_sent())
    }

    /// On a server connection of a pooler a statement that is gone, or was there before, is no fault of this one.
    fn on_pooled(mut self, current: &Current) -> Self {
        if current.session.is_pooled() && self.error.code().is_some_and(is_about_prepared) {
            self.retry = Some(Retry::OnAnotherSession);
        }
        self
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
pub(super) async fn behind<F: Future>(
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
pub(super) fn names_another_shape(error: &Error) -> bool {
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
