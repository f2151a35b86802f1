//! The test kit: its tokens are what their names say, its issuer fails as told, and its statements run as the role.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[cfg(all(feature = "axum", feature = "postgres"))]
mod complete;
#[cfg(feature = "jwks")]
mod issuer;
mod mint;
#[cfg(all(feature = "axum", feature = "postgres"))]
mod role;
