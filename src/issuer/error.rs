//! Why a token is not issued, and why an issuer cannot be.

use std::fmt;

use crate::auth::jwt::TokenError;
use crate::error::{Error, ErrorKind};

/// Says why no token was issued. It never repeats a claim.
///
/// As an [`Error`] it is an [`ErrorKind::Statement`]: 500, and the log says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IssueError {
    /// The claims are not a JSON object, or cannot be serialized.
    NotAnObject,
    /// A verifier with the issuer's keys, `iss` and audiences would refuse the token, and says why.
    Refused(TokenError),
    /// `exp` is later than the issuer's `max_lifetime` allows.
    TooLong,
    /// `jti` is there, and not a text.
    MalformedJwtId,
    /// The token is longer than 16 KiB, which verifiers refuse. Servers and proxies often allow half of that for all headers.
    TooLarge,
    /// The operating system gave no random bytes to make a `jti` of.
    NoRandomness,
    /// The signature backend failed.
    NotSigned,
}

impl fmt::Display for IssueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAnObject => "no token was issued: the claims are not a JSON object",
            Self::Refused(reason) => {
                return write!(f, "no token was issued, since verifiers would refuse it: {reason}");
            }
            Self::TooLong => {
                "no token was issued: its `exp` is later than the issuer's `max_lifetime`"
            }
            Self::MalformedJwtId => "no token was issued: its `jti` is not a text with something in it",
            Self::TooLarge => {
                "no token was issued: it would be longer than 16 KiB, which verifiers refuse: give it fewer claims"
            }
            Self::NoRandomness => {
                "no token was issued: the operating system gave no random bytes for its `jti`"
            }
            Self::NotSigned => "no token was issued: the signature backend failed",
        })
    }
}

impl std::error::Error for IssueError {}

impl From<IssueError> for Error {
    fn from(error: IssueError) -> Self {
        Self::new(ErrorKind::Statement, error.to_string())
    }
}

/// Says why an issuer could not be built, and how to cure it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BuildError {
    /// This crate was compiled without a signature backend.
    NoBackend,
    /// The issuer, an audience or the id of a key is the empty string.
    EmptyName,
    /// Two keys have the same id.
    DuplicateKeyId,
    /// The lifetime is less than a second, or longer than `max_lifetime`.
    Lifetime,
    /// `max_lifetime` is longer than 24 hours.
    MaxLifetime,
    /// Access tokens are asked for, and no audience was said.
    NoAudience,
    /// The JWKS would be kept for longer than 24 hours.
    JwksMaxAge,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoBackend => {
                "rolescope was compiled without a signature backend: enable its feature `aws-lc-rs` or `rust-crypto`"
            }
            Self::EmptyName => {
                "the issuer, an audience or the id of a key is empty: is the variable set that it was read from?"
            }
            Self::DuplicateKeyId => {
                "two keys have the same id, so that no verifier could tell them apart: a new key gets a new id"
            }
            Self::Lifetime => {
                "the lifetime is less than a second or longer than `max_lifetime`, which is 1 hour unless said otherwise"
            }
            Self::MaxLifetime => {
                "`max_lifetime` is longer than 24 hours: a session that goes on for longer has a refresh token"
            }
            Self::NoAudience => "an access token has an audience (RFC 9068 section 2.2): say `audience`",
            Self::JwksMaxAge => {
                "the keys would be kept for longer than 24 hours, and a new one would not be known for as long"
            }
        })
    }
}

impl std::error::Error for BuildError {}
