//! The transaction of one request: `Idle → Open → Finished`.
//!
//! - **Idle**: nothing was asked of the database yet, and nothing was taken from the pool.
//! - **Open**: `BEGIN` and the switch have been sent; statements follow. All of this holds a lease.
//! - **Finished**: the end has been sent. Every later use is an error, and the lease is gone.
//!
//! Each step from one to the next happens under the lock and without waiting, so that no future can be dropped between
//! "sent" and "known to be sent". `opening.rs` sends the first flight, `statement.rs` and `stream.rs` what follows, through
//! the gate of `gate.rs`; `finish.rs` decides how it ends, and `ending.rs` sends the last flight.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::attempts::Retry;
use super::connection::Session;
use super::ending::{Begun, Ending, Opened, Verdict};
use super::lease::Reset;
use super::mode::{AccessMode, Isolation};
use super::pool::RoleScopedPool;
use super::stream::Revocable;
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
    /// The transaction was asked to outlive the response's head, and ends with its body.
    pub(super) ends_with_body: bool,
    /// Statements are refused, while streams that are open go on.
    pub(super) revoked: bool,
    /// Why the last statement that was to begin the transaction could not.
    pub(super) unopened: Option<Error>,
    pub(super) phase: Phase,
}

#[allow(
    clippy::large_enum_variant,
    reason = "there is one for each transaction, and a box would be an allocation more"
)]
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
    /// A COPY from the client is open.
    pub(super) copying: bool,
    /// Streams of the handler that are not read to their end.
    pub(super) streams: Vec<Arc<dyn Revocable>>,
    /// A stream was dropped half-way: the server still sends the rest of it.
    pub(super) abandoned: bool,
}

pub(super) enum Finished {
    /// By the layer, or since the last handle is gone.
    Revoked,
    /// By the handler; how it went, once that is known.
    RolledBack(Known),
    Committed(Known),
    /// The session could not be used any further.
    Broken(Error),
}

pub(super) type Known = Arc<OnceLock<Result<(), Error>>>;

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
                ends_with_body: false,
                revoked: false,
                unopened: None,
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

    /// Opens the transaction, or joins the one that is open. What cannot be sent again wants a session whose last reset is
    /// known to have gone well.
    pub(super) async fn open(&self, reset: Reset) -> Result<Current, Error> {
        if let Some(current) = self.current()? {
            return Ok(current);
        }
        let _turn = self.opening.lock().await;
        if let Some(current) = self.current()? {
            return Ok(current);
        }
        loop {
            let begun = self.lease(reset).await.and_then(|lease| self.begin(lease));
            match begun {
                Ok(Some(current)) => return Ok(current),
                Ok(None) => {}
                Err(error) => {
                    self.lock().unopened = Some(error.clone());
                    return Err(error);
                }
            }
        }
    }

    fn current(&self) -> Result<Option<Current>, Error> {
        let state = self.lock();
        match &state.phase {
            Phase::Open(open) if !state.revoked => Ok(Some(open.current())),
            Phase::Idle if !state.revoked => Ok(None),
            _ => Err(finished()),
        }
    }

    /// Has the end awaited, which tells whether the handler's SQL has left the transaction.
    pub(super) fn may_have_ended(&self, current: &Current) {
        if let Some(open) = self.lock().open_on(&current.session) {
            open.opened.may_have_ended = true;
            open.opened.unknown = true;
        }
    }

    /// Notes a statement that can do more than read and write rows. Has the end awaited, and trusts nothing on the session.
    pub(super) fn does_unknown(&self, current: &Current) {
        if let Some(open) = self.lock().open_on(&current.session) {
            open.opened.unknown = true;
        }
    }

    /// Notes a statement that writes: where it can, in a `READ ONLY` transaction, that is none any more.
    pub(super) fn writes(&self, current: &Current) {
        if let Some(open) = self.lock().open_on(&current.session) {
            open.opened.unknown |= open.opened.mode == AccessMode::ReadOnly;
        }
    }

    // --- Open → Idle ---

    /// Goes back to `Idle` for one more try, where the statement that failed is all that was asked of the transaction.
    pub(super) fn start_again(&self, current: &Current, retry: Retry) -> bool {
        let mut state = self.lock();
        let Some(open) = state.open_on(&current.session) else {
            return false;
        };
        let to_primary = retry != Retry::PreparedAnew && open.opened.lease.is_of_replica();
        // Where a session is silent, the one statement has not been answered either.
        let in_flight = open.running > 0 && retry != Retry::PastSilence;
        if open.statements > 1 || in_flight || open.opened.may_have_ended || open.abandoned {
            return false;
        }
        state.on_primary |= to_primary;
        if let Phase::Open(open) = std::mem::replace(&mut state.phase, Phase::Idle) {
            drop(Ending::send(open.opened, Verdict::Rollback, false));
        }
        true
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
}

pub(super) fn finished() -> Error {
    Error::new(
        ErrorKind::Finished,
        "the transaction has ended: a connection serves until the handler has answered, or until its commit or rollback",
    )
}
