//! Refresh tokens: nothing but randomness, which the database knows by its hash.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::key::base64;
use super::random::random;

/// Holds a refresh token (RFC 6749 section 1.5): 256 random bits in base64url, 43 letters. `Debug` does not show it.
///
/// The client keeps the token, the database its [`hash`](Self::hash): who reads the table cannot refresh. There is nothing in
/// it to be verified, and nothing to compare but hashes.
///
/// ```
/// use rolescope::issuer::RefreshToken;
///
/// let token = RefreshToken::random()?;
/// let sent_back = RefreshToken::parse(token.as_str())?;
/// assert_eq!(sent_back.hash(), token.hash());
/// # Ok::<_, rolescope::issuer::RefreshTokenError>(())
/// ```
#[derive(Clone)]
pub struct RefreshToken(String);

/// Says why there is no refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefreshTokenError {
    /// The text is not one that was issued: it is not 256 bits in base64url.
    Malformed,
    /// The operating system gave no random bytes.
    NoRandomness,
}

impl RefreshToken {
    /// Makes a new one, out of the operating system's randomness.
    ///
    /// # Errors
    ///
    /// There is no randomness.
    pub fn random() -> Result<Self, RefreshTokenError> {
        let bytes = random::<32>().map_err(|_| RefreshTokenError::NoRandomness)?;
        Ok(Self(base64(&bytes)))
    }

    /// Takes one that a client has sent.
    ///
    /// # Errors
    ///
    /// The text is not of that form: the client is at fault, and the answer a 400 or 401.
    pub fn parse(text: &str) -> Result<Self, RefreshTokenError> {
        match URL_SAFE_NO_PAD.decode(text) {
            Ok(bytes) if bytes.len() == 32 => Ok(Self(text.to_owned())),
            _ => Err(RefreshTokenError::Malformed),
        }
    }

    /// Returns the token, for the client.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the SHA-256 of the token's text, for the database: a `bytea`, and the same as SQL's
    /// `sha256(convert_to(token, 'UTF8'))`.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshToken([REDACTED])")
    }
}

impl fmt::Display for RefreshTokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "this is not a refresh token",
            Self::NoRandomness => {
                "the operating system gave no random bytes to make a refresh token of"
            }
        })
    }
}

impl std::error::Error for RefreshTokenError {}
