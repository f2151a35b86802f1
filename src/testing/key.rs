//! Keys that sign.

use crate::auth::jwt::{Algorithm, Key};
use crate::issuer;

/// Signs the tokens of tests, whatever is in them. Clones are the same key.
///
/// It is an [`issuer::SigningKey`] that panics where that has errors, and signs payloads that an issuer would refuse.
#[derive(Clone, Debug)]
pub struct SigningKey(issuer::SigningKey);

impl SigningKey {
    /// Makes a key pair for `ES256`, which most providers use by now.
    ///
    /// # Panics
    ///
    /// This crate was compiled without a signature backend.
    pub fn es256(id: impl Into<String>) -> Self {
        let key = issuer::SigningKey::random_es256(id);
        Self(key.unwrap_or_else(|error| panic!("{error}")))
    }

    /// Makes a key pair for `EdDSA`, on Ed25519.
    ///
    /// # Panics
    ///
    /// This crate was compiled without a signature backend.
    pub fn ed25519(id: impl Into<String>) -> Self {
        let key = issuer::SigningKey::random_ed25519(id);
        Self(key.unwrap_or_else(|error| panic!("{error}")))
    }

    /// Takes a secret of 32 bytes or more, for `HS256`. It has no id.
    ///
    /// # Panics
    ///
    /// The secret is not acceptable: see [`issuer::SigningKey::hs256`].
    pub fn hs256(secret: impl AsRef<[u8]>) -> Self {
        let key = issuer::SigningKey::hs256(secret);
        Self(key.unwrap_or_else(|error| panic!("{error}")))
    }

    /// Makes another key of the same kind and id.
    pub(super) fn another(&self) -> Self {
        let secret = || {
            let half = || {
                let random = issuer::RefreshToken::random();
                random.unwrap_or_else(|error| panic!("{error}")).hash()
            };
            [half(), half()].concat()
        };
        let other = match self.algorithm() {
            Algorithm::ES256 => issuer::SigningKey::random_es256(""),
            Algorithm::EdDSA => issuer::SigningKey::random_ed25519(""),
            Algorithm::HS256 => issuer::SigningKey::hs256(secret()),
            Algorithm::HS384 => issuer::SigningKey::hs384(secret()),
            Algorithm::HS512 => issuer::SigningKey::hs512(secret()),
            // A token by a key of another kind would be refused without a look at its signature.
            kind => panic!(
                "there is no other key for {kind} to sign with: make one, and a Mint with it"
            ),
        };
        let other = Self(other.unwrap_or_else(|error| panic!("{error}")));
        match self.id() {
            Some(id) => other.with_id(id),
            None => other,
        }
    }

    /// Makes the same key under another id.
    pub(super) fn with_id(&self, id: &str) -> Self {
        Self(self.0.clone().with_id(id))
    }

    /// Returns the key's id, the `kid` of its tokens.
    pub fn id(&self) -> Option<&str> {
        self.0.id()
    }

    /// Returns the algorithm that it signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.0.algorithm()
    }

    /// Returns what verifies its tokens.
    pub fn verifying_key(&self) -> Key {
        self.0.verifying_key()
    }

    /// Returns the public key as a JWK, or `None` for a secret.
    pub fn public_jwk(&self) -> Option<String> {
        self.0.public_jwk()
    }

    /// Signs a payload as it is, JSON or not. The header has `alg`, `typ` and the key's id.
    ///
    /// # Panics
    ///
    /// This crate was compiled without a signature backend.
    pub fn sign(&self, payload: impl AsRef<[u8]>) -> String {
        let signed = self.0.sign("at+jwt", payload.as_ref());
        signed.expect("signing needs the feature `aws-lc-rs` or `rust-crypto` of rolescope")
    }
}

impl From<issuer::SigningKey> for SigningKey {
    fn from(key: issuer::SigningKey) -> Self {
        Self(key)
    }
}
