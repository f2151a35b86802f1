//! [`RoleScopedConnection`]: what a handler sees of its transaction.

use std::fmt;
use std::sync::Arc;

use http::Extensions;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSqlOwned, ToSql, Type};

use super::pg::mode::{AccessMode, Isolation};
use super::pg::statement::Params;
use super::pg::transaction::Transaction;
use super::rows::{at_most_one, one, scalar};
use crate::auth::jwt::Claims;
use crate::error::{Error, ErrorKind};
use crate::role::RoleName;

/// Runs a handler's statements in one transaction, as the role that the request may act as.
///
/// It is a handle: cheap to clone, and all clones within a request share one transaction. It is lazy: the first
/// statement takes a connection from the pool and travels together with `BEGIN` and the switch to the role, in one
/// round trip. GET, HEAD and OPTIONS run `READ ONLY`.
///
/// The handler does not end it. [`RoleScopeLayer`](super::RoleScopeLayer) commits when the response's status is 2xx or
/// 3xx, and the response waits for that; anything else rolls back. From then on every use of the handle is an error.
/// A handler that knows its last statement can send `COMMIT` along with it, which saves a write one round trip:
/// [`query_and_commit`](Self::query_and_commit), [`execute_and_commit`](Self::execute_and_commit).
///
/// Its functions take SQL as text, prepare it once for each connection and role, and bind parameters as PostgreSQL's
/// own types. Text that comes from a client belongs into a parameter, never into the SQL: the handler's SQL is trusted.
///
/// # Cancel safety
///
/// A statement whose future is dropped goes on in the database, and those that follow wait behind it. When the request
/// is then answered with success, the end waits for it; otherwise it is cancelled. One that still waits for a connection,
/// or for its preparation, is not run.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use rolescope::RoleScopedConnection;
///
/// async fn tasks(db: RoleScopedConnection) -> Result<String, rolescope::Error> {
///     // Row-level security decides what is seen.
///     let tasks: Vec<String> = db.query_scalar("SELECT task FROM todos", &[]).await?;
///     Ok(tasks.join("\n"))
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct RoleScopedConnection {
    transaction: Arc<Transaction>,
}

/// Why a request has no connection: left in its extensions in place of one.
#[derive(Clone, Debug)]
pub(super) struct Refused(pub(super) Error);

pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];
pub(super) type TypedParameters<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

impl RoleScopedConnection {
    pub(super) fn new(transaction: Arc<Transaction>) -> Self {
        Self { transaction }
    }

    pub(super) fn transaction(&self) -> &Arc<Transaction> {
        &self.transaction
    }

    /// Returns the connection that [`RoleScopeLayer`](super::RoleScopeLayer) left in a request's extensions.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::MissingLayer`] where the layer is missing; [`ErrorKind::MissingToken`], [`ErrorKind::NoRole`] or
    /// [`ErrorKind::RoleRefused`] where the request has no role to act as.
    pub fn from_extensions(extensions: &Extensions) -> Result<Self, Error> {
        if let Some(connection) = extensions.get::<Self>() {
            return Ok(connection.clone());
        }
        Err(match extensions.get::<Refused>() {
            Some(Refused(error)) => error.clone(),
            None => Error::new(
                ErrorKind::MissingLayer,
                "no RoleScopeLayer has seen this request: add it inside of JwtAuthLayer and outside of the handlers \
                 (with Router::layer the last call is the outermost)",
            ),
        })
    }

    /// Returns the role that statements run as.
    pub fn role(&self) -> &RoleName {
        self.transaction.scope().role()
    }

    /// Returns the verified claims of the request's token, or `None` for an anonymous request.
    pub fn claims(&self) -> Option<&Claims> {
        self.transaction.scope().claims()
    }

    // --- how it runs ---

    /// Has the transaction run `READ ONLY`, whatever the request's method.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Statement`] after the first statement, [`ErrorKind::Finished`] after the end.
    pub fn read_only(&self) -> Result<(), Error> {
        self.transaction.set_mode(AccessMode::ReadOnly)
    }

    /// Has the transaction run `READ WRITE`, whatever the request's method.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Statement`] after the first statement, [`ErrorKind::Finished`] after the end.
    pub fn read_write(&self) -> Result<(), Error> {
        self.transaction.set_mode(AccessMode::ReadWrite)
    }

    /// Sets the isolation level. Defaults to `READ COMMITTED`, or what
    /// [`role_settings`](super::RoleScopedPoolBuilder::role_settings) has found for the role.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Statement`] after the first statement, [`ErrorKind::Finished`] after the end.
    pub fn isolation(&self, level: Isolation) -> Result<(), Error> {
        self.transaction.set_isolation(level)
    }

    /// Has the transaction run on the primary, also where it is `READ ONLY` and there is a replica: for a read that must
    /// see what was committed a moment ago.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Statement`] after the first statement, [`ErrorKind::Finished`] after the end.
    pub fn on_primary(&self) -> Result<(), Error> {
        self.transaction.set_on_primary()
    }

    // --- statements ---

    /// Runs a statement and returns its rows.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Database`] with what PostgreSQL said; see [`ErrorKind`] for the others. Every error of the database
    /// makes the whole transaction fail, unless a [`savepoint`](Self::savepoint) guards it.
    ///
    /// # Cancel safety
    ///
    /// See [the type](Self#cancel-safety).
    pub async fn query(&self, sql: &str, params: Parameters<'_>) -> Result<Vec<Row>, Error> {
        let answer = self.transaction.run(sql, Params::Inferred(params)).await?;
        Ok(answer.rows)
    }

    /// Runs a statement and returns its one row.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query), and [`ErrorKind::Statement`] where there is not exactly one row.
    ///
    /// # Cancel safety
    ///
    /// See [the type](Self#cancel-safety).
    pub async fn query_one(&self, sql: &str, params: Parameters<'_>) -> Result<Row, Error> {
        one(self.query(sql, params).await?)
    }

    /// Runs a statement and returns its row, if there is one.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query), and [`ErrorKind::Statement`] where there is more than one row.
    ///
    /// # Cancel safety
    ///
    /// See [the type](Self#cancel-safety).
    pub async fn query_opt(&self, sql: &str, params: Parameters<'_>) -> Result<Option<Row>, Error> {
        at_most_one(self.query(sql, params).await?)
    }

    /// Runs a statement and returns the one column of its rows.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query), and [`ErrorKind::Statement`] where there is not exactly one column or it is not a `T`.
    ///
    /// # Cancel safety
    ///
    /// See [the type](Self#cancel-safety).
    pub async fn query_scalar<T: FromSqlOwned>(
        &self,
        sql: &str,
        params: Parameters<'_>,
    ) -> Result<Vec<T>, Error> {
        self.query(sql, params).await?.iter().map(scalar).collect()
    }

    /// Runs a statement and returns the one column of its one row.
    ///
    /// # Errors
    ///
    /// As [`query_one`](Self::query_one) and [`query_scalar`](Self::query_scalar).
    ///
    /// # Cancel safety
    ///
    /// See [the type](Self#cancel-safety).
    pub async fn query_one_scalar<T: FromSqlOwned>(
        &self,
        sql: &str,
        params: Parameters<'_>,
    ) -> Result<T, Error> {
        scalar(&self.query_one(sql, params).await?)
    }

    /// Runs a statement and returns the one column of its row, if there is one.
    ///
    /// # Errors
    ///
    /// As [`query_opt`](Self::query_opt) and [`query_scalar`](Self::query_scalar).
    ///
    /// # Cancel safety
    ///
    /// See [the type](Self#cancel-safety).
    pub async fn query_opt_scalar<T: FromSqlOwned>(
        &self,
        sql: &str,
        params: Parameters<'_>,
    ) -> Result<Option<T>, Error> {
        self.query_opt(sql, params)
            .await?
            .as_ref()
            .map(scalar)
            .transpose()
    }

    /// Runs a statement and returns the number of rows that it changed, or returned.
    ///
    /// Where it is the transaction's last, [`execute_and_commit`](Self::execute_and_commit) saves a round trip.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    ///
    /// # Cancel safety
    ///
    /// See [the type](Self#cancel-safety).
    pub async fn execute(&self, sql: &str, params: Parameters<'_>) -> Result<u64, Error> {
        let answer = self.transaction.run(sql, Params::Inferred(params)).await?;
        Ok(answer.affected)
    }

    /// Runs a statement whose parameters' types are given, without keeping it prepared, and returns its rows.
    ///
    /// It suits texts that are made up as they are needed. The first time that the pool meets one, it is described to learn
    /// its columns, which takes a round trip more; so does one with columns of other types than PostgreSQL's own each time.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    ///
    /// # Cancel safety
    ///
    /// See [the type](Self#cancel-safety).
    pub async fn query_typed(
        &self,
        sql: &str,
        params: TypedParameters<'_>,
    ) -> Result<Vec<Row>, Error> {
        let answer = self.transaction.run(sql, Params::Typed(params)).await?;
        Ok(answer.rows)
    }

    /// Runs a statement as [`query_typed`](Self::query_typed) does and returns its one row.
    ///
    /// # Errors
    ///
    /// As [`query_one`](Self::query_one).
    ///
    /// # Cancel safety
    ///
    /// See [the type](Self#cancel-safety).
    pub async fn query_typed_one(
        &self,
        sql: &str,
        params: TypedParameters<'_>,
    ) -> Result<Row, Error> {
        one(self.query_typed(sql, params).await?)
    }

    /// Runs a statement as [`query_typed`](Self::query_typed) does and returns its row, if there is one.
    ///
    /// # Errors
    ///
    /// As [`query_opt`](Self::query_opt).
    ///
    /// # Cancel safety
    ///
    /// See [the type](Self#cancel-safety).
    pub async fn query_typed_opt(
        &self,
        sql: &str,
        params: TypedParameters<'_>,
    ) -> Result<Option<Row>, Error> {
        at_most_one(self.query_typed(sql, params).await?)
    }

    /// Runs a statement whose parameters' types are given, without preparing it, and returns the number of rows that it
    /// changed, or returned. It never takes a round trip more.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    ///
    /// # Cancel safety
    ///
    /// See [the type](Self#cancel-safety).
    pub async fn execute_typed(
        &self,
        sql: &str,
        params: TypedParameters<'_>,
    ) -> Result<u64, Error> {
        self.transaction.run_command(sql, params).await
    }

    /// Runs several statements, separated by semicolons, without parameters.
    ///
    /// The SQL must not end the transaction or leave the role: where it does, the response becomes a 500.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    ///
    /// # Cancel safety
    ///
    /// See [the type](Self#cancel-safety).
    pub async fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        self.transaction.run_batch(sql).await
    }
}

impl fmt::Debug for RoleScopedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleScopedConnection")
            .field("role", self.role())
            .finish_non_exhaustive()
    }
}
