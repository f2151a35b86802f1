//! The database side: from the first statement to the reset.

mod abandoned;
mod as_a_service;
pub(super) mod cancel;
mod ending;
mod last_statement;
mod late_cancel;
mod lost_connections;
mod odd_requests;
mod pieces;
mod pipelined;
mod pool;
mod release;
mod resting;
mod role_settings;
mod round_trips;
mod setup;
mod statements;
mod switch;
mod tables;
mod unreset;
