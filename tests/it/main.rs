//! Every test against a real PostgreSQL or over real HTTP, in one binary.

#[cfg(all(feature = "axum", feature = "postgres"))]
mod composition;
#[cfg(all(feature = "axum", feature = "postgres"))]
mod errors;
#[cfg(feature = "postgres")]
mod local_postgres;
#[cfg(all(feature = "axum", feature = "postgres"))]
mod logs;
#[cfg(all(feature = "axum", feature = "postgres"))]
mod over_http;
#[cfg(feature = "postgres")]
mod scope;
#[cfg(feature = "postgres")]
mod sql_files;
#[cfg(feature = "postgres")]
mod support;
