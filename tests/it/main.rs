//! Every test against a real PostgreSQL or over real HTTP, in one binary.

#[cfg(any(feature = "aws-lc-rs", feature = "rust-crypto"))]
mod auth;
#[cfg(all(
    feature = "axum",
    feature = "postgres",
    any(feature = "aws-lc-rs", feature = "rust-crypto")
))]
mod errors;
#[cfg(feature = "postgres")]
mod local_postgres;
#[cfg(all(
    feature = "axum",
    feature = "postgres",
    any(feature = "aws-lc-rs", feature = "rust-crypto")
))]
mod logs;
#[cfg(all(
    feature = "axum",
    feature = "postgres",
    any(feature = "aws-lc-rs", feature = "rust-crypto")
))]
mod scope;
#[cfg(all(
    feature = "axum",
    feature = "postgres",
    any(feature = "aws-lc-rs", feature = "rust-crypto")
))]
mod seeds;
#[cfg(feature = "postgres")]
mod sql_files;
#[cfg(feature = "postgres")]
mod support;
mod tidy;
#[cfg(all(feature = "axum", feature = "postgres", feature = "aws-lc-rs"))]
mod todos;
#[cfg(all(feature = "axum", feature = "postgres", feature = "aws-lc-rs"))]
mod whoami;
