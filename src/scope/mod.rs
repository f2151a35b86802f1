//! What they may do: the transaction that runs as the decided role.

mod access_mode;
mod connection;
#[cfg(feature = "axum")]
mod extract;
mod layer;
mod outcome;
pub(crate) mod pg;
mod savepoint;

pub use access_mode::WithAccessMode;
pub use connection::RoleScopedConnection;
pub use layer::{ResponseFuture, RoleScopeLayer, RoleScopeService};
pub use pg::builder::RoleScopedPoolBuilder;
pub use pg::mode::{AccessMode, Isolation};
pub use pg::pool::{PoolStatus, RoleScopedPool};
pub use pg::setup::{SetupProblem, SetupProblemKind};
pub use pg::setup_error::SetupError;
pub use savepoint::Savepoint;
