//! Any bytes as a JWKS, as one JWK, and as the other forms of a key.

use std::collections::BTreeMap;

use rolescope::JwtVerifier;
use rolescope::auth::jwt::{Algorithm, Key, TokenError};
use serde_json::Value;
use serde_json::value::RawValue;

use super::reference;

pub(crate) fn check(data: &[u8]) {
    let mut public = Vec::new();
    public.extend(Key::from_der(data));
    public.extend(Key::from_pem(data));
    if let Ok(text) = std::str::from_utf8(data) {
        let one = Key::from_jwk(text);
        let set = Key::from_jwks(text);
        assert!(one.is_err() || set.is_err(), "a JWK is no JWKS");
        if let Ok(key) = one {
            check_jwk(&key, text);
            public.push(key);
        }
        if let Ok(keys) = set {
            check_set(&keys, text);
            public.extend(keys);
        }
        // As a JWKS' own entry: what the one function skips the other refuses.
        let entry = Key::from_jwks(&format!(r#"{{"keys":[{text}]}}"#));
        if let Ok(key) = Key::from_jwk(text) {
            let keys = entry.expect("a JWK is an entry of a JWKS");
            assert_eq!(keys.len(), 1);
            assert_eq!(format!("{:?}", keys[0]), format!("{key:?}"));
        }
    }
    // Whoever has a public key must not be a signer.
    if !public.is_empty() {
        for secret in [Key::hs256(data), Key::hs384(data), Key::hs512(data)] {
            assert!(secret.is_err(), "{}", data.escape_ascii());
        }
    }
    for key in public {
        check_key(key);
    }
}

fn check_set(keys: &[Key], text: &str) {
    // Not `Value`: an entry that is skipped may have half a surrogate pair in it, which JSON allows and a `String` does not.
    let set: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).expect("a JWKS is JSON");
    let entries: Vec<&RawValue> = serde_json::from_str(set["keys"].get()).expect("it has keys");
    assert!(!keys.is_empty() && keys.len() <= entries.len());
}

fn check_jwk(key: &Key, text: &str) {
    // `Value` cannot hold every number, and a JWK's own members have none.
    let Ok(jwk) = serde_json::from_str::<Value>(text) else {
        return;
    };
    let get = |name: &str| {
        jwk.get(name)
            .map(|value| value.as_str().unwrap_or("not a text"))
    };
    assert!(matches!(get("use"), None | Some("sig")));
    if let Some(operations) = jwk.get("key_ops") {
        let operations = operations.as_array().expect("it is an array");
        assert!(operations.contains(&Value::from("verify")));
    }
    assert_eq!(key.id(), get("kid"));
    let names: Vec<&str> = key
        .algorithms()
        .iter()
        .map(|known| known.as_str())
        .collect();
    let fits = |name: &str| match (get("kty"), get("crv")) {
        (Some("oct"), _) => name.starts_with("HS"),
        (Some("RSA"), _) => name.starts_with("RS") || name.starts_with("PS"),
        (Some("EC"), Some("P-256")) => name == "ES256",
        (Some("EC"), Some("P-384")) => name == "ES384",
        (Some("OKP"), Some("Ed25519")) => name == "EdDSA",
        _ => false,
    };
    assert!(
        !names.is_empty() && names.iter().all(|name| fits(name)),
        "{names:?}"
    );
    assert!(get("alg").is_none_or(|alg| names == [alg]), "{names:?}");
    assert!(get("kty") == Some("oct") || jwk.get("d").is_none());
    let length = |name| get(name).map_or(0, str::len);
    match get("kty") {
        // In base64url: 2048 bits, and the coordinates of P-256 and P-384.
        Some("RSA") => assert!(length("n") >= 342),
        Some("EC") => assert!(length("x") >= 43 && length("x") == length("y")),
        Some("OKP") => assert_eq!(length("x"), 43),
        _ => assert!(length("k") > 0),
    }
}

/// No key accepts what nobody has signed.
fn check_key(key: Key) {
    let algorithms = key.algorithms().to_vec();
    let verifier = JwtVerifier::builder().key(key).dangerous();
    let verifier = verifier
        .accept_short_secrets()
        .build()
        .expect("it is built");
    for algorithm in algorithms {
        let header = format!(r#"{{"alg":"{algorithm}"}}"#);
        let header = reference::base64url(header.as_bytes());
        let length = match algorithm {
            Algorithm::ES256 | Algorithm::EdDSA => 64,
            Algorithm::ES384 => 96,
            Algorithm::HS256 => 32,
            Algorithm::HS384 => 48,
            Algorithm::HS512 => 64,
            _ => 256,
        };
        // Of all zeros, of ones, and what a key of small order takes for one: the identity and zero.
        let identity = |at| u8::from(at == 0);
        let forged = [0, 1, 0xff].map(|byte| vec![byte; length]);
        for signature in forged
            .into_iter()
            .chain([(0..length).map(identity).collect()])
        {
            let signature = reference::base64url(&signature);
            let refused = verifier.verify(&format!("{header}.e30.{signature}"));
            assert_eq!(refused.err(), Some(TokenError::BadSignature), "{algorithm}");
        }
    }
}
