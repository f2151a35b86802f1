//! HMAC secrets, and what must not be taken for one.
//!
//! A public key that is used as a secret makes everybody a signer, since everybody has it.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::super::json;
use super::error::{KeyError, KeyErrorKind};
use super::{der, pem};

const FORGIVING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, FORGIVING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, FORGIVING);

/// Refuses what is plainly something else than a secret.
pub(super) fn check(secret: &[u8]) -> Result<(), KeyError> {
    check_not_a_key_file(secret)?;
    // A JWK that lost its last brace begins like one still. Random bytes do so, too, but hardly ever are they text.
    if secret.trim_ascii_start().starts_with(b"{") && std::str::from_utf8(secret).is_ok() {
        return Err(not_a_secret(
            "the HMAC secret begins like a JWK: load that with `jwk` or `jwks`, or give a secret that begins so in base64",
        ));
    }
    Ok(())
}

/// Decodes a secret in either alphabet, padded or not.
pub(super) fn from_base64(text: &str) -> Result<Vec<u8>, KeyError> {
    let text = text.trim_ascii();
    let secret = STANDARD
        .decode(text)
        .or_else(|_| URL_SAFE.decode(text))
        .map_err(|_| KeyError::malformed("the HMAC secret is not base64"))?;
    check_not_a_key_file(&secret)?;
    if std::str::from_utf8(&secret).is_ok_and(|text| json::object(text).is_ok()) {
        return Err(not_a_secret(
            "the HMAC secret is a JWK in base64: decode it and load it with `jwk` or `jwks`",
        ));
    }
    Ok(secret)
}

/// Refuses a public key in one of its own forms.
pub(super) fn check_not_a_key_file(secret: &[u8]) -> Result<(), KeyError> {
    if pem::is_pem(secret) {
        return Err(not_a_secret("the HMAC secret is a PEM: load it with `pem`"));
    }
    if der::is_public_key(secret) {
        return Err(not_a_secret(
            "the HMAC secret is a public key in DER: load it with `key(Key::from_der(..)?)`",
        ));
    }
    Ok(())
}

fn not_a_secret(message: &'static str) -> KeyError {
    KeyError::new(KeyErrorKind::NotASecret, message)
}
