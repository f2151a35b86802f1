//! The database side: from the first statement to the reset.

mod lost_connections;
mod pool;
mod resting;
mod role_settings;
mod round_trips;
mod setup;
mod switch;
