//! Which tokens are revoked, from when on, and what becomes of them while that is not known.

use std::cell::Cell;
use std::time::Instant;

use super::super::revocations::{Content, Feed};
use super::*;

fn verifier(set: &Revocations) -> JwtVerifier {
    let builder = builder().revocations(set).dangerous();
    builder.accept_missing_exp().build().unwrap()
}

fn check(verifier: &JwtVerifier, payload: &str) -> Checked {
    verifier.verify_at(&hs256(payload), now()).map(drop)
}

fn of_all(revocations: &[Revocation]) -> Revocations {
    let set = Revocations::new();
    set.replace(revocations.iter().cloned()).unwrap();
    set
}

#[test]
fn a_token_is_refused_whose_claim_has_the_value() {
    use TokenError::Revoked;
    let set = of_all(&[
        Revocation::new("jti", "one"),
        Revocation::new("sid", "a\"b"),
        Revocation::new("sub", "17"),
        Revocation::new("groups", "left"),
        Revocation::new("on", "true"),
        Revocation::new("empty", ""),
    ]);
    let verifier = verifier(&set);
    for (payload, expected) in [
        (r#"{}"#, Ok(())),
        (r#"{"jti":"one"}"#, Err(Revoked)),
        (r#"{"jti":"on\u0065"}"#, Err(Revoked)),
        (r#"{"\u006ati":"one"}"#, Err(Revoked)),
        (r#"{"jti":"One"}"#, Ok(())),
        (r#"{"jti":"one "}"#, Ok(())),
        (r#"{"jti":"two","sub":"one"}"#, Ok(())),
        (r#"{"JTI":"one"}"#, Ok(())),
        (r#"{"jti":"two","sid":"a\"b"}"#, Err(Revoked)),
        (r#"{"sub":17}"#, Err(Revoked)),
        (r#"{"sub":"17"}"#, Err(Revoked)),
        (r#"{"sub":17.0}"#, Ok(())),
        (r#"{"groups":["stayed","left"]}"#, Err(Revoked)),
        (r#"{"groups":["stayed",["left"]]}"#, Ok(())),
        (r#"{"groups":"left"}"#, Err(Revoked)),
        (r#"{"on":true}"#, Err(Revoked)),
        (r#"{"empty":""}"#, Err(Revoked)),
        (r#"{"empty":null}"#, Ok(())),
        (r#"{"claims":{"jti":"one"}}"#, Ok(())),
    ] {
        let token = hs256(payload);
        let first = verifier.verify_at(&token, now()).map(drop);
        assert_eq!(first, expected, "{payload}");
        let again = verifier.verify_at(&token, now()).map(drop);
        assert_eq!(again, expected, "{payload}");
    }
}

#[test]
fn a_time_spares_what_was_issued_later() {
    use TokenError::Revoked;
    let before = |seconds| at(NOW) + Duration::from_secs_f64(seconds);
    let rows = [
        (0.0, r#"{"sub":"a","iat":1699999999}"#, Err(Revoked)),
        (0.0, r#"{"sub":"a","iat":1700000000}"#, Ok(())),
        (0.5, r#"{"sub":"a","iat":1700000000}"#, Err(Revoked)),
        (0.5, r#"{"sub":"a","iat":1700000000.5}"#, Ok(())),
        (0.0, r#"{"sub":"a"}"#, Err(Revoked)),
        (0.0, r#"{"sub":"b"}"#, Ok(())),
    ];
    for (time, payload, expected) in rows {
        let set = of_all(&[Revocation::new("sub", "a").issued_before(before(time))]);
        assert_eq!(
            check(&verifier(&set), payload),
            expected,
            "{time} {payload}"
        );
    }
    // Said twice, what refuses more wins, in either order.
    let early = Revocation::new("sub", "a").issued_before(before(0.0));
    let late = Revocation::new("sub", "a").issued_before(before(20.0));
    let all = Revocation::new("sub", "a");
    for (two, expected) in [
        ([&early, &late], (Err(Revoked), Ok(()))),
        ([&late, &early], (Err(Revoked), Ok(()))),
        ([&late, &all], (Err(Revoked), Err(Revoked))),
        ([&all, &late], (Err(Revoked), Err(Revoked))),
    ] {
        let set = of_all(&two.map(Clone::clone));
        assert_eq!(set.status().entries, 1);
        let verifier = verifier(&set);
        let found = (
            check(&verifier, r#"{"sub":"a","iat":1700000010}"#),
            check(&verifier, r#"{"sub":"a","iat":1700000020}"#),
        );
        assert_eq!(found, expected, "{two:?}");
    }
}

#[test]
fn the_cache_hides_no_revocation_and_keeps_none() {
    let set = Revocations::new();
    let verifier = verifier(&set);
    let (one, two) = (r#"{"jti":"one"}"#, r#"{"jti":"two"}"#);
    for _ in 0..2 {
        assert_eq!(check(&verifier, one), Ok(()));
        assert_eq!(check(&verifier, two), Ok(()));
    }
    assert_eq!(verifier.cache_status().entries, 2);
    set.revoke(Revocation::new("jti", "one")).unwrap();
    for _ in 0..2 {
        assert_eq!(check(&verifier, one), Err(TokenError::Revoked));
        assert_eq!(check(&verifier, two), Ok(()));
    }
    assert_eq!(verifier.cache_status().entries, 1);
    // It counts for all clones, and for each verifier that has the set.
    assert_eq!(check(&verifier.clone(), one), Err(TokenError::Revoked));
    assert_eq!(check(&self::verifier(&set), one), Err(TokenError::Revoked));

    set.replace([Revocation::new("jti", "two")]).unwrap();
    assert_eq!(check(&verifier, one), Ok(()));
    assert_eq!(check(&verifier, two), Err(TokenError::Revoked));
    let status = set.status();
    assert_eq!((status.entries, status.changes), (1, 2));
    assert!(status.is_fresh && status.age.is_none() && status.reads == 0);
}

#[test]
fn another_reason_goes_first() {
    let set = of_all(&[Revocation::new("jti", "one")]);
    let verifier = verifier(&set);
    let expired = format!(r#"{{"jti":"one","exp":{}}}"#, NOW - 31);
    assert_eq!(check(&verifier, &expired), Err(TokenError::Expired));
    assert_eq!(
        verifier.verify_at("a.b.c", now()).map(drop),
        Err(TokenError::Malformed)
    );
}

#[test]
fn of_several_issuers_each_has_its_own_set() {
    let sets = [(); 2].map(|()| Revocations::new());
    let of = |issuer: &str, set: Option<&Revocations>| {
        let builder = builder().issuer(issuer).dangerous().accept_missing_exp();
        let builder = match set {
            Some(set) => builder.revocations(set),
            None => builder,
        };
        builder.build().unwrap()
    };
    let verifier = JwtVerifier::of_issuers([
        of("a", Some(&sets[0])),
        of("b", Some(&sets[1])),
        of("c", None),
    ])
    .unwrap();
    let tokens = ["a", "b", "c"].map(|issuer| format!(r#"{{"iss":"{issuer}","jti":"one"}}"#));
    let found = || {
        tokens
            .each_ref()
            .map(|token| check(&verifier, token).is_ok())
    };
    assert_eq!(found(), [true, true, true]);
    sets[1].revoke(Revocation::new("jti", "one")).unwrap();
    assert_eq!(found(), [true, false, true]);
    sets[0].revoke(Revocation::new("jti", "one")).unwrap();
    assert_eq!(found(), [false, false, true]);
    sets[1].replace([]).unwrap();
    assert_eq!(found(), [false, true, true]);
}

#[test]
fn what_does_not_fit_is_an_error_and_changes_nothing() {
    let jti = |n: usize| Revocation::new("jti", n.to_string());
    let set = Revocations::with_max_entries(2);
    let full = Err(RevocationError::TooMany { max: 2 });
    set.replace([jti(0), jti(1)]).unwrap();
    // It is there already, and takes no place.
    set.revoke(jti(1)).unwrap();
    assert_eq!(set.revoke(jti(2)), full);
    assert_eq!(set.replace([jti(2), jti(3), jti(4)]), full);
    let verifier = verifier(&set);
    for (jti, expected) in [
        ("0", Err(TokenError::Revoked)),
        ("1", Err(TokenError::Revoked)),
        ("2", Ok(())),
    ] {
        assert_eq!(check(&verifier, &format!(r#"{{"jti":"{jti}"}}"#)), expected);
    }
    set.replace([]).unwrap();
    assert_eq!(set.status().entries, 0);

    let named = |n: usize| Revocation::new(format!("claim{n}"), "x");
    let set = Revocations::new();
    set.replace((0..16).map(named)).unwrap();
    assert_eq!(
        set.revoke(named(16)),
        Err(RevocationError::TooManyClaims),
        "{}",
        RevocationError::TooManyClaims
    );
    set.revoke(Revocation::new("claim3", "y")).unwrap();
}

thread_local! {
    static PASSED: Cell<u64> = const { Cell::new(0) };
    static BEGAN: Instant = Instant::now();
}

/// A clock for each test, in milliseconds that the test sets.
fn clock() -> Instant {
    BEGAN.with(|began| *began) + Duration::from_millis(PASSED.get())
}

fn fed(accept_stale: bool) -> Revocations {
    PASSED.set(0);
    let feed = Feed::new(Duration::from_secs(10), accept_stale, clock);
    Revocations::fed(10, feed)
}

fn content(jtis: &[&str]) -> Content {
    let mut content = Content::default();
    for jti in jtis {
        content.add(Revocation::new("jti", *jti), 100).unwrap();
    }
    content
}

#[test]
fn a_set_that_is_read_counts_until_it_is_too_old() {
    use TokenError::{RevocationsUnavailable as Unavailable, Revoked};
    let set = fed(false);
    let verifier = verifier(&set);
    let (one, two) = (r#"{"jti":"one"}"#, r#"{"jti":"two"}"#);
    let found = || (check(&verifier, one), check(&verifier, two));
    // Nothing was read yet.
    assert_eq!(found(), (Err(Unavailable), Err(Unavailable)));
    assert!(!verifier.is_ready() && !set.is_fresh());
    assert_eq!(check(&verifier, r#"{"exp":1}"#), Err(TokenError::Expired));

    PASSED.set(1_000);
    let began = clock();
    PASSED.set(3_000);
    set.read(content(&["one"]), began).unwrap();
    assert_eq!(found(), (Err(Revoked), Ok(())));
    assert!(verifier.is_ready() && set.is_fresh());
    // It is as old as the question, not as the answer.
    assert_eq!(set.status().age, Some(Duration::from_secs(2)));
    PASSED.set(11_000);
    assert_eq!(found(), (Err(Revoked), Ok(())));
    PASSED.set(11_001);
    assert_eq!(found(), (Err(Revoked), Err(Unavailable)));
    assert!(!verifier.is_ready() && !set.is_fresh());

    // An answer to an older question makes it no younger.
    set.confirm(began);
    assert_eq!(found(), (Err(Revoked), Err(Unavailable)));
    set.confirm(clock());
    assert_eq!(found(), (Err(Revoked), Ok(())));
    set.confirm(began);
    assert_eq!(found(), (Err(Revoked), Ok(())));
    set.read(content(&["two"]), clock()).unwrap();
    assert_eq!(found(), (Ok(()), Err(Revoked)));
    assert_eq!(set.status().reads, 2);
}

#[test]
fn by_choice_a_set_that_is_too_old_counts_on() {
    let set = fed(true);
    let verifier = verifier(&set);
    let (one, two) = (r#"{"jti":"one"}"#, r#"{"jti":"two"}"#);
    assert_eq!(check(&verifier, one), Ok(()));
    set.read(content(&["one"]), clock()).unwrap();
    PASSED.set(3_600_000);
    assert_eq!(check(&verifier, one), Err(TokenError::Revoked));
    assert_eq!(check(&verifier, two), Ok(()));
    assert!(verifier.is_ready() && !set.is_fresh());
}

#[test]
fn what_was_added_by_hand_stays_besides_what_is_read() {
    let set = fed(false);
    let verifier = verifier(&set);
    set.revoke(Revocation::new("jti", "hand")).unwrap();
    set.read(content(&["one"]), clock()).unwrap();
    set.read(content(&["two"]), clock()).unwrap();
    let found = ["hand", "one", "two"]
        .map(|jti| check(&verifier, &format!(r#"{{"jti":"{jti}"}}"#)).is_ok());
    assert_eq!(found, [false, true, false]);
    assert_eq!(set.status().entries, 2);

    // Both count, and what does not fit makes the set no fresher.
    PASSED.set(10_001);
    let many: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let full = Err(RevocationError::TooMany { max: 10 });
    assert_eq!(set.read(content(&many), clock()), full);
    assert!(!set.is_fresh());
    set.replace([]).unwrap();
    assert_eq!(set.read(content(&many), clock()), Ok(()));
    assert_eq!(set.revoke(Revocation::new("jti", "hand")), full);
}
