//! What is kept of a token, for how long, and for whom. That a cache changes no answer is what [`verify`] checks with each
//! token of all these tests.

use super::*;

const MIB: usize = 1024 * 1024;

fn cached(bytes: usize) -> JwtVerifier {
    let builder = builder().token_cache(bytes).dangerous();
    builder.accept_missing_exp().build().unwrap()
}

/// A token with a claim of this length.
fn of_length(number: usize, length: usize) -> String {
    hs256(&format!(r#"{{"n":{number},"x":"{}"}}"#, "x".repeat(length)))
}

fn same_memory(a: &Claims, b: &Claims) -> bool {
    std::ptr::eq(a.as_json(), b.as_json())
}

#[test]
fn a_token_that_comes_again_is_found() {
    let verifier = cached(MIB);
    let token = hs256(r#"{"role":"web_user"}"#);
    let first = verifier.verify_at(&token, now()).unwrap();
    let kept = verifier.cache_status();
    assert_eq!((kept.entries, kept.hits, kept.misses), (1, 0, 1));
    assert_eq!(kept.capacity, MIB);
    let again = verifier.clone().verify_at(&token, now()).unwrap();
    assert!(same_memory(&first, &again));
    let kept = verifier.cache_status();
    assert_eq!((kept.entries, kept.hits, kept.misses), (1, 1, 1));
}

#[test]
fn a_capacity_of_zero_keeps_nothing() {
    let verifier = cached(0);
    let token = hs256("{}");
    let first = verifier.verify_at(&token, now()).unwrap();
    let again = verifier.verify_at(&token, now()).unwrap();
    assert!(!same_memory(&first, &again));
    assert_eq!(verifier.cache_status(), TokenCacheStatus::default());
}

#[test]
fn a_token_is_kept_until_its_exp_and_the_leeway_are_over() {
    let verifier = builder().build().unwrap();
    let expiring = hs256(&format!(r#"{{"exp":{}}}"#, NOW + 60));
    assert!(verifier.verify_at(&expiring, at(NOW)).is_ok());
    assert!(verifier.verify_at(&expiring, at(NOW + 89)).is_ok());
    assert_eq!(verifier.cache_status().entries, 1);
    let late = verifier.verify_at(&expiring, at(NOW + 90)).unwrap_err();
    assert_eq!(late, TokenError::Expired);
    assert_eq!(verifier.cache_status().entries, 0);
    assert!(verifier.verify_at(&expiring, at(NOW + 89)).is_ok());

    let coming = hs256(&format!(r#"{{"exp":{},"nbf":{NOW}}}"#, NOW + 60));
    assert!(verifier.verify_at(&coming, at(NOW)).is_ok());
    let early = verifier.verify_at(&coming, at(NOW - 31)).unwrap_err();
    assert_eq!(early, TokenError::NotYetValid);
    assert_eq!(verifier.cache_status().entries, 2);
}

#[test]
fn at_any_time_the_answer_is_that_of_a_verifier_without_cache() {
    let bound = |rules: JwtVerifierBuilder<HasKey>| rules.build().unwrap();
    let verifiers = [
        bound(builder()),
        bound(builder().leeway(Duration::ZERO)),
        bound(builder().leeway(Duration::from_millis(1500))),
    ];
    let tokens = [
        format!(r#"{{"exp":{NOW}}}"#),
        format!(r#"{{"exp":{NOW}.5}}"#),
        format!(r#"{{"exp":{NOW},"nbf":{}}}"#, NOW - 60),
        format!(r#"{{"exp":{NOW},"iat":{}}}"#, NOW - 60),
        // There is no time at which all three hold: the first that fails tells.
        format!(r#"{{"exp":{NOW},"nbf":{},"iat":{}}}"#, NOW + 50, NOW + 70),
        format!(r#"{{"exp":{},"iat":{NOW}}}"#, i64::MAX),
    ];
    let mut answers = std::collections::HashSet::new();
    for verifier in &verifiers {
        let plain = verifier.without_cache();
        for token in tokens.each_ref().map(|payload| hs256(payload)) {
            // Each second of five minutes once, in an order that jumps ahead and back.
            for step in 0..300 {
                let time = at(NOW - 150 + step * 97 % 300);
                let expected = outcome(&plain, &token, time);
                assert_eq!(outcome(verifier, &token, time), expected, "{time:?}");
                answers.insert(expected.err());
            }
        }
        assert!(verifier.cache_status().hits > 100);
    }
    assert_eq!(answers.len(), 4, "each way to be too late or too early");
}

#[test]
fn two_verifiers_share_nothing() {
    let token = hs256(r#"{"exp":4102444800,"aud":"todos","iss":"a"}"#);
    let accepting = || builder().audience("todos").issuer("a");
    let first = accepting().build().unwrap();
    assert_eq!(verify(&first, &token), Ok(()));

    let same = accepting().build().unwrap();
    assert!(same.verify_at(&token, now()).is_ok());
    assert_eq!(
        (same.cache_status().hits, same.cache_status().misses),
        (0, 1)
    );

    let other_key = JwtVerifier::builder().hs256("another secret, of thirty-two bytes or more");
    let other_key = other_key.unwrap().audience("todos").issuer("a");
    let rows = [
        (other_key, TokenError::BadSignature),
        (builder().issuer("a"), TokenError::UnexpectedAudience),
        (accepting().require_claim("role"), TokenError::MissingClaim),
        (
            builder().audience("todos").issuer("b"),
            TokenError::WrongIssuer,
        ),
    ];
    for (rules, expected) in rows {
        let verifier = rules.build().unwrap();
        assert_eq!(verify(&verifier, &token), Err(expected));
        assert_eq!(verify(&first, &token), Ok(()));
        assert_eq!(verifier.cache_status().entries, 0);
    }
}

#[test]
fn only_the_whole_token_is_found() {
    let verifier = cached(MIB);
    let token = hs256(r#"{"role":"web_user","n":1}"#);
    assert_eq!(verify(&verifier, &token), Ok(()));
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let forged = format!("{header}.{}.{signature}", base64(br#"{"role":"admin"}"#));
    let same_length = base64(br#"{"role":"the_boss","n":1}"#);
    let same_length = format!("{header}.{same_length}.{signature}");
    assert_eq!(same_length.len(), token.len());
    let plain = verifier.without_cache();
    for text in [
        &forged,
        &same_length,
        &token[1..],
        signature,
        &format!("{token}\n"),
        &format!("A{token}"),
        &token.replacen('.', "..", 1),
    ] {
        let refused = verifier.verify_at(text, now()).unwrap_err();
        assert_eq!(refused, plain.verify_at(text, now()).unwrap_err(), "{text}");
    }
    assert_eq!(verifier.cache_status().entries, 1);
}

#[test]
fn what_is_refused_takes_no_place() {
    let verifier = cached(64 * 1024);
    let tokens: Vec<String> = (0..16).map(|number| of_length(number, 200)).collect();
    for token in &tokens {
        verifier.verify_at(token, now()).unwrap();
    }
    let before = verifier.cache_status();
    assert_eq!(before.entries, 16);
    for number in 0..2_000 {
        let (signed, _) = tokens[number % 16].rsplit_once('.').unwrap();
        let forged = format!("{signed}.{}", base64(&[number as u8; 32]));
        verifier.verify_at(&forged, now()).unwrap_err();
        verifier.verify_at(&number.to_string(), now()).unwrap_err();
    }
    let after = verifier.cache_status();
    assert_eq!((after.entries, after.bytes), (before.entries, before.bytes));
    for token in &tokens {
        verifier.verify_at(token, now()).unwrap();
    }
    assert_eq!(verifier.cache_status().hits, before.hits + 16);
}

#[test]
fn what_does_not_fit_is_accepted_and_not_kept() {
    let large = of_length(0, 11_900);
    assert!(large.len() > 15_900 && large.len() <= 16 * 1024);
    for bytes in [1, 1023, 1024, 10_000, 30_000] {
        let verifier = cached(bytes);
        for _ in 0..3 {
            assert_eq!(verify(&verifier, &large), Ok(()));
        }
        let kept = verifier.cache_status();
        assert_eq!((kept.entries, kept.hits), (0, 0), "{bytes}");
        let small = hs256("{}");
        assert_eq!(verify(&verifier, &small), Ok(()));
        let kept = verifier.cache_status();
        assert_eq!(kept.entries > 0, bytes >= 10_000, "{bytes}");
        assert!(kept.bytes <= bytes, "{kept:?}");
    }
    for bytes in [TOKEN_CACHE, usize::MAX] {
        let verifier = cached(bytes);
        assert_eq!(verify(&verifier, &large), Ok(()));
        assert_eq!(verifier.cache_status().entries, 1);
    }
}

#[test]
fn a_full_cache_stays_within_its_capacity() {
    for capacity in [10_000, 100_000, MIB] {
        let verifier = cached(capacity);
        for number in 0..3_000 {
            // First many that are small, so that the table grows, then few that are large.
            let length = if number < 2_500 { 1 } else { 5_000 };
            verifier
                .verify_at(&of_length(number, length), now())
                .unwrap();
            let kept = verifier.cache_status();
            assert!(kept.bytes <= capacity, "{kept:?}");
        }
        let kept = verifier.cache_status();
        assert!(kept.entries > 0 || capacity < 30_000);
    }
}

#[test]
fn many_threads_get_the_answers_of_one() {
    let verifier = cached(20_000);
    let tokens: Vec<String> = (0..40).map(|number| of_length(number, number)).collect();
    let last = hs256(&format!(r#"{{"exp":{}}}"#, NOW - 60));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (verifier, tokens, last) = (&verifier, &tokens, &last);
            scope.spawn(move || {
                for step in 0..400 {
                    let number = (step * (thread + 1)) % tokens.len();
                    let claims = verifier.verify_at(&tokens[number], now()).unwrap();
                    assert_eq!(claims.get("n").unwrap(), Some(number));
                    let refused = verifier.verify_at(last, now()).unwrap_err();
                    assert_eq!(refused, TokenError::Expired);
                    let early = at(NOW - 100);
                    assert!(verifier.verify_at(last, early).is_ok());
                }
            });
        }
    });
    let kept = verifier.cache_status();
    assert!(kept.hits > 0 && kept.misses > 0, "{kept:?}");
}

#[test]
fn debug_shows_no_token() {
    let verifier = cached(MIB);
    let token = hs256(r#"{"sub":"hidden-value"}"#);
    assert_eq!(verify(&verifier, &token), Ok(()));
    let shown = format!("{verifier:?} {:?}", verifier.cache_status());
    for part in token.split('.').chain(["hidden-value"]) {
        assert!(!shown.contains(part), "{shown}");
    }
}
