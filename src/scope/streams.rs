//! Rows and COPY as streams of a handler.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio_postgres::{CopyOutStream, Row};

use super::connection::{Parameters, RoleScopedConnection, TypedParameters};
use super::pg::copy_in;
use super::pg::statement::Params;
use super::pg::stream::OpenStream;
use crate::error::Error;

impl RoleScopedConnection {
    /// Runs a statement and returns its rows as a stream, for results of any size.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query). An error in mid-stream comes from the stream.
    ///
    /// # Cancel safety
    ///
    /// See [the type](Self#cancel-safety).
    pub async fn query_stream(
        &self,
        sql: &str,
        params: Parameters<'_>,
    ) -> Result<RowStream, Error> {
        let rows = self
            .transaction()
            .rows(sql, Params::Inferred(params))
            .await?;
        Ok(RowStream(rows))
    }

    /// Runs a statement as [`query_typed`](Self::query_typed) does and returns its rows as a stream.
    ///
    /// # Errors
    ///
    /// As [`query_stream`](Self::query_stream).
    ///
    /// # Cancel safety
    ///
    /// See [the type](Self#cancel-safety).
    pub async fn query_typed_stream(
        &self,
        sql: &str,
        params: TypedParameters<'_>,
    ) -> Result<RowStream, Error> {
        let rows = self.transaction().rows(sql, Params::Typed(params)).await?;
        Ok(RowStream(rows))
    }

    /// Runs `COPY .. TO STDOUT` and returns what the server sends.
    ///
    /// COPY takes no parameters, and its text no text that comes from a client.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query), and [`ErrorKind::Statement`](crate::ErrorKind::Statement) for a statement that is no COPY. One that is not `TO STDOUT`
    /// makes the whole transaction fail.
    ///
    /// # Cancel safety
    ///
    /// See [the type](Self#cancel-safety).
    pub async fn copy_out(&self, sql: &str) -> Result<CopyOut, Error> {
        Ok(CopyOut(self.transaction().copy_out(sql).await?))
    }

    /// Runs `COPY .. FROM STDIN` and returns what takes its data.
    ///
    /// COPY takes no parameters, and its text no text that comes from a client. Row-level security does not go together
    /// with `COPY .. FROM`: PostgreSQL refuses it for a role that policies bind. Copy into a table without policies, a
    /// temporary one for example, and `INSERT .. SELECT` from there. That takes `GRANT TEMPORARY ON DATABASE`, which the
    /// example `roles.sql` revokes.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query), and [`ErrorKind::Statement`](crate::ErrorKind::Statement) for a statement that is no COPY. A COPY that is refused, or not
    /// `FROM STDIN`, makes the whole transaction fail; no savepoint guards against that.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future makes the whole transaction fail.
    pub async fn copy_in(&self, sql: &str) -> Result<CopyIn, Error> {
        Ok(CopyIn(self.transaction().copy_in(sql).await?))
    }
}

/// Yields the rows of a statement one by one. Made by
/// [`RoleScopedConnection::query_stream`](RoleScopedConnection::query_stream).
///
/// It is a [`Stream`], and made to become a response's body: PostgreSQL sends as fast as the client reads, and no more
/// than a few rows are held at any time. It belongs to its transaction:
///
/// - While the response's body holds it, a `READ ONLY` transaction goes on until the body ends.
/// - A `READ WRITE` one does so only where the handler has said
///   [`commit_at_end_of_body`](RoleScopedConnection::commit_at_end_of_body). Otherwise a stream that is open when the
///   handler answers makes a 500 and a rollback.
/// - When the transaction ends, the stream yields an error of kind [`Finished`](crate::ErrorKind::Finished).
///
/// Dropped half-way, it leaves the server sending: later statements of the transaction wait for that, and so does
/// [`commit`](RoleScopedConnection::commit). The response's end stops it in a `READ ONLY` transaction, which is rolled back
/// then: a `NOTIFY` in it, the one thing that such a transaction can do, is lost unless the handler says `commit`.
///
/// Do not wait for another statement of the transaction while rows are left unread: its answer stands behind them.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::body::Body;
/// use futures_util::TryStreamExt;
/// use rolescope::RoleScopedConnection;
///
/// /// Sends a table as lines of JSON, however long it is.
/// async fn export(db: RoleScopedConnection) -> Result<Body, rolescope::Error> {
///     let rows = db.query_stream("SELECT to_jsonb(t)::text FROM todos t", &[]).await?;
///     let lines = rows.and_then(async |row| Ok(row.try_get::<_, String>(0)? + "\n"));
///     Ok(Body::from_stream(lines))
/// }
/// # }
/// ```
#[must_use = "rows that are not read keep the transaction busy"]
pub struct RowStream(OpenStream<tokio_postgres::RowStream>);

impl RowStream {
    /// Returns the next row, or `None` behind the last.
    ///
    /// # Errors
    ///
    /// As [`RoleScopedConnection::query`](RoleScopedConnection::query). The transaction has failed then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no row.
    pub async fn next(&mut self) -> Option<Result<Row, Error>> {
        poll_fn(|cx| self.0.poll_item(cx)).await
    }
}

impl Stream for RowStream {
    type Item = Result<Row, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_item(cx)
    }
}

impl fmt::Debug for RowStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowStream").finish_non_exhaustive()
    }
}

/// Yields the data that `COPY .. TO STDOUT` sends. Made by
/// [`RoleScopedConnection::copy_out`](RoleScopedConnection::copy_out).
///
/// It belongs to its transaction as [`RowStream`] does.
#[must_use = "data that is not read keeps the transaction busy"]
pub struct CopyOut(OpenStream<CopyOutStream>);

impl CopyOut {
    /// Returns the next piece of data, or `None` behind the last.
    ///
    /// # Errors
    ///
    /// As [`RowStream::next`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no data.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        poll_fn(|cx| self.0.poll_item(cx)).await
    }
}

impl Stream for CopyOut {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_item(cx)
    }
}

impl fmt::Debug for CopyOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyOut").finish_non_exhaustive()
    }
}

/// Takes the data of a `COPY .. FROM STDIN`. Made by
/// [`RoleScopedConnection::copy_in`](RoleScopedConnection::copy_in).
///
/// Nothing counts before [`finish`](Self::finish) has returned: dropped without it, the COPY is undone and its whole
/// transaction is given up, whatever savepoints were set. While it is open no other statement of the transaction can be sent: that is an error. It is a
/// [`Sink`] as well, whose closing finishes.
///
/// # Examples
///
/// ```no_run
/// # async fn example(db: rolescope::RoleScopedConnection) -> Result<(), rolescope::Error> {
/// let mut copy = db.copy_in("COPY todos (task) FROM STDIN").await?;
/// copy.send("buy milk\n").await?;
/// copy.send("call mother\n").await?;
/// assert_eq!(copy.finish().await?, 2);
/// # Ok(())
/// # }
/// ```
#[must_use = "a COPY that is not finished fails its transaction"]
pub struct CopyIn(OpenStream<copy_in::CopyIn>);

impl CopyIn {
    /// Sends data, in pieces of any size. It waits where the server is slower than the caller.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ConnectionLost`](crate::ErrorKind::ConnectionLost). What the server finds wrong with the data is said by
    /// [`finish`](Self::finish).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future can leave the data unsent.
    pub async fn send(&mut self, data: impl Into<Bytes>) -> Result<(), Error> {
        poll_fn(|cx| self.0.poll_ready(cx)).await?;
        self.0.start_send(data.into())
    }

    /// Ends the data, and returns the number of rows once the server has taken all of it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Database`](crate::ErrorKind::Database) where the server refuses the data or a row of it. The transaction
    /// has failed then, unless a savepoint was set before. It is given up, whatever savepoints were set, where the server
    /// reads no data at all: for a view, or since a trigger of the statement refuses it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future makes the whole transaction fail.
    pub async fn finish(mut self) -> Result<u64, Error> {
        poll_fn(|cx| self.0.poll_finish(cx)).await
    }
}

impl Sink<Bytes> for CopyIn {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, data: Bytes) -> Result<(), Error> {
        self.0.start_send(data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_finish(cx).map_ok(|_| ())
    }
}

impl fmt::Debug for CopyIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyIn").finish_non_exhaustive()
    }
}
