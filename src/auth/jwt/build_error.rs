//! Why a verifier cannot be built.

use std::fmt;

use super::keys::{FetchError, KeyError};

/// Says why a verifier could not be built, and how to cure it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// A key is not acceptable.
    Key(KeyError),
    /// This crate was compiled without a signature backend.
    NoBackend,
    /// Both `audience` and `any_audience` were said.
    AudienceContradiction,
    /// An audience or an issuer is the empty string.
    EmptyName,
    /// The leeway is longer than 10 minutes.
    LongLeeway,
    /// The keys cannot be fetched.
    Fetch(FetchError),
    /// Keys that are fetched need a tokio runtime, and this is not in one.
    NoRuntime,
    /// There is no HTTP client to fetch keys with.
    NoClient,
    /// The list of algorithms for fetched keys has none that they can be used with.
    NoAlgorithm,
    /// A verifier of several issuers has none, or one that names no issuer.
    NoIssuer,
    /// A verifier of several issuers has the same issuer twice.
    DuplicateIssuer,
}

impl From<KeyError> for BuildError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

impl From<FetchError> for BuildError {
    fn from(error: FetchError) -> Self {
        Self::Fetch(error)
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(error) => return error.fmt(f),
            Self::Fetch(error) => return error.fmt(f),
            Self::NoRuntime => {
                "keys that are fetched need a tokio runtime with its time and I/O drivers: build the verifier inside of it"
            }
            Self::NoClient => {
                "there is no HTTP client to fetch keys with: say `fetch_with`, or enable rolescope's feature `jwks-client`"
            }
            Self::NoAlgorithm => {
                "none of the `algorithms` is for public keys, which are all that can be fetched: name RS256, for example"
            }
            Self::NoBackend => {
                "rolescope was compiled without a signature backend: enable its feature `aws-lc-rs` or `rust-crypto`"
            }
            Self::AudienceContradiction => {
                "both `audience` and `any_audience` were said: leave one of them out"
            }
            Self::EmptyName => {
                "an audience or an issuer is empty: is the variable set that it was read from?"
            }
            Self::NoIssuer => "of several issuers each must be named: say `issuer` to each of the verifiers",
            Self::DuplicateIssuer => "two verifiers name the same issuer: give one of them the keys of both",
            Self::LongLeeway => "the leeway is longer than 10 minutes: set the clocks instead",
        })
    }
}

impl std::error::Error for BuildError {}
