//! Signs tokens, as an issuer would.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
#[cfg(feature = "aws-lc-rs")]
pub(crate) use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
#[cfg(not(feature = "aws-lc-rs"))]
pub(crate) use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, EncodingKey};
use rolescope::JwtVerifier;

/// What tokens are signed with.
pub(crate) const SECRET: &str = "a test secret of thirty-two bytes";

pub(crate) fn verifier() -> JwtVerifier {
    let builder = JwtVerifier::builder().hs256(SECRET).unwrap();
    builder.audience("todos").build().unwrap()
}

/// A token with these claims for the [`verifier`], good for another minute.
pub(crate) fn token(claims: &str) -> String {
    with_expiry(claims, SystemTime::now() + Duration::from_secs(60))
}

pub(crate) fn expired_token() -> String {
    with_expiry("", SystemTime::now() - Duration::from_secs(60))
}

fn with_expiry(claims: &str, expiry: SystemTime) -> String {
    let seconds = expiry
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    sign(&format!(r#"{{"aud":"todos","exp":{seconds}{claims}}}"#))
}

/// Signs a payload as it is.
pub(crate) fn sign(payload: &str) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!(
        "{}.{}",
        encode(br#"{"alg":"HS256"}"#),
        encode(payload.as_bytes())
    );
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signer = (DEFAULT_PROVIDER.signer_factory)(&Algorithm::HS256, &key).unwrap();
    let signature = signer.try_sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", encode(&signature))
}
