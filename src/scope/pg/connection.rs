//! One pooled connection: its session, and what it still owes: the answers to its last request's end.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures_util::future::{BoxFuture, join};
use futures_util::{FutureExt, Stream, TryStreamExt};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error as PgError, Row, SimpleQueryMessage, SimpleQueryStream};

use super::control::{Control, Controls};
use super::pooler::Pooler;
use super::session;
use super::statements::Statements;
use crate::error::{Error, ErrorKind};

/// What the pool keeps.
///
/// The answers that a session owes hold on to it: kept inside of it they would keep it alive, and its connection open,
/// after the pool has given it up.
pub(crate) struct Connection {
    pub(crate) session: Arc<Session>,
    farewell: Option<Farewell>,
}

/// A session of the pool.
pub(crate) struct Session {
    pub(crate) client: Client,
    controls: Controls,
    pub(crate) statements: Statements,
    /// Whether the session falls to the resting role when a transaction ends.
    pub(crate) rests: bool,
    /// Whether the server has seen the startup options.
    pub(crate) started: bool,
    /// Whether nothing can make a `READ ONLY` transaction write.
    pub(crate) reads_only_read: bool,
    /// The role that the session logged in as.
    pub(crate) login: Option<String>,
    doubtful: AtomicBool,
}

/// The answers that a session still owes after its end was sent.
pub(crate) struct Farewell {
    /// How the transaction ended, until somebody has waited for it.
    pub(crate) outcome: Option<BoxFuture<'static, Result<(), Error>>>,
    /// Whether the reset is part of the end's own message: then an error there has kept it from running.
    pub(crate) joined: bool,
    /// Whether nobody waits for the outcome, since it has nothing to tell. Nothing was running any more either.
    pub(crate) quiet: bool,
    /// Whether the session was reset.
    pub(crate) reset: BoxFuture<'static, Result<(), Error>>,
}

impl Session {
    /// Prepares what every request needs, unless a pooler lends the server connection to others in between.
    pub(crate) async fn new(
        client: Client,
        resting_role: Option<&str>,
        statement_cache: usize,
        pooler: Option<Pooler>,
    ) -> Result<Self, PgError> {
        let who = client.query_typed(session::WHO, &[]);
        let (who, controls, statement_cache) = match pooler {
            None => {
                let (who, controls) = join(who, Controls::prepare(&client)).await;
                (who?, controls, statement_cache)
            }
            Some(Pooler::Transaction) => (who.await?, Ok(Controls::Unnamed), 0),
        };
        let who = who.first();
        let current_user: Option<String> = who.map(|row| row.try_get(0)).transpose()?;
        let login = who.map(|row| row.try_get(1)).transpose()?;
        let started: Option<String> = match who {
            Some(row) => row.try_get(2)?,
            None => None,
        };
        let reads_only_read = match who {
            Some(row) => row.try_get(3)?,
            None => false,
        };
        let controls = match controls {
            // It is refused for that, and a pooler that nobody was told of may well have our names already.
            Err(_) if started.is_none() => Controls::Unnamed,
            controls => controls?,
        };
        let rests = resting_role.is_some() && resting_role == current_user.as_deref();
        Ok(Self {
            client,
            controls,
            statements: Statements::new(statement_cache),
            rests,
            started: started.is_some(),
            reads_only_read,
            login,
            doubtful: AtomicBool::new(false),
        })
    }

    /// Sends a message of constant SQL now. The answers come from the stream.
    pub(crate) fn send(&self, sql: &str) -> Result<SimpleQueryStream, Error> {
        // The driver hands a simple query to its task at the first poll, so that this future is ready then.
        match self.client.simple_query_raw(sql).now_or_never() {
            Some(sent) => Ok(sent?),
            None => Err(Error::new(
                ErrorKind::ConnectionLost,
                "the driver did not take a message at once",
            )),
        }
    }

    /// Sends one of the statements around a handler's at the first poll.
    pub(crate) async fn control<const N: usize>(
        &self,
        control: Control,
        values: [&(dyn ToSql + Sync); N],
    ) -> Result<Vec<Row>, PgError> {
        self.controls.run(&self.client, control, values).await
    }

    /// Sends one of them without the name that it has on the session, which SQL can have given to a statement of its own.
    pub(crate) async fn control_unnamed<const N: usize>(
        &self,
        control: Control,
        values: [&(dyn ToSql + Sync); N],
    ) -> Result<Vec<Row>, PgError> {
        Controls::Unnamed.run(&self.client, control, values).await
    }

    /// Whether a pooler lends the server connection to others between two transactions.
    pub(crate) fn is_pooled(&self) -> bool {
        matches!(self.controls, Controls::Unnamed)
    }

    /// Has the session closed, not reused, when it comes back to the pool.
    pub(crate) fn doubt(&self) {
        self.doubtful.store(true, Ordering::Release);
    }

    pub(crate) fn is_usable(&self) -> bool {
        !self.doubtful.load(Ordering::Acquire) && !self.client.is_closed()
    }
}

impl Connection {
    pub(crate) fn new(session: Session) -> Self {
        Self {
            session: Arc::new(session),
            farewell: None,
        }
    }

    /// Leaves answers to be read by whoever takes the session next.
    pub(crate) fn leave(&mut self, farewell: Farewell) {
        self.farewell = Some(farewell);
    }

    /// Takes the answers that the next transaction reads itself, ahead of its own. They are on their way, and unless they
    /// are what they should be, nothing that is sent behind them is shown or stored.
    pub(crate) fn take_prompt_farewell(&mut self) -> Option<Farewell> {
        self.farewell.take_if(|farewell| farewell.is_prompt())
    }

    pub(crate) fn owes_at_most_a_prompt_farewell(&self) -> bool {
        self.farewell.as_ref().is_none_or(Farewell::is_prompt)
    }

    /// Reads what the session still owes. Where that is not what it should be, the session is closed.
    pub(crate) async fn settle(&mut self, deadline: Instant) -> Result<(), Error> {
        let Some(farewell) = self.farewell.take() else {
            return Ok(());
        };
        let mut doubt = DoubtUnlessDone {
            session: &self.session,
            done: false,
        };
        farewell.read(deadline).await?;
        doubt.done = true;
        Ok(())
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("rests", &self.rests)
            .field("doubtful", &self.doubtful)
            .finish_non_exhaustive()
    }
}

impl Farewell {
    fn is_prompt(&self) -> bool {
        self.quiet || self.outcome.is_none()
    }

    /// Waits until the session is known to have been reset.
    pub(crate) async fn read(self, deadline: Instant) -> Result<(), Error> {
        tokio::time::timeout_at(deadline.into(), self.answers())
            .await
            .map_err(|elapsed| {
                Error::with_source(
                    ErrorKind::Unavailable,
                    "the session's reset was not answered in time",
                    elapsed,
                )
            })?
    }

    async fn answers(self) -> Result<(), Error> {
        if let Some(outcome) = self.outcome
            && let Err(error) = outcome.await
        {
            // Nobody was left to be told. What the reset says decides whether the session is good.
            tracing::warn!(
                kind = error.kind().as_str(),
                "a transaction whose end nobody waited for did not end well: {error}"
            );
            if self.joined || leaves_doubt(&error) {
                return Err(error);
            }
        }
        self.reset.await?;
        Ok(())
    }
}

/// Whether a session is closed after its transaction ended like this.
pub(crate) fn leaves_doubt(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ScopeLeft
            | ErrorKind::ConnectionLost
            | ErrorKind::CommitUnknown
            | ErrorKind::Unavailable
            | ErrorKind::Statement
    ) || error.code().is_some_and(is_about_prepared)
}

/// Whether an error says that a session's prepared statements are not what this crate made of them.
pub(crate) fn is_about_prepared(code: &SqlState) -> bool {
    *code == SqlState::INVALID_SQL_STATEMENT_NAME || *code == SqlState::DUPLICATE_PSTATEMENT
}

/// Reads a message's answers to their end.
pub(crate) async fn drain(
    answers: impl Stream<Item = Result<SimpleQueryMessage, PgError>>,
) -> Result<(), PgError> {
    let mut answers = std::pin::pin!(answers);
    while answers.try_next().await?.is_some() {}
    Ok(())
}

/// A future dropped half-way leaves answers behind that the next user would read as its own.
struct DoubtUnlessDone<'a> {
    session: &'a Session,
    done: bool,
}

impl Drop for DoubtUnlessDone<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.session.doubt();
        }
    }
}
