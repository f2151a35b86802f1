//! Keeps a set of revocations as it stands in the database.

mod builder;
mod session;
mod task;

pub use builder::{DangerousRevocationListener, RevocationListener, RevocationListenerBuilder};
