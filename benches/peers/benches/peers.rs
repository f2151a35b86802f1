//! What it costs a request to be let in by its token: the same service behind rolescope and behind three other crates.
//!
//! Each has the same key in memory and is set up as its documentation says, to check `exp`, `nbf`, `iss` and `aud`; each
//! request carries the same token, and the service reads `sub` and `role` in the form in which the crate hands them on.
//! Nothing goes over a network. Signatures are checked by whatever each crate comes with: AWS-LC for rolescope and
//! tower-oauth2-resource-server, ring for jwt-authorizer, RustCrypto for axum-jwt-auth. None of the three keeps tokens.
//!
//! `cargo bench`, here, measures each by itself and then all in turns; `cargo bench -- ratios` only the latter.

#[path = "../../support/turns.rs"]
mod turns;

use std::convert::Infallible;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum_jwt_auth::{Decoder, LocalDecoder};
use axum07::body::Body;
use criterion::Criterion;
use http::{HeaderValue, Request, Response};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use jwt_authorizer::{IntoLayer, JwtAuthorizer};
use rolescope::auth::jwt::Key;
use rolescope::{Claims, JwtAuthLayer, JwtVerifier};
use serde::Deserialize;
use serde_json::json;
use tower::{Layer, Service, service_fn};
use tower_oauth2_resource_server::server::OAuth2ResourceServer;
use tower_oauth2_resource_server::tenant::TenantConfiguration;
use tower_oauth2_resource_server::validation::ClaimsValidationSpec;
use turns::{Task, against_the_first, by_themselves, task};

const SECRET: &str = "a secret of thirty-two bytes, or more";
const PRIVATE: &[u8] = include_bytes!("../../../tests/it/keys/rsa2048.private.pem");
const PUBLIC: &str = include_str!("../../../tests/it/keys/rsa2048.spki.pem");
const ISSUER: &str = "https://login.example.org/";
const AUDIENCE: &str = "todos";
const KEY_ID: &str = "2026";

/// What the service wants to know of the caller.
#[derive(Clone, Deserialize)]
struct Caller {
    sub: String,
    role: String,
}

type Plain = Result<Response<Body>, Infallible>;

fn answer(sub: &str, role: &str) -> Plain {
    assert!(black_box(sub).len() == 36 && black_box(role) == "web_user");
    Ok(Response::new(Body::empty()))
}

async fn nobody_asked(request: Request<Body>) -> Plain {
    black_box(request);
    answer("f2c1b6b0-8f0e-4c61-b4e9-0d6c0d2ad1c5", "web_user")
}

async fn behind_rolescope(request: Request<Body>) -> Plain {
    let claims = request.extensions().get::<Claims>().expect("a token");
    let role = claims.get::<&str>("role").expect("a text").expect("a role");
    answer(claims.subject().expect("a sub"), role)
}

async fn behind_jwt_authorizer(request: Request<Body>) -> Plain {
    let data = request
        .extensions()
        .get::<jsonwebtoken09::TokenData<Caller>>();
    let caller = &data.expect("a token").claims;
    answer(&caller.sub, &caller.role)
}

async fn behind_tower_oauth2(request: Request<Body>) -> Plain {
    let caller = request.extensions().get::<Caller>().expect("a token");
    answer(&caller.sub, &caller.role)
}

/// axum-jwt-auth is an extractor: what a route with one argument does.
async fn with_axum_jwt_auth(decoder: &Decoder<Caller>, request: Request<Body>) -> Plain {
    let (mut parts, _) = request.into_parts();
    let claims = <axum_jwt_auth::Claims<Caller>>::from_request_parts(&mut parts, decoder);
    let claims = claims.await.expect("a token");
    answer(&claims.claims.sub, &claims.claims.role)
}

struct Signed {
    algorithm: Algorithm,
    bearer: HeaderValue,
    jwks: String,
}

impl Signed {
    fn new(algorithm: Algorithm) -> Self {
        let key = match algorithm {
            Algorithm::HS256 => EncodingKey::from_secret(SECRET.as_bytes()),
            _ => EncodingKey::from_rsa_pem(PRIVATE).expect("a key"),
        };
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "exp": 4_102_444_800_u64, "nbf": 1_700_000_000, "iat": 1_700_000_000,
            "sub": "f2c1b6b0-8f0e-4c61-b4e9-0d6c0d2ad1c5", "role": "web_user", "email": "ann@example.org",
        });
        let mut header = Header::new(algorithm);
        header.kid = Some(KEY_ID.to_owned());
        let token = jsonwebtoken::encode(&header, &claims, &key).expect("it signs");
        let mut jwk = Jwk::from_encoding_key(&key, algorithm).expect("a key");
        jwk.common.key_id = Some(KEY_ID.to_owned());
        Self {
            algorithm,
            bearer: format!("Bearer {token}").parse().expect("a header's value"),
            jwks: json!({ "keys": [jwk] }).to_string(),
        }
    }

    /// A request through a service.
    fn sent_to<S, B>(&self, mut service: S) -> impl FnMut() + use<S, B>
    where
        S: Service<Request<Body>, Response = Response<B>>,
    {
        let bearer = self.bearer.clone();
        move || {
            let mut request = Request::new(Body::empty());
            let headers = request.headers_mut();
            headers.insert("authorization", bearer.clone());
            let mut answer = pin!(service.call(request));
            let context = &mut Context::from_waker(Waker::noop());
            // None of them ever waits: the keys are there.
            match answer.as_mut().poll(context) {
                Poll::Ready(Ok(response)) => assert_eq!(response.status(), 200),
                _ => panic!("it waits, or fails"),
            }
        }
    }

    fn rolescope(&self, token_cache: usize) -> JwtAuthLayer {
        let key = match self.algorithm {
            Algorithm::HS256 => Key::hs256(SECRET),
            _ => Key::from_pem(PUBLIC),
        };
        let builder = JwtVerifier::builder().key(key.expect("a key").with_id(KEY_ID));
        let builder = builder.audience(AUDIENCE).issuer(ISSUER);
        let verifier = builder.token_cache(token_cache).build();
        JwtAuthLayer::new(verifier.expect("there is a crypto backend"))
    }

    async fn jwt_authorizer(&self) -> jwt_authorizer::layer::AuthorizationLayer<Caller> {
        let builder = match self.algorithm {
            Algorithm::HS256 => JwtAuthorizer::<Caller>::from_secret(SECRET),
            _ => JwtAuthorizer::from_rsa_pem_text(PUBLIC),
        };
        let rules = jwt_authorizer::Validation::new();
        let rules = rules.iss(&[ISSUER]).aud(&[AUDIENCE]).nbf(true);
        let rules = rules.algs(vec![match self.algorithm {
            Algorithm::HS256 => jsonwebtoken09::Algorithm::HS256,
            _ => jsonwebtoken09::Algorithm::RS256,
        }]);
        let authorizer = builder.validation(rules).build().await;
        authorizer.expect("it needs no network").into_layer()
    }

    fn axum_jwt_auth(&self) -> Decoder<Caller> {
        use jsonwebtoken10::{Algorithm as A, DecodingKey, Validation};
        let (algorithm, key) = match self.algorithm {
            Algorithm::HS256 => (A::HS256, Ok(DecodingKey::from_secret(SECRET.as_bytes()))),
            _ => (A::RS256, DecodingKey::from_rsa_pem(PUBLIC.as_bytes())),
        };
        let mut rules = Validation::new(algorithm);
        rules.set_audience(&[AUDIENCE]);
        rules.set_issuer(&[ISSUER]);
        rules.validate_nbf = true;
        let decoder = LocalDecoder::builder()
            .keys(vec![key.expect("a key")])
            .validation(rules)
            .build();
        Arc::new(decoder.expect("it has keys and rules"))
    }

    async fn tower_oauth2(&self) -> OAuth2ResourceServer<Caller> {
        let audiences = vec![AUDIENCE.to_owned()];
        let tenant = TenantConfiguration::static_builder(&self.jwks)
            .audiences(&audiences)
            .claims_validation(ClaimsValidationSpec::recommended(ISSUER, &audiences))
            .allowed_algorithms(&[self.algorithm])
            .build();
        let server = OAuth2ResourceServer::<Caller>::builder();
        let server = server.add_tenant(tenant.expect("it is a JWKS"));
        server.build().await.expect("it needs no network")
    }

    async fn tasks(&self) -> Vec<Task<'_>> {
        let name = |name: &str| format!("{:?}, {name}", self.algorithm);
        let rolescope =
            |capacity| self.sent_to(self.rolescope(capacity).layer(service_fn(behind_rolescope)));
        let decoder = self.axum_jwt_auth();
        vec![
            task(&name("nobody asks"), self.sent_to(service_fn(nobody_asked))),
            task(&name("rolescope, cached token"), rolescope(1 << 24)),
            task(&name("rolescope, no cache"), rolescope(0)),
            task(
                &name("jwt-authorizer"),
                self.sent_to(
                    self.jwt_authorizer()
                        .await
                        .layer(service_fn(behind_jwt_authorizer)),
                ),
            ),
            task(
                &name("axum-jwt-auth"),
                self.sent_to(service_fn(move |request| {
                    let decoder = decoder.clone();
                    async move { with_axum_jwt_auth(&decoder, request).await }
                })),
            ),
            task(
                &name("tower-oauth2-resource-server"),
                self.sent_to(
                    self.tower_oauth2()
                        .await
                        .into_layer()
                        .layer(service_fn(behind_tower_oauth2)),
                ),
            ),
        ]
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let both = [Algorithm::HS256, Algorithm::RS256].map(Signed::new);
    if !std::env::args().any(|argument| argument == "ratios") {
        let criterion = Criterion::default()
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1))
            .sample_size(30);
        let mut criterion = criterion.configure_from_args();
        for signed in &both {
            by_themselves(&mut criterion, "peers", signed.tasks().await);
        }
    }
    println!("\n| | median | of the first | more than it |\n|---|---|---|---|");
    for signed in &both {
        against_the_first(signed.tasks().await);
    }
}
