//! Secrets, and what is not taken for one.

use super::*;

/// A PEM's lines without the first and the last one.
fn base64_of_pem(pem: &str) -> String {
    let lines = pem.lines().filter(|line| !line.contains('-'));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn what_is_plainly_no_secret_is_not_taken_for_one() {
    let jwk = r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ"}"#;
    let body = base64_of_pem(RSA);
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("a PEM", RSA.into()),
        ("a private PEM", key_file!("p256.private").into()),
        ("a PEM behind a comment", format!("# the key\n{RSA}").into()),
        ("a PEM on one line", RSA.replace('\n', "\\n").into()),
        ("a PEM in base64", base64(RSA.as_bytes()).into()),
        ("DER", der(RSA)),
        ("DER in base64", base64(&der(RSA)).into()),
        ("a PKCS#1 DER", der(key_file!("rsa2048.pkcs1"))),
        ("a certificate in DER", der(key_file!("p256.certificate"))),
        ("a JWK", jwk.into()),
        (
            "a broken JWK",
            format!("\n {}", &jwk[..jwk.len() - 1]).into(),
        ),
        ("a JWK behind a mark", format!("\u{feff}{jwk}").into()),
        ("an array of JWKs", format!("[{jwk}]").into()),
        (
            "a JWK as a string",
            format!("\"{}\"", jwk.replace('"', "\\\"")).into(),
        ),
        ("a PEM without its first and last line", body.clone().into()),
        ("the same with CRLF", body.replace('\n', "\r\n").into()),
        (
            "an SSH key",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl a"
                .into(),
        ),
        (
            "an address",
            "https://login.example/.well-known/jwks.json".into(),
        ),
    ];
    for (what, secret) in &rows {
        for key in [Key::hs256(secret), Key::hs384(secret), Key::hs512(secret)] {
            refused(key, Kind::NotASecret, what);
        }
    }
    for (what, secret) in &rows {
        refused(
            Key::hmac_base64(Algorithm::HS256, &base64(secret)),
            Kind::NotASecret,
            what,
        );
    }
    let oct = format!(r#"{{"kty":"oct","k":"{}"}}"#, base64(RSA.as_bytes()));
    refused(
        Key::from_jwk(&oct),
        Kind::NotASecret,
        "a JWK with a PEM in it",
    );
    assert!(
        Key::hs256([b'{'; 32].map(|byte| byte | 0x80)).is_ok(),
        "random bytes"
    );
    assert!(
        Key::hs256([&b"{"[..], &[0xff; 32]].concat()).is_ok(),
        "random bytes that begin like a JWK"
    );
    let braced = base64(b"{a secret that begins with a brace");
    assert!(
        Key::hmac_base64(Algorithm::HS256, &braced).is_ok(),
        "as the error says"
    );
}

#[test]
fn secrets_in_base64_may_be_written_either_way() {
    let secret = [0xfb; 34];
    for text in [
        alphabets::STANDARD.encode(secret),
        alphabets::STANDARD_NO_PAD.encode(secret),
        alphabets::URL_SAFE.encode(secret),
        alphabets::URL_SAFE_NO_PAD.encode(secret),
        format!(" {}\n", alphabets::STANDARD.encode(secret)),
    ] {
        let key = Key::hmac_base64(Algorithm::HS256, &text).unwrap();
        assert_eq!(number(&key).0, secret, "{text}");
    }
    refused(
        Key::hmac_base64(Algorithm::HS256, "not base64!"),
        Kind::Malformed,
        "not base64",
    );
    refused(
        Key::hmac_base64(Algorithm::RS256, "AAAA"),
        Kind::AlgorithmMismatch,
        "no HMAC",
    );
}

#[test]
fn secrets_are_as_long_as_their_hash() {
    let rows = [
        (Algorithm::HS256, 32),
        (Algorithm::HS384, 48),
        (Algorithm::HS512, 64),
    ];
    for (algorithm, least) in rows {
        let key = |length| Key::hmac_base64(algorithm, &base64(&vec![7; length])).unwrap();
        assert_eq!(key(least).check_length(), Ok(()), "{algorithm}");
        let short = key(least - 1).check_length().unwrap_err();
        assert_eq!(short.kind(), Kind::ShortSecret, "{algorithm}");
    }
    for empty in [
        Key::hs256(""),
        Key::hmac_base64(Algorithm::HS256, " "),
        Key::from_jwk(r#"{"kty":"oct","k":""}"#),
    ] {
        refused(empty, Kind::NotASecret, "empty");
    }
    let jwk = Key::from_jwk(r#"{"kty":"oct","k":"c2VjcmV0"}"#).unwrap();
    assert_eq!(jwk.algorithms(), [Algorithm::HS256]);
    assert_eq!(jwk.check_length().unwrap_err().kind(), Kind::ShortSecret);
}
