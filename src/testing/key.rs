//! Keys that sign.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::EllipticCurve;
use serde_json::{Value, json};

use crate::auth::jwt::signature::backend;
use crate::auth::jwt::{Algorithm, Key};

/// What of PKCS#8 stands before the 32 bytes of a private key, and what says of which kind it is (RFC 5915, RFC 8410).
const P256: &[u8] = b"\x30\x41\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\
    \x04\x27\x30\x25\x02\x01\x01\x04\x20";
const ED25519: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";

/// Signs the tokens of tests. Clones are the same key.
///
/// Key pairs are new ones each time, out of randomness that is good enough for tests and for nothing else.
#[derive(Clone)]
pub struct SigningKey(Arc<Inner>);

struct Inner {
    id: Option<String>,
    algorithm: Algorithm,
    encoding: EncodingKey,
    verifying: Key,
    jwk: Option<Value>,
}

impl SigningKey {
    /// Makes a key pair for `ES256`, which most providers use by now.
    ///
    /// # Panics
    ///
    /// This crate was compiled without a signature backend.
    pub fn es256(id: impl Into<String>) -> Self {
        let mut secret = random();
        // From 1 up to less than the curve's order.
        secret[0] &= 0x7f;
        secret[31] |= 1;
        let der = [P256, &secret].concat();
        let components =
            (utils().ec_pub_components_from_private_key)(&der, jsonwebtoken::Algorithm::ES256);
        let (_, x, y) = components.expect("the key is a P-256 key");
        let public = json!({ "kty": "EC", "crv": "P-256", "x": base64(&x), "y": base64(&y) });
        Self::pair(
            id.into(),
            Algorithm::ES256,
            EncodingKey::from_ec_der(&der),
            public,
        )
    }

    /// Makes a key pair for `EdDSA`, on Ed25519.
    ///
    /// # Panics
    ///
    /// This crate was compiled without a signature backend.
    pub fn ed25519(id: impl Into<String>) -> Self {
        let der = [ED25519, &random()].concat();
        let x = (utils().ed_pub_components_from_private_key)(&der, &EllipticCurve::Ed25519);
        let x = x.expect("the key is an Ed25519 key");
        let public = json!({ "kty": "OKP", "crv": "Ed25519", "x": base64(&x) });
        Self::pair(
            id.into(),
            Algorithm::EdDSA,
            EncodingKey::from_ed_der(&der),
            public,
        )
    }

    /// Takes a secret of 32 bytes or more, for `HS256`. It has no id.
    ///
    /// # Panics
    ///
    /// The secret is not acceptable: see [`Key::hs256`].
    pub fn hs256(secret: impl AsRef<[u8]>) -> Self {
        let secret = secret.as_ref();
        Self(Arc::new(Inner {
            id: None,
            algorithm: Algorithm::HS256,
            encoding: EncodingKey::from_secret(secret),
            verifying: Key::hs256(secret).expect("the secret is one for HS256"),
            jwk: None,
        }))
    }

    fn pair(id: String, algorithm: Algorithm, encoding: EncodingKey, mut jwk: Value) -> Self {
        jwk["kid"] = id.as_str().into();
        jwk["alg"] = algorithm.as_str().into();
        jwk["use"] = "sig".into();
        let verifying = Key::from_jwk(&jwk.to_string()).expect("a generated key is acceptable");
        Self(Arc::new(Inner {
            id: Some(id),
            algorithm,
            encoding,
            verifying,
            jwk: Some(jwk),
        }))
    }

    /// Makes another key of the same kind and id.
    pub(super) fn another(&self) -> Self {
        let id = || self.0.id.clone().unwrap_or_default();
        match self.0.algorithm {
            Algorithm::ES256 => Self::es256(id()),
            Algorithm::EdDSA => Self::ed25519(id()),
            _ => Self::hs256(random()),
        }
    }

    /// Makes the same key under another id.
    pub(super) fn with_id(&self, id: &str) -> Self {
        let Inner {
            algorithm,
            encoding,
            verifying,
            jwk,
            ..
        } = &*self.0;
        Self(Arc::new(Inner {
            id: Some(id.to_owned()),
            algorithm: *algorithm,
            encoding: encoding.clone(),
            verifying: verifying.clone(),
            jwk: jwk.clone(),
        }))
    }

    /// Returns the key's id, the `kid` of its tokens.
    pub fn id(&self) -> Option<&str> {
        self.0.id.as_deref()
    }

    /// Returns the algorithm that it signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.0.algorithm
    }

    /// Returns what verifies its tokens.
    pub fn verifying_key(&self) -> Key {
        self.0.verifying.clone()
    }

    /// Returns the public key as a JWK, or `None` for a secret.
    pub fn public_jwk(&self) -> Option<String> {
        self.0.jwk.as_ref().map(Value::to_string)
    }

    /// Signs a payload as it is, JSON or not. The header has `alg`, `typ` and the key's id.
    pub fn sign(&self, payload: impl AsRef<[u8]>) -> String {
        let mut header = json!({ "alg": self.0.algorithm.as_str(), "typ": "at+jwt" });
        if let Some(id) = &self.0.id {
            header["kid"] = id.as_str().into();
        }
        let header = base64(header.to_string().as_bytes());
        let signed = format!("{header}.{}", base64(payload.as_ref()));
        let backend = backend().expect(NO_BACKEND);
        let signer = (backend.signer_factory)(&self.0.algorithm.backend(), &self.0.encoding);
        let signer = signer.expect("the key is one for its algorithm");
        let signature = signer
            .try_sign(signed.as_bytes())
            .expect("it can be signed");
        format!("{signed}.{}", base64(&signature))
    }
}

const NO_BACKEND: &str = "signing needs the feature `aws-lc-rs` or `rust-crypto` of rolescope";

fn utils() -> &'static jsonwebtoken::crypto::KeyUtils {
    &backend().expect(NO_BACKEND).key_utils
}

pub(super) fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    for part in bytes.chunks_mut(8) {
        part.copy_from_slice(&RandomState::new().build_hasher().finish().to_le_bytes());
    }
    bytes
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.0.id)
            .field("algorithm", &self.0.algorithm)
            .finish_non_exhaustive()
    }
}
