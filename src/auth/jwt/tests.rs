//! What a verifier accepts and refuses, token by token.

use std::time::{Duration, SystemTime};

use super::testing::{NOW, SECRET, base64, hs256, key_pair, now, sign, sign_text, with_header};
use super::verifier::MAX_TRIED;
use super::*;

const SEED: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJyb2xlIjoiamRvZTEyMyJ9.X_ZeWSS9qsKDCDczv8C-GE2fccrPQjOh_ALMZJa5jsU";

const ALL: [Algorithm; 12] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

type Checked = Result<(), TokenError>;

fn builder() -> JwtVerifierBuilder<HasKey> {
    JwtVerifier::builder().hs256(SECRET).unwrap()
}

fn without_exp() -> JwtVerifier {
    builder().dangerous().accept_missing_exp().build().unwrap()
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[track_caller]
fn verify(verifier: &JwtVerifier, token: &str) -> Result<(), TokenError> {
    verifier.verify_at(token, now()).map(drop)
}

fn public_key(algorithm: Algorithm) -> Key {
    match (algorithm, key_pair(algorithm).1) {
        (_, Some(pem)) => Key::from_pem(pem).unwrap(),
        (Algorithm::HS384, _) => Key::hs384(SECRET).unwrap(),
        (Algorithm::HS512, _) => Key::hs512(SECRET).unwrap(),
        _ => Key::hs256(SECRET).unwrap(),
    }
}

fn signed_with(algorithm: Algorithm) -> String {
    let header = format!(r#"{{"alg":"{algorithm}"}}"#);
    let payload = format!(r#"{{"exp":{NOW}}}"#);
    sign(
        algorithm,
        &key_pair(algorithm).0,
        header.as_bytes(),
        payload.as_bytes(),
    )
}

#[test]
fn the_seeds_token_is_accepted_with_exactly_the_options_that_it_needs() {
    let seed = || JwtVerifier::builder().hs256("secret").unwrap();

    let both = seed()
        .dangerous()
        .accept_short_secrets()
        .dangerous()
        .accept_missing_exp();
    let claims = both.build().unwrap().verify(SEED).unwrap();
    assert_eq!(claims.as_json(), r#"{"role":"jdoe123"}"#);

    let without_short = seed().dangerous().accept_missing_exp().build();
    let Err(BuildError::Key(error)) = without_short else {
        panic!("a short secret is refused")
    };
    assert_eq!(error.kind(), KeyErrorKind::ShortSecret);
    assert_eq!(
        error.to_string(),
        "the HMAC secret has 6 bytes and HS256 needs 32: make one with `openssl rand -base64 32`, \
         or say `.dangerous().accept_short_secrets()`"
    );

    let without_exp = seed().dangerous().accept_short_secrets().build().unwrap();
    assert_eq!(
        without_exp.verify(SEED).unwrap_err(),
        TokenError::MissingExpiry
    );

    let other_secret = builder().dangerous().accept_missing_exp().build().unwrap();
    assert_eq!(
        other_secret.verify(SEED).unwrap_err(),
        TokenError::BadSignature
    );
}

#[test]
fn the_examples_of_the_rfcs_are_verified() {
    const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let then = at(1_300_819_379);
    let joe = "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";
    let rows = [
        (
            "RFC 7515 A.1, RFC 7519 3.1",
            r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#,
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
            JOE,
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            Ok(joe),
        ),
        (
            "RFC 7515 A.2",
            r#"{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}"#,
            "eyJhbGciOiJSUzI1NiJ9",
            JOE,
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
            Ok(joe),
        ),
        (
            "RFC 7515 A.3",
            r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
            "eyJhbGciOiJFUzI1NiJ9",
            JOE,
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
            Ok(joe),
        ),
        (
            "RFC 8037 A.4: the signature holds, but \"Example of Ed25519 signing\" is not JSON",
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
            "eyJhbGciOiJFZERTQSJ9",
            "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
            Err(TokenError::MalformedPayload),
        ),
    ];
    for (name, jwk, header, payload, signature, expected) in rows {
        let verifier = JwtVerifier::builder().jwk(jwk).unwrap().build().unwrap();
        let claims = verifier.verify_at(&format!("{header}.{payload}.{signature}"), then);
        assert_eq!(
            claims.as_ref().map(Claims::as_json),
            expected.as_ref().copied(),
            "{name}"
        );

        let flipped = if signature.starts_with('d') { 'e' } else { 'd' };
        let forged = format!("{header}.{payload}.{flipped}{}", &signature[1..]);
        let refused = verifier.verify_at(&forged, then).unwrap_err();
        assert_eq!(refused, TokenError::BadSignature, "{name}");
    }
    let unsecured = format!("eyJhbGciOiJub25lIn0.{JOE}.");
    assert_eq!(
        verify(&without_exp(), &unsecured),
        Err(TokenError::Unsigned),
        "RFC 7519 6.1"
    );
}

#[test]
fn each_algorithm_verifies_its_own_tokens_and_no_others() {
    for own in ALL {
        let verifier = JwtVerifier::builder()
            .key(public_key(own).with_algorithms([own]).unwrap())
            .build()
            .unwrap();
        for other in ALL {
            let expected = if own == other {
                Ok(())
            } else {
                Err(TokenError::AlgorithmNotAllowed)
            };
            assert_eq!(
                verify(&verifier, &signed_with(other)),
                expected,
                "{own} key, {other} token"
            );
        }
    }
}

#[test]
fn all_keys_at_once_verify_all_algorithms() {
    let verifier = JwtVerifier::builder()
        .keys(ALL.map(public_key))
        .unwrap()
        .build()
        .unwrap();
    for algorithm in ALL {
        assert_eq!(
            verify(&verifier, &signed_with(algorithm)),
            Ok(()),
            "{algorithm}"
        );
    }
}

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
fn the_payload_is_an_object_with_one_meaning() {
    use TokenError as E;
    let verifier = without_exp();
    let rows = [
        ("{}", Ok(())),
        (" { \"role\" : \"web_user\" }\n", Ok(())),
        ("", Err(E::MalformedPayload)),
        ("[]", Err(E::MalformedPayload)),
        ("[{\"role\":\"admin\"}]", Err(E::MalformedPayload)),
        ("null", Err(E::MalformedPayload)),
        ("\"{}\"", Err(E::MalformedPayload)),
        ("{\"role\":\"web_user\"", Err(E::MalformedPayload)),
        (
            r#"{"role":"web_user","role":"admin"}"#,
            Err(E::DuplicateMember),
        ),
        (
            r#"{"role":"web_user","r\u006fle":"admin"}"#,
            Err(E::DuplicateMember),
        ),
        (
            r#"{"app":{"roles":[{"a":1,"a":2}]}}"#,
            Err(E::DuplicateMember),
        ),
        (r#"{"role":"web_user\u0000"}"#, Err(E::NulCharacter)),
        (r#"{"app":[{"\u0000":1}]}"#, Err(E::NulCharacter)),
        (r#"{"name":"\ud800"}"#, Err(E::MalformedPayload)),
    ];
    for (payload, expected) in rows {
        assert_eq!(verify(&verifier, &hs256(payload)), expected, "{payload}");
    }
    let key = key_pair(Algorithm::HS256).0;
    let not_text = sign(
        Algorithm::HS256,
        &key,
        br#"{"alg":"HS256"}"#,
        b"{\"a\":\"\xff\"}",
    );
    assert_eq!(verify(&verifier, &not_text), Err(E::Malformed));
}

#[test]
fn claims_stay_exactly_what_was_signed() {
    let payload = "{ \"big\":18446744073709551617,\"bigger\" : 18446744073709551618, \"f\":1.10,\"\\u0072ole\":\"a\\u0062\",\
                   \"sub\":7,\"aud\":[\"x\",\"y\"],\"iss\":\"i\\/s\",\"jti\":\"j\",\"nbf\":1.5,\"iat\":1,\"exp\":4102444800 }";
    let verifier = builder().any_audience().build().unwrap();
    let claims = verifier.verify_at(&hs256(payload), now()).unwrap();
    assert_eq!(claims.as_json(), payload);
    assert_eq!(claims.raw("big"), Some("18446744073709551617"));
    assert_eq!(
        claims.get::<u128>("bigger").unwrap(),
        Some(18_446_744_073_709_551_618)
    );
    assert_eq!(claims.raw("f"), Some("1.10"));
    assert_eq!(claims.raw("role"), Some(r#""a\u0062""#));
    assert_eq!(claims.get::<String>("role").unwrap().as_deref(), Some("ab"));
    assert_eq!(claims.raw("missing"), None);
    assert_eq!(claims.get::<String>("missing").unwrap(), None);
    assert_eq!(claims.subject(), None);
    assert_eq!(claims.raw("sub"), Some("7"));
    assert_eq!(claims.audience().collect::<Vec<_>>(), ["x", "y"]);
    assert_eq!(claims.issuer(), Some("i/s"));
    assert_eq!(claims.jwt_id(), Some("j"));
    assert_eq!(claims.expires_at(), Some(at(4_102_444_800)));
    assert_eq!(
        claims.not_before(),
        Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1500))
    );
    assert_eq!(claims.issued_at(), Some(at(1)));
    assert_eq!(claims.names().count(), 11);
}

#[test]
fn nothing_prints_a_claim() {
    let claims = testing::claims(r#"{"role":"hidden-value","n":"hidden-value"}"#);
    let error = claims.get::<u64>("role").unwrap_err();
    let all = claims.deserialize::<Vec<u8>>().unwrap_err();
    for text in [
        format!("{claims:?}{claims:#?}"),
        format!("{error:?}{error}{all:?}{all}"),
        format!("{:?}", builder()),
        format!("{:?}", without_exp()),
    ] {
        assert!(!text.contains("hidden-value"), "{text}");
        assert!(!text.contains(SECRET), "{text}");
        assert!(
            !text.contains(&format!("{:?}", SECRET.as_bytes())),
            "{text}"
        );
    }
    assert_eq!(
        error.to_string(),
        "the claim `role` does not have the expected type"
    );
    assert_eq!(error.name(), Some("role"));
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
fn what_a_client_reads_has_only_the_characters_of_rfc_6750() {
    let allowed = |byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    for error in [
        TokenError::Empty,
        TokenError::TooLarge,
        TokenError::Malformed,
        TokenError::MalformedHeader,
        TokenError::UnsupportedHeader,
        TokenError::Unsigned,
        TokenError::AlgorithmNotAllowed,
        TokenError::UnknownKey,
        TokenError::AmbiguousKey,
        TokenError::BadSignature,
        TokenError::MalformedPayload,
        TokenError::DuplicateMember,
        TokenError::NulCharacter,
        TokenError::MalformedTime,
        TokenError::MalformedAudience,
        TokenError::MissingExpiry,
        TokenError::Expired,
        TokenError::NotYetValid,
        TokenError::IssuedInFuture,
        TokenError::MissingAudience,
        TokenError::WrongAudience,
        TokenError::UnexpectedAudience,
        TokenError::MissingIssuer,
        TokenError::WrongIssuer,
        TokenError::MissingClaim,
    ] {
        assert!(error.as_str().bytes().all(allowed), "{error}");
        assert!(!error.as_str().is_empty());
    }
}

#[test]
fn rules_that_contradict_or_check_nothing_are_refused_when_built() {
    let rows = [
        (
            builder().audience("a").any_audience(),
            BuildError::AudienceContradiction,
        ),
        (builder().audience(""), BuildError::EmptyName),
        (builder().issuer(""), BuildError::EmptyName),
        (
            builder().leeway(Duration::from_secs(601)),
            BuildError::LongLeeway,
        ),
    ];
    for (builder, expected) in rows {
        assert_eq!(builder.build().unwrap_err(), expected);
    }
    assert!(builder().leeway(Duration::from_secs(600)).build().is_ok());
}

#[test]
fn the_verifier_reads_the_clock_that_it_was_given() {
    let clock = ManualClock::new(now());
    let verifier = builder()
        .clock(clock.clone())
        .leeway(Duration::ZERO)
        .build()
        .unwrap();
    let token = hs256(&format!(r#"{{"exp":{}}}"#, NOW + 60));
    assert!(verifier.verify(&token).is_ok());
    clock.advance(Duration::from_secs(60));
    assert_eq!(verifier.verify(&token).unwrap_err(), TokenError::Expired);
    clock.set(now());
    assert!(verifier.verify(&token).is_ok());
}

/// What PostgREST 14 does with a token, from its source and by trying, and where this crate differs on purpose.
#[test]
fn postgrest_token_rules() {
    const SAME: &str = "";
    let plain = without_exp();
    let with_aud = builder()
        .audience("me")
        .dangerous()
        .accept_missing_exp()
        .build()
        .unwrap();
    let strict = builder().build().unwrap();
    let with_id = JwtVerifier::builder().key(Key::hs256(SECRET).unwrap().with_id("k"));
    let with_id = with_id.dangerous().accept_missing_exp().build().unwrap();
    let claim = |text: String| hs256(&format!("{{{text}}}"));
    let header = |text: &str| with_header(text, "{}");
    let offset = |name: &str, by: i64| claim(format!(r#""{name}":{}"#, NOW.cast_signed() + by));

    // What it is, our verifier, the token, whether PostgREST takes it, and why we do not do the same.
    let rows: Vec<(&str, &JwtVerifier, String, bool, &str)> = vec![
        ("empty", &plain, String::new(), false, SAME),
        ("two parts", &plain, "a.b".into(), false, SAME),
        ("five parts", &plain, "a.b.c.d.e".into(), false, SAME),
        (
            "bad signature",
            &plain,
            format!("{}A", &claim(String::new())[..63]),
            false,
            SAME,
        ),
        ("alg none", &plain, header(r#"{"alg":"none"}"#), false, SAME),
        (
            "alg in lower case",
            &plain,
            header(r#"{"alg":"hs256"}"#),
            false,
            SAME,
        ),
        (
            "alg without a key",
            &plain,
            header(r#"{"alg":"RS256"}"#),
            false,
            SAME,
        ),
        (
            "HS512 with a text secret",
            &plain,
            header(r#"{"alg":"HS512"}"#),
            false,
            SAME,
        ),
        (
            "kid is no string",
            &plain,
            header(r#"{"alg":"HS256","kid":1}"#),
            false,
            SAME,
        ),
        (
            "typ is no string",
            &plain,
            header(r#"{"alg":"HS256","typ":1}"#),
            false,
            SAME,
        ),
        (
            "any typ",
            &plain,
            header(r#"{"alg":"HS256","typ":"x"}"#),
            true,
            SAME,
        ),
        (
            "enc",
            &plain,
            header(r#"{"alg":"HS256","enc":"A128GCM"}"#),
            false,
            SAME,
        ),
        (
            "crit",
            &plain,
            header(r#"{"alg":"HS256","crit":["x"],"x":1}"#),
            true,
            "RFC 7515 4.1.11",
        ),
        (
            "b64",
            &plain,
            header(r#"{"alg":"HS256","b64":false}"#),
            true,
            "RFC 7797 asks for crit, and crit is refused",
        ),
        (
            "same kid",
            &with_id,
            header(r#"{"alg":"HS256","kid":"k"}"#),
            true,
            SAME,
        ),
        (
            "another kid",
            &with_id,
            header(r#"{"alg":"HS256","kid":"l"}"#),
            false,
            SAME,
        ),
        (
            "no kid, the key has one",
            &with_id,
            header(r#"{"alg":"HS256"}"#),
            true,
            SAME,
        ),
        (
            "kid, the key has none",
            &plain,
            header(r#"{"alg":"HS256","kid":"k"}"#),
            false,
            "a PEM or a secret cannot say an id",
        ),
        ("payload is an array", &plain, hs256("[]"), false, SAME),
        ("payload is not JSON", &plain, hs256("{"), false, SAME),
        (
            "no exp",
            &strict,
            claim(String::new()),
            true,
            "a token for ever is asked for by name: accept_missing_exp",
        ),
        (
            "no exp, asked for",
            &plain,
            claim(String::new()),
            true,
            SAME,
        ),
        ("exp 29 s ago", &plain, offset("exp", -29), true, SAME),
        (
            "exp 30 s ago",
            &plain,
            offset("exp", -30),
            true,
            "RFC 7519 4.1.4: refused \"on or after\"",
        ),
        ("exp 31 s ago", &plain, offset("exp", -31), false, SAME),
        ("nbf in 30 s", &plain, offset("nbf", 30), true, SAME),
        ("nbf in 31 s", &plain, offset("nbf", 31), false, SAME),
        ("iat in 30 s", &plain, offset("iat", 30), true, SAME),
        ("iat in 31 s", &plain, offset("iat", 31), false, SAME),
        (
            "exp is null",
            &plain,
            claim(r#""exp":null"#.into()),
            true,
            "null is not a date",
        ),
        (
            "nbf is null",
            &plain,
            claim(r#""nbf":null"#.into()),
            true,
            "null is not a date",
        ),
        (
            "exp is a string",
            &plain,
            claim(format!(r#""exp":"{}""#, NOW + 60)),
            false,
            SAME,
        ),
        (
            "exp with a fraction",
            &plain,
            claim(format!(r#""exp":{}.5"#, NOW + 1000)),
            false,
            "RFC 7519 2: fractions are allowed",
        ),
        (
            "exp x.0",
            &plain,
            claim(format!(r#""exp":{}.0"#, NOW + 1000)),
            true,
            SAME,
        ),
        (
            "far nbf with a fraction",
            &plain,
            claim(format!(r#""nbf":{}.5"#, NOW + 1000)),
            true,
            "a fraction is not 0",
        ),
        (
            "exp over int64",
            &plain,
            claim(r#""exp":99999999999999999999"#.into()),
            false,
            SAME,
        ),
        (
            "aud, none configured",
            &plain,
            claim(r#""aud":"me""#.into()),
            true,
            "RFC 7519 4.1.3; any_audience accepts it",
        ),
        (
            "aud is a number",
            &plain,
            claim(r#""aud":42"#.into()),
            false,
            SAME,
        ),
        (
            "aud matches",
            &with_aud,
            claim(r#""aud":"me""#.into()),
            true,
            SAME,
        ),
        (
            "aud array matches",
            &with_aud,
            claim(r#""aud":["you","me"]"#.into()),
            true,
            SAME,
        ),
        (
            "aud of another",
            &with_aud,
            claim(r#""aud":"you""#.into()),
            false,
            SAME,
        ),
        (
            "aud is empty text",
            &with_aud,
            claim(r#""aud":"""#.into()),
            false,
            SAME,
        ),
        (
            "aud missing",
            &with_aud,
            claim(String::new()),
            true,
            "a token for anybody is not for us",
        ),
        (
            "aud is null",
            &with_aud,
            claim(r#""aud":null"#.into()),
            true,
            "null is not an audience",
        ),
        (
            "aud is an empty array",
            &with_aud,
            claim(r#""aud":[]"#.into()),
            true,
            "a token for nobody is not for us",
        ),
        (
            "sub is a number",
            &plain,
            claim(r#""sub":7"#.into()),
            true,
            SAME,
        ),
        (
            "duplicate members",
            &plain,
            claim(r#""role":"a","role":"b""#.into()),
            true,
            "two readers, two roles",
        ),
        (
            "NUL in the role",
            &plain,
            claim(r#""role":"a\u0000b""#.into()),
            true,
            "it would cut the role's name",
        ),
    ];
    for (name, verifier, token, postgrest, difference) in rows {
        let ours = verify(verifier, &token);
        let same = ours.is_ok() == postgrest;
        assert_eq!(
            same,
            difference == SAME,
            "{name}: {ours:?}, PostgREST accepts: {postgrest}"
        );
    }
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
