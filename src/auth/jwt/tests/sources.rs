//! Keys that change while the verifier lives, and several issuers.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::super::keys::{KeySet, KeySource, Keys, Refresh, SourceStatus};
use super::super::verifier::Verdict;
use super::*;

const FIRST: &str = "the first secret of thirty-two bytes";
const SECOND: &str = "the second secret of thirty-two bytes";
const ALICE: &str = r#"{"sub":"alice","exp":1700000060}"#;

/// Keys as a test sets them. What is in `next` is there once it was fetched.
#[derive(Debug, Default)]
struct Source {
    keys: Mutex<Option<Arc<[Key]>>>,
    next: Mutex<Option<Arc<[Key]>>>,
    generation: AtomicU64,
    fetches: AtomicUsize,
}

impl Source {
    fn with(keys: Option<&[Key]>) -> Arc<Self> {
        let source = Self::default();
        source.set(keys);
        Arc::new(source)
    }

    fn set(&self, keys: Option<&[Key]>) {
        *self.keys.lock().unwrap() = keys.map(Into::into);
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    fn publish(&self, keys: &[Key]) {
        *self.next.lock().unwrap() = Some(keys.into());
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::Relaxed)
    }
}

/// A fetch is over at its future's second poll.
#[derive(Debug)]
struct Shared(Arc<Source>);

impl KeySource for Shared {
    fn keys(&self) -> KeySet {
        let keys = self.0.keys.lock().unwrap().clone();
        let is_complete = keys.is_some();
        let keys = keys.unwrap_or_else(|| [].into());
        KeySet { keys, is_complete }
    }

    fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Relaxed)
    }

    fn refresh(&self, seen: u64) -> Option<Refresh> {
        assert_eq!(seen, self.generation());
        let source = Arc::clone(&self.0);
        source.fetches.fetch_add(1, Ordering::Relaxed);
        Some(Box::pin(async move {
            let mut polled = false;
            std::future::poll_fn(|_| {
                if std::mem::replace(&mut polled, true) {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            let next = source.next.lock().unwrap().take();
            if let Some(next) = next {
                source.set(Some(&next));
            }
        }))
    }

    fn status(&self) -> SourceStatus {
        SourceStatus {
            is_ready: self.keys().is_complete,
            age: None,
            fetches: self.0.fetches() as u64,
            last_error: None,
        }
    }
}

fn key(secret: &str, id: Option<&str>) -> Key {
    let key = Key::hs256(secret).unwrap();
    match id {
        Some(id) => key.with_id(id),
        None => key,
    }
}

fn verifier(source: &Arc<Source>) -> JwtVerifier {
    let keys = Keys::Changing(Arc::new(Shared(Arc::clone(source))));
    JwtVerifier::builder()
        .clock(now as fn() -> SystemTime)
        .finish(keys)
        .unwrap()
}

fn token(secret: &str, id: Option<&str>, payload: &str) -> String {
    let header = match id {
        Some(id) => format!(r#"{{"alg":"HS256","kid":"{id}"}}"#),
        None => r#"{"alg":"HS256"}"#.to_owned(),
    };
    let signer = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    sign(
        Algorithm::HS256,
        &signer,
        header.as_bytes(),
        payload.as_bytes(),
    )
}

fn known(verdict: Verdict) -> Result<(), TokenError> {
    match verdict {
        Verdict::Known(result) => result.map(drop),
        Verdict::Pending(_) => panic!("it waits"),
    }
}

/// Waits as the layer does. It is polled twice.
fn waits(verdict: Verdict) -> Result<(), TokenError> {
    let Verdict::Pending(mut pending) = verdict else {
        panic!("it does not wait")
    };
    let mut cx = Context::from_waker(Waker::noop());
    assert!(pending.as_mut().poll(&mut cx).is_pending());
    match pending.as_mut().poll(&mut cx) {
        Poll::Ready(result) => result.map(drop),
        Poll::Pending => panic!("it waits for more than a fetch"),
    }
}

#[test]
fn a_key_that_is_not_known_yet_is_waited_for() {
    let source = Source::with(Some(&[key(FIRST, Some("1"))]));
    let verifier = verifier(&source);
    assert_eq!(
        known(verifier.verdict(&token(FIRST, Some("1"), ALICE))),
        Ok(())
    );
    assert_eq!(source.fetches(), 0);

    let of_second = token(SECOND, Some("2"), ALICE);
    assert_eq!(
        verifier.verify(&of_second).unwrap_err(),
        TokenError::UnknownKey
    );
    source.publish(&[key(FIRST, Some("1")), key(SECOND, Some("2"))]);
    assert_eq!(waits(verifier.verdict(&of_second)), Ok(()));
    assert_eq!(known(verifier.verdict(&of_second)), Ok(()));
    assert_eq!(source.fetches(), 1);

    // Another attempt that brings nothing.
    let of_nobody = token(SECOND, Some("3"), ALICE);
    assert_eq!(
        waits(verifier.verdict(&of_nobody)),
        Err(TokenError::UnknownKey)
    );
}

#[test]
fn nobody_waits_where_the_key_is_known() {
    let source = Source::with(Some(&[key(FIRST, Some("1"))]));
    let verifier = verifier(&source);
    let expired = r#"{"exp":1600000000}"#;
    for (token, reason) in [
        (token(SECOND, Some("1"), ALICE), TokenError::BadSignature),
        (token(FIRST, Some("1"), expired), TokenError::Expired),
        ("garbage".to_owned(), TokenError::Malformed),
    ] {
        assert_eq!(known(verifier.verdict(&token)), Err(reason));
    }
    assert_eq!(source.fetches(), 0);
}

#[test]
fn a_token_without_an_id_may_be_of_a_new_key() {
    let source = Source::with(Some(&[key(FIRST, None)]));
    let verifier = verifier(&source);
    let of_second = token(SECOND, None, ALICE);
    source.publish(&[key(SECOND, None)]);
    assert_eq!(waits(verifier.verdict(&of_second)), Ok(()));
    // One with an id, where keys have none.
    let third = "the third secret of thirty-two bytes";
    source.publish(&[key(third, None)]);
    assert_eq!(
        waits(verifier.verdict(&token(third, Some("3"), ALICE))),
        Ok(())
    );
}

#[test]
fn a_removed_key_is_not_good_any_more_for_tokens_in_the_cache_either() {
    let source = Source::with(Some(&[key(FIRST, Some("1"))]));
    let verifier = verifier(&source);
    let of_first = token(FIRST, Some("1"), ALICE);
    for _ in 0..2 {
        verifier.verify(&of_first).unwrap();
    }
    assert_eq!(verifier.cache_status().hits, 1);
    source.set(Some(&[key(SECOND, Some("2"))]));
    assert_eq!(
        verifier.verify(&of_first).unwrap_err(),
        TokenError::UnknownKey
    );
    // The same id for another key.
    source.set(Some(&[key(SECOND, Some("1"))]));
    assert_eq!(
        verifier.verify(&of_first).unwrap_err(),
        TokenError::BadSignature
    );
    source.set(Some(&[key(FIRST, Some("1"))]));
    for _ in 0..2 {
        verifier.verify(&of_first).unwrap();
    }
}

#[test]
fn without_keys_nobody_is_told_that_the_token_is_bad() {
    let source = Source::with(None);
    let verifier = verifier(&source);
    let of_first = token(FIRST, Some("1"), ALICE);
    let unavailable = TokenError::KeysUnavailable;
    assert_eq!(waits(verifier.verdict(&of_first)), Err(unavailable));
    assert_eq!(
        crate::Error::from(unavailable).kind(),
        crate::ErrorKind::KeysUnavailable
    );
    source.set(Some(&[key(FIRST, Some("1"))]));
    verifier.verify(&of_first).unwrap();
    // What is too old is as good as nothing.
    source.set(None);
    assert_eq!(verifier.verify(&of_first).unwrap_err(), unavailable);
    // What is no token does not become one by any key.
    assert_eq!(
        known(verifier.verdict("garbage")),
        Err(TokenError::Malformed)
    );
}

#[test]
fn whoever_stops_waiting_stops_nobody_else() {
    let source = Source::with(Some(&[]));
    let verifier = verifier(&source);
    let of_first = token(FIRST, Some("1"), ALICE);
    source.publish(&[key(FIRST, Some("1"))]);
    let mut cx = Context::from_waker(Waker::noop());
    let mut gone = Box::pin(verifier.verify_fresh(&of_first));
    assert!(gone.as_mut().poll(&mut cx).is_pending());
    drop(gone);
    assert_eq!(waits(verifier.verdict(&of_first)), Ok(()));
}

fn of(issuer: &str, secret: &str) -> JwtVerifierBuilder<HasKey> {
    let builder = JwtVerifier::builder().clock(now as fn() -> SystemTime);
    builder.issuer(issuer).key(key(secret, Some("1")))
}

fn from(issuer: &str) -> String {
    format!(r#"{{"iss":"{issuer}","exp":1700000060}}"#)
}

#[test]
fn a_token_is_for_the_issuer_that_it_names_and_for_no_other() {
    let verifier = JwtVerifier::of_issuers([
        of("https://a", FIRST).build().unwrap(),
        of("https://b", SECOND)
            .issuer("https://c")
            .audience("b")
            .build()
            .unwrap(),
    ])
    .unwrap();
    let b = |issuer: &str| format!(r#"{{"iss":"{issuer}","aud":"b","exp":1700000060}}"#);
    let rows = [
        (FIRST, from("https://a"), Ok(())),
        (SECOND, b("https://b"), Ok(())),
        (SECOND, b("https://c"), Ok(())),
        // Each with the other's key, though it has the same id.
        (SECOND, from("https://a"), Err(TokenError::BadSignature)),
        (FIRST, b("https://b"), Err(TokenError::BadSignature)),
        // The rules are each issuer's own.
        (SECOND, from("https://b"), Err(TokenError::MissingAudience)),
        (FIRST, b("https://a"), Err(TokenError::UnexpectedAudience)),
        // Nobody's.
        (FIRST, from("https://a/"), Err(TokenError::WrongIssuer)),
        (FIRST, from("HTTPS://a"), Err(TokenError::WrongIssuer)),
        (
            FIRST,
            r#"{"exp":1700000060}"#.to_owned(),
            Err(TokenError::MissingIssuer),
        ),
        (
            FIRST,
            r#"{"iss":["https://a"],"exp":1700000060}"#.to_owned(),
            Err(TokenError::WrongIssuer),
        ),
        (
            FIRST,
            r#"{"iss":"https://b","iss":"https://a","exp":1700000060}"#.to_owned(),
            Err(TokenError::DuplicateMember),
        ),
    ];
    for (secret, payload, expected) in rows {
        let token = token(secret, Some("1"), &payload);
        for _ in 0..2 {
            assert_eq!(verifier.verify(&token).map(drop), expected, "{payload}");
        }
    }
}

#[test]
fn each_of_several_issuers_is_named_once() {
    let build = |builder: JwtVerifierBuilder<HasKey>| builder.build().unwrap();
    let error = |verifiers: Vec<JwtVerifier>| JwtVerifier::of_issuers(verifiers).unwrap_err();
    assert_eq!(error(Vec::new()), BuildError::NoIssuer);
    assert_eq!(
        error(vec![build(of("https://a", FIRST)), build(builder())]),
        BuildError::NoIssuer
    );
    let twice = vec![
        build(of("https://a", FIRST)),
        build(of("https://a", SECOND)),
    ];
    assert_eq!(error(twice), BuildError::DuplicateIssuer);
}

#[test]
fn of_several_issuers_the_keys_of_one_are_fetched() {
    let source = Source::with(Some(&[]));
    let keys = Keys::Changing(Arc::new(Shared(Arc::clone(&source))));
    let builder = JwtVerifier::builder().clock(now as fn() -> SystemTime);
    let fetched = builder.issuer("https://b").finish(keys).unwrap();
    let fixed = of("https://a", FIRST).build().unwrap();
    let verifier = JwtVerifier::of_issuers([fixed, fetched]).unwrap();
    let of_a = token(SECOND, Some("9"), &from("https://a"));
    assert_eq!(known(verifier.verdict(&of_a)), Err(TokenError::UnknownKey));
    source.publish(&[key(SECOND, Some("9"))]);
    let of_b = token(SECOND, Some("9"), &from("https://b"));
    assert_eq!(waits(verifier.verdict(&of_b)), Ok(()));
    assert_eq!(source.fetches(), 1);
}
