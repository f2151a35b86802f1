//! Why a token is refused.
use std::fmt;

/// Says why a token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenError {
    /// `exp` has passed.
    Expired,
}

impl TokenError {
    /// Returns the text that the client reads as `error_description`.
    pub const fn as_str(self) -> &'static str {
        "the token has expired"
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for TokenError {}
