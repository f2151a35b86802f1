//! What valid tokens wait for while strangers send tokens whose keys nobody knows.

use std::convert::Infallible;
use std::future::Ready;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hdrhistogram::Histogram;
use http::{Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rolescope::{JwtAuthLayer, JwtVerifier};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};
use tower::{Layer, Service, ServiceExt, service_fn};

const ROUNDS: usize = 30;
const ROUND: Duration = Duration::from_secs(2);
/// 10 000 a minute.
const BETWEEN_STRANGERS: Duration = Duration::from_millis(6);

/// Answers like an issuer 50 ms away, and counts.
#[derive(Clone)]
struct Issuer {
    keys: &'static str,
    fetches: Arc<AtomicU64>,
}

impl Service<Request<Empty<Bytes>>> for Issuer {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Empty<Bytes>>) -> Self::Future {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let keys = self.keys;
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(Response::new(Full::from(keys)))
        })
    }
}

fn answer(_: Request<()>) -> Ready<Result<Response<()>, Infallible>> {
    std::future::ready(Ok(Response::default()))
}

/// The public half of `p256.private.pem`.
const KEYS: &str = include_str!("../../tests/it/keys/p256.jwks.json");

fn token(number: u64, key_id: &str, key: &EncodingKey) -> String {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(key_id.to_owned());
    let claims = json!({ "exp": 4_102_444_800_u64, "n": number, "role": "web_user" });
    jsonwebtoken::encode(&header, &claims, key).expect("it signs")
}

fn stranger(number: u64) -> String {
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    let header = part(format!(r#"{{"alg":"ES256","kid":"{number}"}}"#));
    let payload = part(r#"{"exp":4102444800}"#.to_owned());
    format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode([1; 64]))
}

async fn status(layer: &JwtAuthLayer, token: &str) -> StatusCode {
    let request = Request::builder().header("authorization", format!("Bearer {token}"));
    let request = request.body(()).expect("it is a request");
    let answer = layer.layer(service_fn(answer)).oneshot(request).await;
    match answer {
        Ok(answer) => answer.status(),
        Err(never) => match never {},
    }
}

/// Measures valid tokens in turns of two seconds without and with strangers, for a minute of each.
pub(crate) fn measure() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("there are threads");
    runtime.block_on(rounds());
}

async fn rounds() {
    let pem = include_bytes!("../../tests/it/keys/p256.private.pem");
    let key = EncodingKey::from_ec_pem(pem).expect("a key");
    let tokens: Vec<String> = (0..10_000)
        .map(|number| token(number, "known", &key))
        .collect();
    let fetches = Arc::new(AtomicU64::new(0));
    let issuer = Issuer {
        keys: KEYS,
        fetches: fetches.clone(),
    };
    let builder = JwtVerifier::builder().jwks_url("https://login.example/keys");
    let builder = builder.expect("a URL").fetch_with(issuer);
    let layer = JwtAuthLayer::new(builder.build().await.expect("there are keys"));
    let mut next = tokens.iter().cycle();
    let mut percentiles = [const { Vec::new() }; 2];
    let mut ratios = Vec::new();
    let mut strangers = 0;
    let mut asked = 0;
    for round in 0..ROUNDS {
        let mut p99 = [0.0; 2];
        for turn in 0..2 {
            let is_flooded = (round + turn) % 2 == 1;
            let before = fetches.load(Ordering::Relaxed);
            let flood = is_flooded.then(|| tokio::spawn(flood(layer.clone(), strangers)));
            let mut histogram = Histogram::<u64>::new(3).expect("it is made");
            let start = Instant::now();
            while start.elapsed() < ROUND {
                let token = next.next().expect("it begins anew");
                let sent = Instant::now();
                assert_eq!(status(&layer, token).await, StatusCode::OK);
                histogram.saturating_record(sent.elapsed().as_nanos() as u64);
                tokio::task::yield_now().await;
            }
            if let Some(flood) = flood {
                flood.abort();
                strangers += (ROUND.as_nanos() / BETWEEN_STRANGERS.as_nanos()) as u64;
                asked += fetches.load(Ordering::Relaxed) - before;
            }
            let value = histogram.value_at_quantile(0.99) as f64;
            p99[usize::from(is_flooded)] = value;
            percentiles[usize::from(is_flooded)].push(value);
        }
        ratios.push(p99[1] / p99[0]);
    }
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let [without, with] = &mut percentiles;
    let (without, with, ratio) = (median(without), median(with), median(&mut ratios));
    println!("\n| p99 of valid tokens | | of the first |\n|---|---|---|");
    println!("| nobody else | {without:.0} ns | 1.00 |");
    println!("| {strangers} tokens of unknown keys | {with:.0} ns | {ratio:.2} |");
    println!("\nThey made {asked} fetches.");
}

async fn flood(layer: JwtAuthLayer, first: u64) {
    let mut ticks = interval(BETWEEN_STRANGERS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in first.. {
        ticks.tick().await;
        let layer = layer.clone();
        tokio::spawn(async move {
            let refused = status(&layer, &stranger(number)).await;
            assert_eq!(refused, StatusCode::UNAUTHORIZED);
        });
    }
}
