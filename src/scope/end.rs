//! How a handler ends its transaction itself, or says when it ends.

use super::connection::RoleScopedConnection;
use super::savepoint::Savepoint;
use crate::error::Error;
#[cfg(doc)]
use crate::error::ErrorKind;

impl RoleScopedConnection {
    /// Sets a savepoint: an error behind it can be rolled back without losing what came before.
    ///
    /// Savepoints nest. They do not fence off other handles: a statement of another clone falls on this side of the
    /// savepoint or the other as it is sent.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future can leave the savepoint set, which harms nothing.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(db: rolescope::RoleScopedConnection) -> Result<(), rolescope::Error> {
    /// let savepoint = db.savepoint().await?;
    /// match db.execute("INSERT INTO tags (name) VALUES ($1)", &[&"rust"]).await {
    ///     Ok(_) => savepoint.release().await?,
    ///     Err(_) => savepoint.rollback().await?,
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn savepoint(&self) -> Result<Savepoint, Error> {
        Savepoint::set(self).await
    }

    /// Commits now, whatever the response will be. Later use of any handle of the request is an error.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TransactionAborted`] where a statement had failed, [`ErrorKind::Database`] where COMMIT itself was
    /// refused, [`ErrorKind::CommitUnknown`] where the connection was lost meanwhile. A 2xx response is then replaced by
    /// this error, even if the handler ignores it.
    ///
    /// # Cancel safety
    ///
    /// COMMIT is sent at the first poll and never cancelled. If the future is dropped before it is answered, a 2xx
    /// response becomes a 500 that says that the outcome is unknown. It waits for the statements sent before: do not keep
    /// one of their futures unpolled meanwhile.
    pub async fn commit(&self) -> Result<(), Error> {
        self.transaction().commit().await
    }

    /// Has the transaction end with the response's body, not with its head: for a body that is made by statements, or of a
    /// stream that may write.
    ///
    /// Until then the connection stays usable. The COMMIT comes when the body has come to its end; if that fails, the body
    /// ends with an error and never cleanly, since its status has long been sent. A body that fails itself, or is not read
    /// to its end, rolls back. An HTTP/1.0 client could not tell the one from the other: there, a transaction that may write
    /// is rolled back and the answer is a 500.
    ///
    /// gRPC responses, which tell their status at the end, need no such word. Outside of requests it has no effect.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Finished`] after the end.
    pub fn commit_at_end_of_body(&self) -> Result<(), Error> {
        self.transaction().end_with_body()
    }

    /// Rolls back now, whatever the response will be. Later use of any handle of the request is an error.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ConnectionLost`] where the connection was lost: the transaction is rolled back all the same.
    ///
    /// # Cancel safety
    ///
    /// ROLLBACK is sent at the first poll.
    pub async fn rollback(&self) -> Result<(), Error> {
        self.transaction().rollback().await
    }
}
