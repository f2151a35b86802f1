//! Which server serves a transaction: the replica what may run there, the primary all else.

use super::lease::{Lease, Reset};
use super::mode::{AccessMode, Isolation};
use super::transaction::{State, Transaction};
use crate::error::Error;

impl Transaction {
    /// Takes a session of the server that is to serve the transaction, as it stands now.
    pub(super) async fn lease(&self, reset: Reset) -> Result<Lease, Error> {
        if let Some(replica) = self.pool.replica() {
            // They may say SERIALIZABLE.
            let deadline = self.pool.deadline();
            self.pool.know_role_settings(deadline).await?;
            let of_role = self
                .pool
                .role_settings()
                .and_then(|settings| settings.of(self.scope.role())?.isolation);
            let is_for_it = {
                let state = self.lock();
                let isolation = state.isolation.or(of_role).unwrap_or_default();
                self.is_for_replica(&state, isolation)
            };
            if is_for_it && let Some(lease) = replica.acquire(reset).await? {
                return Ok(lease);
            }
        }
        self.pool.acquire(reset).await
    }

    /// Whether a replica may serve the transaction. A standby knows no SERIALIZABLE.
    pub(super) fn is_for_replica(&self, state: &State, isolation: Isolation) -> bool {
        state.mode == AccessMode::ReadOnly
            && isolation != Isolation::Serializable
            && !state.on_primary
            && !self
                .pool
                .writer(&self.scope)
                .is_some_and(|writer| writer.has_written())
    }
}
