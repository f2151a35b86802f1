//! A session that listens, and reads what is revoked.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{StreamExt, TryStreamExt};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Error as PgError, Row, Statement};

use super::super::connect::{Connect, Messages};
use super::super::pooler;
use super::super::setup_error::SetupError;
use crate::auth::jwt::{Revocation, RevokedContent};
use crate::error::{Error, ErrorKind, chain};

/// Says whether the startup options have arrived: where a pooler has dropped them, notifications do not come through either.
const ARRIVED: &str = "SELECT pg_catalog.current_setting('rolescope.startup', true)";
/// A round trip with nothing in it.
const HEARTBEAT: &str = "";

/// What the session is to do.
pub(super) struct Plan {
    pub(super) connector: Box<dyn Connect>,
    /// For the log.
    pub(super) place: String,
    /// `LISTEN`, with the channel's name in quotes.
    pub(super) listen: String,
    pub(super) query: String,
    pub(super) connect_timeout: Duration,
    pub(super) answer_timeout: Duration,
    pub(super) max_entries: usize,
}

/// Why it could not be done.
#[derive(Debug)]
pub(super) struct Failure {
    /// What happened and, where it can be told, what cures it.
    pub(super) reason: String,
    /// Whether the server was asked and has refused, so that it will again until somebody does something.
    pub(super) is_refusal: bool,
}

impl Failure {
    pub(super) fn refusal(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            is_refusal: true,
        }
    }

    pub(super) fn lost(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            is_refusal: false,
        }
    }

    /// What the driver says of `what`.
    fn of(what: &str, error: PgError) -> Self {
        let is_refusal = error.as_db_error().is_some();
        let cure = error.code().and_then(cure).unwrap_or_default();
        let error = Error::with_source(ErrorKind::Unavailable, what.to_owned(), error);
        let reason = if cure.is_empty() {
            // It knows what cures a failed connection.
            SetupError::unreachable(error).to_string()
        } else {
            format!("{}: {cure}", chain(&error))
        };
        Self { reason, is_refusal }
    }
}

/// What is to be done about the commonest refusals.
fn cure(code: &SqlState) -> Option<&'static str> {
    const MISSING: &str = "make the function that the query calls, as examples/sql/sessions.sql does, or name what there is \
                           by RevocationListenerBuilder::query";
    match *code {
        SqlState::UNDEFINED_FUNCTION
        | SqlState::UNDEFINED_TABLE
        | SqlState::UNDEFINED_COLUMN
        | SqlState::INVALID_SCHEMA_NAME => Some(MISSING),
        SqlState::INSUFFICIENT_PRIVILEGE => Some(
            "GRANT USAGE ON SCHEMA and GRANT EXECUTE ON FUNCTION to the login role itself, not to a role that it becomes",
        ),
        SqlState::QUERY_CANCELED => Some(
            "it took longer than RevocationListenerBuilder::answer_timeout: is there an index, and no lock that it waits for?",
        ),
        SqlState::READ_ONLY_SQL_TRANSACTION => Some(
            "LISTEN is for the primary: a standby has no notifications, so name the primary in the listener's URL",
        ),
        _ => None,
    }
}

/// What the connection's own task tells.
#[derive(Default)]
struct Signals {
    /// Whether a notification has come that nothing was read for.
    notified: AtomicBool,
    has_ended: AtomicBool,
    /// For either of them. However many there are, it wakes once.
    wake: Notify,
}

pub(super) struct Session {
    client: Client,
    statement: Option<Statement>,
    signals: Arc<Signals>,
    pump: AbortHandle,
}

impl Session {
    /// Connects and listens, so that nothing is missed that is committed from then on.
    pub(super) async fn open(plan: &Plan) -> Result<Self, Failure> {
        let opening = async {
            let connected = plan.connector.connect_listening().await;
            let (client, messages) = connected.map_err(|error| {
                if pooler::refuses_options(&error) {
                    behind_pooler()
                } else {
                    Failure::of("the database cannot be reached", error)
                }
            })?;
            let session = Self::over(client, messages);
            let asked = session.client.query_typed(ARRIVED, &[]).await;
            let asked = asked.map_err(|e| Failure::of("the session cannot be used", e))?;
            let arrived = asked.first().map(|row| row.try_get::<_, Option<&str>>(0));
            if !matches!(arrived, Some(Ok(Some(_)))) {
                return Err(behind_pooler());
            }
            let listening = session.client.batch_execute(&plan.listen).await;
            listening.map_err(|e| Failure::of("the channel cannot be listened on", e))?;
            Ok(session)
        };
        in_time(plan.connect_timeout, "connecting to the database", opening).await
    }

    fn over(client: Client, mut messages: Messages) -> Self {
        let signals = Arc::<Signals>::default();
        let theirs = Arc::clone(&signals);
        let pump = tokio::spawn(async move {
            while let Some(Ok(message)) = messages.next().await {
                // Any role can send any payload: that one has come is all that it says.
                if let AsyncMessage::Notification(_) = message {
                    theirs.notified.store(true, Ordering::Release);
                    theirs.wake.notify_one();
                }
            }
            theirs.has_ended.store(true, Ordering::Release);
            theirs.wake.notify_one();
        });
        Self {
            client,
            statement: None,
            signals,
            pump: pump.abort_handle(),
        }
    }

    /// Whether something may have changed since the last read began.
    pub(super) fn is_notified(&self) -> bool {
        self.signals.notified.load(Ordering::Acquire)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.signals.has_ended.load(Ordering::Acquire)
    }

    /// Waits for a notification, or for the end of the connection.
    pub(super) async fn woken(&self) {
        self.signals.wake.notified().await;
    }

    /// Makes sure that the server is there and has nothing more to tell.
    pub(super) async fn heartbeat(&self, plan: &Plan) -> Result<(), Failure> {
        let beat = async {
            let beat = self.client.batch_execute(HEARTBEAT).await;
            beat.map_err(|e| Failure::of("the heartbeat failed", e))
        };
        in_time(plan.answer_timeout, "the heartbeat", beat).await
    }

    /// Reads all that is revoked.
    pub(super) async fn read(&mut self, plan: &Plan) -> Result<RevokedContent, Failure> {
        // What comes from here on is read next time.
        self.signals.notified.store(false, Ordering::Release);
        in_time(
            plan.answer_timeout,
            "reading what is revoked",
            self.read_all(plan),
        )
        .await
    }

    async fn read_all(&mut self, plan: &Plan) -> Result<RevokedContent, Failure> {
        const WHAT: &str = "what is revoked cannot be read";
        let statement = match &self.statement {
            Some(statement) => statement.clone(),
            None => {
                let prepared = self.client.prepare(&plan.query).await;
                let statement = prepared.map_err(|e| Failure::of(WHAT, e))?;
                check_columns(&statement)?;
                self.statement.insert(statement).clone()
            }
        };
        let none: [&(dyn ToSql + Sync); 0] = [];
        let rows = self.client.query_raw(&statement, none).await;
        let mut rows = pin!(rows.map_err(|e| Failure::of(WHAT, e))?);
        let mut content = RevokedContent::default();
        while let Some(row) = rows.try_next().await.map_err(|e| Failure::of(WHAT, e))? {
            let added = content.add(revocation(&row)?, plan.max_entries);
            added.map_err(|error| Failure::refusal(format!("{WHAT}: {error}")))?;
        }
        Ok(content)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

fn behind_pooler() -> Failure {
    Failure::refusal(
        "a connection pooler stands before PostgreSQL and keeps startup options from it, and notifications do not come \
         through one in transaction mode: give the listener a URL that leads to PostgreSQL itself",
    )
}

async fn in_time<T>(
    limit: Duration,
    what: &str,
    done: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match timeout(limit, done).await {
        Ok(result) => result,
        Err(_) => Err(Failure::lost(format!(
            "{what} took longer than {limit:?}: is the server there, and not too busy?"
        ))),
    }
}

/// The columns are a claim's name, its value and a time.
fn check_columns(statement: &Statement) -> Result<(), Failure> {
    let is_text = |ty: &Type| <&str as FromSql<'_>>::accepts(ty);
    let types: Vec<&Type> = statement.columns().iter().map(|one| one.type_()).collect();
    let fits = match types[..] {
        [claim, value, before] => is_text(claim) && is_text(value) && *before == Type::TIMESTAMPTZ,
        _ => false,
    };
    if fits && statement.params().is_empty() {
        return Ok(());
    }
    let types: Vec<&str> = types.into_iter().map(Type::name).collect();
    Err(Failure::refusal(format!(
        "the query for what is revoked returns ({}) and has {} parameters: it returns three columns (claim text, value text, \
         issued_before timestamptz) and has none",
        types.join(", "),
        statement.params().len()
    )))
}

fn revocation(row: &Row) -> Result<Revocation, Failure> {
    let unreadable = |e| Failure::of("a row of what is revoked cannot be read", e);
    let text = |column| row.try_get::<_, Option<&str>>(column).map_err(unreadable);
    let issued_before: Option<std::time::SystemTime> = row.try_get(2).map_err(unreadable)?;
    match (text(0)?, text(1)?) {
        (Some(claim), Some(value)) => {
            Ok(Revocation::new(claim, value).issued_before(issued_before))
        }
        _ => Err(Failure::refusal(
            "a row of what is revoked has no claim or no value: the query must not return NULL there",
        )),
    }
}
