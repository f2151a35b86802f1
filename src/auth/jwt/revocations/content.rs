//! What is revoked at one moment: by claim, then by value.

use std::collections::HashMap;
use std::fmt;
use std::time::SystemTime;

use super::super::claims::Claims;
use super::super::json;

/// How many claims can be named. Each costs a token one look into a table.
const MAX_CLAIMS: usize = 16;

/// Says which tokens are to be refused: those in which a claim has this value.
///
/// The value is compared with the claim's text where it is a string, with its JSON text where it is a number or a boolean,
/// and with each element where it is an array. Nothing is normalised: `17` is not `17.0`.
///
/// ```
/// use std::time::SystemTime;
/// use rolescope::auth::jwt::Revocation;
///
/// // One token; all tokens of a session; and all that a user has been given up to now.
/// Revocation::new("jti", "4b1a0f1e");
/// Revocation::new("sid", "0192f3");
/// Revocation::new("sub", "alice").issued_before(SystemTime::now());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Revocation {
    claim: Box<str>,
    value: Box<str>,
    issued_before: Option<SystemTime>,
}

impl Revocation {
    /// Refuses all tokens whose claim has this value.
    pub fn new(claim: impl Into<Box<str>>, value: impl Into<Box<str>>) -> Self {
        Self {
            claim: claim.into(),
            value: value.into(),
            issued_before: None,
        }
    }

    /// Refuses only those whose `iat` is earlier than this, or missing.
    ///
    /// Most issuers write `iat` in whole seconds. So a token that was issued later in the same second is refused as well.
    #[must_use]
    pub fn issued_before(mut self, time: impl Into<Option<SystemTime>>) -> Self {
        self.issued_before = time.into();
        self
    }
}

/// What a claim says of somebody belongs into no log.
impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocation")
            .field("claim", &self.claim)
            .field("issued_before", &self.issued_before)
            .finish_non_exhaustive()
    }
}

/// Says why a revocation was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationError {
    /// There are as many already as there may be.
    TooMany {
        /// How many there may be.
        max: usize,
    },
    /// They name more than 16 different claims.
    TooManyClaims,
}

impl fmt::Display for RevocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { max } => write!(
                f,
                "there are more than {max} revocations: leave out those of tokens that have expired, revoke sessions or users \
                 in place of single tokens, or set a larger `max_entries`"
            ),
            Self::TooManyClaims => write!(
                f,
                "the revocations name more than {MAX_CLAIMS} different claims: the first column is the claim's name, `jti` for \
                 example, and the second its value"
            ),
        }
    }
}

impl std::error::Error for RevocationError {}

/// A claim's revoked values, each with the time before which tokens must have been issued to be refused.
type Values = HashMap<Box<str>, Option<SystemTime>>;

/// A set of revocations that is not shown to readers yet, or is.
#[derive(Default)]
pub(crate) struct Content {
    by_claim: Vec<(Box<str>, Values)>,
    entries: usize,
}

impl Content {
    /// Adds one more, unless there are `max`.
    pub(crate) fn add(&mut self, added: Revocation, max: usize) -> Result<(), RevocationError> {
        let Revocation {
            claim,
            value,
            issued_before,
        } = added;
        let known = self.by_claim.iter().position(|(name, _)| *name == claim);
        let known_value = known.and_then(|at| self.by_claim[at].1.get_mut(&value));
        if let Some(known) = known_value {
            // What refuses more wins. `None` is always.
            *known = match (*known, issued_before) {
                (Some(one), Some(other)) => Some(one.max(other)),
                _ => None,
            };
            return Ok(());
        }
        if self.entries >= max {
            return Err(RevocationError::TooMany { max });
        }
        let at = match known {
            Some(at) => at,
            None if self.by_claim.len() == MAX_CLAIMS => {
                return Err(RevocationError::TooManyClaims);
            }
            None => {
                self.by_claim.push((claim, Values::default()));
                self.by_claim.len() - 1
            }
        };
        self.by_claim[at].1.insert(value, issued_before);
        self.entries += 1;
        Ok(())
    }

    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    /// Gives back the room that it grew into.
    pub(super) fn shrink(&mut self) {
        self.by_claim
            .iter_mut()
            .for_each(|(_, values)| values.shrink_to_fit());
    }

    pub(super) fn revokes(&self, claims: &Claims) -> bool {
        self.by_claim.iter().any(|(claim, values)| {
            let is_revoked = |value: &str| {
                values.get(value).is_some_and(|before| {
                    before.is_none_or(|before| claims.issued_at().is_none_or(|at| at < before))
                })
            };
            let is_revoked = |json: &str| match json.as_bytes().first() {
                Some(b'"') => json::string(json).is_some_and(|text| is_revoked(&text)),
                _ => is_revoked(json),
            };
            match claims.raw(claim) {
                None => false,
                Some(list) if list.starts_with('[') => {
                    let elements = json::array(list).unwrap_or_default();
                    elements.into_iter().any(is_revoked)
                }
                Some(value) => is_revoked(value),
            }
        })
    }
}
