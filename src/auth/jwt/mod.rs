//! Verifies one token.

mod claims;
mod error;

pub use claims::Claims;
pub use error::TokenError;

/// Verifies tokens.
#[derive(Clone, Debug)]
pub struct JwtVerifier;
