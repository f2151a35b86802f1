//! The database side: from the first statement to the reset.

mod cancel;
mod ending;
mod release;
mod statements;
mod switch;
