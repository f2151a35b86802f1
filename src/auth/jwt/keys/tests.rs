//! What is a key and what is not.

use base64::Engine;
use base64::engine::general_purpose as alphabets;

use super::super::testing::{SECRET, base64, der, key_file};
use super::KeyErrorKind as Kind;
use super::*;

const RSA: &str = key_file!("rsa2048.spki");

#[track_caller]
fn refused(key: Result<Key, KeyError>, kind: Kind, what: &str) {
    match key {
        Ok(key) => panic!("{what}: accepted as {key:?}"),
        Err(error) => assert_eq!(error.kind(), kind, "{what}: {error}"),
    }
}

fn number(key: &Key) -> (&[u8], &[u8]) {
    match key.decoding.kind() {
        jsonwebtoken::DecodingKeyKind::RsaModulusExponent { n, e } => (n, e),
        jsonwebtoken::DecodingKeyKind::SecretOrDer(bytes) => (bytes, &[]),
    }
}

#[test]
fn every_form_of_a_public_key_gives_the_same_key() {
    let groups = [
        (
            &Algorithm::RSA[..],
            vec![
                RSA,
                key_file!("rsa2048.pkcs1"),
                key_file!("rsa2048.certificate"),
            ],
        ),
        (
            &[Algorithm::ES256],
            vec![key_file!("p256.spki"), key_file!("p256.certificate")],
        ),
        (&[Algorithm::ES384], vec![key_file!("p384.spki")]),
        (
            &[Algorithm::EdDSA],
            vec![key_file!("ed25519.spki"), key_file!("ed25519.certificate")],
        ),
    ];
    for (algorithms, pems) in groups {
        let first = Key::from_der(der(pems[0])).unwrap();
        for pem in pems {
            let key = Key::from_pem(pem).unwrap();
            assert_eq!(number(&key), number(&first));
            assert_eq!(key.algorithms(), algorithms);
            let commented = format!("# a comment\r\n{}", pem.replace('\n', "\r\n"));
            assert_eq!(number(&Key::from_pem(commented).unwrap()), number(&first));
        }
    }
}

#[test]
fn pems_that_are_no_usable_key_are_refused() {
    let ec_private = "-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----";
    let rows = [
        (
            "private RSA",
            key_file!("rsa2048.private").to_owned(),
            Kind::PrivateKey,
        ),
        (
            "private EC",
            key_file!("p256.private").to_owned(),
            Kind::PrivateKey,
        ),
        ("private EC, SEC1", ec_private.to_owned(), Kind::PrivateKey),
        (
            "private Ed25519",
            key_file!("ed25519.private").to_owned(),
            Kind::PrivateKey,
        ),
        (
            "RSA 1024",
            key_file!("rsa1024.spki").to_owned(),
            Kind::WeakRsa,
        ),
        (
            "P-521",
            key_file!("p521.spki").to_owned(),
            Kind::Unsupported,
        ),
        (
            "secp256k1",
            key_file!("secp256k1.spki").to_owned(),
            Kind::Unsupported,
        ),
        (
            "Ed448",
            key_file!("ed448.spki").to_owned(),
            Kind::Unsupported,
        ),
        (
            "RSASSA-PSS",
            key_file!("rsapss.spki").to_owned(),
            Kind::Unsupported,
        ),
        (
            "compressed point",
            key_file!("p256.compressed").to_owned(),
            Kind::Unsupported,
        ),
        (
            "another label",
            RSA.replace("PUBLIC KEY", "PARAMETERS"),
            Kind::Unsupported,
        ),
        (
            "a wrong label",
            RSA.replace("PUBLIC KEY", "CERTIFICATE"),
            Kind::Malformed,
        ),
        (
            "labels that differ",
            RSA.replace("END PUBLIC", "END RSA PUBLIC"),
            Kind::Malformed,
        ),
        ("two keys", RSA.repeat(2), Kind::Malformed),
        (
            "no end",
            RSA.replace("-----END PUBLIC KEY-----", ""),
            Kind::Malformed,
        ),
        ("not base64", RSA.replace('M', "?"), Kind::Malformed),
        ("a secret", SECRET.to_owned(), Kind::Malformed),
        ("nothing", String::new(), Kind::Malformed),
    ];
    for (what, pem, kind) in rows {
        refused(Key::from_pem(pem), kind, what);
    }
    refused(Key::from_pem(b"\xff\xfe"), Kind::Malformed, "not text");
}

#[test]
fn jwks_in_one_entry_are_checked() {
    let secret = base64(SECRET.as_bytes());
    let ed = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
    let x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    let y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
    let ec = format!(r#""kty":"EC","crv":"P-256","x":"{x}","y":"{y}""#);
    let from_pem = Key::from_pem(RSA).unwrap();
    let (modulus, _) = number(&from_pem);
    let n = base64(modulus);
    let rsa = format!(r#""kty":"RSA","n":"{n}","e":"AQAB""#);
    let oct = format!(r#""kty":"oct","k":"{secret}""#);

    let good = [
        ("Ed25519", ed.to_owned(), &[Algorithm::EdDSA][..]),
        ("P-256", ec.clone(), &[Algorithm::ES256]),
        ("RSA", rsa.clone(), &Algorithm::RSA),
        (
            "RSA, narrowed",
            format!(r#"{rsa},"alg":"PS384""#),
            &[Algorithm::PS384],
        ),
        ("oct, long enough for all", oct.clone(), &Algorithm::HMAC),
        (
            "oct, narrowed",
            format!(r#"{oct},"alg":"HS512""#),
            &[Algorithm::HS512],
        ),
        (
            "for signatures",
            format!(r#"{ed},"use":"sig","key_ops":["verify"],"alg":"EdDSA""#),
            &[Algorithm::EdDSA],
        ),
        (
            "unknown members",
            format!(r#"{ed},"x5c":["AA"],"ext":true,"n":7"#),
            &[Algorithm::EdDSA],
        ),
        (
            "a modulus with a leading zero",
            rsa.replace(&n, &base64(&[&[0], modulus].concat())),
            &Algorithm::RSA,
        ),
        (
            "oct of 32 bytes",
            format!(r#""kty":"oct","k":"{}""#, base64(&[7; 32])),
            &[Algorithm::HS256],
        ),
        (
            "oct of 48 bytes",
            format!(r#""kty":"oct","k":"{}""#, base64(&[7; 48])),
            &[Algorithm::HS256, Algorithm::HS384],
        ),
    ];
    for (what, members, algorithms) in good {
        let key = Key::from_jwk(&format!("{{{members}}}"))
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(key.algorithms(), algorithms, "{what}");
    }

    let short_x = base64(&[1; 31]);
    let bad = [
        ("empty", String::new(), Kind::Malformed),
        ("kty is missing", r#""k":"AA""#.to_owned(), Kind::Malformed),
        ("kty is no string", r#""kty":1"#.to_owned(), Kind::Malformed),
        (
            "kty is unknown",
            r#""kty":"AKP""#.to_owned(),
            Kind::Unsupported,
        ),
        (
            "a member twice",
            format!(r#"{ed},"kty":"OKP""#),
            Kind::Malformed,
        ),
        (
            "for encryption",
            format!(r#"{ed},"use":"enc""#),
            Kind::NotForVerifying,
        ),
        (
            "use is no string",
            format!(r#"{ed},"use":["sig"]"#),
            Kind::Malformed,
        ),
        (
            "for signing only",
            format!(r#"{ed},"key_ops":["sign"]"#),
            Kind::NotForVerifying,
        ),
        (
            "for nothing",
            format!(r#"{ed},"key_ops":[]"#),
            Kind::NotForVerifying,
        ),
        (
            "key_ops is no array",
            format!(r#"{ed},"key_ops":"verify""#),
            Kind::Malformed,
        ),
        (
            "alg of another kty",
            format!(r#"{ed},"alg":"RS256""#),
            Kind::AlgorithmMismatch,
        ),
        (
            "HS256 with an RSA key",
            format!(r#"{rsa},"alg":"HS256""#),
            Kind::AlgorithmMismatch,
        ),
        (
            "ES384 with P-256",
            format!(r#"{ec},"alg":"ES384""#),
            Kind::AlgorithmMismatch,
        ),
        (
            "an alg for encryption",
            format!(r#"{rsa},"alg":"RSA-OAEP""#),
            Kind::AlgorithmMismatch,
        ),
        (
            "alg none",
            format!(r#"{oct},"alg":"none""#),
            Kind::AlgorithmMismatch,
        ),
        (
            "alg is no string",
            format!(r#"{ed},"alg":null"#),
            Kind::Malformed,
        ),
        (
            "kid is no string",
            format!(r#"{ed},"kid":1"#),
            Kind::Malformed,
        ),
        (
            "private Ed25519",
            format!(r#"{ed},"d":"AA""#),
            Kind::PrivateKey,
        ),
        ("private EC", format!(r#"{ec},"d":"AA""#), Kind::PrivateKey),
        (
            "private RSA",
            format!(r#"{rsa},"d":"AA""#),
            Kind::PrivateKey,
        ),
        (
            "a short x",
            format!(r#""kty":"OKP","crv":"Ed25519","x":"{short_x}""#),
            Kind::Malformed,
        ),
        (
            "a long x",
            format!(r#""kty":"OKP","crv":"Ed25519","x":"{}""#, base64(&[1; 33])),
            Kind::Malformed,
        ),
        (
            "an empty x",
            r#""kty":"OKP","crv":"Ed25519","x":"""#.to_owned(),
            Kind::Malformed,
        ),
        (
            "X25519",
            format!(r#""kty":"OKP","crv":"X25519","x":"{x}""#),
            Kind::Unsupported,
        ),
        (
            "crv is missing",
            format!(r#""kty":"OKP","x":"{x}""#),
            Kind::Unsupported,
        ),
        (
            "P-521",
            format!(r#""kty":"EC","crv":"P-521","x":"{x}","y":"{y}""#),
            Kind::Unsupported,
        ),
        (
            "P-384 with the coordinates of P-256",
            ec.replace("P-256", "P-384"),
            Kind::Malformed,
        ),
        (
            "coordinates that add up",
            ec.replace(x, &short_x).replace(y, &base64(&[1; 33])),
            Kind::Malformed,
        ),
        (
            "y is missing",
            ec.replace("\"y\"", "\"z\""),
            Kind::Malformed,
        ),
        (
            "padded base64",
            ed.replace("HURo", "HURo="),
            Kind::Malformed,
        ),
        (
            "the standard alphabet",
            ed.replace('_', "/"),
            Kind::Malformed,
        ),
        (
            "RSA 1024",
            format!(r#""kty":"RSA","n":"{}","e":"AQAB""#, base64(&[0xff; 128])),
            Kind::WeakRsa,
        ),
        (
            "RSA 2047",
            format!(r#""kty":"RSA","n":"{}","e":"AQAB""#, base64(&[0x7f; 256])),
            Kind::WeakRsa,
        ),
        (
            "RSA without a modulus",
            r#""kty":"RSA","n":"","e":"AQAB""#.to_owned(),
            Kind::WeakRsa,
        ),
        (
            "RSA 16384",
            format!(r#""kty":"RSA","n":"{}","e":"AQAB""#, base64(&[0xff; 2048])),
            Kind::Unsupported,
        ),
        (
            "an even modulus",
            format!(r#""kty":"RSA","n":"{}","e":"AQAB""#, base64(&[0xfe; 256])),
            Kind::Malformed,
        ),
        ("exponent 1", rsa.replace("AQAB", "AQ"), Kind::Malformed),
        ("exponent 2", rsa.replace("AQAB", "Ag"), Kind::Malformed),
        ("no exponent", rsa.replace("AQAB", ""), Kind::Malformed),
        (
            "a huge exponent",
            rsa.replace("AQAB", &base64(&[0xff; 9])),
            Kind::Malformed,
        ),
        ("k is missing", r#""kty":"oct""#.to_owned(), Kind::Malformed),
        ("a whole JWKS", r#""keys":[]"#.to_owned(), Kind::Malformed),
    ];
    for (what, members, kind) in bad {
        refused(Key::from_jwk(&format!("{{{members}}}")), kind, what);
    }
    for text in ["", "null", "[]", "{", "kty", RSA] {
        refused(Key::from_jwk(text), Kind::Malformed, text);
    }
}

#[test]
fn unusable_entries_of_a_jwks_are_skipped() {
    let ed = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"good"}"#;
    let short = r#"{"kty":"OKP","crv":"Ed25519","x":"AA","kid":"short"}"#;
    let strange = r#"1, null, [], "key", {}, {"kty":7}, {"kty":"AKP"}, {"kty":"RSA","n":1,"e":{}}"#;
    let keys = Key::from_jwks(&format!(r#"{{"x":1,"keys":[{strange},{short},{ed}]}}"#)).unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].id(), Some("good"));

    let twice = Key::from_jwks(&format!(r#"{{"keys":[{ed},{ed}]}}"#)).unwrap();
    assert_eq!(twice.len(), 2, "two keys of one id are both tried");

    let none = [
        (r#"{"keys":[]}"#.to_owned(), Kind::NoKey),
        (format!(r#"{{"keys":[{strange}]}}"#), Kind::NoKey),
        (r#"{"keys":{}}"#.to_owned(), Kind::Malformed),
        (r#"{"keys":[],"keys":[]}"#.to_owned(), Kind::Malformed),
        ("{}".to_owned(), Kind::Malformed),
        ("[]".to_owned(), Kind::Malformed),
        (format!("[{ed}]"), Kind::Malformed),
        (ed.to_owned(), Kind::Malformed),
        (String::new(), Kind::Malformed),
        (format!(r#"{{"keys":[{ed}]"#), Kind::Malformed),
    ];
    for (text, kind) in none {
        assert_eq!(Key::from_jwks(&text).unwrap_err().kind(), kind, "{text}");
    }
}

#[test]
fn what_is_plainly_no_secret_is_not_taken_for_one() {
    let jwk = r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ"}"#;
    let rows: [(&str, Vec<u8>); 11] = [
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

#[test]
fn a_key_is_narrowed_to_what_it_can_do() {
    let rsa = || Key::from_pem(RSA).unwrap();
    let narrowed = rsa()
        .with_algorithms([Algorithm::PS256, Algorithm::RS256])
        .unwrap();
    assert_eq!(narrowed.algorithms(), [Algorithm::PS256, Algorithm::RS256]);
    refused(
        rsa().with_algorithms([Algorithm::HS256]),
        Kind::AlgorithmMismatch,
        "HS256 with RSA",
    );
    refused(rsa().with_algorithms([]), Kind::AlgorithmMismatch, "none");
    refused(
        narrowed.with_algorithms([Algorithm::RS512]),
        Kind::AlgorithmMismatch,
        "narrowing does not widen",
    );
}

#[test]
fn no_cut_or_changed_key_file_panics() {
    let files = [
        RSA,
        key_file!("rsa2048.pkcs1"),
        key_file!("rsa2048.certificate"),
        key_file!("p256.spki"),
        key_file!("p256.certificate"),
        key_file!("ed25519.spki"),
        key_file!("ed448.spki"),
        key_file!("rsapss.spki"),
    ];
    for pem in files {
        let good = der(pem);
        for end in 0..good.len() {
            let cut = &good[..end];
            assert!(
                der::spki(cut).is_err()
                    && der::pkcs1(cut).is_err()
                    && der::certificate(cut).is_err()
            );
            assert!(!der::is_public_key(cut));
        }
        for index in 0..good.len().min(200) {
            for value in [0, 1, 0x30, 0x7f, 0x80, 0x81, 0x82, 0x84, 0xff] {
                let mut changed = good.clone();
                changed[index] = value;
                let _ = Key::from_der(&changed);
                let _ = der::certificate(&changed).map(|key| Key::public(&key));
                let _ = der::pkcs1(&changed).map(|key| Key::public(&key));
            }
        }
        for end in 0..pem.len() {
            let _ = Key::from_pem(&pem[..end]);
        }
        let longer = [&*good, &[0]].concat();
        assert!(Key::from_der(longer).is_err());
    }
}

#[test]
fn debug_shows_no_key_material() {
    let key = Key::hs256(SECRET).unwrap().with_id("k1");
    let text = format!("{key:?}");
    assert_eq!(text, r#"Key { id: Some("k1"), algorithms: [HS256], .. }"#);
}

#[test]
fn der_has_one_spelling_only() {
    let good = der(key_file!("ed25519.spki"));
    let body = &good[2..];
    assert_eq!(good[..2], [0x30, 0x2a]);
    for length in [
        &[0x81, 0x2a][..],
        &[0x82, 0, 0x2a],
        &[0x83, 0, 0, 0x2a],
        &[0x80],
    ] {
        let respelled = [&[0x30], length, body].concat();
        refused(Key::from_der(respelled), Kind::Malformed, "a long length");
    }
    let number = |n: &[u8]| [&[0x30, 5 + n.len() as u8, 2, n.len() as u8], n, &[2, 1, 3]].concat();
    assert!(der::pkcs1(&number(&[1])).is_ok());
    assert!(der::pkcs1(&number(&[0, 1])).is_err(), "a zero too many");
    assert!(der::pkcs1(&number(&[0x81])).is_err(), "a negative number");
    assert!(der::pkcs1(&number(&[0])).is_err(), "nothing");
}

/// AWS-LC does not tell when a key is loaded. Such a key verifies nothing there.
#[cfg(not(feature = "aws-lc-rs"))]
#[test]
fn a_point_that_is_not_on_its_curve_is_refused() {
    let (x, y) = (base64(&[1; 32]), base64(&[2; 32]));
    let jwk = format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#);
    refused(Key::from_jwk(&jwk), Kind::Malformed, "not on P-256");
}
