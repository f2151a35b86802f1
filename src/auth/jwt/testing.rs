//! Signs tokens for tests. Nothing outside of tests can.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;

use super::claims::Claims;
use super::keys::Algorithm;
use super::signature;
use super::verifier::JwtVerifier;

/// Long enough for HS512.
pub(crate) const SECRET: &str = "a test secret that is as long as the output of SHA-512: 64 bytes!";
pub(crate) const NOW: u64 = 1_700_000_000;

pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

/// Returns the claims that `json` says, for the tests of what is done with claims.
pub(crate) fn claims(json: &str) -> Claims {
    acceptable_claims(json).expect("the test claims are acceptable")
}

pub(crate) fn acceptable_claims(json: &str) -> Option<Claims> {
    let verifier = JwtVerifier::builder()
        .hs256(SECRET)
        .expect("the test secret is a secret")
        .any_audience()
        .dangerous()
        .accept_missing_exp()
        .build()
        .expect("the test verifier can be built");
    verifier.verify_at(&hs256(json), now()).ok()
}

pub(super) fn hs256(payload: &str) -> String {
    with_header(r#"{"alg":"HS256"}"#, payload)
}

pub(super) fn with_header(header: &str, payload: &str) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    sign(
        Algorithm::HS256,
        &key,
        header.as_bytes(),
        payload.as_bytes(),
    )
}

pub(super) fn sign(
    algorithm: Algorithm,
    key: &EncodingKey,
    header: &[u8],
    payload: &[u8],
) -> String {
    let signed = format!("{}.{}", base64(header), base64(payload));
    let signature = sign_text(algorithm, key, &signed);
    format!("{signed}.{}", base64(&signature))
}

pub(super) fn sign_text(algorithm: Algorithm, key: &EncodingKey, signed: &str) -> Vec<u8> {
    let backend = signature::backend().expect("tests that sign need a backend");
    (backend.signer_factory)(&algorithm.backend(), key)
        .expect("the test key fits the algorithm")
        .try_sign(signed.as_bytes())
        .expect("signing works")
}

pub(super) fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.contains('-')).collect();
    STANDARD.decode(body).expect("test keys are PEMs")
}

macro_rules! key_file {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/it/keys/",
            $name,
            ".pem"
        ))
    };
}
pub(super) use key_file;

/// The private test key for an algorithm, and its public key as a PEM.
pub(super) fn key_pair(algorithm: Algorithm) -> (EncodingKey, Option<&'static str>) {
    use Algorithm as A;
    match algorithm {
        A::HS256 | A::HS384 | A::HS512 => (EncodingKey::from_secret(SECRET.as_bytes()), None),
        A::ES256 => (
            EncodingKey::from_ec_der(&der(key_file!("p256.private"))),
            Some(key_file!("p256.spki")),
        ),
        A::ES384 => (
            EncodingKey::from_ec_der(&der(key_file!("p384.private"))),
            Some(key_file!("p384.spki")),
        ),
        A::EdDSA => (
            EncodingKey::from_ed_der(&der(key_file!("ed25519.private"))),
            Some(key_file!("ed25519.spki")),
        ),
        _ => (
            EncodingKey::from_rsa_der(&der(key_file!("rsa2048.private"))),
            Some(key_file!("rsa2048.spki")),
        ),
    }
}
