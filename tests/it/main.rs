//! Every test against a real PostgreSQL or over real HTTP, in one binary.

#[cfg(all(
    feature = "axum",
    feature = "postgres",
    feature = "issuer",
    feature = "aws-lc-rs"
))]
mod accounts;
#[cfg(any(feature = "aws-lc-rs", feature = "rust-crypto"))]
mod auth;
#[cfg(any(feature = "aws-lc-rs", feature = "rust-crypto"))]
mod fuzz;
#[cfg(all(
    feature = "axum",
    feature = "postgres",
    feature = "jwks-client",
    feature = "aws-lc-rs",
    feature = "issuer"
))]
mod github;
#[cfg(all(feature = "postgres", feature = "aws-lc-rs"))]
mod hyper_server;
#[cfg(all(
    feature = "issuer",
    any(feature = "aws-lc-rs", feature = "rust-crypto")
))]
mod issuer;
#[cfg(feature = "postgres")]
mod local_postgres;
#[cfg(all(
    feature = "axum",
    feature = "postgres",
    feature = "jwks-client",
    feature = "aws-lc-rs"
))]
mod oidc;
#[cfg(all(feature = "axum", feature = "postgres"))]
mod readme;
#[cfg(all(
    feature = "axum",
    feature = "postgres",
    any(feature = "aws-lc-rs", feature = "rust-crypto")
))]
mod requests;
#[cfg(all(
    feature = "axum",
    feature = "postgres",
    any(feature = "aws-lc-rs", feature = "rust-crypto")
))]
mod row_level_security;
#[cfg(all(feature = "axum", feature = "postgres", feature = "aws-lc-rs"))]
mod soak;
#[cfg(feature = "postgres")]
mod sql_files;
#[cfg(feature = "postgres")]
mod support;
#[cfg(all(
    feature = "testing",
    any(feature = "aws-lc-rs", feature = "rust-crypto")
))]
mod testing;
mod tidy;
#[cfg(all(
    feature = "axum",
    feature = "postgres",
    feature = "tls",
    feature = "aws-lc-rs"
))]
mod tls_example;
#[cfg(all(
    feature = "axum",
    feature = "postgres",
    feature = "issuer",
    feature = "aws-lc-rs"
))]
mod todos;
#[cfg(all(feature = "postgres", feature = "tonic", feature = "aws-lc-rs"))]
mod tonic_server;
#[cfg(all(
    feature = "axum",
    feature = "postgres",
    feature = "jwks-client",
    feature = "aws-lc-rs"
))]
mod whoami;
