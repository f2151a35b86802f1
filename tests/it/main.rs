//! Every test against a real PostgreSQL or over real HTTP, in one binary.

#[cfg(feature = "postgres")]
mod local_postgres;
#[cfg(feature = "postgres")]
mod scope;
#[cfg(feature = "postgres")]
mod seeds;
#[cfg(feature = "postgres")]
mod sql_files;
#[cfg(feature = "postgres")]
mod support;
