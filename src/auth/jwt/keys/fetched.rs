//! What is asked of keys that are fetched.

use jsonwebtoken::DecodingKeyKind;

use super::Key;
use super::algorithm::Algorithm;

impl Key {
    /// Whether it is a public key, and no secret.
    pub(crate) fn is_public(&self) -> bool {
        self.secret.is_none()
    }

    /// The key for those of its algorithms that are `allowed`, if there are any.
    pub(crate) fn narrowed(mut self, allowed: &[Algorithm]) -> Option<Self> {
        self.algorithms
            .retain(|algorithm| allowed.contains(algorithm));
        (!self.algorithms.is_empty()).then_some(self)
    }

    /// Whether both accept the same tokens.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        use DecodingKeyKind::{RsaModulusExponent as Rsa, SecretOrDer as Der};
        self.id == other.id
            && self.algorithms == other.algorithms
            && match (self.decoding.kind(), other.decoding.kind()) {
                (Rsa { n, e }, Rsa { n: n2, e: e2 }) => n == n2 && e == e2,
                (Der(key), Der(key2)) => key == key2,
                _ => false,
            }
    }
}

impl Algorithm {
    /// Whether it verifies with a public key.
    pub(crate) fn is_for_public_keys(self) -> bool {
        !Self::HMAC.contains(&self)
    }
}
