//! What `JwtAuthLayer` costs a request, against the same service without it and the signature alone.

use std::convert::Infallible;
use std::hint::black_box;
use std::task::{Context, Poll, Waker};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{Request, Response};
use http_body_util::Full;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use rolescope::{JwtAuthLayer, JwtVerifier};
use tower::{Layer, Service, service_fn};

const SECRET: &str = "a secret of thirty-two bytes, or more";
const CLAIMS: &str = r#"{"exp":4102444800,"aud":"todos","sub":"f2c1b6b0","role":"web_user","email":"ann@example.org"}"#;

/// A token, and the two parts of it that its signature is made of.
fn token() -> (String, String, String) {
    let signed = [r#"{"alg":"HS256","typ":"JWT"}"#, CLAIMS]
        .map(|part| URL_SAFE_NO_PAD.encode(part))
        .join(".");
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signer = (DEFAULT_PROVIDER.signer_factory)(&Algorithm::HS256, &key).expect("the key fits");
    let signature = signer.try_sign(signed.as_bytes()).expect("it signs");
    let signature = URL_SAFE_NO_PAD.encode(signature);
    (format!("{signed}.{signature}"), signed, signature)
}

async fn inner(request: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    black_box(request);
    Ok(Response::default())
}

fn answer<S>(mut service: S, authorization: Option<&str>)
where
    S: Service<Request<Full<Bytes>>>,
{
    let mut request = Request::new(Full::default());
    if let Some(value) = authorization {
        let value = value.parse().expect("a header's value");
        request.headers_mut().insert("authorization", value);
    }
    let mut answer = std::pin::pin!(service.call(request));
    // Neither the layer nor this service ever waits.
    match answer
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(response) => assert!(response.is_ok()),
        Poll::Pending => panic!("it waits"),
    }
}

fn auth(c: &mut Criterion) {
    let (token, signed, signature) = token();
    let bearer = format!("Bearer {token}");
    let verifier = JwtVerifier::builder()
        .hs256(SECRET)
        .expect("the secret is long enough")
        .audience("todos")
        .build()
        .expect("there is a crypto backend");
    let layer = JwtAuthLayer::new(verifier);
    let mut group = c.benchmark_group("auth");
    group.bench_function("without the layer", |b| {
        b.iter(|| answer(service_fn(inner), Some(&bearer)));
    });
    group.bench_function("no token", |b| {
        b.iter(|| answer(layer.layer(service_fn(inner)), None));
    });
    group.bench_function("HS256", |b| {
        b.iter(|| answer(layer.layer(service_fn(inner)), Some(&bearer)));
    });
    let key = DecodingKey::from_secret(SECRET.as_bytes());
    let verifier =
        (DEFAULT_PROVIDER.verifier_factory)(&Algorithm::HS256, &key).expect("the key fits");
    group.bench_function("HS256, the signature alone", |b| {
        b.iter(|| {
            let signature = URL_SAFE_NO_PAD.decode(&signature).expect("it is base64url");
            let valid = verifier.verify(signed.as_bytes(), &signature);
            assert!(black_box(valid).is_ok());
        });
    });
    group.finish();
}

criterion_group!(benches, auth);
criterion_main!(benches);
