//! Why a key is refused when it is loaded.

use std::borrow::Cow;
use std::fmt;

/// Says why a key was refused, and how to cure it.
///
/// It never repeats a part of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError {
    kind: KeyErrorKind,
    message: Cow<'static, str>,
}

/// Tells the reasons apart for which a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyErrorKind {
    /// There is no key: an empty list, or a document in which no key is usable.
    NoKey,
    /// The text or the bytes are not a key of the kind that was asked for.
    Malformed,
    /// The key is of a kind, a size or a curve that cannot be verified with.
    Unsupported,
    /// An HMAC secret is shorter than the output of its hash.
    ShortSecret,
    /// Something that is plainly not a secret, such as a PEM or a JWK, was given as one.
    NotASecret,
    /// An RSA key has less than 2048 bits.
    WeakRsa,
    /// It is a private key. Verifying needs the public one only.
    PrivateKey,
    /// It is a public key or a certificate. Signing needs the private key.
    PublicKey,
    /// Signing keys are checked with a signature backend, and this crate was compiled without one.
    NoBackend,
    /// The operating system gave no random bytes to make a key of.
    NoRandomness,
    /// The key's `use` or `key_ops` is not for verifying signatures.
    NotForVerifying,
    /// The key's `alg`, or the algorithm that it was narrowed to, does not fit the key.
    AlgorithmMismatch,
}

impl KeyError {
    pub(crate) fn new(kind: KeyErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    pub(super) fn malformed(message: &'static str) -> Self {
        Self::new(KeyErrorKind::Malformed, message)
    }

    pub(super) fn unsupported(message: &'static str) -> Self {
        Self::new(KeyErrorKind::Unsupported, message)
    }

    /// Returns the reason.
    pub fn kind(&self) -> KeyErrorKind {
        self.kind
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for KeyError {}
