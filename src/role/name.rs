//! The name of a database role.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// PostgreSQL's `NAMEDATALEN - 1`.
const MAX_BYTES: usize = 63;

/// Holds the name of a database role, checked so that PostgreSQL cannot take it for another one.
///
/// Everything that PostgreSQL allows in a name is allowed here, case-sensitively and without quoting: `web_user`,
/// `Web User` and `o'neill` are three good names. A name is only ever sent to the database as a bound value.
///
/// A `RoleName` does not say that the role exists, nor that anybody may act as it. It is cheap to clone.
///
/// # Examples
///
/// ```
/// use rolescope::role::{RoleName, RoleNameError};
///
/// let role = RoleName::parse("web_user")?;
/// assert_eq!(role.as_str(), "web_user");
///
/// // PostgreSQL reads this as "the role that logged in".
/// assert_eq!(RoleName::parse("none"), Err(RoleNameError::MeansLoginRole));
/// # Ok::<(), RoleNameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleName(Arc<str>);

/// Says why a text cannot be the name of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RoleNameError {
    /// The text is empty.
    Empty,
    /// The text is `none`, in whatever case: to PostgreSQL this means the role that logged in.
    MeansLoginRole,
    /// The text has more than 63 bytes: PostgreSQL would cut it, perhaps to the name of another role.
    TooLong,
    /// The text contains the character U+0000, which PostgreSQL does not allow.
    Nul,
}

impl RoleName {
    /// Takes a text for the name of a role.
    ///
    /// # Errors
    ///
    /// [`RoleNameError`] for the empty text, for `none` in any ASCII case, for more than 63 bytes, and for a text that
    /// contains U+0000.
    pub fn parse(name: &str) -> Result<Self, RoleNameError> {
        if name.is_empty() {
            Err(RoleNameError::Empty)
        } else if name.eq_ignore_ascii_case("none") {
            Err(RoleNameError::MeansLoginRole)
        } else if name.len() > MAX_BYTES {
            Err(RoleNameError::TooLong)
        } else if name.contains('\0') {
            Err(RoleNameError::Nul)
        } else {
            Ok(Self(name.into()))
        }
    }

    /// Returns the name as it was given, not quoted.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for RoleName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RoleName").field(&self.as_str()).finish()
    }
}

impl fmt::Display for RoleNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the role name is empty: give the name of a database role",
            Self::MeansLoginRole => {
                "`none` names no role, to PostgreSQL it means the login role: give the name of a database role"
            }
            Self::TooLong => {
                "the role name has more than 63 bytes, PostgreSQL would cut it to another name: give the shorter name that the role really has"
            }
            Self::Nul => {
                "the role name contains U+0000, which no role name can: remove it where the name is made"
            }
        })
    }
}

impl StdError for RoleNameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_postgresql_reads_otherwise_are_refused() {
        let long = "r".repeat(64);
        let long_in_bytes_only = "é".repeat(32);
        for (name, reason) in [
            ("", RoleNameError::Empty),
            ("none", RoleNameError::MeansLoginRole),
            ("NONE", RoleNameError::MeansLoginRole),
            ("nOnE", RoleNameError::MeansLoginRole),
            (long.as_str(), RoleNameError::TooLong),
            (long_in_bytes_only.as_str(), RoleNameError::TooLong),
            ("\0", RoleNameError::Nul),
            ("web\0user", RoleNameError::Nul),
        ] {
            assert_eq!(RoleName::parse(name), Err(reason), "{name:?}");
        }
    }

    #[test]
    fn legal_names_are_kept_as_they_are() {
        let longest = "r".repeat(63);
        for name in [
            "web_user",
            "Web User",
            " ",
            "\"quoted\"",
            "o'neill",
            "'; drop table users --",
            "none ",
            "\"none\"",
            "nonesuch",
            "роль",
            "役割",
            "line\nbreak",
            longest.as_str(),
        ] {
            let role = RoleName::parse(name).unwrap_or_else(|error| panic!("{name:?}: {error}"));
            assert_eq!(role.as_str(), name);
            assert_eq!(role.to_string(), name);
        }
    }

    #[test]
    fn case_makes_another_role() {
        assert_ne!(RoleName::parse("Admin"), RoleName::parse("admin"));
    }

    #[test]
    fn every_refusal_names_its_cure() {
        for reason in [
            RoleNameError::Empty,
            RoleNameError::MeansLoginRole,
            RoleNameError::TooLong,
            RoleNameError::Nul,
        ] {
            assert!(reason.to_string().contains(": "), "{reason}");
        }
    }
}
