//! Tokens as providers write them, each against the lines that the manual says of the provider.

mod access_tokens;
mod other_tokens;
mod set_up;

use std::convert::Infallible;
use std::time::SystemTime;

use http::{Request, Response};
use http_body_util::BodyExt;
use rolescope::auth::Access;
use rolescope::auth::jwt::TokenError;
use rolescope::{Error, ErrorKind, JwtAuthLayer, JwtVerifier, RoleName, RolePolicy};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn};

use super::abuse::forge::{P256, Pair, RSA, sign};

/// What becomes of a token.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Role(String),
    Token(TokenError),
    Refused(ErrorKind),
}

fn role(name: &str) -> Outcome {
    Outcome::Role(name.to_owned())
}

/// Sends a token through the layer, and has the policy decide about what it lets through.
async fn outcome(verifier: &JwtVerifier, policy: &RolePolicy, token: &str) -> Outcome {
    let policy = policy.clone();
    let service = JwtAuthLayer::new(verifier.clone()).layer(service_fn(move |request| {
        std::future::ready(Ok::<_, Infallible>(answer(&policy, &request)))
    }));
    let request = Request::builder().header("authorization", format!("Bearer {token}"));
    let response = service.oneshot(request.body(()).unwrap()).await.unwrap();
    if let Some(error) = response.extensions().get::<Error>() {
        return match error.token_error() {
            Some(reason) => Outcome::Token(reason),
            None => Outcome::Refused(error.kind()),
        };
    }
    let body = response.into_body().collect().await.unwrap().to_bytes();
    role(std::str::from_utf8(&body).unwrap())
}

fn answer(policy: &RolePolicy, request: &Request<()>) -> Response<String> {
    let anonymous = RoleName::parse("anon").unwrap();
    let scope = Access::from_extensions(request.extensions())
        .and_then(|access| policy.decide(access, Some(&anonymous), Some("authenticator")));
    match scope {
        Ok(scope) => Response::new(scope.role().to_string()),
        Err(error) => {
            let mut response = Response::new(String::new());
            response.extensions_mut().insert(error);
            response
        }
    }
}

/// The document that a provider publishes.
fn jwks(pair: Pair) -> String {
    let alg = format!("{:?}", pair.algorithm);
    let mut jwk: Value = serde_json::from_str(&pair.jwk()).unwrap();
    jwk["kid"] = json!("key-1");
    jwk["alg"] = json!(alg);
    jwk["use"] = json!("sig");
    json!({ "keys": [jwk] }).to_string()
}

/// A token with these claims, good for five minutes, by a key of [`jwks`].
fn signed(pair: Pair, typ: Option<&str>, claims: &Value) -> String {
    let alg = format!("{:?}", pair.algorithm);
    let mut header = json!({ "alg": alg, "kid": "key-1" });
    if let Some(typ) = typ {
        header["typ"] = json!(typ);
    }
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let mut claims = claims.clone();
    claims["iat"] = json!(now.as_secs());
    claims["exp"] = json!(now.as_secs() + 300);
    let payload = claims.to_string();
    sign(
        pair.algorithm,
        &pair.signer(),
        &header.to_string(),
        payload.as_bytes(),
    )
}

/// The same claims, but for some: `null` leaves one out.
fn but(claims: &Value, others: Value) -> Value {
    let mut claims = claims.clone();
    let Value::Object(others) = others else {
        panic!("claims are an object")
    };
    for (name, value) in others {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(&name),
            value => claims.as_object_mut().unwrap().insert(name, value),
        };
    }
    claims
}

/// Whether rows of tokens become what is said of them. `what` names a row where it does not.
struct Provider {
    verifier: JwtVerifier,
    policy: RolePolicy,
    pair: Pair,
    typ: Option<&'static str>,
}

impl Provider {
    fn new(set_up: set_up::SetUp, typ: Option<&'static str>) -> Self {
        let (verifier, policy) = set_up.unwrap();
        let pair = RSA;
        Self {
            verifier,
            policy,
            pair,
            typ,
        }
    }

    async fn check(&self, rows: Vec<(&str, Value, Outcome)>) {
        for (what, claims, expected) in rows {
            self.check_type(self.typ, what, &claims, expected).await;
        }
    }

    async fn check_type(&self, typ: Option<&str>, what: &str, claims: &Value, expected: Outcome) {
        let token = signed(self.pair, typ, claims);
        // The second time the token is known.
        for _ in 0..2 {
            let found = outcome(&self.verifier, &self.policy, &token).await;
            assert_eq!(found, expected, "{what}");
        }
    }
}

fn lines(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

/// The lines of a provider are those that its tokens were checked with.
#[test]
fn the_page_shows_what_is_checked_here() {
    let here = lines(include_str!("set_up.rs"));
    let page = include_str!("../../../../src/guide/identity_providers.md");
    let blocks: Vec<&str> = page.split("```rust\n").skip(1).collect();
    // Each function of `set_up`.
    assert_eq!(blocks.len(), here.matches("pub(super) fn ").count());
    for block in blocks {
        let (code, _) = block.split_once("```").expect("it ends");
        let shown = code.lines().filter(|line| !line.starts_with("# "));
        let shown = lines(&shown.collect::<Vec<_>>().join("\n"));
        assert!(here.contains(&shown), "not checked:\n{shown}");
    }
}
