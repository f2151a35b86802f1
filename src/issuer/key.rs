//! Keys that sign.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};

use super::random::random;
use crate::auth::jwt::private::{self, SigningParts};
use crate::auth::jwt::signature::backend;
use crate::auth::jwt::{Algorithm, Key, KeyError, KeyErrorKind};

/// Signs tokens. Its algorithm is its own: no token and no caller chooses another one.
///
/// | kind | algorithm | others by choice |
/// |---|---|---|
/// | a secret | `HS256`, `HS384` or `HS512`, as it was loaded | none |
/// | RSA, 2048 bits or more | `RS256` | `RS384`, `RS512`, `PS256`, `PS384`, `PS512` |
/// | EC over P-256 | `ES256` | none |
/// | EC over P-384 | `ES384` | none |
/// | Ed25519 | `EdDSA` | none |
///
/// A private key is checked when it is loaded: that its numbers are those of one key, and that it verifies what it signs.
/// Clones are the same key, and cheap. `Debug` shows no key material, and no error repeats a part of it.
///
/// # Examples
///
/// ```
/// # #[cfg(any(feature = "aws-lc-rs", feature = "rust-crypto"))] {
/// use rolescope::auth::jwt::Algorithm;
/// use rolescope::issuer::SigningKey;
///
/// // openssl genpkey -algorithm ed25519
/// # let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----";
/// let key = SigningKey::pem("2026-11", pem)?;
/// assert_eq!(key.algorithm(), Algorithm::EdDSA);
/// # }
/// # Ok::<_, rolescope::auth::jwt::KeyError>(())
/// ```
#[derive(Clone)]
pub struct SigningKey(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    id: Option<String>,
    algorithm: Algorithm,
    encoding: EncodingKey,
    verifying: Key,
    jwk: Option<Value>,
}

impl SigningKey {
    /// Loads an HMAC secret for `HS256`, of 32 bytes or more: a text, or bytes. It has no id, and is never published.
    ///
    /// Whoever verifies with it can sign with it, too. Where others than this service verify, take a key pair.
    ///
    /// # Errors
    ///
    /// The secret is shorter than its hash, or something that others have: a PEM, a key in DER, a JWK, an address.
    pub fn hs256(secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Ok(Self::new(
            None,
            private::hmac(Algorithm::HS256, secret.as_ref())?,
        ))
    }

    /// Loads an HMAC secret for `HS384`, of 48 bytes or more. Like [`hs256`](Self::hs256).
    ///
    /// # Errors
    ///
    /// Those of [`hs256`](Self::hs256).
    pub fn hs384(secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Ok(Self::new(
            None,
            private::hmac(Algorithm::HS384, secret.as_ref())?,
        ))
    }

    /// Loads an HMAC secret for `HS512`, of 64 bytes or more. Like [`hs256`](Self::hs256).
    ///
    /// # Errors
    ///
    /// Those of [`hs256`](Self::hs256).
    pub fn hs512(secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Ok(Self::new(
            None,
            private::hmac(Algorithm::HS512, secret.as_ref())?,
        ))
    }

    /// Loads the private key of a PEM: `PRIVATE KEY` (PKCS#8), `RSA PRIVATE KEY` or `EC PRIVATE KEY`.
    ///
    /// The id becomes the `kid` of its tokens and of its JWK: one that no other key of this issuer has or had.
    ///
    /// # Errors
    ///
    /// The PEM has not exactly one private key, it is encrypted, broken or of an unsupported kind, an RSA key has less than
    /// 2048 bits, or there is no signature backend.
    pub fn pem(id: impl Into<String>, pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Ok(Self::new(Some(id.into()), private::from_pem(pem.as_ref())?))
    }

    /// Loads a private key in DER, in the same forms as [`pem`](Self::pem).
    ///
    /// # Errors
    ///
    /// Those of [`pem`](Self::pem).
    pub fn der(id: impl Into<String>, der: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Ok(Self::new(Some(id.into()), private::from_der(der.as_ref())?))
    }

    /// Makes a new key pair for `ES256`, out of the operating system's randomness.
    ///
    /// It is gone with the process, and another process has another one: for one instance, or for tests.
    ///
    /// # Errors
    ///
    /// There is no randomness, or no signature backend.
    pub fn random_es256(id: impl Into<String>) -> Result<Self, KeyError> {
        Self::of_random(id.into(), Algorithm::ES256)
    }

    /// Makes a new key pair for `EdDSA`, on Ed25519. Like [`random_es256`](Self::random_es256).
    ///
    /// # Errors
    ///
    /// Those of [`random_es256`](Self::random_es256).
    pub fn random_ed25519(id: impl Into<String>) -> Result<Self, KeyError> {
        Self::of_random(id.into(), Algorithm::EdDSA)
    }

    fn of_random(id: String, algorithm: Algorithm) -> Result<Self, KeyError> {
        // About one of 2^32 numbers is not below the order of P-256.
        let mut tries = 0;
        loop {
            let bytes = random::<32>().map_err(|_| {
                KeyError::new(
                    KeyErrorKind::NoRandomness,
                    "the operating system gave no random bytes to make a key of",
                )
            })?;
            tries += 1;
            match private::of_random(algorithm, &bytes) {
                Err(error) if error.kind() == KeyErrorKind::Malformed && tries < 8 => {}
                made => return Ok(Self::new(Some(id), made?)),
            }
        }
    }

    fn new(id: Option<String>, parts: SigningParts) -> Self {
        let key = Inner {
            id,
            algorithm: parts.algorithm,
            encoding: parts.encoding,
            verifying: parts.verifying,
            jwk: parts.jwk,
        };
        Self(Arc::new(key))
    }

    /// Gives the key another id, or an HMAC secret its first: the `kid` of its tokens.
    #[must_use]
    pub fn with_id(self, id: impl Into<String>) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.0);
        inner.id = Some(id.into());
        Self(Arc::new(inner))
    }

    /// Has an RSA key sign with another of its algorithms than `RS256`.
    ///
    /// # Errors
    ///
    /// The algorithm is not one of this key.
    pub fn with_algorithm(self, algorithm: Algorithm) -> Result<Self, KeyError> {
        let mut inner = Arc::unwrap_or_clone(self.0);
        // A secret was checked for its length, and is for no more than that.
        if algorithm != inner.algorithm {
            inner.verifying.clone().with_algorithms([algorithm])?;
            if inner.jwk.is_none() {
                return Err(KeyError::new(
                    KeyErrorKind::AlgorithmMismatch,
                    "an HMAC secret has the algorithm that it was loaded for: load it with `hs256`, `hs384` or `hs512`",
                ));
            }
        }
        inner.algorithm = algorithm;
        Ok(Self(Arc::new(inner)))
    }

    /// Returns the id.
    pub fn id(&self) -> Option<&str> {
        self.0.id.as_deref()
    }

    /// Returns the algorithm that it signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.0.algorithm
    }

    /// Returns what verifies its tokens: a public key, or the secret. It is for this key's algorithm only.
    pub fn verifying_key(&self) -> Key {
        let Inner {
            id,
            algorithm,
            verifying,
            ..
        } = &*self.0;
        let narrowed = verifying.clone().with_algorithms([*algorithm]);
        let key = narrowed.unwrap_or_else(|_| verifying.clone());
        match id {
            Some(id) => key.with_id(id),
            None => key,
        }
    }

    /// Returns the public key as a JWK, with `kid`, `alg` and `use`, or `None` for a secret.
    pub fn public_jwk(&self) -> Option<String> {
        let Inner {
            id, algorithm, jwk, ..
        } = &*self.0;
        let mut jwk = jwk.clone()?;
        if let Some(id) = id {
            jwk["kid"] = id.as_str().into();
        }
        jwk["alg"] = algorithm.as_str().into();
        jwk["use"] = "sig".into();
        Some(jwk.to_string())
    }

    /// Signs a payload as it is, JSON or not. `None` where the backend does not, which a key that was loaded gives no reason for.
    pub(crate) fn sign(&self, typ: &str, payload: &[u8]) -> Option<String> {
        let Inner {
            id,
            algorithm,
            encoding,
            ..
        } = &*self.0;
        let mut header = json!({ "alg": algorithm.as_str(), "typ": typ });
        if let Some(id) = id {
            header["kid"] = id.as_str().into();
        }
        let mut token = base64(header.to_string().as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signer = (backend()?.signer_factory)(&algorithm.backend(), encoding).ok()?;
        let signature = signer.try_sign(token.as_bytes()).ok()?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Some(token)
    }
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.0.id)
            .field("algorithm", &self.0.algorithm)
            .finish_non_exhaustive()
    }
}
