//! The PostgreSQL side, without HTTP.

pub(crate) mod builder;
pub(crate) mod connect;
pub(crate) mod connection;
pub(crate) mod ending;
mod error;
mod gate;
pub(crate) mod hidden;
pub(crate) mod lease;
pub(crate) mod manager;
pub(crate) mod mode;
pub(crate) mod opening;
pub(crate) mod pool;
mod recent_writes;
mod replica;
pub(crate) mod role_settings;
mod route;
pub(crate) mod session;
pub(crate) mod setup;
pub(crate) mod setup_error;
pub(crate) mod statement;
pub(crate) mod statements;
pub(crate) mod switch;
pub(crate) mod transaction;
