//! What a token says, and what is made of it.

use super::*;

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
