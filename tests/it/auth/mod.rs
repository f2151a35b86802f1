//! The layer and the extractors, over mock services: no database, no socket.
#![cfg(any(feature = "aws-lc-rs", feature = "rust-crypto"))]

#[cfg(feature = "axum")]
mod extract;
mod layer;
mod mint;
