//! How a handler ends its transaction itself, or says when it ends.

use tokio_postgres::Row;

use super::connection::{Parameters, RoleScopedConnection};
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
    /// refused, [`ErrorKind::CommitUnknown`] where the connection was lost meanwhile, or where `BEGIN` itself was not
    /// answered before; where statements got no connection, what they were told. A 2xx response is then replaced by this
    /// error, even if the handler ignores it.
    ///
    /// # Cancel safety
    ///
    /// COMMIT is sent at the first poll and never cancelled. If the future is dropped before it is answered, a 2xx
    /// response becomes a 500 that says that the outcome is unknown. It waits for the statements sent before: do not keep
    /// one of their futures unpolled meanwhile.
    pub async fn commit(&self) -> Result<(), Error> {
        self.transaction().commit().await
    }

    /// Runs the transaction's last statement and commits, and returns the statement's rows: both in one round trip, and with
    /// `BEGIN` and the switch in the same one where it is the first statement, too.
    ///
    /// So a write of one statement takes one round trip; by [`query`](Self::query), with the `COMMIT` that the response
    /// waits for, it takes two. It is a [`commit`](Self::commit), whatever the response will be, and later use of any
    /// handle of the request is an error. Where the statement fails, nothing is committed. What is wrong with its rows
    /// only the handler can tell, and too late: there is no form that wants exactly one.
    ///
    /// The first use of a statement on a connection takes a round trip more. Behind a [pooler](super::Pooler) it is a
    /// [`query`](Self::query) and a [`commit`](Self::commit), one after the other. Where it is the first statement, too, it
    /// waits until the connection's last reset is answered, as others need not: a `COMMIT` cannot be taken back.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query) and [`commit`](Self::commit); [`ErrorKind::Statement`] where a stream is open. A statement
    /// that is the first of its transaction, too, is not sent again where the connection is lost before `BEGIN` is answered,
    /// as others are: that is [`ErrorKind::CommitUnknown`].
    ///
    /// # Cancel safety
    ///
    /// Statement and `COMMIT` are sent together and never cancelled. If the future is dropped before they are answered, a
    /// 2xx response becomes a 500 that says that the outcome is unknown. Dropped before they are sent, while it waits for
    /// a connection or prepares the statement, it rolls the transaction back, and a 2xx response becomes a 500 all the same.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(db: rolescope::RoleScopedConnection, task: &str) -> Result<(), rolescope::Error> {
    /// let rows = db.query_and_commit("INSERT INTO todos (task) VALUES ($1) RETURNING id", &[&task]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn query_and_commit(
        &self,
        sql: &str,
        params: Parameters<'_>,
    ) -> Result<Vec<Row>, Error> {
        Ok(self.transaction().run_last(sql, params).await?.rows)
    }

    /// Runs the transaction's last statement and commits, as [`query_and_commit`](Self::query_and_commit) does, and returns
    /// the number of rows that the statement changed, or returned.
    ///
    /// # Errors
    ///
    /// As [`query_and_commit`](Self::query_and_commit).
    ///
    /// # Cancel safety
    ///
    /// As [`query_and_commit`](Self::query_and_commit).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(db: rolescope::RoleScopedConnection, id: i32) -> Result<(), rolescope::Error> {
    /// db.execute_and_commit("UPDATE todos SET done = true WHERE id = $1", &[&id]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn execute_and_commit(
        &self,
        sql: &str,
        params: Parameters<'_>,
    ) -> Result<u64, Error> {
        Ok(self.transaction().run_last(sql, params).await?.affected)
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
    /// A handler that can answer without the database says it where there was no connection to be had: a 2xx stands then.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ConnectionLost`] where the connection was lost, [`ErrorKind::Unavailable`] where ROLLBACK was not answered
    /// within `reset_timeout`: the session is closed, and the transaction rolled back all the same.
    ///
    /// # Cancel safety
    ///
    /// ROLLBACK is sent at the first poll.
    pub async fn rollback(&self) -> Result<(), Error> {
        self.transaction().rollback().await
    }
}
