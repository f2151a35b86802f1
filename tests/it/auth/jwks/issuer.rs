//! An issuer in this process: it signs tokens, and is the HTTP client that fetches its keys.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::{KeyPair, PKCS_ED25519};
use tokio::sync::watch;
use tower::Service;

use crate::auth::mint::DEFAULT_PROVIDER;

pub(super) fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An Ed25519 key.
pub(super) struct Signer {
    pair: KeyPair,
    id: String,
}

impl Signer {
    pub(super) fn new(id: &str) -> Self {
        Self {
            pair: KeyPair::generate_for(&PKCS_ED25519).unwrap(),
            id: id.to_owned(),
        }
    }

    pub(super) fn jwk(&self) -> String {
        let x = base64(self.pair.public_key_raw());
        let id = &self.id;
        format!(r#"{{"kty":"OKP","crv":"Ed25519","use":"sig","kid":"{id}","x":"{x}"}}"#)
    }

    pub(super) fn token(&self) -> String {
        self.token_with("")
    }

    /// A token for ever, with these claims besides.
    pub(super) fn token_with(&self, claims: &str) -> String {
        let header = format!(r#"{{"alg":"EdDSA","kid":"{}"}}"#, self.id);
        let payload = format!(r#"{{"exp":4102444800{claims}}}"#);
        let signed = format!(
            "{}.{}",
            base64(header.as_bytes()),
            base64(payload.as_bytes())
        );
        let key = EncodingKey::from_ed_der(&self.pair.serialize_der());
        let signer = (DEFAULT_PROVIDER.signer_factory)(&Algorithm::EdDSA, &key).unwrap();
        let signature = signer.try_sign(signed.as_bytes()).unwrap();
        format!("{signed}.{}", base64(&signature))
    }
}

pub(super) fn jwks<'a>(signers: impl IntoIterator<Item = &'a Signer>) -> String {
    let keys: Vec<String> = signers.into_iter().map(Signer::jwk).collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

type Body = UnsyncBoxBody<Bytes, io::Error>;
pub(super) type Answer = io::Result<Response<Body>>;
type Answering = dyn Fn(&str) -> Answer + Send + Sync;

pub(super) fn body(text: impl Into<Bytes>) -> Body {
    let body = Full::new(text.into());
    body.map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn json(text: &str) -> Answer {
    Ok(Response::new(body(text.to_owned())))
}

pub(super) fn with_header(name: &'static str, value: &str, text: &str) -> Answer {
    let response = Response::builder().header(name, value);
    Ok(response.body(body(text.to_owned())).unwrap())
}

pub(super) fn redirect(to: &str) -> Answer {
    let response = Response::builder().status(StatusCode::FOUND);
    Ok(response.header("location", to).body(body("")).unwrap())
}

#[derive(Clone)]
pub(super) struct Issuer(Arc<Inner>);

struct Inner {
    answer: Mutex<Arc<Answering>>,
    fetches: AtomicUsize,
    is_held: watch::Sender<bool>,
}

impl Issuer {
    pub(super) fn new<'a>(signers: impl IntoIterator<Item = &'a Signer>) -> Self {
        let issuer = Self(Arc::new(Inner {
            answer: Mutex::new(Arc::new(|_| Err(io::ErrorKind::ConnectionRefused.into()))),
            fetches: AtomicUsize::new(0),
            is_held: watch::Sender::new(false),
        }));
        issuer.publishes(signers);
        issuer
    }

    /// From now on the URL's path decides the answer.
    pub(super) fn answers(&self, answer: impl Fn(&str) -> Answer + Send + Sync + 'static) {
        *self.0.answer.lock().unwrap() = Arc::new(answer);
    }

    pub(super) fn publishes<'a>(&self, signers: impl IntoIterator<Item = &'a Signer>) {
        let text = jwks(signers);
        self.answers(move |_| json(&text));
    }

    pub(super) fn is_down(&self) {
        self.answers(|_| Err(io::ErrorKind::ConnectionRefused.into()));
    }

    /// How many documents were asked for.
    pub(super) fn fetches(&self) -> usize {
        self.0.fetches.load(Ordering::SeqCst)
    }

    /// Answers nothing until it is released.
    pub(super) fn hold(&self) {
        self.0.is_held.send_replace(true);
    }

    pub(super) fn release(&self) {
        self.0.is_held.send_replace(false);
    }

    /// How many have it: tests, verifiers' tasks.
    pub(super) fn owners(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

impl Service<Request<Empty<Bytes>>> for Issuer {
    type Response = Response<Body>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        self.0.fetches.fetch_add(1, Ordering::SeqCst);
        let issuer = self.0.clone();
        Box::pin(async move {
            let mut is_held = issuer.is_held.subscribe();
            is_held.wait_for(|is_held| !is_held).await.unwrap();
            let answer = issuer.answer.lock().unwrap().clone();
            answer(request.uri().path())
        })
    }
}
