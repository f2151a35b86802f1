//! The test kit: its tokens are what their names say, its issuer fails as told, and its statements run as the role.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod complete;
#[cfg(feature = "jwks")]
mod issuer;
mod mint;
mod role;
