//! How many heap allocations the authentication of a request takes. A test binary of its own, since it has an allocator of
//! its own; it counts what the test's own thread asks for.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, Response};
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, EncodingKey};
use rolescope::auth::Access;
use rolescope::auth::jwt::{Revocation, Revocations};
use rolescope::{Claims, JwtAuthLayer, JwtVerifier, RoleName, RolePolicy};
use tower::{Layer, Service, service_fn};

const SECRET: &str = "a test secret of thirty-two bytes";

fn token() -> String {
    let payload = br#"{"aud":"todos","exp":4102444800,"role":"web_user","sub":"17","email":"ann@example.org","groups":["Staff","Editors"],"iss":"https://login.example"}"#;
    let signed = [br#"{"alg":"HS256","typ":"JWT"}"#.as_slice(), payload]
        .map(|part| URL_SAFE_NO_PAD.encode(part))
        .join(".");
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signer = (DEFAULT_PROVIDER.signer_factory)(&Algorithm::HS256, &key).expect("the key fits");
    let signature = signer.try_sign(signed.as_bytes()).expect("it signs");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn verifier(token_cache: usize) -> JwtVerifier {
    let builder = JwtVerifier::builder().hs256(SECRET);
    let builder = builder.expect("the secret is long enough");
    let builder = builder.audience("todos").issuer("https://login.example");
    let builder = builder.token_cache(token_cache);
    builder.build().expect("there is a crypto backend")
}

/// How many allocations a piece of code takes.
fn allocations(run: impl FnOnce()) -> u64 {
    allocation_counter::measure(run).count_total
}

/// What an outer layer may have left in a request.
#[derive(Clone)]
struct Left<const N: usize>;

/// A request with a token, and with so many extensions.
fn request(token: Option<&str>, extensions: usize) -> Request<()> {
    let mut request = Request::new(());
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().expect("a header's value");
        request.headers_mut().insert("authorization", value);
    }
    let left = request.extensions_mut();
    if extensions > 0 {
        left.insert(Left::<0>);
    }
    if extensions > 1 {
        left.insert(Left::<1>);
    }
    request
}

/// How many allocations a service takes for a request, from the call to the response.
fn of_request<S, B>(mut service: S, request: Request<()>) -> u64
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    allocations(|| {
        let mut answer = pin!(service.call(request));
        let Poll::Ready(Ok(response)) = answer
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        else {
            panic!("neither the layer nor the service waits");
        };
        assert_eq!(response.status(), 200);
    })
}

async fn plain(request: Request<()>) -> Result<Response<()>, Infallible> {
    drop(request);
    Ok(Response::new(()))
}

async fn with_claims(request: Request<()>) -> Result<Response<()>, Infallible> {
    let claims = request.extensions().get::<Claims>();
    assert_eq!(claims.and_then(Claims::subject), Some("17"));
    let access = Access::from_extensions(request.extensions());
    assert!(access.is_ok_and(|access| !access.is_anonymous()));
    Ok(Response::new(()))
}

#[test]
fn a_cached_token_takes_two_allocations_and_two_more_on_empty_extensions() {
    let token = token();
    let layer = JwtAuthLayer::new(verifier(1 << 20));
    let layered = || layer.layer(service_fn(with_claims));
    // The first request is the one that is verified.
    of_request(layered(), request(Some(&token), 0));
    for (extensions, expected) in [(0, 4), (1, 2)] {
        let request = || request(Some(&token), extensions);
        let without = of_request(service_fn(plain), request());
        let with = of_request(layered(), request());
        assert_eq!(with - without, expected, "{extensions} extensions before");
    }
    // The map of extensions has room for three before it grows: a third allocation, which the next insertion would cost
    // without this layer.
    let request = || request(Some(&token), 2);
    let without = of_request(service_fn(plain), request());
    assert_eq!(of_request(layered(), request()) - without, 3);
}

#[test]
fn an_anonymous_request_takes_one_allocation_and_two_more_on_empty_extensions() {
    let layer = JwtAuthLayer::new(verifier(1 << 20));
    for (extensions, expected) in [(0, 3), (1, 1)] {
        let request = || request(None, extensions);
        let without = of_request(service_fn(plain), request());
        let with = of_request(layer.layer(service_fn(plain)), request());
        assert_eq!(with - without, expected, "{extensions} extensions before");
    }
}

#[test]
fn a_token_that_is_found_takes_none_in_the_verifier() {
    let token = token();
    let verifier = verifier(1 << 20);
    let verify = || assert!(verifier.verify(&token).is_ok());
    assert!(allocations(verify) > 0);
    assert_eq!(allocations(verify), 0);
    let forged = format!("{}A", &token[..token.len() - 1]);
    assert!(allocations(|| assert!(verifier.verify(&forged).is_err())) > 0);
}

/// Nor where it is looked for among what is revoked: each time that has changed, and each time that it has not.
#[test]
fn nor_does_it_where_tokens_can_be_revoked() {
    let token = token();
    let set = Revocations::new();
    let builder = JwtVerifier::builder().hs256(SECRET).expect("a secret");
    let builder = builder.audience("todos").revocations(&set);
    let verifier = builder.build().expect("there is a crypto backend");
    assert!(verifier.verify(&token).is_ok());
    let verify = || assert!(verifier.verify(&token).is_ok());
    for claim in ["jti", "sub", "sid", "sub"] {
        let other = Revocation::new(claim, "another");
        set.revoke(other).expect("there is room");
        assert_eq!(allocations(verify), 0, "{claim}");
        assert_eq!(allocations(verify), 0, "{claim}");
    }
    set.revoke(Revocation::new("sub", "17")).expect("room");
    assert_eq!(allocations(|| assert!(verifier.verify(&token).is_err())), 0);
}

/// The documentation of `Revocations` says how much memory one takes.
#[test]
fn a_revocation_takes_90_to_130_bytes() {
    for count in [100_000, 115_000, 200_000_u32] {
        let set = Revocations::new();
        let fill = || {
            let all = (0..count).map(|n| {
                let value = format!("{n:08x}-8f0e-4c61-b4e9-0123456789ab");
                Revocation::new("jti", value)
            });
            set.replace(all).expect("there is room");
        };
        let taken = allocation_counter::measure(fill).bytes_current;
        // What an allocator adds to a value of 36 bytes.
        let each = taken as f64 / f64::from(count) + 12.0;
        assert!((80.0..=130.0).contains(&each), "{count}: {each}");
    }
}

/// Has a policy decide about the same token three times: only the first may take any.
fn assert_decided_once(policy: &RolePolicy, expected: &str) {
    let token = token();
    let layer = JwtAuthLayer::new(verifier(1 << 20));
    let anonymous = RoleName::parse("anon").expect("a name");
    let taken = Cell::new(u64::MAX);
    let decide = async |request: Request<()>| {
        let access = Access::from_extensions(request.extensions());
        let access = access.expect("the layer was there");
        taken.set(allocations(|| {
            let scope = policy.decide(access, Some(&anonymous), Some("authenticator"));
            assert!(scope.is_ok_and(|scope| scope.role().as_str() == expected));
        }));
        Ok(Response::new(()))
    };
    for first in [true, false, false] {
        of_request(layer.layer(service_fn(&decide)), request(Some(&token), 0));
        assert_eq!(taken.get() > 0, first, "{}", taken.get());
    }
}

#[test]
fn the_role_of_a_token_takes_none_but_the_first_time() {
    let policy = RolePolicy::new();
    let policy = policy.allow(["web_user"]).expect("a name");
    assert_decided_once(&policy, "web_user");
}

#[test]
fn nor_does_a_role_that_is_picked_out_of_a_list() {
    let groups = || RolePolicy::new().claim("groups").expect("a path");
    let table = groups().map([("Staff", "member"), ("Editors", "app_editor")]);
    let ordered = table.and_then(|policy| policy.prefer(["app_editor", "member"]));
    let ordered = ordered.expect("names");
    assert_decided_once(&ordered, "app_editor");
    let upper = groups().map_with(|name| (name == "Editors").then(|| name.to_lowercase()));
    assert_decided_once(&upper, "editors");
    let by_issuer = RolePolicy::new().for_issuer("https://login.example", ordered);
    assert_decided_once(&by_issuer, "app_editor");
}
