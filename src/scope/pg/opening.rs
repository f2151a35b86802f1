//! The first flight of a transaction: `BEGIN` and the switch to its role.

use std::sync::Arc;

use bb8_postgres::tokio_postgres::Error as PgError;
use bb8_postgres::tokio_postgres::error::SqlState;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::connection::{Session, drain};
use super::ending::{BeginError, Opened, ends_session, sent};
use super::hidden::Hidden;
use super::lease::Lease;
use super::session;
use super::switch;
use super::transaction::{Current, Open, Phase, Transaction};
use crate::error::{Error, ErrorKind};
use crate::role::decide::{not_login, role_refused};

impl Transaction {
    /// Sends `BEGIN` and the switch. The answers are read by whoever sends the first statement.
    pub(super) fn begin(&self, lease: Lease) -> Result<Current, Error> {
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
            told: false,
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
    ) -> BoxFuture<'static, Result<(), PgError>> {
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
