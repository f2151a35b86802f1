//! The replica for reads: a pool of its own, which may be away.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use tokio::sync::watch;

use super::lease::{LONGEST_WAIT, Lease, Leases, Reset};
use super::setup::Expected;
use super::setup_error::SetupError;
use crate::error::{Error, ErrorKind, chain};

/// How long nobody asks for a replica that was away.
const LEFT_ALONE: Duration = Duration::from_secs(1);

/// The pool of the replica's sessions, and whether they are to be asked for.
pub(crate) struct Replica {
    pub(crate) leases: Leases,
    expected: Expected,
    /// When it is looked for again, while it is away.
    away: watch::Sender<Option<Instant>>,
}

impl Replica {
    pub(crate) fn new(leases: Leases, expected: Expected) -> Self {
        Self {
            leases,
            expected,
            away: watch::Sender::new(None),
        }
    }

    /// Waits for a session. `None` where the primary is to serve, since the replica is away or meanwhile was found to be.
    ///
    /// # Cancel safety
    ///
    /// As [`Leases::acquire`].
    pub(crate) async fn acquire(self: &Arc<Self>, reset: Reset) -> Result<Option<Lease>, Error> {
        if self.is_away() {
            return Ok(None);
        }
        let mut away = self.away.subscribe();
        let failing = pin!(async { away.wait_for(Option::is_some).await.is_ok() });
        let acquiring = pin!(self.leases.acquire(self.leases.deadline(), reset));
        match select(acquiring, failing).await {
            Either::Left((Ok(lease), _)) => Ok(Some(lease)),
            Either::Left((Err(error), _)) => match error.kind() {
                // It is there, and busy. The primary is spared the load that was to be kept from it.
                ErrorKind::PoolExhausted | ErrorKind::PoolClosed => Err(error),
                _ => {
                    self.failed(&error);
                    Ok(None)
                }
            },
            Either::Right(_) => Ok(None),
        }
    }

    /// Leaves the replica alone for a while.
    pub(crate) fn failed(&self, error: &Error) {
        let is_news = self.away.send_if_modified(|away| {
            let is_news = away.is_none();
            if is_news {
                *away = Some(Instant::now() + LEFT_ALONE);
            }
            is_news
        });
        if is_news {
            tracing::warn!(
                "the replica at {} is away, so that the primary serves its reads: {}",
                self.expected.place,
                chain(error)
            );
        }
    }

    /// Looks at the replica for the first time. It may be away, but not be set up wrongly.
    pub(super) async fn look(&self) -> Result<(), SetupError> {
        match self.check().await {
            Ok(()) => Ok(()),
            Err(error) => match error.unreachable_because() {
                Some(reason) => {
                    self.failed(reason);
                    Ok(())
                }
                None => Err(error),
            },
        }
    }

    /// No request waits for a replica that is away: one has it looked for in the background.
    fn is_away(self: &Arc<Self>) -> bool {
        let again_at = *self.away.borrow();
        let Some(again_at) = again_at else {
            return false;
        };
        let now = Instant::now();
        if now < again_at {
            return true;
        }
        // For as long as the look may take, and not for ever if it should get lost.
        let may_take = self
            .expected
            .timeout
            .saturating_add(self.leases.acquire_timeout());
        let after_that = now + may_take.min(LONGEST_WAIT);
        let is_ours = self.away.send_if_modified(|away| {
            let is_ours = *away == Some(again_at);
            if is_ours {
                *away = Some(after_that);
            }
            is_ours
        });
        if is_ours {
            let this = Arc::clone(self);
            tokio::spawn(async move { this.look_again().await });
        }
        true
    }

    async fn look_again(&self) {
        match self.check().await {
            Ok(()) => {
                self.away.send_replace(None);
                tracing::info!("the replica at {} is back", self.expected.place);
            }
            Err(error) => {
                self.away.send_replace(Some(Instant::now() + LEFT_ALONE));
                if error.unreachable_because().is_none() {
                    tracing::warn!(
                        "the replica at {} is not used: {error}",
                        self.expected.place
                    );
                }
            }
        }
    }

    /// Looks at its set-up as at the primary's, and connects as requests will.
    async fn check(&self) -> Result<(), SetupError> {
        let connector = &*self.leases.shared.connector;
        let found = self.expected.check(connector).await?;
        if !found.in_recovery {
            tracing::warn!(
                "the server at {} is no replica (pg_is_in_recovery() is false), and is read from all the same: \
                 with target_session_attrs=read-only in its URL it is not",
                self.expected.place
            );
        }
        let deadline = self.leases.deadline();
        self.leases
            .acquire(deadline, Reset::Answered)
            .await
            .map_err(SetupError::unreachable)?;
        Ok(())
    }
}
