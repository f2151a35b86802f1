//! Makes tokens, good ones and all others.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use rolescope::JwtVerifier;
use rolescope::auth::jwt::{HasKey, JwtVerifierBuilder, Key, ManualClock, WantsKey};

use super::super::mint::DEFAULT_PROVIDER;

/// As long as HS512 wants it.
pub(in crate::auth) const SECRET: &[u8] =
    b"a secret that is as long as the output of SHA-512, or 64 bytes!!";
/// What the clocks of the verifiers show.
pub(in crate::auth) const NOW: u64 = 1_700_000_000;
/// Claims that nothing is wrong with.
pub(in crate::auth) const GOOD: &str = r#"{"aud":"todos","exp":1700000060,"sub":"ann"}"#;

/// One of the key pairs in `tests/it/keys`.
#[derive(Clone, Copy)]
pub(in crate::auth) struct Pair {
    pub(in crate::auth) name: &'static str,
    pub(in crate::auth) algorithm: Algorithm,
    pub(in crate::auth) private: &'static str,
    pub(in crate::auth) public: &'static str,
}

macro_rules! pair {
    ($name:literal, $algorithm:ident) => {
        Pair {
            name: $name,
            algorithm: Algorithm::$algorithm,
            private: include_str!(concat!("../../keys/", $name, ".private.pem")),
            public: include_str!(concat!("../../keys/", $name, ".spki.pem")),
        }
    };
}

pub(in crate::auth) const RSA: Pair = pair!("rsa2048", RS256);
pub(in crate::auth) const P256: Pair = pair!("p256", ES256);
pub(in crate::auth) const P384: Pair = pair!("p384", ES384);
pub(in crate::auth) const ED25519: Pair = pair!("ed25519", EdDSA);
pub(in crate::auth) const PAIRS: [Pair; 4] = [RSA, P256, P384, ED25519];

impl Pair {
    pub(in crate::auth) fn key(self) -> Key {
        Key::from_pem(self.public).unwrap()
    }

    /// A verifier that has this key and no other.
    pub(in crate::auth) fn verifier(self) -> JwtVerifier {
        rules().key(self.key()).build().unwrap()
    }

    pub(in crate::auth) fn signer(self) -> EncodingKey {
        let der = der(self.private);
        match self.algorithm {
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_der(&der),
            Algorithm::EdDSA => EncodingKey::from_ed_der(&der),
            _ => EncodingKey::from_rsa_der(&der),
        }
    }

    /// A token with a header of its own, signed with the pair's first algorithm.
    pub(in crate::auth) fn token(self, header: &str) -> String {
        sign(self.algorithm, &self.signer(), header, GOOD.as_bytes())
    }

    /// The public key's own bytes: an RSA modulus, an EC point, an Ed25519 key.
    pub(in crate::auth) fn raw(self) -> Vec<u8> {
        let der = der(self.public);
        match self.algorithm {
            Algorithm::ES256 => der[der.len() - 65..].to_vec(),
            Algorithm::ES384 => der[der.len() - 97..].to_vec(),
            Algorithm::EdDSA => der[der.len() - 32..].to_vec(),
            // Before its exponent, which takes five bytes with tag and length.
            _ => der[der.len() - 5 - 256..der.len() - 5].to_vec(),
        }
    }

    /// The public key as a JWK.
    pub(in crate::auth) fn jwk(self) -> String {
        let raw = self.raw();
        match self.algorithm {
            Algorithm::ES256 | Algorithm::ES384 => {
                let (x, y) = raw[1..].split_at(raw.len() / 2);
                let crv = if x.len() == 32 { "P-256" } else { "P-384" };
                format!(
                    r#"{{"kty":"EC","crv":"{crv}","x":"{}","y":"{}"}}"#,
                    encode(x),
                    encode(y)
                )
            }
            Algorithm::EdDSA => {
                format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, encode(&raw))
            }
            _ => format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#, encode(&raw)),
        }
    }
}

/// The rules that [`GOOD`] claims keep.
pub(in crate::auth) fn rules() -> JwtVerifierBuilder<WantsKey> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    let clock = ManualClock::new(now);
    JwtVerifier::builder().audience("todos").clock(clock)
}

/// The rules and the secret.
pub(in crate::auth) fn hmac() -> JwtVerifierBuilder<HasKey> {
    rules().hs256(SECRET).unwrap()
}

/// A verifier that has the secret and every public key.
pub(in crate::auth) fn everything() -> JwtVerifier {
    let hmac = [Key::hs256(SECRET), Key::hs384(SECRET), Key::hs512(SECRET)];
    let keys = hmac.into_iter().map(Result::unwrap);
    let keys = keys.chain(PAIRS.map(Pair::key));
    rules().keys(keys).unwrap().build().unwrap()
}

pub(in crate::auth) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(in crate::auth) fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.contains('-')).collect();
    STANDARD.decode(body).unwrap()
}

/// Signs a text, which may be anything.
pub(in crate::auth) fn signature(algorithm: Algorithm, key: &EncodingKey, signed: &str) -> Vec<u8> {
    let signer = (DEFAULT_PROVIDER.signer_factory)(&algorithm, key).unwrap();
    signer.try_sign(signed.as_bytes()).unwrap()
}

pub(in crate::auth) fn sign(
    algorithm: Algorithm,
    key: &EncodingKey,
    header: &str,
    payload: &[u8],
) -> String {
    let signed = format!("{}.{}", encode(header.as_bytes()), encode(payload));
    let signature = signature(algorithm, key, &signed);
    format!("{signed}.{}", encode(&signature))
}

/// Signs with HS256 and whatever secret.
pub(in crate::auth) fn with_secret(secret: &[u8], header: &str, payload: &[u8]) -> String {
    sign(
        Algorithm::HS256,
        &EncodingKey::from_secret(secret),
        header,
        payload,
    )
}

/// A token of the [`SECRET`] with a header of one's own.
pub(in crate::auth) fn with_header(header: &str) -> String {
    with_secret(SECRET, header, GOOD.as_bytes())
}

/// A token of the [`SECRET`] with claims of one's own.
pub(in crate::auth) fn with_payload(payload: &[u8]) -> String {
    with_secret(SECRET, r#"{"alg":"HS256"}"#, payload)
}
