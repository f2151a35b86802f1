//! What a payload must be like before it is signed, so that no verifier of this crate refuses it.

use std::time::SystemTime;

use super::error::TokenError;
use super::json;
use super::kinds::Kinds;
use super::rules::Rules;

/// The rules of the verifier that an issuer's tokens are for.
pub(crate) struct PayloadRules(Rules);

impl PayloadRules {
    pub(crate) fn new(issuer: &str, audiences: &[String], access_tokens: bool) -> Self {
        let kinds = if access_tokens {
            Kinds::of_access_tokens()
        } else {
            Kinds::default()
        };
        Self(Rules {
            issuers: vec![issuer.to_owned()],
            audiences: audiences.to_vec(),
            kinds,
            ..Rules::default()
        })
    }

    /// Returns when a token with this payload expires.
    pub(crate) fn check(&self, payload: &str, now: SystemTime) -> Result<SystemTime, TokenError> {
        let members = json::unambiguous_object(payload)?;
        let registered = self.0.check(&members, now)?;
        let named = registered.audience.as_deref().unwrap_or_default();
        // A verifier wants one that it knows. Here each is one that the issuer was told of.
        if named
            .iter()
            .any(|value| self.0.audiences.iter().all(|known| **known != **value))
        {
            return Err(TokenError::WrongAudience);
        }
        registered.expires_at.ok_or(TokenError::MissingExpiry)
    }
}
