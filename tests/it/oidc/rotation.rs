//! Keys that a provider changes while requests come in.
//!
//! Time stands still but where the test moves it on, so that what is stated in minutes can be seen in order. Only the
//! verifier's schedule goes by that time; the provider and the connections to it do not know of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rolescope::{Claims, JwtAuthLayer, JwtVerifier};
use serde_json::Value;
use tokio::task::{LocalSet, yield_now};

use super::{ALGORITHMS, ask, config, provider_with, service_token, verifier};
use crate::support::local_provider::LocalProvider;

/// How many requests there were with tokens of which keys, and how they were answered.
type Tally = BTreeMap<(String, u16), u32>;

/// Requests that come in all the time, with new tokens and with those of before.
struct Load {
    provider: LocalProvider,
    verifier: JwtVerifier,
    app: Router,
    tally: RefCell<Tally>,
    /// A token of each name and algorithm, the last one that came.
    tokens: RefCell<BTreeMap<(String, &'static str), String>>,
    /// Rounds of all the workers.
    rounds: RefCell<u32>,
}

impl Load {
    async fn start() -> Rc<Self> {
        let mut config = config();
        config["jwksCacheControl"] = "public, max-age=60".into();
        let provider = provider_with(config).await;
        let verifier = verifier(&provider).await;
        let app = Router::new()
            .route("/", get(async |_: Claims| ()))
            .layer(JwtAuthLayer::new(verifier.clone()));
        Rc::new(Self {
            provider,
            verifier,
            app,
            tally: RefCell::default(),
            tokens: RefCell::default(),
            rounds: RefCell::default(),
        })
    }

    /// Gets a token, asks with it, and asks with all that it has of this algorithm.
    async fn round(&self, algorithm: &'static str) {
        let token = service_token(&self.provider, algorithm).await;
        self.ask(&token).await;
        let key = (keys_of(&token), algorithm);
        self.tokens.borrow_mut().insert(key, token);
        let known: Vec<String> = {
            let tokens = self.tokens.borrow();
            let same = tokens.iter().filter(|((_, of), _)| *of == algorithm);
            same.map(|(_, token)| token.clone()).collect()
        };
        for token in known {
            self.ask(&token).await;
        }
        *self.rounds.borrow_mut() += 1;
    }

    async fn ask(&self, token: &str) {
        let reply = ask(&self.app, token).await;
        let key = (keys_of(token), reply.status.as_u16());
        *self.tally.borrow_mut().entry(key).or_default() += 1;
    }

    /// Forgets what was, lets some rounds pass, and returns which tokens were answered how.
    async fn answers(&self) -> Vec<(String, u16)> {
        self.tally.borrow_mut().clear();
        let start = *self.rounds.borrow();
        until("the load goes on", || *self.rounds.borrow() >= start + 15).await;
        self.tally.borrow().keys().cloned().collect()
    }

    /// Waits until each worker has had a token of these keys.
    async fn tokens_of(&self, name: &str) {
        until("new tokens come", || {
            let tokens = self.tokens.borrow();
            tokens.keys().filter(|(of, _)| of == name).count() == ALGORITHMS.len()
        })
        .await;
    }

    fn fetches(&self) -> u64 {
        self.verifier.key_status()[0].fetches
    }

    /// Waits for the end of a fetch that time has brought about.
    async fn fetched(&self, fetches: u64) {
        until("the keys are fetched", || {
            let status = &self.verifier.key_status()[0];
            status.fetches >= fetches && status.age == Some(Duration::ZERO)
        })
        .await;
    }
}

/// The name of the keys that a token is signed by, without the algorithm.
fn keys_of(token: &str) -> String {
    let header = token.split('.').next().expect("it has a header");
    let header = URL_SAFE_NO_PAD.decode(header).expect("it is base64url");
    let header: Value = serde_json::from_slice(&header).expect("it is JSON");
    let id = header["kid"].as_str().expect("it has a key id");
    id.split('-').next().expect("it has a name").to_owned()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited 30 s until {what}");
        yield_now().await;
    }
}

fn answers(expected: &[(&str, u16)]) -> Vec<(String, u16)> {
    let expected = expected.iter();
    expected
        .map(|&(key, status)| (key.to_owned(), status))
        .collect()
}

#[tokio::test]
async fn keys_that_rotate_under_load_are_accepted_and_refused_as_stated() {
    let load = Load::start().await;
    tokio::time::pause();
    // A paused clock runs ahead where nothing is left to do, but not while a blocking task runs.
    let (end, ended) = mpsc::channel::<()>();
    let holding = tokio::task::spawn_blocking(move || ended.recv());
    let local = LocalSet::new();
    for algorithm in ALGORITHMS {
        let load = Rc::clone(&load);
        local.spawn_local(async move {
            loop {
                load.round(algorithm).await;
            }
        });
    }
    local.run_until(rotate(&load)).await;
    drop(end);
    let _ = holding.await;
}

async fn rotate(load: &Load) {
    let use_keys = |sign, publish: &[&str]| load.provider.use_keys(sign, publish);
    assert_eq!(load.answers().await, answers(&[("a", 200)]));
    assert_eq!(load.fetches(), 1);

    // A new key beside the old one: nobody is refused, and the first token of the new key is worth one fetch.
    load.tally.borrow_mut().clear();
    use_keys("b", &["a", "b"]);
    load.tokens_of("b").await;
    let so_far: Vec<_> = load.tally.borrow().keys().cloned().collect();
    assert_eq!(so_far, answers(&[("a", 200), ("b", 200)]));
    assert_eq!(load.answers().await, answers(&[("a", 200), ("b", 200)]));
    assert_eq!(load.fetches(), 2);

    // The old one is withdrawn: it may be accepted until `max-age` is over, and not after that, cached tokens included.
    use_keys("b", &["b"]);
    assert_eq!(load.answers().await, answers(&[("a", 200), ("b", 200)]));
    tokio::time::advance(Duration::from_secs(61)).await;
    load.fetched(3).await;
    assert_eq!(load.answers().await, answers(&[("a", 401), ("b", 200)]));
    // Tokens of a key that is gone look as those of one that is new: the first of them is worth a fetch, too.
    assert_eq!(load.fetches(), 4);

    // All keys are replaced at once, 30 s later, and those of a are forgotten: nobody is refused who has a new token.
    load.tokens.borrow_mut().retain(|(of, _), _| of != "a");
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(load.answers().await, answers(&[("b", 200)]));
    load.tally.borrow_mut().clear();
    use_keys("c", &["c"]);
    load.tokens_of("c").await;
    let refused = load.tally.borrow().get(&("c".to_owned(), 401)).copied();
    assert_eq!(refused, None);
    assert_eq!(load.answers().await, answers(&[("b", 401), ("c", 200)]));
    assert_eq!(load.fetches(), 5);

    // And again within 30 s: these are the window in which new tokens are refused, whatever comes.
    use_keys("d", &["d"]);
    load.tokens_of("d").await;
    let in_window = answers(&[("b", 401), ("c", 200), ("d", 401)]);
    assert_eq!(load.answers().await, in_window);
    assert_eq!(load.fetches(), 5);
    tokio::time::advance(Duration::from_secs(30)).await;
    load.fetched(6).await;
    let after = answers(&[("b", 401), ("c", 401), ("d", 200)]);
    assert_eq!(load.answers().await, after);

    assert_eq!(load.fetches(), 6);
    let report = load.provider.report();
    assert_eq!((report.discovery_requests, report.jwks_requests), (6, 6));
}
