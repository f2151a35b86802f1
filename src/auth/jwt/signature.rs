//! Verifies one signature, with the backend that was compiled in.
//!
//! `jsonwebtoken`'s own `decode` looks for a process-wide backend and panics unless exactly one is compiled in, which
//! no crate in a large build can be sure of. Its backends can be called by themselves.

use jsonwebtoken::crypto::CryptoProvider;
use jsonwebtoken::{DecodingKey, DecodingKeyKind};

use super::keys::Algorithm;

/// The largest RSA key that the backend verifies with.
pub(super) const MAX_RSA_BITS: usize = if cfg!(feature = "aws-lc-rs") {
    8192
} else {
    4096
};

#[cfg(feature = "aws-lc-rs")]
pub(crate) fn backend() -> Option<&'static CryptoProvider> {
    Some(&jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER)
}

#[cfg(all(feature = "rust-crypto", not(feature = "aws-lc-rs")))]
pub(crate) fn backend() -> Option<&'static CryptoProvider> {
    Some(&jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER)
}

#[cfg(not(any(feature = "rust-crypto", feature = "aws-lc-rs")))]
pub(crate) fn backend() -> Option<&'static CryptoProvider> {
    None
}

/// Returns whether the backend can use this key. Without a backend nothing can tell, and nothing will verify either.
pub(super) fn fits(algorithm: Algorithm, key: &DecodingKey) -> bool {
    backend().is_none_or(|backend| (backend.verifier_factory)(&algorithm.backend(), key).is_ok())
}

pub(super) fn verifies(
    backend: &CryptoProvider,
    algorithm: Algorithm,
    key: &DecodingKey,
    message: &[u8],
    signature: &Vec<u8>,
) -> bool {
    // Made anew each time, since it is neither `Send` nor `Sync`.
    is_below_modulus(key, signature)
        && (backend.verifier_factory)(&algorithm.backend(), key)
            .is_ok_and(|verifier| verifier.verify(message, signature).is_ok())
}

/// RFC 8017 section 5.2.2: a signature is out of range from the modulus on. The RustCrypto backend does not look, and takes
/// `s + n` for `s` with `PS*`.
fn is_below_modulus(key: &DecodingKey, signature: &[u8]) -> bool {
    match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, .. } => {
            signature.len() == n.len() && signature < n.as_slice()
        }
        DecodingKeyKind::SecretOrDer(_) => true,
    }
}
