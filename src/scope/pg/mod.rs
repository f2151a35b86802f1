//! The PostgreSQL side, without HTTP.

mod attempts;
pub(crate) mod builder;
mod cancel;
pub(crate) mod connect;
mod connecting;
pub(crate) mod connection;
pub(crate) mod control;
pub(crate) mod copy_in;
pub(crate) mod ending;
mod error;
pub(crate) mod finish;
mod first_use;
mod gate;
pub(crate) mod hidden;
mod judgement;
mod last;
pub(crate) mod lease;
pub(crate) mod manager;
pub(crate) mod mode;
pub(crate) mod opening;
pub(crate) mod pool;
pub(crate) mod pooler;
mod recent_writes;
mod replica;
pub(crate) mod revocation;
pub(crate) mod role_settings;
mod route;
pub(crate) mod session;
pub(crate) mod setup;
pub(crate) mod setup_error;
pub(crate) mod statement;
pub(crate) mod statements;
pub(crate) mod stream;
pub(crate) mod switch;
mod tables;
mod target;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "without_tls.rs"]
mod tls;
pub(crate) mod transaction;
mod typed;
mod url;
