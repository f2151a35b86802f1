//! The PostgreSQL side, without HTTP.

pub(crate) mod sqlstate;
