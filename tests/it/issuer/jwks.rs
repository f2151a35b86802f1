//! The JWKS, over HTTP, and keys that change while tokens are verified.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, Request, Response, StatusCode, header};
use axum::routing::get;
use http_body_util::BodyExt;
use rolescope::JwtVerifier;
use rolescope::auth::jwt::TokenError;
use rolescope::issuer::{JwksService, SigningKey, TokenIssuer};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{SECRET, URL, issuer};

fn key(id: &str) -> SigningKey {
    SigningKey::random_es256(id).expect("a key")
}

fn pair(signs: &SigningKey, also: &SigningKey) -> TokenIssuer {
    let builder = TokenIssuer::builder(signs.clone()).also_publish(also.clone());
    builder
        .issuer(URL)
        .audience("todos")
        .build()
        .expect("it is built")
}

fn token(issuer: &TokenIssuer) -> String {
    let token = issuer
        .issue(json!({ "role": "web_user" }))
        .expect("it is issued");
    token.into_string()
}

/// Serves routes on loopback until the test ends.
async fn serve(routes: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let address = listener.local_addr().expect("it listens");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!("http://{address}/jwks")
}

async fn ask(app: &Router, method: Method, known: Option<&str>) -> Response<Body> {
    let mut request = Request::builder().method(method).uri("/jwks");
    if let Some(known) = known {
        request = request.header(header::IF_NONE_MATCH, known);
    }
    let request = request.body(Body::empty()).expect("it is well formed");
    app.clone().oneshot(request).await.expect("it is answered")
}

#[tokio::test]
async fn the_public_keys_are_served_as_http_has_it() {
    let secret = SigningKey::hs256(SECRET)
        .expect("a secret")
        .with_id("secret");
    let builder = TokenIssuer::builder(key("k1"))
        .also_publish(key("k2"))
        .also_publish(secret);
    let issuer = builder
        .jwks_max_age(Duration::from_secs(90))
        .issuer(URL)
        .build()
        .expect("it is built");
    let app = Router::new().route_service("/jwks", issuer.jwks_service());

    let got = ask(&app, Method::GET, None).await;
    assert_eq!(got.status(), StatusCode::OK);
    let headers = got.headers().clone();
    assert_eq!(headers[header::CONTENT_TYPE], "application/jwk-set+json");
    assert_eq!(headers[header::CACHE_CONTROL], "public, max-age=90");
    let body = got.into_body().collect().await.expect("a body").to_bytes();
    assert_eq!(body, issuer.jwks());
    assert_eq!(headers[header::CONTENT_LENGTH], body.len().to_string());
    let document: Value = serde_json::from_slice(&body).expect("JSON");
    let keys = document["keys"].as_array().expect("an array");
    assert_eq!(keys.len(), 2, "no secret is among them");
    for key in keys {
        let members: Vec<_> = key.as_object().expect("an object").keys().collect();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    }

    let head = ask(&app, Method::HEAD, None).await;
    assert_eq!(head.status(), StatusCode::OK);
    for name in [
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::ETAG,
        header::CACHE_CONTROL,
    ] {
        assert_eq!(head.headers().get(&name), headers.get(&name), "{name}");
    }
    assert!(
        head.into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes()
            .is_empty()
    );

    let tag = headers[header::ETAG].to_str().expect("text");
    for known in [
        tag,
        &format!("W/{tag}"),
        "*",
        &format!("\"a\",{tag} , \"b\""),
    ] {
        let same = ask(&app, Method::GET, Some(known)).await;
        assert_eq!(same.status(), StatusCode::NOT_MODIFIED, "{known}");
        assert_eq!(same.headers()[header::ETAG], tag);
        assert_eq!(same.headers()[header::CACHE_CONTROL], "public, max-age=90");
        assert!(
            same.into_body()
                .collect()
                .await
                .expect("a body")
                .to_bytes()
                .is_empty()
        );
    }
    for other in ["\"a\"", "", &tag[1..], &tag.to_lowercase()] {
        let other = ask(&app, Method::GET, Some(other)).await;
        assert_eq!(other.status(), StatusCode::OK);
    }
    for method in [
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::PATCH,
    ] {
        let refused = ask(&app, method.clone(), None).await;
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(refused.headers()[header::ALLOW], "GET, HEAD");
        assert!(
            refused
                .into_body()
                .collect()
                .await
                .expect("a body")
                .to_bytes()
                .is_empty()
        );
    }
    // Other keys, another tag.
    let other = Router::new().route_service("/jwks", super::issuer(key("k1")).jwks_service());
    assert_ne!(
        ask(&other, Method::GET, None).await.headers()[header::ETAG],
        tag
    );
}

/// The service that is served, which the test replaces as an operator does by a restart.
type Served = Arc<Mutex<JwksService>>;

#[tokio::test]
async fn keys_change_over_http_while_every_token_stays_good() {
    let (old, new) = (key("old"), key("new"));
    let steps = [issuer(old.clone()), pair(&old, &new), pair(&new, &old)];
    let served: Served = Arc::new(Mutex::new(steps[0].jwks_service()));
    let fetches = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&fetches);
    let routes = Router::new().route(
        "/jwks",
        get(
            async move |State(served): State<Served>, request: Request<Body>| {
                counted.fetch_add(1, Ordering::Relaxed);
                let service = served.lock().expect("no panic").clone();
                service.oneshot(request).await
            },
        ),
    );
    let url = serve(routes.with_state(Arc::clone(&served))).await;
    let verifier = JwtVerifier::builder()
        .jwks_url(&url)
        .expect("a URL")
        .issuer(URL)
        .audience("todos");
    let verifier = verifier.build().await.expect("the keys are fetched");

    // Tokens of whichever issuer is the one of the time, verified all the time.
    let current = Arc::new(Mutex::new(steps[0].clone()));
    let stop = Arc::new(AtomicBool::new(false));
    let verified = Arc::new(AtomicU32::new(0));
    let load = tokio::spawn({
        let (verifier, current) = (verifier.clone(), Arc::clone(&current));
        let (stop, verified) = (Arc::clone(&stop), Arc::clone(&verified));
        async move {
            let mut before: Option<String> = None;
            while !stop.load(Ordering::Relaxed) {
                let issuer = current.lock().expect("no panic").clone();
                let token = token(&issuer);
                for token in before.iter().chain([&token]) {
                    verifier
                        .verify_fresh(token)
                        .await
                        .expect("no token is refused");
                    verified.fetch_add(1, Ordering::Relaxed);
                }
                before.get_or_insert(token);
                tokio::task::yield_now().await;
            }
        }
    });
    let more = async || {
        let seen = verified.load(Ordering::Relaxed) + 20;
        while verified.load(Ordering::Relaxed) < seen && !load.is_finished() {
            tokio::task::yield_now().await;
        }
    };
    more().await;
    assert_eq!(fetches.load(Ordering::Relaxed), 1);
    for step in &steps[1..] {
        // First published, then used.
        *served.lock().expect("no panic") = step.jwks_service();
        more().await;
        *current.lock().expect("no panic") = step.clone();
        more().await;
    }
    stop.store(true, Ordering::Relaxed);
    load.await.expect("no token is refused");
    assert_eq!(
        fetches.load(Ordering::Relaxed),
        2,
        "the first token of the new key has it fetched"
    );
    assert_eq!(verifier.key_status().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_dropped_is_refused_once_max_age_has_passed() {
    let (old, new) = (key("old"), key("new"));
    let served: Served = Arc::new(Mutex::new(pair(&new, &old).jwks_service()));
    let asked = Arc::clone(&served);
    // The service itself is the client: no connection, so that the time can stand still.
    let client = tower::service_fn(move |request: Request<_>| {
        asked.lock().expect("no panic").clone().oneshot(request)
    });
    let verifier = JwtVerifier::builder()
        .jwks_url("https://login.example/jwks")
        .expect("a URL");
    let verifier = verifier
        .fetch_with(client)
        .issuer(URL)
        .audience("todos")
        .build()
        .await;
    let verifier = verifier.expect("the keys are fetched");
    // Good for an hour, whatever the key.
    let issuer_of = |key: &SigningKey| {
        let builder = TokenIssuer::builder(key.clone()).lifetime(Duration::from_secs(3600));
        builder
            .issuer(URL)
            .audience("todos")
            .build()
            .expect("it is built")
    };
    let (of_old, of_new) = (token(&issuer_of(&old)), token(&issuer_of(&new)));
    assert!(verifier.verify(&of_old).is_ok());

    *served.lock().expect("no panic") = issuer(new).jwks_service();
    tokio::time::sleep(Duration::from_secs(301)).await;
    let refused = verifier.verify_fresh(&of_old).await;
    assert_eq!(
        refused.expect_err("its key is gone"),
        TokenError::UnknownKey
    );
    assert!(verifier.verify_fresh(&of_new).await.is_ok());
}

#[tokio::test]
async fn of_a_secret_alone_verifiers_fetch_nothing() {
    let issuer = issuer(
        SigningKey::hs256(SECRET)
            .expect("a secret")
            .with_id("secret"),
    );
    let url = serve(Router::new().route_service("/jwks", issuer.jwks_service())).await;
    let verifier = JwtVerifier::builder()
        .jwks_url(&url)
        .expect("a URL")
        .issuer(URL)
        .audience("todos");
    verifier.build().await.expect_err("there is no key");
}
