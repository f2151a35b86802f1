//! Key files: PEM and DER.

use super::*;

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

/// With such a key the identity and zero are a signature of half of all texts, or of each one.
#[test]
fn an_ed25519_key_of_small_order_is_refused() {
    let mut of_one = [0; 32];
    of_one[0] = 1;
    let mut of_two = [0xff; 32];
    (of_two[0], of_two[31]) = (0xec, 0x7f);
    let order_8 = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
    let order_8: Vec<u8> = (0..32)
        .map(|at| u8::from_str_radix(&order_8[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let mut rows = vec![of_one, of_two, [0; 32]];
    rows.push(order_8.try_into().unwrap());
    for key in rows {
        for sign in [0, 0x80] {
            let mut key = key;
            key[31] |= sign;
            let jwk = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, base64(&key));
            refused(Key::from_jwk(&jwk), Kind::Malformed, &jwk);
        }
    }
}
