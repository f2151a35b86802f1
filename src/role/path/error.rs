//! Why a path, or what stands at its end, is refused.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

/// Says where a text stops being a [`RolePath`](super::RolePath), and what was expected there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolePathError {
    pub(super) position: usize,
    pub(super) expected: Cow<'static, str>,
}

/// Says why the claims, though there is something where the role should stand, have no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoleClaimError {
    /// The role claim is something other than a string.
    NotAString {
        /// What it is, in JSON's words.
        found: &'static str,
    },
    /// The claims are not one JSON object, are nested too deeply, or have two role claims.
    Malformed,
}

impl RolePathError {
    pub(super) fn new(position: usize, expected: &'static str) -> Self {
        Self {
            position,
            expected: expected.into(),
        }
    }

    /// Returns how many bytes of the text could be read.
    pub fn position(&self) -> usize {
        self.position
    }
}

impl fmt::Display for RolePathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the role path is wrong at byte {}: expected {}",
            self.position, self.expected
        )
    }
}

impl StdError for RolePathError {}

impl fmt::Display for RoleClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAString { found } => write!(
                f,
                "the role claim is {found}, not a string: let the path lead to a string, say RolePolicy::prefer where it leads to a list of strings, or let the issuer write one"
            ),
            Self::Malformed => f.write_str(
                "the claims are not one JSON object of moderate depth with one role claim",
            ),
        }
    }
}

impl StdError for RoleClaimError {}
