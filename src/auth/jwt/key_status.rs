//! How a verifier's keys do: for health endpoints and metrics.

use std::time::Duration;

use super::keys::SourceStatus;
use super::revocations::Revocations;
use super::verifier::{JwtVerifier, Trusted};

/// Tells the state of the keys of one issuer of a [`JwtVerifier`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyStatus {
    /// The issuers that the keys are for: what [`issuer`](super::JwtVerifierBuilder::issuer) named. Empty where it named none.
    pub issuers: Vec<String>,
    /// Whether tokens can be verified: the keys are fixed, or were fetched and are not too old.
    pub is_ready: bool,
    /// How long ago the keys were last fetched with success. `None` where they never were, or are fixed.
    pub age: Option<Duration>,
    /// How often fetching was begun, retries among it. 0 where the keys are fixed.
    pub fetches: u64,
    /// Why the last fetch failed. `None` where it did not.
    pub last_error: Option<String>,
}

impl KeyStatus {
    fn of(trusted: &Trusted) -> Self {
        let status = trusted.keys.status().unwrap_or(SourceStatus {
            is_ready: true,
            age: None,
            fetches: 0,
            last_error: None,
        });
        Self {
            issuers: trusted.rules.issuers.clone(),
            is_ready: status.is_ready,
            age: status.age,
            fetches: status.fetches,
            last_error: status.last_error,
        }
    }
}

impl JwtVerifier {
    /// Returns the state of the keys, one for each verifier that this one was made of.
    pub fn key_status(&self) -> Vec<KeyStatus> {
        self.trusted().iter().map(KeyStatus::of).collect()
    }

    /// Returns whether tokens can be verified: the keys of all issuers are there and not too old, which they always are where
    /// they are fixed, and what is revoked is known where it is read by a listener.
    pub fn is_ready(&self) -> bool {
        let revocations = |one: &Trusted| {
            let revocations = one.rules.revocations.as_ref();
            revocations.is_none_or(Revocations::is_usable)
        };
        self.key_status().iter().all(|status| status.is_ready)
            && self.trusted().iter().all(revocations)
    }
}
