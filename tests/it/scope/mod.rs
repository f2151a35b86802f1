//! The database side: from the first statement to the reset.

mod round_trips;
mod switch;
