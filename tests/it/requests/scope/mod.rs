//! The database side: from the first statement to the reset.

mod cancel;
mod ending;
mod late_cancel;
mod lost_connections;
mod pool;
mod release;
mod resting;
mod role_settings;
mod round_trips;
mod setup;
mod statements;
mod switch;
