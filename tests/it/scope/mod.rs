//! The database side: from the first statement to the reset.

mod lost_connections;
mod pool;
mod round_trips;
mod switch;
