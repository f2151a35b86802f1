//! Savepoints of a request's transaction.

use super::RoleScopedConnection;
use crate::error::Error;

/// Marks a point of the transaction that it can be rolled back to. See [`RoleScopedConnection::savepoint`].
///
/// Dropping it without a word keeps what was done behind it, as PostgreSQL does: an error behind it still makes the
/// whole transaction fail.
#[derive(Debug)]
#[must_use = "a savepoint guards nothing unless it is rolled back to after an error"]
pub struct Savepoint {
    connection: RoleScopedConnection,
    number: u32,
}

impl Savepoint {
    pub(super) async fn set(connection: &RoleScopedConnection) -> Result<Self, Error> {
        let savepoint = Self {
            connection: connection.clone(),
            number: connection.transaction().next_savepoint(),
        };
        savepoint.run("SAVEPOINT").await?;
        Ok(savepoint)
    }

    /// Keeps what was done since the savepoint was set, and forgets it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Database`](crate::ErrorKind::Database) where a statement behind it has failed, or where it is gone
    /// since one set before it was released or rolled back to.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future can leave the savepoint set, which harms nothing.
    pub async fn release(self) -> Result<(), Error> {
        self.run("RELEASE SAVEPOINT").await
    }

    /// Undoes what was done since the savepoint was set, and forgets it. A transaction that failed behind it goes on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Database`](crate::ErrorKind::Database) where it is gone since one set before it was released or
    /// rolled back to.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future can leave some of the work undone and some not: then roll back the whole.
    pub async fn rollback(self) -> Result<(), Error> {
        self.run("ROLLBACK TO SAVEPOINT").await?;
        self.run("RELEASE SAVEPOINT").await
    }

    async fn run(&self, command: &str) -> Result<(), Error> {
        // A number of ours, never a text of somebody else's.
        let sql = format!("{command} rolescope_{}", self.number);
        self.connection.execute_typed(&sql, &[]).await?;
        Ok(())
    }
}
