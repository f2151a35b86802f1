//! What a verifier accepts and refuses, token by token.

mod cache;
mod claims;
mod forgeries;
mod kinds;
mod postgrest;
mod revocations;
#[cfg(feature = "jwks")]
mod sources;
mod vectors;
mod wycheproof;

use std::time::{Duration, SystemTime};

use super::builder::TOKEN_CACHE;
use super::candidates::MAX_TRIED;
use super::testing::{NOW, SECRET, base64, hs256, key_pair, now, sign, sign_text, with_header};
use super::*;

const SEED: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJyb2xlIjoiamRvZTEyMyJ9.X_ZeWSS9qsKDCDczv8C-GE2fccrPQjOh_ALMZJa5jsU";

const ALL: [Algorithm; 12] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

type Checked = Result<(), TokenError>;

fn builder() -> JwtVerifierBuilder<HasKey> {
    JwtVerifier::builder().hs256(SECRET).unwrap()
}

fn without_exp() -> JwtVerifier {
    builder().dangerous().accept_missing_exp().build().unwrap()
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Verifies a token, and sees to it that no cache changes the answer: at several times, first one after the other and then
/// back, a verifier without cache says the same.
#[track_caller]
fn verify(verifier: &JwtVerifier, token: &str) -> Result<(), TokenError> {
    let plain = verifier.without_cache();
    for offset in [0, 0, 29, 30, 31, 3600, 31, 30, 29, 0, -30, -31, -3600, 0, 0] {
        let time = at(NOW.saturating_add_signed(offset));
        let expected = outcome(&plain, token, time);
        assert_eq!(outcome(verifier, token, time), expected, "{offset} {token}");
    }
    verifier.verify_at(token, now()).map(drop)
}

/// All that can be read of a token's claims.
#[derive(Debug, PartialEq)]
struct Read {
    json: String,
    claims: Vec<(String, String)>,
    texts: [Option<String>; 3],
    audience: Vec<String>,
    times: [Option<SystemTime>; 3],
}

fn outcome(verifier: &JwtVerifier, token: &str, time: SystemTime) -> Result<Read, TokenError> {
    let claims = verifier.verify_at(token, time)?;
    let raw = |name: &str| (name.to_owned(), claims.raw(name).unwrap().to_owned());
    let texts = [claims.issuer(), claims.subject(), claims.jwt_id()];
    Ok(Read {
        json: claims.as_json().to_owned(),
        claims: claims.names().map(raw).collect(),
        texts: texts.map(|text| text.map(str::to_owned)),
        audience: claims.audience().map(str::to_owned).collect(),
        times: [claims.expires_at(), claims.not_before(), claims.issued_at()],
    })
}

fn public_key(algorithm: Algorithm) -> Key {
    match (algorithm, key_pair(algorithm).1) {
        (_, Some(pem)) => Key::from_pem(pem).unwrap(),
        (Algorithm::HS384, _) => Key::hs384(SECRET).unwrap(),
        (Algorithm::HS512, _) => Key::hs512(SECRET).unwrap(),
        _ => Key::hs256(SECRET).unwrap(),
    }
}

fn signed_with(algorithm: Algorithm) -> String {
    let header = format!(r#"{{"alg":"{algorithm}"}}"#);
    let payload = format!(r#"{{"exp":{NOW}}}"#);
    sign(
        algorithm,
        &key_pair(algorithm).0,
        header.as_bytes(),
        payload.as_bytes(),
    )
}
