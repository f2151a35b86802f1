//! Takes sessions from the pool: fairly, in time, and only ones whose last reset has been sent.

use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bb8_postgres::bb8::{Builder, Pool, PooledConnection};
use futures_util::future::{Either, select};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::{Farewell, Session};
use super::manager::{Manager, Server, Shared, closed};
use super::pool::PoolStatus;
use crate::error::{Error, ErrorKind};

/// A deadline beyond this is none; the clock cannot count to every one.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// bb8 behind a fair queue.
pub(crate) struct Leases {
    pub(crate) shared: Arc<Shared>,
    bb8: Pool<Manager>,
    // bb8 lets newcomers pass those who wait; a tokio semaphore does not.
    permits: Arc<Semaphore>,
    max_size: u32,
    acquire_timeout: Duration,
    reset_timeout: Duration,
}

/// What has to be known of the last reset of a session before that serves again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    /// Nothing, since its answer is read ahead of those to what is sent, which then can be sent again.
    Sent,
    /// That it went well.
    Answered,
}

/// A session on loan, with its place in the queue. Dropping it gives both back.
pub(crate) struct Lease {
    // Before the permit: the session is back in bb8 before the next one may ask for it.
    connection: PooledConnection<'static, Manager>,
    _permit: OwnedSemaphorePermit,
    shared: Arc<Shared>,
    reset_timeout: Duration,
}

impl Deref for Lease {
    type Target = Arc<Session>;

    fn deref(&self) -> &Arc<Session> {
        &self.connection.session
    }
}

impl Lease {
    /// Leaves answers to be read by whoever takes the session next.
    pub(crate) fn leave(&mut self, farewell: Farewell) {
        self.connection.leave(farewell);
    }

    /// Reads what the session still owes. Where that is not what it should be, the session is closed.
    pub(crate) async fn settle(&mut self, deadline: Instant) -> Result<(), Error> {
        self.connection.settle(deadline).await
    }

    /// Takes the answers that are to be read ahead of those to `BEGIN`.
    pub(crate) fn take_prompt_farewell(&mut self) -> Option<Farewell> {
        self.connection.take_prompt_farewell()
    }

    /// When a reset that is sent now has to be answered.
    pub(crate) fn reset_deadline(&self) -> Instant {
        Instant::now() + self.reset_timeout
    }

    /// What is known of the server that the session is of.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn is_of_replica(&self) -> bool {
        self.shared.server == Server::Replica
    }
}

impl Leases {
    pub(crate) fn new(
        shared: Arc<Shared>,
        bb8: Builder<Manager>,
        max_size: u32,
        acquire_timeout: Duration,
        reset_timeout: Duration,
    ) -> Self {
        let bb8 = bb8
            .max_size(max_size)
            .connection_timeout(acquire_timeout.max(Duration::from_millis(1)))
            .test_on_check_out(false)
            .retry_connection(false)
            .build_unchecked(Manager(Arc::clone(&shared)));
        Self {
            shared,
            bb8,
            permits: Arc::new(Semaphore::new(max_size as usize)),
            max_size,
            acquire_timeout: acquire_timeout.min(LONGEST_WAIT),
            reset_timeout: reset_timeout.min(LONGEST_WAIT),
        }
    }

    /// When a lease that is asked for now has to be there.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.acquire_timeout
    }

    /// Waits for a session.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the place in the queue; a session is not lost, at worst closed.
    pub(crate) async fn acquire(&self, deadline: Instant, reset: Reset) -> Result<Lease, Error> {
        if self.shared.is_closed() {
            return Err(closed());
        }
        let permit = self.permit(deadline).await?;
        if self.shared.is_closed() {
            return Err(closed());
        }
        loop {
            // Whoever has a permit waits for a connection to be made, not for one to be given back.
            let mut connection = tokio::time::timeout_at(deadline.into(), self.connection())
                .await
                .map_err(|_| self.unavailable())??;
            if !connection.session.is_usable() {
                connection.session.doubt();
                continue;
            }
            let settled = match reset {
                Reset::Sent if connection.owes_at_most_a_prompt_farewell() => Ok(()),
                Reset::Sent | Reset::Answered => {
                    connection.settle(self.reset_deadline().min(deadline)).await
                }
            };
            match settled {
                Ok(()) => {
                    return Ok(Lease {
                        connection,
                        _permit: permit,
                        shared: Arc::clone(&self.shared),
                        reset_timeout: self.reset_timeout,
                    });
                }
                Err(error) => {
                    tracing::debug!(
                        "a pooled session is closed, not reused: {}",
                        crate::error::chain(&error)
                    );
                    if Instant::now() >= deadline {
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn permit(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, Error> {
        let permits = Arc::clone(&self.permits);
        if let Ok(permit) = permits.try_acquire_owned() {
            return Ok(permit);
        }
        let queued = Arc::clone(&self.permits).acquire_owned();
        tokio::time::timeout_at(deadline.into(), queued)
            .await
            .map_err(|_| self.exhausted())?
            .map_err(|_| closed())
    }

    /// When a reset that was sent by now has to be answered.
    pub(crate) fn reset_deadline(&self) -> Instant {
        Instant::now() + self.reset_timeout
    }

    /// Gets an idle session from bb8 or has it make one, unless attempts to do so have just failed.
    async fn connection(&self) -> Result<PooledConnection<'static, Manager>, Error> {
        let connecting = &self.shared.connecting;
        loop {
            if connecting.last_failure().is_some()
                && self.bb8.state().idle_connections == 0
                && let Some(error) = connecting.held_back()
            {
                return Err(error);
            }
            // Before bb8 begins an attempt: it can have failed a moment later.
            let mut failures = connecting.failures();
            let getting = pin!(self.bb8.get_owned());
            match select(getting, pin!(failures.changed())).await {
                Either::Left((connection, _)) => {
                    return connection.map_err(|_| self.unavailable());
                }
                // bb8 waits on, and makes no other attempt for those who wait.
                Either::Right(_) => {
                    if let Some(error) = connecting.last_failure() {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn unavailable(&self) -> Error {
        self.shared.connecting.last_failure().unwrap_or_else(|| {
            Error::new(
                ErrorKind::Unavailable,
                "no connection to the database could be made in time",
            )
        })
    }

    fn exhausted(&self) -> Error {
        Error::new(
            ErrorKind::PoolExhausted,
            match self.shared.server {
                Server::Primary => {
                    "all connections of the pool were in use until the deadline: \
                     raise max_size, or look for transactions that take long"
                }
                Server::Replica => {
                    "all connections to the replica were in use until the deadline: \
                     raise replica_max_size, or look for transactions that take long"
                }
            },
        )
    }

    /// Refuses new leases, waits for those on loan and closes all sessions.
    pub(crate) async fn close(&self) {
        self.shared.close();
        let Ok(_all) = self.permits.acquire_many(self.max_size).await else {
            return;
        };
        while self.bb8.state().idle_connections > 0 {
            match self.bb8.get().await {
                Ok(mut connection) => {
                    // Reads the answers first: a COMMIT may be among them.
                    let _ = connection.settle(self.reset_deadline()).await;
                    connection.session.doubt();
                }
                Err(_) => break,
            }
        }
        self.permits.close();
    }

    pub(crate) fn acquire_timeout(&self) -> Duration {
        self.acquire_timeout
    }

    pub(crate) fn status(&self) -> PoolStatus {
        let state = self.bb8.state();
        let free = u32::try_from(self.permits.available_permits()).unwrap_or(u32::MAX);
        PoolStatus {
            max_size: self.max_size,
            connections: state.connections,
            idle_connections: state.idle_connections,
            in_use: self.max_size.saturating_sub(free),
            connections_created: state.statistics.connections_created,
            connections_discarded: state.statistics.connections_closed_broken,
        }
    }
}
