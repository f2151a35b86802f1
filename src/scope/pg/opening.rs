//! The first flight of a transaction: `BEGIN` and the switch to its role.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_postgres::Error as PgError;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::connection::{Farewell, Session, drain, is_about_prepared};
use super::control::Control;
use super::ending::{Began, BeginError, Opened, sent};
use super::judgement::ends_session;
use super::lease::{LONGEST_WAIT, Lease};
use super::mode::AccessMode;
use super::session;
use super::switch::{self, Settings};
use super::transaction::{Current, Open, Phase, Transaction};
use crate::error::{Error, ErrorKind, chain};
use crate::role::decide::{not_login, role_refused_by_database};

impl Transaction {
    /// Sends `BEGIN` and the switch. The answers are read by whoever sends the first statement. `None` where the session
    /// is of the replica, and the handler has meanwhile said what a replica cannot do.
    pub(super) fn begin(&self, mut lease: Lease) -> Result<Option<Current>, Error> {
        for login in [self.pool.login(), self.pool.replica_login()] {
            not_login(self.scope.role().clone(), login)?;
        }
        let mut state = self.lock();
        state.idle()?;
        let stored = self
            .pool
            .role_settings()
            .and_then(|settings| settings.of(self.scope.role()))
            .unwrap_or_default();
        let isolation = state.isolation.or(stored.isolation).unwrap_or_default();
        if lease.is_of_replica() && !self.is_for_replica(&state, isolation) {
            return Ok(None);
        }
        let session = Arc::clone(&lease);
        let owed = lease.take_prompt_farewell();
        let begin = session.send(if session.is_pooled() {
            session::begin_pooled(isolation, state.mode)
        } else {
            session::begin(isolation, state.mode)
        });
        let start = self.send_start(Arc::clone(&session));
        let settings = self.send_settings(Arc::clone(&session), &stored.settings);
        let switch = self.send_switch(Arc::clone(&session));
        let now = Instant::now();
        let options = self.pool.options();
        let deadline = now + options.begin_timeout.min(LONGEST_WAIT);
        let reset_deadline = deadline.min(now + options.reset_timeout.min(LONGEST_WAIT));
        let in_doubt = Arc::clone(&session);
        let answers = async move {
            let was_reset = match owed {
                Some(farewell) => read_ahead(farewell, reset_deadline, &in_doubt).await?,
                None => true,
            };
            match begin {
                Ok(answers) => drain(answers)
                    .await
                    .map_err(|error| BeginError::unanswered(begin_error(error, was_reset)))?,
                Err(error) => return Err(BeginError::unanswered(error)),
            }
            if !was_reset {
                // It failed while the session was idle. Whatever the answers are, they are not shown.
                return Err(BeginError::unanswered(not_reset(None)));
            }
            for settings in start.into_iter().chain(settings) {
                settings
                    .await
                    .map_err(|error| control_error(error, settings_error))?;
            }
            switch
                .await
                .map_err(|error| control_error(error, switch_error))
        };
        let in_doubt = Arc::clone(&session);
        let replica = self.pool.replica().cloned();
        let replica = replica.filter(|_| lease.is_of_replica());
        let begun = async move {
            let begun = match tokio::time::timeout_at(deadline.into(), answers).await {
                Ok(begun) => begun,
                Err(elapsed) => Err(BeginError {
                    error: Error::with_source(
                        ErrorKind::Unavailable,
                        "the database did not answer BEGIN in time",
                        elapsed,
                    ),
                    // The answer may be on its way. What was sent to a replica cannot have changed anything.
                    begin_unanswered: replica.is_some(),
                }),
            };
            if let Err(failure) = &begun {
                if failure.is_silence()
                    && let Some(replica) = &replica
                {
                    replica.failed(&failure.error);
                }
                if failure.is_silence() || failure.error.kind() == ErrorKind::ConnectionLost {
                    in_doubt.doubt();
                }
            }
            begun
        }
        .boxed()
        .shared();
        let open = Open {
            opened: Opened {
                lease,
                begun,
                role: self.scope.role().clone(),
                mode: state.mode,
                writer: match state.mode {
                    AccessMode::ReadWrite => self.pool.writer(&self.scope),
                    AccessMode::ReadOnly => None,
                },
                failed: false,
                unknown: false,
                may_have_ended: false,
            },
            isolation,
            statements: 0,
            running: 0,
            copying: false,
            streams: Vec::new(),
            abandoned: false,
        };
        let current = open.current();
        state.unopened = None;
        state.phase = Phase::Open(open);
        Ok(Some(current))
    }

    /// Sends what startup options say elsewhere.
    fn send_start(&self, session: Arc<Session>) -> Option<BoxFuture<'static, Result<(), PgError>>> {
        let start = self.pool.options().start.clone()?;
        Some(sent(async move {
            let values: [&(dyn ToSql + Sync); 3] = [
                &start.application_name,
                &start.statement_timeout,
                &start.idle_in_transaction_timeout,
            ];
            session.control(Control::Start, values).await.map(|_| ())
        }))
    }

    /// Sends what is set by choice, where there is any. It goes first, so that nothing in it can undo the switch.
    fn send_settings(
        &self,
        session: Arc<Session>,
        role_settings: &[(String, String)],
    ) -> Option<BoxFuture<'static, Result<(), PgError>>> {
        let settings = switch::settings(
            &self.scope,
            &self.request,
            role_settings,
            self.pool.options(),
        );
        (!settings.names.is_empty()).then(|| {
            sent(async move {
                let Settings { names, values } = settings;
                let values: [&(dyn ToSql + Sync); 2] = [&names, &values];
                session.control(Control::Settings, values).await.map(|_| ())
            })
        })
    }

    fn send_switch(&self, session: Arc<Session>) -> BoxFuture<'static, Result<Began, PgError>> {
        let scope = self.scope.clone();
        let method = self.request.method.clone();
        let path = self.request.path.clone();
        sent(async move {
            let role = scope.role().as_str();
            let claims = scope.claims_json();
            let values: [&(dyn ToSql + Sync); 4] = [&role, &claims, &method, &path];
            let rows = session.control(Control::Switch, values).await?;
            let began = rows.first().map(|row| row.try_get(session::BEGAN));
            // Without a row the check could not tell, and refuses.
            Ok(Began(began.unwrap_or(Ok(SystemTime::UNIX_EPOCH))?))
        })
    }
}

/// Reads what a session still owes, and says whether it was reset.
async fn read_ahead(
    owed: Farewell,
    deadline: Instant,
    session: &Session,
) -> Result<bool, BeginError> {
    let Err(error) = owed.read(deadline).await else {
        return Ok(true);
    };
    session.doubt();
    tracing::debug!("a pooled session is closed after this: {}", chain(&error));
    if error.kind() == ErrorKind::Unavailable {
        return Err(BeginError::unanswered(error));
    }
    Ok(false)
}

/// A session that was ended while it was idle may say so in place of an answer. One that was not reset is still in the
/// transaction in which that failed.
fn begin_error(error: PgError, was_reset: bool) -> Error {
    match error.code() {
        Some(code) if ends_session(code) => Error::with_source(
            ErrorKind::ConnectionLost,
            "the connection to the database was lost",
            error,
        ),
        Some(code) if !was_reset && *code == SqlState::IN_FAILED_SQL_TRANSACTION => {
            not_reset(Some(error))
        }
        _ => error.into(),
    }
}

fn not_reset(error: Option<PgError>) -> Error {
    let message = "the session could not be reset after its last transaction";
    match error {
        Some(error) => Error::with_source(ErrorKind::ConnectionLost, message, error),
        None => Error::new(ErrorKind::ConnectionLost, message),
    }
}

/// Where a statement of ours is gone from the session, SQL of an earlier request has removed it. The transaction has failed
/// by that, so that nothing behind it has had an effect.
fn control_error(error: PgError, told: fn(PgError) -> Error) -> BeginError {
    if error.code().is_some_and(is_about_prepared) {
        return BeginError::unanswered(Error::with_source(
            ErrorKind::ConnectionLost,
            "the session has lost its prepared statements: SQL in a function said DEALLOCATE",
            error,
        ));
    }
    BeginError::answered(told(error))
}

/// What the service or a role has set cannot be set: that is no fault of the client's.
fn settings_error(error: PgError) -> Error {
    match error.code() {
        Some(code) if !ends_session(code) => refused_by_the_setup(error),
        _ => error.into(),
    }
}

/// The switch fails where the role does not exist, or is not granted to the authenticator: one answer for both.
fn switch_error(error: PgError) -> Error {
    let is_about_the_role = error.as_db_error().is_some_and(|error| {
        (*error.code() == SqlState::INVALID_PARAMETER_VALUE
            || *error.code() == SqlState::INSUFFICIENT_PRIVILEGE)
            // It is set_config itself that may not be executed.
            && error.routine() != Some("aclcheck_error")
    });
    match error.code() {
        Some(code) if is_about_the_role => {
            let reason = if *code == SqlState::INSUFFICIENT_PRIVILEGE {
                "it is not granted to the login role: GRANT it"
            } else {
                "it does not exist in the database: CREATE ROLE it, and GRANT it to the login role"
            };
            role_refused_by_database(reason, error)
        }
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => refused_by_the_setup(error),
        _ => error.into(),
    }
}

fn refused_by_the_setup(error: PgError) -> Error {
    Error::with_source(
        ErrorKind::Statement,
        "a setting of the transaction was refused: \
         look at app_setting, at what ALTER ROLE .. SET has stored, and at privileges on set_config",
        error,
    )
}
