//! Keys: loaded from every form they come in, and checked before they verify anything.

mod algorithm;
mod der;
mod error;
mod fetch_error;
#[cfg(feature = "jwks")]
mod fetched;
mod jwk;
mod pem;
#[cfg(feature = "issuer")]
pub(crate) mod private;
mod secret;
mod small_order;
mod source;
#[cfg(all(test, any(feature = "aws-lc-rs", feature = "rust-crypto")))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;
mod x509_map;

use std::fmt;

use jsonwebtoken::DecodingKey;

use super::signature;
use der::PublicKey;

pub use algorithm::Algorithm;
pub use error::{KeyError, KeyErrorKind};
pub use fetch_error::{FetchError, FetchErrorKind};
pub(crate) use source::{KeySet, Keys, SourceStatus};
#[cfg(feature = "jwks")]
pub(crate) use source::{KeySource, Refresh};

/// Holds a key that verifies signatures, and the algorithms that it may be used with.
///
/// The algorithm of a token must be among its key's own. A key's algorithms are those that its kind allows: for RSA all
/// of `RS*` and `PS*`, for EC the one of its curve, for Ed25519 `EdDSA`, for an HMAC secret the one it was loaded for or,
/// as a JWK, each that it is long enough for. A JWK's `alg` or [`with_algorithms`](Self::with_algorithms) narrows that.
///
/// A key may have an id, a JWK's `kid`. A token that names one is verified with the keys of that id or, where there is
/// none, with those that have no id.
///
/// Private keys are refused. `Debug` shows no key material.
///
/// ```
/// use rolescope::JwtVerifier;
/// use rolescope::auth::jwt::{Algorithm, Key};
///
/// let pem = "-----BEGIN PUBLIC KEY-----
/// MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
/// -----END PUBLIC KEY-----";
/// let today = Key::from_pem(pem)?.with_id("2026");
/// assert_eq!(today.algorithms(), [Algorithm::EdDSA]);
///
/// let before = Key::hmac_base64(Algorithm::HS256, "c29tZSBvbGQgc2VjcmV0LCB0aGlydHktdHdvIGJ5dGVz")?.with_id("2025");
/// let verifier = JwtVerifier::builder().keys([today, before])?.build()?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
    /// The length of an HMAC secret.
    secret: Option<usize>,
}

impl Key {
    /// Loads an HMAC secret for `HS256`: a text, or bytes. It is taken as it is, with any line end it may have.
    ///
    /// # Errors
    ///
    /// The secret is something that others have: a PEM, a public key in DER or SSH's form, a JWK, an address. That it is long
    /// enough (32 bytes, RFC 7518 section 3.2) is checked by [`build`](super::JwtVerifierBuilder::build).
    pub fn hs256(secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Self::hmac(Algorithm::HS256, secret)
    }

    /// Loads an HMAC secret for `HS384`, of at least 48 bytes. Like [`hs256`](Self::hs256).
    ///
    /// # Errors
    ///
    /// Those of [`hs256`](Self::hs256).
    pub fn hs384(secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Self::hmac(Algorithm::HS384, secret)
    }

    /// Loads an HMAC secret for `HS512`, of at least 64 bytes. Like [`hs256`](Self::hs256).
    ///
    /// # Errors
    ///
    /// Those of [`hs256`](Self::hs256).
    pub fn hs512(secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Self::hmac(Algorithm::HS512, secret)
    }

    fn hmac(algorithm: Algorithm, secret: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let secret = secret.as_ref();
        secret::check(secret)?;
        Self::secret(algorithm, secret)
    }

    /// Loads an HMAC secret that is written in base64: the standard or the URL-safe alphabet, padded or not.
    ///
    /// # Errors
    ///
    /// The text is not base64, the bytes behind it are something that others have, as in [`hs256`](Self::hs256), or the
    /// algorithm is not one of `HS*`.
    pub fn hmac_base64(algorithm: Algorithm, text: &str) -> Result<Self, KeyError> {
        Self::secret(algorithm, &secret::from_base64(text)?)
    }

    fn secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyError> {
        Self {
            algorithms: Algorithm::HMAC.to_vec(),
            ..Self::new(Parts::secret(secret))?
        }
        .with_algorithms([algorithm])
    }

    /// Loads the public key of a PEM: `PUBLIC KEY`, `RSA PUBLIC KEY`, or `CERTIFICATE`.
    ///
    /// A certificate is only the key's envelope here: neither its dates nor who signed it are looked at.
    ///
    /// # Errors
    ///
    /// The PEM has not exactly one block, its key is private, malformed or of an unsupported kind, or an RSA key has less
    /// than 2048 bits.
    pub fn from_pem(pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let (label, der) = pem::block(pem.as_ref())?;
        Self::public(&pem::key(label, &der)?)
    }

    /// Loads a public key in DER: a SubjectPublicKeyInfo, which is what a `PUBLIC KEY` PEM has in it.
    ///
    /// # Errors
    ///
    /// The key is malformed or of an unsupported kind, or an RSA key has less than 2048 bits.
    pub fn from_der(der: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Self::public(&der::spki(der.as_ref())?)
    }

    /// Loads a JWK from its JSON text.
    ///
    /// # Errors
    ///
    /// The text is not a JWK; it is a private key; its `use` is not `sig` or its `key_ops` lacks `verify`; its `alg` does
    /// not fit its `kty`; its numbers do not have the lengths that its `crv` asks for; an RSA key has less than 2048 bits;
    /// an Ed25519 key is a point of small order, for which everybody can sign.
    pub fn from_jwk(json: &str) -> Result<Self, KeyError> {
        jwk::jwk(json)
    }

    /// Loads the keys of a JWKS from its JSON text.
    ///
    /// Keys that are not usable, for whatever reason [`from_jwk`](Self::from_jwk) gives, are skipped with a
    /// `tracing` warning: such documents list keys for encryption and of kinds yet to come.
    ///
    /// # Errors
    ///
    /// The text is not a JWKS, or no key in it is usable.
    pub fn from_jwks(json: &str) -> Result<Vec<Self>, KeyError> {
        jwk::jwks(json)
    }

    /// Loads the keys of a JSON object that has a certificate as PEM for each key id, as Firebase publishes them.
    ///
    /// What is not usable is skipped with a `tracing` warning. Of a certificate nothing but its key is looked at.
    ///
    /// # Errors
    ///
    /// The text is not such an object, or no key in it is usable.
    pub fn from_x509_map(json: &str) -> Result<Vec<Self>, KeyError> {
        x509_map::x509_map(json)
    }

    fn public(key: &PublicKey<'_>) -> Result<Self, KeyError> {
        Self::new(match key {
            PublicKey::Rsa { n, e } => Parts::rsa(n, e)?,
            PublicKey::P256(point) => Parts::p256(point)?,
            PublicKey::P384(point) => Parts::p384(point)?,
            PublicKey::Ed25519(x) => Parts::ed25519(x)?,
        })
    }

    fn new(parts: Parts) -> Result<Self, KeyError> {
        let key = Self {
            id: None,
            algorithms: parts.algorithms,
            decoding: parts.decoding,
            secret: parts.secret,
        };
        if key
            .algorithms
            .iter()
            .all(|algorithm| signature::fits(*algorithm, &key.decoding))
        {
            Ok(key)
        } else {
            Err(KeyError::malformed(
                "the key's numbers are not a key: an EC point that is not on its curve, for example",
            ))
        }
    }

    /// Gives the key an id: a token whose `kid` is another one is not verified with it.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Narrows the algorithms that the key may be used with.
    ///
    /// # Errors
    ///
    /// The list is empty, or the key cannot be used with one of them.
    pub fn with_algorithms(
        mut self,
        algorithms: impl IntoIterator<Item = Algorithm>,
    ) -> Result<Self, KeyError> {
        let narrowed: Vec<_> = algorithms.into_iter().collect();
        if narrowed.is_empty()
            || narrowed
                .iter()
                .any(|algorithm| !self.family().contains(algorithm))
        {
            return Err(KeyError::new(
                KeyErrorKind::AlgorithmMismatch,
                "the key cannot be used with this algorithm: leave it out, or name one that fits the key",
            ));
        }
        self.algorithms = narrowed;
        Ok(self)
    }

    /// Returns the id.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Returns the algorithms that the key may be used with.
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    /// The algorithms that this key may be narrowed to.
    fn family(&self) -> &[Algorithm] {
        if self.secret.is_some() {
            &Algorithm::HMAC
        } else {
            &self.algorithms
        }
    }

    /// Checks that an HMAC secret is at least as long as its hash.
    pub(super) fn check_length(&self) -> Result<(), KeyError> {
        let Some(length) = self.secret else {
            return Ok(());
        };
        match self
            .algorithms
            .iter()
            .find(|algorithm| length < algorithm.min_secret())
        {
            None => Ok(()),
            Some(algorithm) => Err(KeyError::new(
                KeyErrorKind::ShortSecret,
                format!(
                    "the HMAC secret has {length} bytes and {algorithm} needs {}: make one with `openssl rand -base64 {}`, \
                     or say `.dangerous().accept_short_secrets()`",
                    algorithm.min_secret(),
                    algorithm.min_secret(),
                ),
            )),
        }
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

/// What the forms of a key have in common once they are read.
struct Parts {
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
    secret: Option<usize>,
}

impl Parts {
    fn public(algorithms: &[Algorithm], decoding: DecodingKey) -> Self {
        Self {
            algorithms: algorithms.to_vec(),
            decoding,
            secret: None,
        }
    }

    /// A secret that nothing narrows is for every algorithm that it is long enough for, and for HS256 at least.
    fn secret(secret: &[u8]) -> Self {
        let length = secret.len();
        let mut algorithms = Algorithm::HMAC.to_vec();
        algorithms
            .retain(|algorithm| *algorithm == Algorithm::HS256 || algorithm.min_secret() <= length);
        Self {
            algorithms,
            decoding: DecodingKey::from_secret(secret),
            secret: Some(length),
        }
    }

    fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let n = strip_zeros(n);
        let e = strip_zeros(e);
        let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
        if bits < 2048 {
            return Err(KeyError::new(
                KeyErrorKind::WeakRsa,
                format!(
                    "the RSA key has {bits} bits, and less than 2048 are not safe: make a larger one"
                ),
            ));
        }
        if bits > signature::MAX_RSA_BITS {
            return Err(KeyError::new(
                KeyErrorKind::Unsupported,
                format!(
                    "the RSA key has {bits} bits, and the backend verifies with {} at most",
                    signature::MAX_RSA_BITS
                ),
            ));
        }
        let exponent = match e {
            [] => 0,
            e if e.len() > 5 => u64::MAX,
            e => e.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        if n.last().is_none_or(|last| last % 2 == 0)
            || exponent % 2 == 0
            || !(3..1 << 33).contains(&exponent)
        {
            return Err(KeyError::malformed(
                "the RSA key's modulus or exponent is not one of an RSA key",
            ));
        }
        Ok(Self::public(
            &Algorithm::RSA,
            DecodingKey::from_rsa_raw_components(n, e),
        ))
    }

    fn p256(point: &[u8]) -> Result<Self, KeyError> {
        PublicKey::check_point(point, 32)?;
        Ok(Self::public(
            &[Algorithm::ES256],
            DecodingKey::from_ec_der(point),
        ))
    }

    fn p384(point: &[u8]) -> Result<Self, KeyError> {
        PublicKey::check_point(point, 48)?;
        Ok(Self::public(
            &[Algorithm::ES384],
            DecodingKey::from_ec_der(point),
        ))
    }

    fn ed25519(x: &[u8]) -> Result<Self, KeyError> {
        // The RustCrypto backend panics on less.
        if x.len() != 32 {
            return Err(KeyError::malformed(
                "the Ed25519 key does not have 32 bytes",
            ));
        }
        if small_order::is_small_order(x) {
            return Err(KeyError::malformed(
                "the Ed25519 key is a point of small order, for which everybody can sign: it is no signer's key",
            ));
        }
        Ok(Self::public(
            &[Algorithm::EdDSA],
            DecodingKey::from_ed_der(x),
        ))
    }
}

fn strip_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
