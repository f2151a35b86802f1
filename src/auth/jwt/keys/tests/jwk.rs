//! Keys in JSON.

use super::*;

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
