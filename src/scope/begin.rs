//! Connections for what is no request: jobs and tests.

use std::sync::Arc;

use super::RoleScopedConnection;
use super::pg::mode::AccessMode;
use super::pg::pool::RoleScopedPool;
use super::pg::switch::RequestSettings;
use super::pg::transaction::Transaction;
use crate::role::RoleScope;

impl RoleScopedPool {
    /// Makes a connection that runs as `scope`, outside of any HTTP request: for jobs and tests.
    ///
    /// It is lazy, as in a handler: the first statement takes a connection and begins the transaction, `READ WRITE`
    /// unless [`read_only`](RoleScopedConnection::read_only) was said. Nothing is stored without
    /// [`commit`](RoleScopedConnection::commit); when the last clone is dropped, the transaction is rolled back.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(pool: rolescope::RoleScopedPool) -> Result<(), Box<dyn std::error::Error>> {
    /// use rolescope::role::{RoleName, RoleScope};
    ///
    /// let db = pool.begin(&RoleScope::for_role(RoleName::parse("reporter")?));
    /// db.execute("REFRESH MATERIALIZED VIEW daily", &[]).await?;
    /// db.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn begin(&self, scope: &RoleScope) -> RoleScopedConnection {
        RoleScopedConnection::new(Arc::new(Transaction::new(
            self.clone(),
            scope.clone(),
            RequestSettings::default(),
            AccessMode::ReadWrite,
        )))
    }
}
