//! The signature algorithms.

use std::fmt;

use jsonwebtoken::Algorithm as Backend;

/// Names a signature algorithm of RFC 7518 or RFC 8037.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA over P-256 with SHA-256.
    ES256,
    /// ECDSA over P-384 with SHA-384.
    ES384,
    /// EdDSA over Ed25519.
    EdDSA,
}

impl Algorithm {
    pub(super) const HMAC: [Self; 3] = [Self::HS256, Self::HS384, Self::HS512];
    pub(super) const RSA: [Self; 6] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
    ];

    /// Returns the name that stands for the algorithm in a token's header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// Returns the bytes that an HMAC secret needs at least: RFC 7518 section 3.2. 0 for the other algorithms.
    pub(super) const fn min_secret(self) -> usize {
        match self {
            Self::HS256 => 32,
            Self::HS384 => 48,
            Self::HS512 => 64,
            _ => 0,
        }
    }

    pub(crate) const fn backend(self) -> Backend {
        match self {
            Self::HS256 => Backend::HS256,
            Self::HS384 => Backend::HS384,
            Self::HS512 => Backend::HS512,
            Self::RS256 => Backend::RS256,
            Self::RS384 => Backend::RS384,
            Self::RS512 => Backend::RS512,
            Self::PS256 => Backend::PS256,
            Self::PS384 => Backend::PS384,
            Self::PS512 => Backend::PS512,
            Self::ES256 => Backend::ES256,
            Self::ES384 => Backend::ES384,
            Self::EdDSA => Backend::EdDSA,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
