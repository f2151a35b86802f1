//! What `JwtAuthLayer` costs a request, against the same service without it, and what one token costs the verifier, against
//! `jsonwebtoken::decode` alone. No database.
//!
//! `cargo bench --bench auth` measures each by itself, and at its end each two against each other: in turns of a few
//! milliseconds, so that what else the machine does falls on both, as the median of the turns' ratios. A word behind `--`
//! chooses among the former; `cargo bench --bench auth -- ratios` shows the latter alone, and `-- flood` what valid tokens
//! wait for while others ask for unknown keys.

#[cfg(feature = "jwks")]
#[path = "support/flood.rs"]
mod flood;
#[path = "support/turns.rs"]
mod turns;

use std::cell::RefCell;
use std::convert::Infallible;
use std::hint::black_box;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use criterion::Criterion;
use http::{Extensions, Request, Response};
use http_body_util::Full;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rolescope::auth::Access;
use rolescope::auth::jwt::{Key, Revocation, Revocations};
use rolescope::{JwtAuthLayer, JwtVerifier, RoleName, RolePolicy};
use serde_json::{Value, json};
use tower::{Layer, Service, service_fn};
use turns::{Task, against_the_first, by_themselves, task};

const SECRET: &str = "a secret that is as long as the output of SHA-512 is: 64 bytes!!";

const ALGORITHMS: [Algorithm; 12] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

macro_rules! key_file {
    ($name:literal) => {
        include_bytes!(concat!("../tests/it/keys/", $name, ".pem")).as_slice()
    };
}

/// One algorithm's token, and what each side verifies it with.
struct Signed {
    algorithm: Algorithm,
    token: String,
    newcomers: Vec<String>,
    key: Key,
    decoding: DecodingKey,
    validation: Validation,
}

impl Signed {
    fn new(algorithm: Algorithm) -> Self {
        Self::with_groups(algorithm, 0)
    }

    /// Tokens with a list of so many groups among their claims.
    fn with_groups(algorithm: Algorithm, groups: usize) -> Self {
        let secret = SECRET.as_bytes();
        let (encoding, decoding, key) = match algorithm {
            Algorithm::HS256 => (None, None, Key::hs256(secret)),
            Algorithm::HS384 => (None, None, Key::hs384(secret)),
            Algorithm::HS512 => (None, None, Key::hs512(secret)),
            Algorithm::ES256 => (
                Some(EncodingKey::from_ec_pem(key_file!("p256.private"))),
                Some(DecodingKey::from_ec_pem(key_file!("p256.spki"))),
                Key::from_pem(key_file!("p256.spki")),
            ),
            Algorithm::ES384 => (
                Some(EncodingKey::from_ec_pem(key_file!("p384.private"))),
                Some(DecodingKey::from_ec_pem(key_file!("p384.spki"))),
                Key::from_pem(key_file!("p384.spki")),
            ),
            Algorithm::EdDSA => (
                Some(EncodingKey::from_ed_pem(key_file!("ed25519.private"))),
                Some(DecodingKey::from_ed_pem(key_file!("ed25519.spki"))),
                Key::from_pem(key_file!("ed25519.spki")),
            ),
            _ => (
                Some(EncodingKey::from_rsa_pem(key_file!("rsa2048.private"))),
                Some(DecodingKey::from_rsa_pem(key_file!("rsa2048.spki"))),
                Key::from_pem(key_file!("rsa2048.spki")),
            ),
        };
        let encoding = encoding.unwrap_or_else(|| Ok(EncodingKey::from_secret(secret)));
        let decoding = decoding.unwrap_or_else(|| Ok(DecodingKey::from_secret(secret)));
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&["todos"]);
        let encoding = encoding.expect("a key");
        let token = |number: u32| {
            let mut claims = json!({
                "iss": "https://login.example.org/", "aud": "todos", "exp": 4_102_444_800_u64, "iat": 1_700_000_000,
                "sub": format!("f2c1b6b0-8f0e-4c61-b4e9-{number:012}"), "role": "web_user", "email": "ann@example.org",
            });
            if groups > 0 {
                let groups = (0..groups).map(|number| format!("group-{number:07}"));
                claims["groups"] = groups.collect();
            }
            jsonwebtoken::encode(&Header::new(algorithm), &claims, &encoding).expect("it signs")
        };
        Self {
            algorithm,
            token: token(0),
            newcomers: (1..=400).map(token).collect(),
            key: key.expect("a key"),
            decoding: decoding.expect("a key"),
            validation,
        }
    }

    fn verifier(&self, token_cache: usize) -> JwtVerifier {
        let builder = JwtVerifier::builder().key(self.key.clone());
        let builder = builder.audience("todos").token_cache(token_cache);
        builder.build().expect("there is a crypto backend")
    }

    fn decode(&self) {
        let decoded = jsonwebtoken::decode::<Value>(&self.token, &self.decoding, &self.validation);
        assert!(black_box(decoded).is_ok());
    }
}

async fn inner(request: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    black_box(request);
    Ok(Response::default())
}

/// What other layers leave in a request.
#[derive(Clone)]
struct RequestId(#[expect(dead_code, reason = "nobody reads it")] u64);

/// A request as a client sends it.
struct Sent {
    bearer: Option<String>,
    extensions: bool,
}

impl Sent {
    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::default());
        if let Some(bearer) = &self.bearer {
            let value = bearer.parse().expect("a header's value");
            request.headers_mut().insert("authorization", value);
        }
        if self.extensions {
            let mut extensions = Extensions::new();
            extensions.insert(RequestId(17));
            *request.extensions_mut() = extensions;
        }
        request
    }

    fn answered_by<S: Service<Request<Full<Bytes>>>>(&self, service: &mut S) {
        let mut answer = std::pin::pin!(service.call(self.request()));
        // Neither the layer nor this service ever waits.
        match answer
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(response) => assert!(response.is_ok()),
            Poll::Pending => panic!("it waits"),
        }
    }
}

/// A request through the service, without and with the layer.
fn requests<'a>() -> Vec<Task<'a>> {
    let signed = Signed::new(Algorithm::HS256);
    let cached = JwtAuthLayer::new(signed.verifier(1 << 24));
    let uncached = JwtAuthLayer::new(signed.verifier(0));
    let mut tasks = Vec::new();
    for extensions in [false, true] {
        let with = if extensions { ", with extensions" } else { "" };
        let sent = |bearer: Option<&String>| Sent {
            bearer: bearer.map(|token| format!("Bearer {token}")),
            extensions,
        };
        for (name, layer, token) in [
            ("without the layer", None, Some(&signed.token)),
            ("cached token", Some(&cached), Some(&signed.token)),
            ("HS256, no cache", Some(&uncached), Some(&signed.token)),
            ("no token", Some(&cached), None),
        ] {
            let sent = sent(token);
            let mut plain = service_fn(inner);
            let name = format!("{name}{with}");
            tasks.push(match layer {
                None => task(&name, move || sent.answered_by(&mut plain)),
                Some(layer) => {
                    let mut service = layer.layer(plain);
                    task(&name, move || sent.answered_by(&mut service))
                }
            });
        }
    }
    tasks
}

/// One token: `jsonwebtoken::decode`, and this crate's verifier without cache, with one that has not seen it, and with one
/// that has.
fn tokens(signed: &Signed) -> [Task<'_>; 4] {
    let name = format!("{:?}", signed.algorithm);
    let verify = |token_cache| {
        let verifier = signed.verifier(token_cache);
        move |token: &str| assert!(black_box(verifier.verify(token)).is_ok())
    };
    let uncached = verify(0);
    let cached = verify(1 << 24);
    // So many take turns in a cache so small that none is there when it comes again.
    let newcomer = verify(1 << 16);
    let mut newcomers = signed.newcomers.iter().cycle();
    [
        task(&format!("{name}, jsonwebtoken::decode"), || signed.decode()),
        task(&format!("{name}, no cache"), move || {
            uncached(&signed.token)
        }),
        task(&format!("{name}, not in the cache"), move || {
            newcomer(newcomers.next().expect("there are some"));
        }),
        task(&format!("{name}, in the cache"), move || {
            cached(&signed.token)
        }),
    ]
}

/// What the layer finds out about a request with a token of its own.
fn access(signed: &Signed) -> Access {
    let sent = Sent {
        bearer: Some(format!("Bearer {}", signed.token)),
        extensions: false,
    };
    let access = RefCell::new(None);
    let layer = JwtAuthLayer::new(signed.verifier(0));
    sent.answered_by(
        &mut layer.layer(service_fn(|request: Request<Full<Bytes>>| {
            let found = Access::from_extensions(request.extensions());
            let found = found.expect("the layer was there").clone();
            access.replace(Some(found));
            inner(request)
        })),
    );
    access.into_inner().expect("the service was called")
}

/// The decision about the role of a token that was seen before.
fn roles<'a>() -> Vec<Task<'a>> {
    let signed = Signed::new(Algorithm::HS256);
    let path = |path| RolePolicy::new().claim(path).expect("a path");
    let rows = [
        ("the claim `role`", RolePolicy::new()),
        ("a JSONPath query", path("$[?search(@, '^web_')]")),
        (
            "a function",
            RolePolicy::from_fn(|claims| Ok(claims.get::<String>("role")?)),
        ),
    ];
    let rows = rows.map(|(name, policy)| {
        let access = access(&signed);
        let anonymous = RoleName::parse("anon").expect("a name");
        let policy = policy.allow(["web_user", "editor"]).expect("names");
        task(name, move || {
            let scope = policy.decide(&access, Some(&anonymous), Some("authenticator"));
            assert!(black_box(scope).is_ok());
        })
    });
    rows.into()
}

/// A token in the cache, of a verifier that does not ask what is revoked, and of one that does.
fn revocations<'a>() -> Vec<Task<'a>> {
    let signed = Signed::new(Algorithm::HS256);
    let session = |number: u32| Revocation::new("sid", format!("session {number}"));
    let of_set = |set: &Revocations| {
        let builder = JwtVerifier::builder().key(signed.key.clone());
        let builder = builder.audience("todos").revocations(set);
        builder.build().expect("there is a crypto backend")
    };
    let asking = |verifier: JwtVerifier| {
        let token = signed.token.clone();
        move || assert!(black_box(verifier.verify(&token)).is_ok())
    };
    let set = Revocations::new();
    set.replace((0..100_000).map(session)).expect("room");
    let changed = asking(of_set(&set));
    let unchanged = Revocations::new();
    unchanged
        .replace((0..100_000).map(session))
        .expect("there is room");
    vec![
        task("in the cache", asking(signed.verifier(1 << 24))),
        task(
            "in the cache, 100 000 others revoked",
            asking(of_set(&unchanged)),
        ),
        task("the same, each time after a change", move || {
            set.revoke(session(17)).expect("it is there already");
            changed();
        }),
        task("a clock, which a listener's set reads besides", || {
            black_box(std::time::Instant::now());
        }),
    ]
}

fn against_each_other() {
    println!("\n| | median | of the first | more than it |\n|---|---|---|---|");
    let mut plain = requests();
    let with_extensions = plain.split_off(plain.len() / 2);
    against_the_first(plain);
    against_the_first(with_extensions);
    for signed in ALGORITHMS.map(Signed::new) {
        against_the_first(tokens(&signed).into());
    }
    for groups in [0, 50, 500] {
        let signed = Signed::with_groups(Algorithm::HS256, groups);
        println!("| *{groups} groups: {} bytes* | | | |", signed.token.len());
        against_the_first(tokens(&signed).into());
    }
    against_the_first(roles());
    against_the_first(revocations());
}

fn main() {
    DEFAULT_PROVIDER
        .install_default()
        .expect("nobody has installed one before");
    let arguments: Vec<String> = std::env::args().collect();
    let chosen = |word: &str| arguments.iter().any(|argument| argument == word);
    #[cfg(feature = "jwks")]
    if chosen("flood") {
        return flood::measure();
    }
    if !chosen("ratios") {
        let criterion = Criterion::default()
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1))
            .sample_size(30);
        let mut criterion = criterion.configure_from_args();
        by_themselves(&mut criterion, "request", requests());
        for signed in ALGORITHMS.map(Signed::new) {
            by_themselves(&mut criterion, "token", tokens(&signed).into());
        }
        by_themselves(&mut criterion, "role", roles());
        by_themselves(&mut criterion, "revocations", revocations());
    }
    if !chosen("--test") && !chosen("--profile-time") {
        against_each_other();
    }
}
