//! PostgREST's rules of headers and keys, and where this crate differs on purpose. Those of tokens are beside the verifier,
//! those of the database's errors among the requests.

use std::convert::Infallible;

use http::{Request, Response, StatusCode};
use rolescope::JwtAuthLayer;
use rolescope::auth::Access;
use rolescope::auth::jwt::{Key, KeyError};
use tower::{Layer, ServiceExt, service_fn};

use super::mint;

const SAME: &str = "";

type Keys = Result<Vec<Key>, KeyError>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Anonymous,
    Verified,
    Refused(u16),
}

use Outcome::{Anonymous, Refused, Verified};

async fn outcome(headers: &[&str]) -> Outcome {
    let inner = service_fn(async |request: Request<()>| {
        let access = Access::from_extensions(request.extensions()).unwrap();
        let status = if access.is_anonymous() { 204 } else { 200 };
        Ok::<_, Infallible>(Response::builder().status(status).body(()).unwrap())
    });
    let mut request = Request::builder();
    for header in headers {
        request = request.header("authorization", *header);
    }
    let service = JwtAuthLayer::new(mint::verifier()).layer(inner);
    let response = service.oneshot(request.body(()).unwrap()).await.unwrap();
    match response.status() {
        StatusCode::OK => Verified,
        StatusCode::NO_CONTENT => Anonymous,
        refused => Refused(refused.as_u16()),
    }
}

#[tokio::test]
async fn postgrest_header_rules() {
    let token = mint::token("");
    let with = |before: &str, after: &str| format!("{before}{token}{after}");
    // The header, what PostgREST makes of it, what we do, and why that is not the same.
    let rows: Vec<(Vec<String>, Outcome, Outcome, &str)> = vec![
        (vec![], Anonymous, Anonymous, SAME),
        (vec!["".into()], Anonymous, Anonymous, SAME),
        (vec!["Basic YTpi".into()], Anonymous, Anonymous, SAME),
        (vec![token.clone()], Anonymous, Anonymous, SAME),
        (vec![with("Bearer", "")], Anonymous, Anonymous, SAME),
        (vec![with("Bearer ", "")], Verified, Verified, SAME),
        (vec![with("bearer ", "")], Verified, Verified, SAME),
        (vec![with("BEARER ", "")], Verified, Verified, SAME),
        (vec![with("bEaReR\t", "")], Verified, Verified, SAME),
        (vec![with("Bearer     ", "")], Verified, Verified, SAME),
        (vec!["Bearer".into()], Refused(401), Refused(401), SAME),
        (vec!["Bearer   ".into()], Refused(401), Refused(401), SAME),
        (
            vec![with("Bearer ", ", Bearer b")],
            Refused(401),
            Refused(401),
            SAME,
        ),
        (
            vec![with("Bearer ", " ")],
            Refused(401),
            Verified,
            "RFC 9110 5.5: white space around a value is no part of it",
        ),
        (
            vec!["Basic YTpi".into(), with("Bearer ", "")],
            Anonymous,
            Refused(400),
            "who is asking must not depend on which header is read",
        ),
        (
            vec![with("Bearer ", ""), with("Bearer ", "")],
            Verified,
            Refused(400),
            "who is asking must not depend on which header is read",
        ),
    ];
    for (headers, postgrest, ours, why) in rows {
        assert_eq!(postgrest == ours, why == SAME, "{headers:?}");
        let headers: Vec<_> = headers.iter().map(String::as_str).collect();
        assert_eq!(outcome(&headers).await, ours, "{headers:?}");
    }
}

#[test]
fn postgrest_key_rules() {
    const PEM: &str = include_str!("../keys/rsa2048.spki.pem");
    const PRIVATE: &str = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    const PUBLIC: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    const SHORT_OCT: &str = r#"{"kty":"oct","k":"c2VjcmU"}"#;
    let set = |keys: &[&str]| format!(r#"{{"keys":[{}]}}"#, keys.join(","));
    let one = |key: Result<Key, KeyError>| key.map(|key| vec![key]);
    let verifies = |keys: Keys| {
        keys.is_ok_and(|keys| {
            let builder = rolescope::JwtVerifier::builder().keys(keys);
            builder.is_ok_and(|builder| builder.build().is_ok())
        })
    };
    // What is given, whether PostgREST starts with it, whether we do, and why that is not the same.
    let rows: Vec<(&str, Keys, bool, &str)> = vec![
        ("a short text", one(Key::hs256("secret")), false, SAME),
        ("a long text", one(Key::hs256(mint::SECRET)), true, SAME),
        ("a JWK", one(Key::from_jwk(PUBLIC)), true, SAME),
        ("a JWKS", Key::from_jwks(&set(&[PUBLIC])), true, SAME),
        (
            "a JWKS with a key of a kind that nobody knows",
            Key::from_jwks(&set(&[r#"{"kty":"XYZ"}"#, PUBLIC])),
            true,
            SAME,
        ),
        (
            "a JWKS with a broken key and a good one, of which PostgREST makes a text secret",
            Key::from_jwks(&set(&[r#"{"kty":"RSA","n":1}"#, PUBLIC])),
            true,
            SAME,
        ),
        (
            "a JWKS without a key",
            Key::from_jwks(&set(&[])),
            true,
            "it would verify nothing: that shows at start",
        ),
        (
            "a PEM as a text secret",
            one(Key::hs256(PEM)),
            true,
            "everybody who has the public key could sign",
        ),
        (
            "a broken JWK as a text secret",
            one(Key::hs256(&PUBLIC[..PUBLIC.len() - 1])),
            true,
            "everybody who has the public key could sign",
        ),
        (
            "a private JWK",
            one(Key::from_jwk(PRIVATE)),
            true,
            "a service that verifies has no use for it, and should not hold it",
        ),
        (
            "an oct JWK of five bytes",
            one(Key::from_jwk(SHORT_OCT)),
            true,
            "RFC 7518 3.2: a key is at least as long as its hash",
        ),
    ];
    for (what, keys, postgrest, why) in rows {
        let ours = verifies(keys);
        assert_eq!(ours, postgrest == (why == SAME), "{what}");
    }
}
