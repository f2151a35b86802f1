//! The transaction of one request: `Idle → Open → Finished`.
//!
//! - **Idle**: nothing was asked of the database yet, and nothing was taken from the pool.
//! - **Open**: `BEGIN` and the switch have been sent; statements follow. All of this holds a lease.
//! - **Finished**: the end has been sent. Every later use is an error, and the lease is gone.
//!
//! Each step from one to the next happens under the lock and without waiting, so that no future can be dropped between
//! "sent" and "known to be sent". All that is sent goes through [`Transaction::send_gated`], which holds the same lock: nothing
//! follows the end onto a session that may already serve somebody else.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;

use bb8_postgres::tokio_postgres::error::SqlState;
use bb8_postgres::tokio_postgres::types::{ToSql, Type};
use bb8_postgres::tokio_postgres::{Error as PgError, Row, RowStream, Statement};
use futures_util::future::{Either, join, select};
use futures_util::{FutureExt, TryStreamExt};

use super::connection::{Session, drain};
use super::ending::{BeginError, Begun, Ending, Opened, Verdict, ends_session, sent};
use super::hidden::Hidden;
use super::lease::Lease;
use super::mode::{AccessMode, Isolation};
use super::pool::RoleScopedPool;
use super::session::{self, FirstWord};
use super::switch::{self, RequestSettings};
use crate::error::{Error, ErrorKind};
use crate::role::RoleScope;
use crate::role::decide::{not_login, role_refused};

/// One request's transaction, shared by all its handles.
pub(crate) struct Transaction {
    pool: RoleScopedPool,
    scope: RoleScope,
    request: RequestSettings,
    /// Whoever holds it is opening; the others wait for the same opening.
    opening: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

struct State {
    mode: AccessMode,
    isolation: Option<Isolation>,
    savepoints: u32,
    phase: Phase,
}

enum Phase {
    Idle,
    Open(Open),
    Finished(Finished),
}

struct Open {
    opened: Opened,
    isolation: Isolation,
    /// Statements sent.
    sent: u32,
    /// Statements sent and not known to be answered; one whose future was dropped counts for ever.
    running: u32,
    /// A text of several statements was sent: what it did is not known.
    batch: bool,
}

enum Finished {
    /// By the layer, or since the last handle is gone.
    Revoked,
    RolledBack,
    /// By the handler; how it went, once that is known.
    Committed(Arc<OnceLock<Result<(), Error>>>),
}

/// What the layer has to wait for.
pub(crate) enum Finish {
    Done(Result<(), Error>),
    Ending(Box<Ending>),
}

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
struct Failure {
    error: Error,
    retry: Option<Retry>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Retry {
    /// The session was dead before `BEGIN` was answered.
    OnAnotherSession,
    /// The cached statement no longer fits the tables that it names.
    PreparedAnew,
}

/// What a statement needs of an open transaction.
#[derive(Clone)]
struct Current {
    session: Arc<Session>,
    begun: Begun,
}

impl Transaction {
    pub(crate) fn new(
        pool: RoleScopedPool,
        scope: RoleScope,
        request: RequestSettings,
        mode: AccessMode,
    ) -> Self {
        Self {
            pool,
            scope,
            request,
            opening: tokio::sync::Mutex::new(()),
            state: Mutex::new(State {
                mode,
                isolation: None,
                savepoints: 0,
                phase: Phase::Idle,
            }),
        }
    }

    pub(crate) fn scope(&self) -> &RoleScope {
        &self.scope
    }

    pub(crate) fn set_mode(&self, mode: AccessMode) -> Result<(), Error> {
        let mut state = self.lock();
        state.idle()?;
        state.mode = mode;
        Ok(())
    }

    pub(crate) fn set_isolation(&self, isolation: Isolation) -> Result<(), Error> {
        let mut state = self.lock();
        state.idle()?;
        state.isolation = Some(isolation);
        Ok(())
    }

    pub(crate) fn next_savepoint(&self) -> u32 {
        let mut state = self.lock();
        state.savepoints += 1;
        state.savepoints
    }

    // --- Idle → Open ---

    /// Opens the transaction, or joins the one that is open.
    async fn open(&self) -> Result<Current, Error> {
        if let Some(current) = self.current()? {
            return Ok(current);
        }
        let _turn = self.opening.lock().await;
        if let Some(current) = self.current()? {
            return Ok(current);
        }
        let lease = self.pool.acquire().await?;
        self.begin(lease)
    }

    fn current(&self) -> Result<Option<Current>, Error> {
        match &self.lock().phase {
            Phase::Idle => Ok(None),
            Phase::Open(open) => Ok(Some(open.current())),
            Phase::Finished(_) => Err(finished()),
        }
    }

    /// Sends `BEGIN` and the switch. The answers are read by whoever sends the first statement.
    fn begin(&self, lease: Lease) -> Result<Current, Error> {
        not_login(self.scope.role().clone(), self.pool.login())?;
        let mut state = self.lock();
        state.idle()?;
        let stored = self
            .pool
            .role_settings()
            .and_then(|settings| settings.of(self.scope.role()))
            .unwrap_or_default();
        let isolation = state.isolation.or(stored.isolation).unwrap_or_default();
        let session = Arc::clone(&lease);
        let marker = session.next_marker();
        let begin = session.send(session::begin(isolation, state.mode));
        let switch = self.send_switch(Arc::clone(&session), &stored.settings, &marker);
        let timeout = self.pool.options().begin_timeout;
        let answers = async move {
            let unanswered = |error| BeginError {
                error,
                begin_unanswered: true,
            };
            match begin {
                Ok(answers) => drain(answers)
                    .await
                    .map_err(|error| unanswered(begin_error(error)))?,
                Err(error) => return Err(unanswered(error)),
            }
            switch.await.map_err(|error| BeginError {
                error: switch_error(error),
                begin_unanswered: false,
            })
        };
        let in_doubt = Arc::clone(&session);
        let begun = async move {
            match tokio::time::timeout(timeout, answers).await {
                Ok(Err(failure)) if failure.error.kind() == ErrorKind::ConnectionLost => {
                    in_doubt.doubt();
                    Err(failure)
                }
                Ok(begun) => begun,
                Err(elapsed) => {
                    in_doubt.doubt();
                    Err(BeginError {
                        error: Error::with_source(
                            ErrorKind::Unavailable,
                            "the database did not answer BEGIN in time",
                            elapsed,
                        ),
                        begin_unanswered: false,
                    })
                }
            }
        }
        .boxed()
        .shared();
        let open = Open {
            opened: Opened {
                lease,
                begun,
                marker,
                role: self.scope.role().clone(),
                mode: state.mode,
                failed: false,
            },
            isolation,
            sent: 0,
            running: 0,
            batch: false,
        };
        let current = open.current();
        state.phase = Phase::Open(open);
        Ok(current)
    }

    fn send_switch(
        &self,
        session: Arc<Session>,
        role_settings: &[(String, String)],
        marker: &str,
    ) -> futures_util::future::BoxFuture<'static, Result<(), PgError>> {
        let options = self.pool.options();
        let only_the_five = role_settings.is_empty()
            && options.app_settings.is_empty()
            && !options.claim_settings
            && self.request.headers.is_none();
        if only_the_five {
            let scope = self.scope.clone();
            let method = self.request.method.clone();
            let path = self.request.path.clone();
            let marker = marker.to_owned();
            return sent(async move {
                let role = scope.role().as_str();
                let claims = scope.claims_json();
                session
                    .client
                    .query(
                        &session.switch,
                        &[
                            &Hidden(&role),
                            &Hidden(&claims),
                            &Hidden(&method),
                            &Hidden(&path),
                            &Hidden(&marker),
                        ],
                    )
                    .await
                    .map(|_| ())
            });
        }
        let settings = switch::all_settings(
            &self.scope,
            &self.request,
            role_settings,
            options.claim_settings,
            &options.app_settings,
            marker,
        );
        sent(async move {
            session
                .client
                .query(
                    &session.switch_with_settings,
                    &[&Hidden(&settings.names), &Hidden(&settings.values)],
                )
                .await
                .map(|_| ())
        })
    }

    // --- Open ---

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
            let mut running = Running::new(self, &current, true);
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
                let mut running = Running::new(self, current, false);
                let statement = async { collect(client.query_typed_raw(sql, values).await?).await };
                let sent = self.send_gated(&mut running, statement, Gate::FirstPoll);
                let (begun, answer) = behind(current, sent).await?;
                return self.settle(&mut running, begun, answer?);
            }
        };
        let role = self.scope.role();
        let statements = &current.session.statements;
        if anew {
            statements.remove(role, sql);
            self.pool.parameter_types().remove(role, sql);
        } else if let Some(statement) = statements.get(role, sql) {
            return self
                .execute(current, &statement, values)
                .await
                .map_err(|mut failure| {
                    if is_stale(&failure.error) {
                        failure.retry = Some(Retry::PreparedAnew);
                    }
                    failure
                });
        } else if let Some(types) = self.pool.parameter_types().get(role, sql) {
            if types.len() == values.len() {
                return self.prepare_and_execute(current, sql, values, &types).await;
            }
        }
        let statement = self.prepare(current, sql).await?;
        self.execute(current, &statement, values).await
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
    ) -> Result<Answer, Failure> {
        let execute = async {
            let values = values.iter().map(|value| Hidden(*value));
            collect(current.session.client.query_raw(statement, values).await?).await
        };
        let mut running = Running::new(self, current, false);
        let sent = self.send_gated(&mut running, execute, Gate::FirstPoll);
        let (begun, answer) = behind(current, sent).await?;
        self.settle(&mut running, begun, answer?)
    }

    async fn prepare(&self, current: &Current, sql: &str) -> Result<Statement, Failure> {
        let mut running = Running::new(self, current, false);
        running.preparing = true;
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
        let execute = async { collect(client.query_typed_raw(sql, typed).await?).await };
        let mut preparing = Running::new(self, current, false);
        preparing.preparing = true;
        let mut running = Running::new(self, current, false);
        let sent = join(
            self.send_gated(&mut preparing, client.prepare(sql), Gate::EveryPoll),
            self.send_gated(&mut running, execute, Gate::FirstPoll),
        );
        let (begun, (prepared, answer)) = behind(current, sent).await?;
        // In the order in which they were sent: the second fails if the first did.
        let statement = self.settle(&mut preparing, begun.clone(), prepared?);
        let answer = self.settle(&mut running, begun, answer?);
        self.keep(current, sql, &statement?);
        answer
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

    /// Sends what `future` sends, unless the transaction has ended by then.
    async fn send_gated<F: Future>(
        &self,
        running: &mut Running<'_>,
        future: F,
        gate: Gate,
    ) -> Result<F::Output, Failure> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if !running.counted || gate == Gate::EveryPoll {
                let mut state = self.lock();
                let Some(open) = state.open_on(&running.current.session) else {
                    return Poll::Ready(Err(finished().into()));
                };
                if !running.counted {
                    running.counted = true;
                    open.sent += 1;
                    open.running += 1;
                    open.batch |= running.batch;
                }
                return future.as_mut().poll(cx).map(Ok);
            }
            future.as_mut().poll(cx).map(Ok)
        })
        .await
    }

    /// Notes that a statement was answered, and how.
    fn settle<T>(
        &self,
        running: &mut Running<'_>,
        begun: Result<(), BeginError>,
        result: Result<T, PgError>,
    ) -> Result<T, Failure> {
        running.answered = true;
        let failure = match (begun, result) {
            (Ok(()), Ok(value)) => return Ok(value),
            (Err(failure), _) => Failure::from(failure),
            (Ok(()), Err(error)) => {
                let in_doubt = error.code().is_none_or(|code| {
                    *code == SqlState::INVALID_SQL_STATEMENT_NAME
                        || *code == SqlState::DUPLICATE_PSTATEMENT
                });
                if in_doubt {
                    running.current.session.doubt();
                }
                Failure::from(Error::from(error))
            }
        };
        if let Some(open) = self.lock().open_on(&running.current.session) {
            open.opened.failed = true;
        }
        Err(failure)
    }

    /// Goes back to `Idle` for one more try, where nothing but the failed statement was sent.
    fn start_again(&self, current: &Current, retry: Retry) -> bool {
        let mut state = self.lock();
        let Some(open) = state.open_on(&current.session) else {
            return false;
        };
        // Preparing and executing count as two.
        let alone =
            open.running == 0 && open.sent <= if retry == Retry::PreparedAnew { 1 } else { 2 };
        if !alone || open.batch {
            return false;
        }
        if let Phase::Open(open) = std::mem::replace(&mut state.phase, Phase::Idle) {
            drop(Ending::send(open.opened, Verdict::Rollback, false));
        }
        true
    }

    // --- Open → Finished ---

    /// Revokes all handles and ends what is open.
    pub(crate) fn finish(&self, verdict: Verdict) -> Finish {
        let mut state = self.lock();
        match std::mem::replace(&mut state.phase, Phase::Finished(Finished::Revoked)) {
            Phase::Idle | Phase::Finished(Finished::Revoked | Finished::RolledBack) => {
                Finish::Done(Ok(()))
            }
            Phase::Finished(Finished::Committed(result)) => {
                Finish::Done(result.get().cloned().unwrap_or_else(|| {
                    Err(Error::new(
                        ErrorKind::CommitUnknown,
                        "the handler did not wait for its COMMIT: it is unknown whether the transaction was committed",
                    ))
                }))
            }
            Phase::Open(open) if verdict == Verdict::Rollback && open.running > 0 => {
                self.abort(open);
                Finish::Done(Ok(()))
            }
            Phase::Open(open) => {
                let awaited = open.must_be_awaited();
                let ending = Ending::send(open.opened, verdict, awaited);
                if awaited {
                    Finish::Ending(Box::new(ending))
                } else {
                    Finish::Done(Ok(()))
                }
            }
        }
    }

    /// Commits now. Later use is an error.
    pub(crate) async fn commit(&self) -> Result<(), Error> {
        let result = Arc::new(OnceLock::new());
        let ending = self.end(Verdict::Commit, Finished::Committed(Arc::clone(&result)))?;
        let outcome = match ending {
            Some(ending) => ending
                .outcome()
                .await
                .map_err(|error| error.token_sent(self.scope.token_sent())),
            None => Ok(()),
        };
        let _ = result.set(outcome.clone());
        outcome
    }

    /// Rolls back now. Later use is an error.
    pub(crate) async fn rollback(&self) -> Result<(), Error> {
        match self.end(Verdict::Rollback, Finished::RolledBack)? {
            Some(ending) => ending.outcome().await,
            None => Ok(()),
        }
    }

    fn end(&self, verdict: Verdict, by: Finished) -> Result<Option<Ending>, Error> {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Finished(_)) {
            return Err(finished());
        }
        match std::mem::replace(&mut state.phase, Phase::Finished(by)) {
            Phase::Open(open) if verdict == Verdict::Rollback && open.running > 0 => {
                self.abort(open);
                Ok(None)
            }
            Phase::Open(open) => Ok(Some(Ending::send(open.opened, verdict, true))),
            Phase::Idle | Phase::Finished(_) => Ok(None),
        }
    }

    /// Ends a transaction whose statement nobody waits for any more: cancels it, awaits the cancel request's end, since
    /// a late one would hit the session's next user, and then rolls back.
    fn abort(&self, open: Open) {
        let session = Arc::clone(&open.opened.lease);
        // A session that does not even answer `BEGIN` is closed at once, so that it holds no place in the pool.
        if matches!(open.opened.begun.peek(), Some(Err(failure)) if failure.is_silence()) {
            session.doubt();
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            session.doubt();
            return;
        };
        let shared = Arc::clone(self.pool.shared());
        let reset_timeout = self.pool.options().reset_timeout;
        runtime.spawn(async move {
            let cancel = shared.connector.cancel(session.client.cancel_token());
            match tokio::time::timeout(shared.connect_timeout, cancel).await {
                Ok(Ok(())) => {
                    let mut opened = open.opened;
                    // What was cancelled has failed.
                    opened.failed = true;
                    Ending::send(opened, Verdict::Rollback, false)
                        .settle(reset_timeout)
                        .await;
                }
                _ => session.doubt(),
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        drop(self.finish(Verdict::Rollback));
    }
}

impl State {
    fn idle(&self) -> Result<(), Error> {
        match self.phase {
            Phase::Idle => Ok(()),
            Phase::Open(_) => Err(Error::new(
                ErrorKind::Statement,
                "the transaction has begun: how it runs is said before its first statement",
            )),
            Phase::Finished(_) => Err(finished()),
        }
    }

    fn open_on(&mut self, session: &Arc<Session>) -> Option<&mut Open> {
        match &mut self.phase {
            Phase::Open(open) if Arc::ptr_eq(&open.opened.lease, session) => Some(open),
            _ => None,
        }
    }
}

impl Open {
    fn current(&self) -> Current {
        Current {
            session: Arc::clone(&self.opened.lease),
            begun: self.opened.begun.clone(),
        }
    }

    /// Where nothing can have been changed and everything went well, the end can tell nothing that matters.
    fn must_be_awaited(&self) -> bool {
        self.opened.mode == AccessMode::ReadWrite
            || self.isolation == Isolation::Serializable
            || self.opened.failed
            || self.batch
            || self.running > 0
    }
}

/// How closely a future that sends is watched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// It sends all that it sends at its first poll.
    FirstPoll,
    /// It may send more later: preparing asks for types that the driver does not know yet.
    EveryPoll,
}

/// A statement on its way. Dropped before it is answered, it leaves the transaction with a statement that still runs.
struct Running<'a> {
    transaction: &'a Transaction,
    current: &'a Current,
    batch: bool,
    /// A statement whose preparation nobody waits for stays on the server with no one to close it.
    preparing: bool,
    counted: bool,
    answered: bool,
}

impl<'a> Running<'a> {
    fn new(transaction: &'a Transaction, current: &'a Current, batch: bool) -> Self {
        Self {
            transaction,
            current,
            batch,
            preparing: false,
            counted: false,
            answered: false,
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        if self.answered {
            if let Some(open) = self.transaction.lock().open_on(&self.current.session) {
                open.running -= 1;
            }
        } else if self.preparing {
            self.current.session.doubt();
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, retry: None }
    }
}

impl From<BeginError> for Failure {
    fn from(failure: BeginError) -> Self {
        let lost = failure.begin_unanswered && failure.error.kind() == ErrorKind::ConnectionLost;
        Self {
            error: failure.error,
            retry: lost.then_some(Retry::OnAnotherSession),
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

/// PostgreSQL's answers to a prepared statement that no longer fits, or no longer is.
fn is_stale(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        *code == SqlState::FEATURE_NOT_SUPPORTED || *code == SqlState::INVALID_SQL_STATEMENT_NAME
    })
}

/// A session that was ended while it was idle may say so in place of an answer.
fn begin_error(error: PgError) -> Error {
    if error.code().is_some_and(ends_session) {
        return Error::with_source(
            ErrorKind::ConnectionLost,
            "the connection to the database was lost",
            error,
        );
    }
    error.into()
}

/// The switch fails where the role does not exist, or is not granted to the authenticator: one answer for both.
fn switch_error(error: PgError) -> Error {
    match error.code() {
        Some(code)
            if *code == SqlState::INVALID_PARAMETER_VALUE
                || *code == SqlState::INSUFFICIENT_PRIVILEGE =>
        {
            role_refused(error)
        }
        _ => error.into(),
    }
}

fn finished() -> Error {
    Error::new(
        ErrorKind::Finished,
        "the transaction has ended: a connection serves until the handler has answered, or until its commit or rollback",
    )
}
