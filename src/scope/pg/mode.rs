//! How a transaction runs: access mode and isolation level.

/// Says whether a request's transaction may write: its access mode.
///
/// GET, HEAD and OPTIONS run `READ ONLY`, everything else `READ WRITE`, unless the route or the handler says otherwise.
///
/// <https://www.postgresql.org/docs/current/sql-set-transaction.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "SQL has these two")]
pub enum AccessMode {
    /// The transaction can change nothing.
    ReadOnly,
    /// The transaction can do what its role may do.
    ReadWrite,
}

/// Says what a request's transaction sees of others: its isolation level. `READ COMMITTED` is the default.
///
/// <https://www.postgresql.org/docs/current/transaction-iso.html>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "PostgreSQL has these three")]
pub enum Isolation {
    /// Each statement sees what was committed before it began.
    #[default]
    ReadCommitted,
    /// All statements see what was committed before the first began.
    RepeatableRead,
    /// As if the transactions had run one after the other. The end of a read is awaited too: only once it is committed
    /// can what it read be relied on.
    Serializable,
}

impl Isolation {
    /// Reads the value of the setting `default_transaction_isolation`.
    pub(crate) fn from_setting(value: &str) -> Option<Self> {
        match value.to_ascii_lowercase().as_str() {
            "read committed" | "read uncommitted" => Some(Self::ReadCommitted),
            "repeatable read" => Some(Self::RepeatableRead),
            "serializable" => Some(Self::Serializable),
            _ => None,
        }
    }
}
