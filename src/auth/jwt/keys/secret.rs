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
    let text = std::str::from_utf8(secret).unwrap_or_default();
    if text.trim_start_matches(is_blank).starts_with('{') {
        return Err(not_a_secret(
            "the HMAC secret begins like a JWK: load that with `jwk` or `jwks`, or give a secret that begins so in base64",
        ));
    }
    if is_jwk(text) {
        return Err(not_a_secret(
            "the HMAC secret has a JWK in it: load that with `jwk` or `jwks`",
        ));
    }
    Ok(())
}

/// Decodes a secret in either alphabet, padded or not.
pub(super) fn from_base64(text: &str) -> Result<Vec<u8>, KeyError> {
    let secret =
        decode(text).ok_or_else(|| KeyError::malformed("the HMAC secret is not base64"))?;
    check_not_a_key_file(&secret)?;
    if std::str::from_utf8(&secret).is_ok_and(is_jwk) {
        return Err(not_a_secret(
            "the HMAC secret is a JWK in base64: decode it and load it with `jwk` or `jwks`",
        ));
    }
    Ok(secret)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    STANDARD
        .decode(text)
        .or_else(|_| URL_SAFE.decode(text))
        .ok()
}

/// Whether a text is a JWK or JWKS, or was one before it lost its end, or has one in it: an array of JWKs, or a JSON string.
fn is_jwk(text: &str) -> bool {
    let has = |name| text.contains(name);
    json::object(text).is_ok() || has("\"kty\"") || has("\\\"kty\\\"")
}

/// White space, or the mark that some editors put before a text.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}'
}

/// Refuses a public key in one of its own forms, and nothing at all.
pub(super) fn check_not_a_key_file(secret: &[u8]) -> Result<(), KeyError> {
    if secret.is_empty() {
        return Err(not_a_secret(
            "the HMAC secret is empty: is the variable set that it comes from?",
        ));
    }
    if pem::is_pem(secret) {
        return Err(not_a_secret("the HMAC secret is a PEM: load it with `pem`"));
    }
    if der::is_public_key(secret) {
        return Err(not_a_secret(
            "the HMAC secret is a public key in DER: load it with `key(Key::from_der(..)?)`",
        ));
    }
    // The form in which some providers show their public key: a PEM without its first and last line.
    let text = std::str::from_utf8(secret).unwrap_or_default();
    let body: String = text.split(is_blank).collect();
    if decode(&body).is_some_and(|decoded| der::is_public_key(&decoded)) {
        return Err(not_a_secret(
            "the HMAC secret is a public key in base64: decode it and load it with `key(Key::from_der(..)?)`",
        ));
    }
    // Where a key is to be found, and OpenSSH's form of one.
    let starts = [
        "https://",
        "http://",
        "ssh-rsa ",
        "ssh-ed25519 ",
        "ecdsa-sha2-",
    ];
    let start = text.trim_start_matches(is_blank);
    if starts.iter().any(|known| start.starts_with(known)) {
        return Err(not_a_secret(
            "the HMAC secret is an address or an SSH public key, which is no secret: load a JWKS with `jwks`, a key with `pem`",
        ));
    }
    Ok(())
}

fn not_a_secret(message: &'static str) -> KeyError {
    KeyError::new(KeyErrorKind::NotASecret, message)
}
