//! The layer and the extractors, over mock services; `abuse` over sockets.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![cfg(any(feature = "aws-lc-rs", feature = "rust-crypto"))]

mod abuse;
mod as_a_service;
#[cfg(feature = "axum")]
mod extract;
#[cfg(feature = "jwks-client")]
mod jwks;
mod layer;
pub(crate) mod mint;
mod postgrest;
