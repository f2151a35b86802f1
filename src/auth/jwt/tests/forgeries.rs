//! Tokens that nobody has signed like this.

use super::*;

/// CVE-2015-9235 and its kin: a public key is taken for an HMAC secret.
#[test]
fn a_token_signed_with_the_public_key_as_secret_is_refused() {
    let pem = key_pair(Algorithm::RS256).1.unwrap();
    let verifier = JwtVerifier::builder().pem(pem).unwrap().build().unwrap();
    let payload = format!(r#"{{"exp":{NOW}}}"#);
    for secret in [pem.as_bytes(), pem.trim().as_bytes(), &testing::der(pem)] {
        let key = jsonwebtoken::EncodingKey::from_secret(secret);
        let header = br#"{"alg":"HS256","typ":"JWT"}"#;
        let forged = sign(Algorithm::HS256, &key, header, payload.as_bytes());
        assert_eq!(
            verify(&verifier, &forged),
            Err(TokenError::AlgorithmNotAllowed)
        );
    }
}

/// CVE-2018-0114: the token brings its own key along.
#[test]
fn a_key_in_the_header_is_not_used() {
    let header = format!(
        r#"{{"alg":"HS256","jwk":{{"kty":"oct","k":"{}"}},"jku":"https://evil.example/","x5u":"https://evil.example/","x5c":["AA"]}}"#,
        base64(b"the attacker's own secret, which is long enough")
    );
    let key =
        jsonwebtoken::EncodingKey::from_secret(b"the attacker's own secret, which is long enough");
    let forged = sign(Algorithm::HS256, &key, header.as_bytes(), b"{}");
    assert_eq!(
        verify(&without_exp(), &forged),
        Err(TokenError::BadSignature)
    );
    assert_eq!(verify(&without_exp(), &with_header(&header, "{}")), Ok(()));
}

#[test]
fn headers_are_read_strictly() {
    use TokenError as E;
    let verifier = without_exp();
    let rows = [
        (r#"{"alg":"HS256"}"#, Ok(())),
        (
            r#"{"typ":"JWT","alg":"HS256","cty":"x","unknown":[1]}"#,
            Ok(()),
        ),
        (r#"{"alg":"HS256","typ":"at+jwt"}"#, Ok(())),
        ("{\"alg\":\"\\u0048S256\"}", Ok(())),
        (r#"{"alg":"none"}"#, Err(E::Unsigned)),
        (r#"{"alg":"NonE"}"#, Err(E::Unsigned)),
        (r#"{"alg":"hs256"}"#, Err(E::AlgorithmNotAllowed)),
        (r#"{"alg":"HS256 "}"#, Err(E::AlgorithmNotAllowed)),
        (r#"{"alg":"HS512"}"#, Err(E::AlgorithmNotAllowed)),
        (r#"{"alg":"RS256"}"#, Err(E::AlgorithmNotAllowed)),
        (r#"{"alg":""}"#, Err(E::AlgorithmNotAllowed)),
        (r#"{"alg":["HS256"]}"#, Err(E::MalformedHeader)),
        (r#"{"alg":null}"#, Err(E::MalformedHeader)),
        (r#"{"typ":"JWT"}"#, Err(E::MalformedHeader)),
        (r#"{"alg":"HS256","alg":"HS256"}"#, Err(E::MalformedHeader)),
        (
            r#"{"alg":"HS256","\u0061lg":"none"}"#,
            Err(E::MalformedHeader),
        ),
        (r#"{"alg":"HS256","kid":1}"#, Err(E::MalformedHeader)),
        (r#"{"alg":"HS256","typ":1}"#, Err(E::MalformedHeader)),
        (r#"["HS256"]"#, Err(E::MalformedHeader)),
        ("", Err(E::MalformedHeader)),
        ("{", Err(E::MalformedHeader)),
        (
            r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
            Err(E::UnsupportedHeader),
        ),
        (r#"{"alg":"HS256","crit":[]}"#, Err(E::UnsupportedHeader)),
        (
            r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#,
            Err(E::UnsupportedHeader),
        ),
        (r#"{"alg":"HS256","b64":true}"#, Err(E::UnsupportedHeader)),
        (r#"{"alg":"HS256","zip":"DEF"}"#, Err(E::UnsupportedHeader)),
        (
            r#"{"alg":"HS256","enc":"A128GCM"}"#,
            Err(E::UnsupportedHeader),
        ),
    ];
    for (header, expected) in rows {
        assert_eq!(
            verify(&verifier, &with_header(header, "{}")),
            expected,
            "{header}"
        );
    }
}

#[test]
fn a_token_has_one_spelling_only() {
    use TokenError as E;
    let verifier = without_exp();
    let token = hs256(r#"{"a":"~~~~"}"#);
    let [header, payload, signature] = *token.split('.').collect::<Vec<_>>() else {
        panic!("a token has three parts")
    };
    assert_eq!(verify(&verifier, &token), Ok(()));
    assert_eq!(
        signature.len(),
        43,
        "its last character has two bits to spare"
    );
    let last = signature.chars().last().unwrap();
    let next = char::from(last as u8 + 1);
    let stray_bits = format!("{header}.{payload}.{}{next}", &signature[..42]);
    let rows = [
        ("", E::Empty),
        (".", E::Malformed),
        ("..", E::MalformedHeader),
        ("a.b", E::Malformed),
        ("garbage", E::Malformed),
        (&format!("{header}.{payload}"), E::Malformed),
        (&format!("{header}.{payload}."), E::BadSignature),
        (&format!("{header}..{signature}"), E::BadSignature),
        (&format!(".{payload}.{signature}"), E::MalformedHeader),
        (&format!("{token}."), E::Malformed),
        (&format!(".{token}"), E::Malformed),
        (&format!("{token}.a.b"), E::Malformed),
        (&format!("{token}="), E::Malformed),
        (&format!("{token}A"), E::BadSignature),
        (&format!(" {token}"), E::Malformed),
        (&format!("{token} "), E::Malformed),
        (&format!("{token}\n"), E::Malformed),
        (&token.replacen('.', "=.", 1), E::Malformed),
        (
            &format!("{header}.{payload}.+{}", &signature[1..]),
            E::Malformed,
        ),
        (&stray_bits, E::Malformed),
        ("\u{fc}.\u{fc}.\u{fc}", E::Malformed),
        ("\0", E::Malformed),
    ];
    for (token, expected) in rows {
        assert_eq!(verify(&verifier, token), Err(expected), "{token:?}");
    }
}

#[test]
fn tokens_over_16_kib_are_not_looked_at() {
    let verifier = without_exp();
    let fill = |length| {
        let mut payload = String::from("{}");
        while hs256(&payload).len() < length {
            payload.push(' ');
        }
        hs256(&payload)
    };
    let largest = fill(16 * 1024);
    assert_eq!(largest.len(), 16 * 1024);
    assert_eq!(verify(&verifier, &largest), Ok(()));
    let larger = hs256(&format!("{}{}", "{}", " ".repeat(12_300)));
    assert_eq!(verify(&verifier, &larger), Err(TokenError::TooLarge));
}

#[test]
fn a_key_id_chooses_the_key() {
    use TokenError as E;
    let own = || Key::hs256(SECRET).unwrap();
    let other = || Key::hs256("another secret, of thirty-two bytes or more").unwrap();
    let rows: [(&str, Vec<Key>, &str, Checked); 10] = [
        ("same id", vec![own().with_id("a")], r#","kid":"a""#, Ok(())),
        (
            "another id",
            vec![own().with_id("b")],
            r#","kid":"a""#,
            Err(E::UnknownKey),
        ),
        ("the key has none", vec![own()], r#","kid":"a""#, Ok(())),
        ("the token has none", vec![own().with_id("a")], "", Ok(())),
        ("neither has one", vec![own()], "", Ok(())),
        (
            "the id decides",
            vec![own(), other().with_id("a")],
            r#","kid":"a""#,
            Err(E::BadSignature),
        ),
        (
            "two of one id",
            vec![other().with_id("a"), own().with_id("a")],
            r#","kid":"a""#,
            Ok(()),
        ),
        (
            "the empty id",
            vec![own().with_id("a")],
            r#","kid":"""#,
            Err(E::UnknownKey),
        ),
        (
            "no id: each is tried",
            vec![other().with_id("a"), own().with_id("b")],
            "",
            Ok(()),
        ),
        (
            "ids are compared exactly",
            vec![own().with_id("a")],
            r#","kid":"A""#,
            Err(E::UnknownKey),
        ),
    ];
    for (name, keys, kid, expected) in rows {
        let verifier = JwtVerifier::builder().keys(keys).unwrap();
        let verifier = verifier.dangerous().accept_missing_exp().build().unwrap();
        let token = with_header(&format!(r#"{{"alg":"HS256"{kid}}}"#), "{}");
        assert_eq!(verify(&verifier, &token), expected, "{name}");
    }
}

#[test]
fn one_token_is_tried_with_a_bounded_number_of_keys() {
    let keys =
        |count| (0..count).map(|index| Key::hs256(SECRET).unwrap().with_id(format!("{index}")));
    let verifier = |count| {
        let builder = JwtVerifier::builder().keys(keys(count)).unwrap();
        builder.dangerous().accept_missing_exp().build().unwrap()
    };
    let token = hs256("{}");
    assert_eq!(verify(&verifier(MAX_TRIED), &token), Ok(()));
    assert_eq!(
        verify(&verifier(MAX_TRIED + 1), &token),
        Err(TokenError::AmbiguousKey)
    );
    let with_id = with_header(r#"{"alg":"HS256","kid":"7"}"#, "{}");
    assert_eq!(verify(&verifier(MAX_TRIED + 1), &with_id), Ok(()));
}

#[test]
fn a_signature_is_over_the_text_and_not_over_its_meaning() {
    let verifier = without_exp();
    let (key, _) = key_pair(Algorithm::HS256);
    let signed = format!("{}.{}", base64(br#"{"alg":"HS256"}"#), base64(b"{}"));
    let signature = sign_text(Algorithm::HS256, &key, &signed);
    let respelled = format!("{}.{}", base64(br#"{ "alg":"HS256"}"#), base64(b"{}"));
    assert_eq!(
        verify(&verifier, &format!("{signed}.{}", base64(&signature))),
        Ok(())
    );
    assert_eq!(
        verify(&verifier, &format!("{respelled}.{}", base64(&signature))),
        Err(TokenError::BadSignature)
    );
}

#[test]
fn no_token_with_one_character_changed_or_cut_is_accepted() {
    let verifier = JwtVerifier::builder()
        .keys(ALL.map(public_key))
        .unwrap()
        .build()
        .unwrap();
    for algorithm in [Algorithm::HS256, Algorithm::ES256, Algorithm::EdDSA] {
        let token = signed_with(algorithm);
        assert_eq!(verify(&verifier, &token), Ok(()));
        for index in 0..token.len() {
            assert!(
                verify(&verifier, &token[..index]).is_err(),
                "{algorithm}, cut at {index}"
            );
            for other in ["A", "_", ".", "=", " ", "\0", "\u{fc}"] {
                let mut changed = token.clone();
                changed.replace_range(index..=index, other);
                assert!(
                    changed == token || verify(&verifier, &changed).is_err(),
                    "{changed}"
                );
            }
        }
    }
}

/// CVE-2022-21449: zeros pass as an ECDSA signature.
#[test]
fn signatures_of_zeros_or_of_odd_lengths_are_refused_without_a_panic() {
    let verifier = JwtVerifier::builder()
        .keys(ALL.map(public_key))
        .unwrap()
        .build()
        .unwrap();
    for algorithm in ALL {
        let token = signed_with(algorithm);
        let (signed, _) = token.rsplit_once('.').unwrap();
        for length in [
            0, 1, 31, 32, 33, 48, 63, 64, 65, 95, 96, 97, 255, 256, 257, 1024,
        ] {
            for byte in [0, 1, 0xff] {
                let signature = base64(&vec![byte; length]);
                let refused = verify(&verifier, &format!("{signed}.{signature}"));
                assert_eq!(
                    refused,
                    Err(TokenError::BadSignature),
                    "{algorithm}, {length} of {byte}"
                );
            }
        }
    }
}
