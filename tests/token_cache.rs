//! How much memory verified tokens take. A test binary of its own, since it counts all that its process allocates.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::JwtSigner;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, EncodingKey};
use peak_alloc::PeakAlloc;
use rolescope::JwtVerifier;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const SECRET: &str = "a test secret of thirty-two bytes";
const MIB: usize = 1024 * 1024;
/// `cargo test --release --test token_cache` counts a million.
const TOKENS: usize = if cfg!(debug_assertions) {
    60_000
} else {
    1_000_000
};

fn verifier(capacity: usize) -> JwtVerifier {
    let builder = JwtVerifier::builder().hs256(SECRET);
    let builder = builder.expect("the secret is long enough");
    let builder = builder.any_audience().token_cache(capacity);
    builder.build().expect("there is a crypto backend")
}

/// Tokens as issuers make them, of about 400 bytes and as much more as is said.
struct Issuer {
    signer: Box<dyn JwtSigner>,
    expiry: u64,
}

impl Issuer {
    fn new() -> Self {
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let expiry = SystemTime::now() + Duration::from_secs(3600);
        let expiry = expiry.duration_since(SystemTime::UNIX_EPOCH);
        Self {
            signer: (DEFAULT_PROVIDER.signer_factory)(&Algorithm::HS256, &key)
                .expect("the key fits"),
            expiry: expiry.expect("it is past 1970").as_secs(),
        }
    }

    fn token(&self, number: usize, more: usize) -> String {
        let payload = format!(
            r#"{{"iss":"https://login.example.org/","aud":["todos","https://login.example.org/userinfo"],"exp":{},"sub":"user|{number:024}","role":"web_user","email":"user{number}@example.org","scope":"openid profile {}"}}"#,
            self.expiry,
            "x".repeat(more),
        );
        let signed = [r#"{"alg":"HS256","typ":"JWT"}"#, &payload]
            .map(|part| URL_SAFE_NO_PAD.encode(part))
            .join(".");
        let signature = self.signer.try_sign(signed.as_bytes()).expect("it signs");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[test]
fn a_million_tokens_take_no_more_memory_than_the_cache_may() {
    let issuer = Issuer::new();
    // What is made once, for all verifiers.
    let warm = verifier(MIB).verify(&issuer.token(0, 0));
    assert!(warm.is_ok());
    for (capacity, tokens) in [
        (MIB / 4, TOKENS / 10),
        (4 * MIB, TOKENS / 4),
        (16 * MIB, TOKENS),
    ] {
        let before = ALLOCATOR.current_usage();
        let verifier = verifier(capacity);
        ALLOCATOR.reset_peak_usage();
        let mut largest = 0;
        for number in 0..tokens {
            // First many that are small, so that the table grows to its end, then larger ones, then all sizes.
            let more = match number * 3 / tokens {
                0 => 0,
                1 => 1_500,
                _ => number * 7 % 3_000,
            };
            let token = issuer.token(number, more);
            // What this loop and the verification of one token take themselves.
            largest = largest.max(token.len());
            let claims = verifier.verify(&token).expect("the token is good");
            assert!(claims.subject().is_some());
            if number % 1_000 == 0 {
                let held = ALLOCATOR.current_usage().saturating_sub(before);
                let kept = verifier.cache_status();
                assert!(held <= kept.bytes + 20_000, "{held} bytes, {kept:?}");
            }
        }
        let peak = ALLOCATOR.peak_usage().saturating_sub(before);
        let held = ALLOCATOR.current_usage().saturating_sub(before);
        let kept = verifier.cache_status();
        println!(
            "{tokens} tokens through {capacity} bytes: at most {peak} in memory, {held} at the end, {kept:?}"
        );
        assert!(peak <= capacity + 12 * largest, "{peak} of {capacity}");
        // It is not kept within its bound by keeping nothing.
        assert!(held > capacity / 2, "{held} of {capacity}");
        assert_eq!(kept.misses, tokens as u64);
    }
}
