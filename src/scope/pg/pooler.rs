//! [`Pooler`]: what stands between the pool and PostgreSQL.

use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Column, Error as PgError};

/// Says how the connection pooler before PostgreSQL shares its server connections.
///
/// It changes what the pool sends, so that it holds on server connections that others use in turn:
///
/// - No startup options. What [`resting_role`] would have them say, `ALTER ROLE authenticator SET role = 'anon'` says in
///   the database; where it does not, each request waits one round trip more and the log warns once.
///   [`statement_timeout`], [`idle_in_transaction_timeout`] and the URL's `application_name` are set in each transaction
///   instead, and are gone with it. `options` in the URL are refused.
/// - No named statements stay on a server connection. Those of handlers are sent unnamed, with the types of their
///   parameters; those types are learned once for all connections of the pool, by one round trip more.
/// - The reset travels in the message of `COMMIT` or `ROLLBACK`, and the answer to a `COMMIT` waits for it. A server
///   connection that could not be reset is closed.
///
/// What a transaction pooler cannot keep is lost with it: advisory locks of the session end just *before* `COMMIT`
/// (`pg_advisory_xact_lock` holds until after it). Types that are not PostgreSQL's own, enums for example, work, but the
/// driver asks the server for them in every transaction that meets one, and the connection to the pooler is made anew
/// after it; the log says so once. A cast in the SQL avoids that: `SELECT mood::text`.
///
/// It is tested with PgBouncer 1.18. In 1.21 leave `max_prepared_statements` at 0: only later ones notice `DEALLOCATE ALL`.
/// <https://www.pgbouncer.org/features.html>
///
/// [`resting_role`]: super::builder::RoleScopedPoolBuilder::resting_role
/// [`statement_timeout`]: super::builder::RoleScopedPoolBuilder::statement_timeout
/// [`idle_in_transaction_timeout`]: super::builder::RoleScopedPoolBuilder::idle_in_transaction_timeout
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pooler {
    /// Each transaction may have another server connection, as with PgBouncer's `pool_mode = transaction`. It serves for
    /// `pool_mode = session` as well.
    Transaction,
}

/// What to do about a pooler that the pool does not know of.
pub(crate) const CURE: &str =
    "say RoleScopedPoolBuilder::pooler(Pooler::Transaction), or connect to PostgreSQL itself";

/// Whether an attempt to connect was refused for its startup options. PgBouncer has one code for whatever it refuses.
pub(crate) fn refuses_options(error: &PgError) -> bool {
    error.as_db_error().is_some_and(|error| {
        let code = error.code();
        *code == SqlState::FEATURE_NOT_SUPPORTED
            || *code == SqlState::PROTOCOL_VIOLATION
                && error.message().contains("startup parameter")
    })
}

/// Whether the driver had to ask the server for the type of a column: by statements that it keeps the names of, and that
/// the next server connection does not have.
pub(crate) fn were_looked_up(columns: &[Column]) -> bool {
    columns.iter().any(|column| is_looked_up(column.type_()))
}

/// Whether the driver has to ask the server for a type.
pub(crate) fn is_looked_up(ty: &Type) -> bool {
    Type::from_oid(ty.oid()).is_none()
}
