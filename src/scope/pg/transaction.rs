//! The transaction of one request: `Idle → Open → Finished`.
//!
//! - **Idle**: nothing was asked of the database yet, and nothing was taken from the pool.
//! - **Open**: `BEGIN` and the switch have been sent; statements follow. All of this holds a lease.
//! - **Finished**: the end has been sent. Every later use is an error, and the lease is gone.
//!
//! Each step from one to the next happens under the lock and without waiting, so that no future can be dropped between
//! "sent" and "known to be sent". `opening.rs` sends the first flight,
//! `statement.rs` what follows, through the gate of `gate.rs`, and `ending.rs` the last.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::connection::Session;
use super::ending::{Begun, Ending, Opened, Verdict};
use super::mode::{AccessMode, Isolation};
use super::pool::RoleScopedPool;
use super::statement::Retry;
use super::switch::RequestSettings;
use crate::error::{Error, ErrorKind};
use crate::role::RoleScope;

/// One request's transaction, shared by all its handles.
pub(crate) struct Transaction {
    pub(super) pool: RoleScopedPool,
    pub(super) scope: RoleScope,
    pub(super) request: RequestSettings,
    /// Whoever holds it is opening; the others wait for the same opening.
    opening: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) mode: AccessMode,
    /// Whether no replica is to serve.
    pub(super) on_primary: bool,
    pub(super) isolation: Option<Isolation>,
    savepoints: u32,
    pub(super) phase: Phase,
}

pub(super) enum Phase {
    Idle,
    Open(Open),
    Finished(Finished),
}

pub(super) struct Open {
    pub(super) opened: Opened,
    pub(super) isolation: Isolation,
    /// Statements of the handler.
    pub(super) statements: u32,
    /// Messages sent for them and not known to be answered; one whose future was dropped counts for ever.
    pub(super) running: u32,
    /// A text of several statements was sent: what it did is not known.
    pub(super) batch: bool,
}

pub(super) enum Finished {
    /// By the layer, or since the last handle is gone.
    Revoked,
    /// By the handler; how it went, once that is known.
    RolledBack(Known),
    Committed(Known),
}

type Known = Arc<OnceLock<Result<(), Error>>>;

/// What the layer has to wait for.
pub(crate) enum Finish {
    Done(Result<(), Error>),
    Ending(Box<Ending>),
}

/// What a statement needs of an open transaction.
#[derive(Clone)]
pub(super) struct Current {
    pub(super) session: Arc<Session>,
    pub(super) begun: Begun,
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
                on_primary: false,
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

    pub(crate) fn set_on_primary(&self) -> Result<(), Error> {
        let mut state = self.lock();
        state.idle()?;
        state.on_primary = true;
        Ok(())
    }

    pub(crate) fn next_savepoint(&self) -> u32 {
        let mut state = self.lock();
        state.savepoints += 1;
        state.savepoints
    }

    // --- Idle → Open ---

    /// Opens the transaction, or joins the one that is open.
    pub(super) async fn open(&self) -> Result<Current, Error> {
        if let Some(current) = self.current()? {
            return Ok(current);
        }
        let _turn = self.opening.lock().await;
        if let Some(current) = self.current()? {
            return Ok(current);
        }
        loop {
            let lease = self.lease().await?;
            if let Some(current) = self.begin(lease)? {
                return Ok(current);
            }
        }
    }

    fn current(&self) -> Result<Option<Current>, Error> {
        match &self.lock().phase {
            Phase::Idle => Ok(None),
            Phase::Open(open) => Ok(Some(open.current())),
            Phase::Finished(_) => Err(finished()),
        }
    }

    // --- Open → Idle ---

    /// Goes back to `Idle` for one more try, where the statement that failed is all that was asked of the transaction.
    pub(super) fn start_again(&self, current: &Current, retry: Retry) -> bool {
        let mut state = self.lock();
        let Some(open) = state.open_on(&current.session) else {
            return false;
        };
        let to_primary = retry == Retry::OnAnotherSession && open.opened.lease.is_of_replica();
        // Where a replica is silent, the one statement has not been answered.
        if open.statements > 1 || (open.running > 0 && !to_primary) || open.batch {
            return false;
        }
        state.on_primary |= to_primary;
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
            Phase::Idle | Phase::Finished(Finished::Revoked) => Finish::Done(Ok(())),
            Phase::Finished(Finished::RolledBack(result)) => {
                // What is lost is rolled back all the same; that the SQL had left the transaction is not.
                Finish::Done(match result.get() {
                    Some(Err(error)) if error.kind() == ErrorKind::ScopeLeft => Err(error.clone()),
                    _ => Ok(()),
                })
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
        let result = Known::default();
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
        let result = Known::default();
        let outcome =
            match self.end(Verdict::Rollback, Finished::RolledBack(Arc::clone(&result)))? {
                Some(ending) => ending.outcome().await,
                None => Ok(()),
            };
        let _ = result.set(outcome.clone());
        outcome
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

    /// Ends a transaction whose statement nobody waits for any more: cancels it, rolls back and has the session closed.
    ///
    /// It is not reused: the driver does not wait until the server has read a cancel request, and a late one would hit
    /// the session's next user.
    fn abort(&self, open: Open) {
        let session = Arc::clone(&open.opened.lease);
        session.doubt();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let shared = Arc::clone(open.opened.lease.shared());
        let reset_timeout = self.pool.options().reset_timeout;
        runtime.spawn(async move {
            // A request that hits BEGIN would leave the statement behind it outside of any transaction. Where not even
            // BEGIN is answered, nothing else will be.
            if let Err(failure) = open.opened.begun.clone().await
                && failure.is_silence()
            {
                return;
            }
            let cancel = shared.connector.cancel(session.client.cancel_token());
            if let Ok(Ok(())) = tokio::time::timeout(shared.connect_timeout, cancel).await {
                // The place in the pool is free once the server is.
                Ending::send(open.opened, Verdict::Rollback, false)
                    .settle(reset_timeout)
                    .await;
            }
        });
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        drop(self.finish(Verdict::Rollback));
    }
}

impl State {
    pub(super) fn idle(&self) -> Result<(), Error> {
        match self.phase {
            Phase::Idle => Ok(()),
            Phase::Open(_) => Err(Error::new(
                ErrorKind::Statement,
                "the transaction has begun: how it runs is said before its first statement",
            )),
            Phase::Finished(_) => Err(finished()),
        }
    }

    pub(super) fn open_on(&mut self, session: &Arc<Session>) -> Option<&mut Open> {
        match &mut self.phase {
            Phase::Open(open) if Arc::ptr_eq(&open.opened.lease, session) => Some(open),
            _ => None,
        }
    }
}

impl Open {
    pub(super) fn current(&self) -> Current {
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

pub(super) fn finished() -> Error {
    Error::new(
        ErrorKind::Finished,
        "the transaction has ended: a connection serves until the handler has answered, or until its commit or rollback",
    )
}
