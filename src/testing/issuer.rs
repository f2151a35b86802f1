//! An issuer that publishes keys, inside the test's own process.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::json;
use tower::Service;

use super::key::SigningKey;
use super::mint::Mint;
use crate::auth::jwt::Key;

/// Publishes keys as an OpenID provider does, rotates them, and fails when told to. Clones are the same issuer.
///
/// It is a tower `Service` that answers for `{issuer}/.well-known/openid-configuration` and `{issuer}/jwks`, in place of an
/// HTTP client: give it to `fetch_with` of a verifier's builder. A server can serve it, too.
///
/// ```
/// use rolescope::testing::TestIssuer;
/// use serde_json::json;
///
/// let issuer = TestIssuer::new("https://login.example");
/// let mint = issuer.mint().audience("todos");
/// let before = mint.token(json!({ "role": "web_user" }));
/// assert!(mint.verifier().verify(&before).is_ok());
///
/// // The old key is published for a while, and then no more.
/// issuer.rotate();
/// assert!(mint.verifier().verify(&before).is_ok());
/// issuer.retire();
/// assert!(mint.verifier().verify(&before).is_err());
/// assert!(mint.verifier().verify(&mint.token(json!({ "role": "web_user" }))).is_ok());
/// ```
#[derive(Clone)]
pub struct TestIssuer {
    url: Arc<str>,
    state: Arc<Mutex<State>>,
}

struct State {
    /// All that are published. The last one signs.
    keys: Vec<SigningKey>,
    made: usize,
    fault: Option<Fault>,
    max_age: Option<Duration>,
    discovery_requests: u64,
    jwks_requests: u64,
}

/// How a [`TestIssuer`] fails.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// There is no connection.
    Unreachable,
    /// Each answer has this status, and no body.
    Status(u16),
    /// Each answer is a 200 with this body.
    Body(String),
    /// Nothing is ever answered.
    Silent,
}

impl TestIssuer {
    /// Makes an issuer with one key, for `ES256`.
    ///
    /// # Panics
    ///
    /// This crate was compiled without a signature backend.
    pub fn new(url: impl Into<String>) -> Self {
        let state = State {
            keys: vec![SigningKey::es256("key-1")],
            made: 1,
            fault: None,
            max_age: None,
            discovery_requests: 0,
            jwks_requests: 0,
        };
        Self {
            url: url.into().into(),
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Returns the issuer: the `iss` of its tokens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns what makes its tokens, each with the key that signs at that time.
    pub fn mint(&self) -> Mint {
        Mint::of(self)
    }

    /// Makes a new key, which is published and signs from now on. Those before it stay published.
    pub fn rotate(&self) {
        let mut state = self.state();
        state.made += 1;
        let key = SigningKey::es256(format!("key-{}", state.made));
        state.keys.push(key);
    }

    /// Publishes no more keys than the one that signs.
    pub fn retire(&self) {
        let mut state = self.state();
        let all_but_one = state.keys.len() - 1;
        state.keys.drain(..all_but_one);
    }

    /// Fails each request from now on.
    pub fn fail(&self, fault: Fault) {
        self.state().fault = Some(fault);
    }

    /// Ends what [`fail`](Self::fail) began.
    pub fn recover(&self) {
        self.state().fault = None;
    }

    /// Sets the `max-age` of its `Cache-Control`. Defaults to none.
    pub fn set_max_age(&self, age: Duration) {
        self.state().max_age = Some(age);
    }

    /// Returns how often its discovery document was asked for, also in vain.
    pub fn discovery_requests(&self) -> u64 {
        self.state().discovery_requests
    }

    /// Returns how often its keys were asked for, also in vain.
    pub fn jwks_requests(&self) -> u64 {
        self.state().jwks_requests
    }

    /// Returns the JWKS that it publishes.
    pub fn jwks(&self) -> String {
        let state = self.state();
        let keys: Vec<_> = state
            .keys
            .iter()
            .filter_map(SigningKey::public_jwk)
            .collect();
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }

    pub(super) fn signing_key(&self) -> SigningKey {
        let state = self.state();
        state.keys.last().expect("there always is one").clone()
    }

    pub(super) fn verifying_keys(&self) -> Vec<Key> {
        let state = self.state();
        state.keys.iter().map(SigningKey::verifying_key).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, path: &str) -> Result<Option<Response<Full<Bytes>>>, io::Error> {
        let (base, max_age, fault) = {
            let mut state = self.state();
            let base = self
                .url
                .split_once("://")
                .and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
            let base = base.unwrap_or_default().trim_end_matches('/').to_owned();
            match path.strip_prefix(&*base) {
                Some("/.well-known/openid-configuration") => state.discovery_requests += 1,
                Some("/jwks") => state.jwks_requests += 1,
                _ => {}
            }
            (base, state.max_age, state.fault.clone())
        };
        let (status, body) = match fault {
            Some(Fault::Unreachable) => return Err(io::ErrorKind::ConnectionRefused.into()),
            Some(Fault::Silent) => return Ok(None),
            Some(Fault::Status(status)) => {
                let status = StatusCode::from_u16(status);
                (
                    status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                    String::new(),
                )
            }
            Some(Fault::Body(body)) => (StatusCode::OK, body),
            None => match path.strip_prefix(&*base) {
                Some("/.well-known/openid-configuration") => {
                    let url = self.url.trim_end_matches('/');
                    let document =
                        json!({ "issuer": &*self.url, "jwks_uri": format!("{url}/jwks") });
                    (StatusCode::OK, document.to_string())
                }
                Some("/jwks") => (StatusCode::OK, self.jwks()),
                _ => (StatusCode::NOT_FOUND, String::new()),
            },
        };
        let mut response = Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(age) = max_age {
            let value = format!("max-age={}", age.as_secs());
            response = response.header(header::CACHE_CONTROL, value);
        }
        let response = response.body(Full::from(body));
        Ok(Some(response.expect("the response is well formed")))
    }
}

impl<B> Service<Request<B>> for TestIssuer {
    type Response = Response<Full<Bytes>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.answer(request.uri().path());
        Box::pin(async move {
            match answer? {
                Some(response) => Ok(response),
                None => std::future::pending().await,
            }
        })
    }
}

impl fmt::Debug for TestIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestIssuer")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}
