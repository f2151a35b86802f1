//! The verified claims of a token.
use std::sync::Arc;

/// The verified claims of a token.
#[derive(Clone, Debug)]
pub struct Claims(Arc<str>);

impl Claims {
    /// Returns the claims as JSON text, exactly as they were signed.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}
