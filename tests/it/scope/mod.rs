//! The database side: from the first statement to the reset.

mod switch;
