//! Any text as a token, and any header and payload in a token that is signed well.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use rolescope::auth::jwt::{HasKey, JwtVerifierBuilder, TokenError};
use rolescope::{Claims, JwtVerifier};

use super::reference::{self, Json};

static CACHED: LazyLock<JwtVerifier> = LazyLock::new(|| verifier().build().expect("it is built"));
static PLAIN: LazyLock<JwtVerifier> = LazyLock::new(|| {
    let verifier = verifier().token_cache(0);
    verifier.build().expect("it is built")
});

fn verifier() -> JwtVerifierBuilder<HasKey> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(reference::NOW);
    JwtVerifier::builder()
        .hs256(reference::SECRET)
        .expect("the secret is long enough")
        .pem(include_str!("../keys/p256.spki.pem"))
        .expect("it is a key")
        .pem(include_str!("../keys/ed25519.spki.pem"))
        .expect("it is a key")
        .audience("todos")
        .leeway(Duration::from_secs(reference::LEEWAY))
        .clock(move || now)
}

pub(crate) fn check(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        check_token(text);
    }
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let header = parts.next().unwrap_or_default();
    let payload = parts.next().unwrap_or_default();
    let token = reference::token(header, payload);
    if let Some(claims) = check_token(&token) {
        assert_eq!(claims.as_json().as_bytes(), payload);
        check_header(&Json::read(header).expect("an accepted header is JSON"));
        check_claims(&claims, payload);
    }
    // The same text with another signature is nobody's.
    let (signed, signature) = token.rsplit_once('.').expect("it has a signature");
    for signature in [
        "",
        &signature[1..],
        &format!("{signature}A"),
        &"A".repeat(43),
    ] {
        let forged = format!("{signed}.{signature}");
        assert!(CACHED.verify(&forged).is_err(), "{forged}");
    }
}

/// Returns the claims of an acceptable token, once it is sure that its signature is the one that belongs there.
fn check_token(token: &str) -> Option<Claims> {
    let first = CACHED.verify(token);
    let plain = PLAIN.verify(token);
    // This time the first one is found in the cache.
    let again = CACHED.verify(token);
    assert_eq!(outcome(&first), outcome(&plain), "{token}");
    assert_eq!(outcome(&first), outcome(&again), "{token}");
    let claims = match first {
        Ok(claims) => claims,
        Err(error) => {
            let safe = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
            assert!(error.as_str().bytes().all(safe), "{error}");
            return None;
        }
    };
    let (signed, signature) = token.rsplit_once('.').expect("it has a signature");
    // No input has a signature of the other keys, whose private halves are not used here.
    assert_eq!(signature, reference::signature(signed), "{token}");
    Some(claims)
}

fn outcome(result: &Result<Claims, TokenError>) -> Result<&str, TokenError> {
    result.as_ref().map(Claims::as_json).map_err(|error| *error)
}

fn check_header(header: &Json) {
    assert_eq!(header.get("alg").and_then(Json::text), Some("HS256"));
    for name in ["crit", "b64", "zip", "enc"] {
        assert_eq!(header.get(name), None);
    }
    for name in ["typ", "kid"] {
        assert!(header.get(name).is_none_or(|value| value.text().is_some()));
    }
    let names: Vec<_> = header.members().expect("it is an object").iter().collect();
    for (at, (name, _)) in names.iter().enumerate() {
        assert!(names[..at].iter().all(|(other, _)| other != name), "{name}");
    }
}

fn check_claims(claims: &Claims, payload: &[u8]) {
    let json = match Json::read(payload) {
        Ok(json) => json,
        // It has no limit to numbers, since it does not read them.
        Err(error) if error.to_string().contains("number out of range") => return,
        Err(error) => panic!("an accepted payload is JSON: {error}"),
    };
    assert!(json.has_one_meaning());
    let members = json.members().expect("it is an object");
    assert!(claims.names().eq(members.iter().map(|(name, _)| &**name)));
    for (name, value) in members {
        let raw = claims.raw(name).expect("it has a value");
        assert_eq!(Json::read(raw.as_bytes()).expect("it is JSON"), *value);
    }
    let number = |name| match json.get(name) {
        None => None,
        Some(Json::Number(number)) => Some(*number),
        Some(other) => panic!("{name} is {other:?}"),
    };
    let (now, leeway) = (reference::NOW as f64, reference::LEEWAY as f64);
    assert!(number("exp").expect("there is an exp") > now - leeway);
    for name in ["nbf", "iat"] {
        assert!(
            number(name).is_none_or(|time| time <= now + leeway),
            "{name}"
        );
    }
    let is_ours = |value: &Json| value.text() == Some("todos");
    assert!(match json.get("aud") {
        Some(Json::Array(values)) => values.iter().any(is_ours),
        Some(value) => is_ours(value),
        None => false,
    });
    assert_eq!(claims.subject(), json.get("sub").and_then(Json::text));
    assert_eq!(claims.issuer(), json.get("iss").and_then(Json::text));
}
