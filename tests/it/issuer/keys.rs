//! Private keys in every form, and what is taken for one by mistake.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rolescope::JwtVerifier;
use rolescope::auth::jwt::{Algorithm, Key, KeyErrorKind};
use rolescope::issuer::{SigningKey, TokenIssuer};
use serde_json::{Value, json};

use super::{SECRET, URL, issuer, verify};

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../keys/", $name, ".pem"))
    };
}

/// The bytes in a PEM.
fn der(pem: &str) -> Vec<u8> {
    let lines = pem.lines().filter(|line| !line.starts_with("-----"));
    STANDARD
        .decode(lines.collect::<String>())
        .expect("it is base64")
}

fn pem(label: &str, der: &[u8]) -> String {
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        STANDARD.encode(der)
    )
}

#[test]
fn every_form_of_a_key_signs_what_its_public_key_verifies() {
    use Algorithm as A;
    let parameters =
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    let files = [
        (
            A::ES256,
            file!("p256.private").to_owned(),
            file!("p256.spki"),
        ),
        (A::ES256, file!("p256.sec1").to_owned(), file!("p256.spki")),
        (
            A::ES256,
            format!("{parameters}{}", file!("p256.sec1")),
            file!("p256.spki"),
        ),
        (
            A::ES256,
            file!("p256.private").replace('\n', "\r\n"),
            file!("p256.spki"),
        ),
        (
            A::ES384,
            file!("p384.private").to_owned(),
            file!("p384.spki"),
        ),
        (
            A::EdDSA,
            file!("ed25519.private").to_owned(),
            file!("ed25519.spki"),
        ),
        (
            A::RS256,
            file!("rsa2048.private").to_owned(),
            file!("rsa2048.spki"),
        ),
        (
            A::RS256,
            file!("rsa2048.pkcs8").to_owned(),
            file!("rsa2048.spki"),
        ),
    ];
    for (algorithm, private, public) in files {
        let by_pem = SigningKey::pem("k1", &private).unwrap_or_else(|e| panic!("{e}: {private}"));
        let mut keys = vec![by_pem];
        if !private.starts_with(parameters) {
            keys.push(
                SigningKey::der("k1", der(&private)).unwrap_or_else(|e| panic!("{e}: {private}")),
            );
        }
        for key in keys {
            assert_eq!((key.id(), key.algorithm()), (Some("k1"), algorithm));
            let issuer = issuer(key);
            let token = issuer
                .issue(json!({ "sub": "alice" }))
                .expect("it is issued");
            // The public key as OpenSSL wrote it, the one that this crate computed, and that as a JWKS.
            let of_file = Key::from_pem(public).expect("a public key").with_id("k1");
            let of_jwks = Key::from_jwks(&issuer.jwks()).expect("a JWKS");
            for keys in [vec![of_file], issuer.verifying_keys(), of_jwks] {
                assert!(keys.iter().all(|key| key.algorithms().contains(&algorithm)));
                let verifier = JwtVerifier::builder().keys(keys).expect("there are keys");
                let verifier = verifier
                    .issuer(URL)
                    .audience("todos")
                    .build()
                    .expect("it is built");
                let claims = verifier
                    .verify(token.as_str())
                    .expect("its signature is good");
                assert_eq!(claims.subject(), Some("alice"));
            }
        }
    }
}

#[test]
fn an_rsa_key_signs_with_what_it_is_told_to_and_verifies_nothing_else() {
    use Algorithm as A;
    let rsa = || SigningKey::pem("k1", file!("rsa2048.private")).expect("a key");
    for algorithm in [A::RS256, A::RS384, A::RS512, A::PS256, A::PS384, A::PS512] {
        let key = rsa().with_algorithm(algorithm).expect("it is one for RSA");
        assert_eq!(key.verifying_key().algorithms(), [algorithm]);
        let jwk: Value = serde_json::from_str(&key.public_jwk().expect("a JWK")).expect("JSON");
        assert_eq!(jwk["alg"], algorithm.as_str());
        assert_eq!(jwk["use"], "sig");
        let issuer = issuer(key);
        let token = issuer.issue(json!({})).expect("it is issued");
        assert!(verify(&issuer, token.as_str()).is_ok(), "{algorithm}");
        let other = if algorithm == A::RS256 {
            A::PS256
        } else {
            A::RS256
        };
        let other = super::issuer(rsa().with_algorithm(other).expect("for RSA"));
        assert!(verify(&other, token.as_str()).is_err(), "{algorithm}");
    }
    let p256 = SigningKey::pem("k1", file!("p256.private")).expect("a key");
    let hs256 = SigningKey::hs256(SECRET).expect("a secret");
    for (key, algorithm) in [
        (rsa(), A::ES256),
        (rsa(), A::HS256),
        (p256.clone(), A::RS256),
        (p256, A::ES384),
        (hs256.clone(), A::RS256),
        (hs256, A::HS384),
    ] {
        let error = key.with_algorithm(algorithm).expect_err("it does not fit");
        assert_eq!(error.kind(), KeyErrorKind::AlgorithmMismatch, "{algorithm}");
    }
}

#[test]
fn what_is_no_private_key_is_refused_with_the_reason() {
    use KeyErrorKind as K;
    let private = file!("p256.private");
    let two = format!("{private}{private}");
    let half = &private[..private.len() / 2];
    let of_another_kind = pem("RSA PRIVATE KEY", &der(private));
    let public_as_private = pem("PRIVATE KEY", &der(file!("p256.spki")));
    for (pem, kind) in [
        ("", K::Malformed),
        ("not a pem", K::Malformed),
        (SECRET, K::Malformed),
        (half, K::Malformed),
        (&two, K::Malformed),
        (&of_another_kind, K::Malformed),
        (&public_as_private, K::Malformed),
        (file!("p256.spki"), K::PublicKey),
        (file!("rsa2048.spki"), K::PublicKey),
        (file!("p256.certificate"), K::PublicKey),
        (file!("rsa2048.certificate"), K::PublicKey),
        (file!("p256.encrypted"), K::Unsupported),
        (file!("p521.private"), K::Unsupported),
        (file!("secp256k1.private"), K::Unsupported),
        (file!("rsapss.private"), K::Unsupported),
        (file!("rsa1024.private"), K::WeakRsa),
    ] {
        let error = SigningKey::pem("k1", pem).expect_err(pem);
        assert_eq!(error.kind(), kind, "{error}: {pem}");
        for line in pem
            .lines()
            .filter(|line| line.len() > 8 && !line.starts_with("-----"))
        {
            assert!(!error.to_string().contains(line), "{error}");
        }
    }
    let publics = [
        file!("p256.spki"),
        file!("rsa2048.spki"),
        file!("ed25519.certificate"),
    ];
    for der in publics.map(der) {
        let error = SigningKey::der("k1", der).expect_err("it is public");
        assert_eq!(error.kind(), K::PublicKey);
    }
    for der in [&b""[..], b"\x30\x00", SECRET.as_bytes(), &[0xff; 64]] {
        let error = SigningKey::der("k1", der).expect_err("it is nothing");
        assert_eq!(error.kind(), K::Malformed);
    }
}

#[test]
fn a_secret_is_long_enough_and_nobodys_key() {
    use KeyErrorKind as K;
    type Load = fn(&[u8]) -> Result<SigningKey, rolescope::auth::jwt::KeyError>;
    let loads: [(Load, usize); 3] = [
        (|secret| SigningKey::hs256(secret), 32),
        (|secret| SigningKey::hs384(secret), 48),
        (|secret| SigningKey::hs512(secret), 64),
    ];
    for (load, least) in loads {
        let key = load(&vec![0xfe; least]).expect("it is long enough");
        assert_eq!((key.id(), key.public_jwk()), (None, None));
        let issuer = issuer(key.with_id("s1"));
        let token = issuer.issue(json!({})).expect("it is issued");
        assert!(verify(&issuer, token.as_str()).is_ok());
        assert_eq!(issuer.jwks(), r#"{"keys":[]}"#, "a secret is not published");
        let error = load(&vec![0xfe; least - 1]).expect_err("it is short");
        assert_eq!(error.kind(), K::ShortSecret);
        for file in [
            file!("p256.private").as_bytes(),
            file!("p256.spki").as_bytes(),
            file!("rsa2048.certificate").as_bytes(),
            &der(file!("p256.private")),
            &der(file!("p384.private")),
            &der(file!("p256.sec1")),
            &der(file!("ed25519.private")),
            &der(file!("rsa2048.pkcs8")),
            &der(file!("rsa2048.private")),
            &der(file!("rsa2048.spki")),
            br#"{"kty":"oct","k":"c29tZSBvbGQgc2VjcmV0LCB0aGlydHktdHdvIGJ5dGVzLCBhbmQgbW9yZSBvZiB0aGVt"}"#,
            b"https://login.example/a/long/path/to/the/keys/of/the/issuer/of/tokens",
        ] {
            let error = load(file).expect_err("it is no secret");
            assert_eq!(error.kind(), K::NotASecret, "{error}");
        }
        assert_eq!(load(b"").expect_err("it is empty").kind(), K::NotASecret);
    }
}

/// Whatever is wrong with a file, it is an error or a key that signs and verifies, and never a panic.
#[test]
fn a_file_with_a_wrong_byte_is_no_other_key() {
    for (file, public, step) in [
        (file!("p256.private"), file!("p256.spki"), 1),
        (file!("p256.sec1"), file!("p256.spki"), 1),
        (file!("p384.private"), file!("p384.spki"), 1),
        (file!("ed25519.private"), file!("ed25519.spki"), 1),
        (file!("rsa2048.private"), file!("rsa2048.spki"), 149),
    ] {
        let whole = der(file);
        let public = Key::from_pem(public).expect("a public key").with_id("k1");
        let verifier = JwtVerifier::builder()
            .key(public)
            .issuer(URL)
            .audience("todos");
        let verifier = verifier.build().expect("it is built");
        for at in (0..whole.len()).step_by(step) {
            let mut wrong = whole.clone();
            wrong[at] ^= 0x11;
            let wrong = [
                SigningKey::der("k1", &wrong),
                SigningKey::pem("k1", pem("PRIVATE KEY", &wrong)),
            ];
            for key in wrong.into_iter().flatten() {
                let token = issuer(key)
                    .issue(json!({}))
                    .expect("a key that was loaded signs");
                // Without the public key in the file another private key is another key, and a good one.
                let is_seed = file == file!("ed25519.private") && at >= 16;
                assert!(
                    is_seed || verifier.verify(token.as_str()).is_ok(),
                    "byte {at} of {file}"
                );
            }
            let cut = SigningKey::der("k1", &whole[..at]).expect_err("it is cut");
            assert_eq!(cut.kind(), KeyErrorKind::Malformed);
        }
    }
}

#[test]
fn random_keys_are_new_ones_each_time() {
    let make = [SigningKey::random_es256, SigningKey::random_ed25519];
    for make in make.map(|make: fn(&'static str) -> _| make) {
        let [one, two]: [SigningKey; 2] =
            [make("one").expect("a key"), make("two").expect("a key")];
        let [one, two] = [one.with_id("k1"), two.with_id("k1")].map(issuer);
        assert_ne!(one.jwks(), two.jwks());
        let token = one.issue(json!({})).expect("it is issued");
        assert!(verify(&one, token.as_str()).is_ok());
        assert!(verify(&two, token.as_str()).is_err());
    }
}

#[test]
fn one_issuer_signs_with_its_own_key_and_verifies_with_both() {
    let [old, new, strange] =
        ["old", "new", "strange"].map(|id| SigningKey::random_ed25519(id).expect("a key"));
    let build = |key: &SigningKey, other: &SigningKey| {
        let builder = TokenIssuer::builder(key.clone()).also_publish(other.clone());
        builder
            .issuer(URL)
            .audience("todos")
            .build()
            .expect("it is built")
    };
    let (before, after) = (build(&old, &new), build(&new, &old));
    for (signer, id) in [(&before, "old"), (&after, "new")] {
        let token = signer.issue(json!({})).expect("it is issued");
        assert_eq!(super::tokens::header(token.as_str())["kid"], id);
        for issuer in [&before, &after] {
            assert!(verify(issuer, token.as_str()).is_ok(), "{id}");
        }
    }
    let token = issuer(strange).issue(json!({})).expect("it is issued");
    assert!(verify(&before, token.as_str()).is_err());
}
