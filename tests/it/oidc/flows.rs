//! Tokens of services and of persons, for each algorithm.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::StatusCode;
use rolescope::JwtVerifier;
use rolescope::auth::jwt::TokenError;
use serde_json::Value;

use super::browser::log_in;
use super::*;
use crate::support::database;

/// A part of a token, 0 being the header.
fn part(token: &str, part: usize) -> Value {
    let part = token.split('.').nth(part).expect("it has three parts");
    let bytes = URL_SAFE_NO_PAD.decode(part).expect("it is base64url");
    serde_json::from_slice(&bytes).expect("it is JSON")
}

#[tokio::test]
async fn tokens_of_services_and_persons_become_their_roles() {
    let (database, provider) = tokio::join!(database(), provider());
    let service = service(&database, verifier(&provider).await).await;
    for algorithm in ALGORITHMS {
        let own = service_token(&provider, algorithm).await;
        let header = part(&own, 0);
        assert_eq!(header["alg"], algorithm);
        assert_eq!(header["typ"], "at+jwt");
        assert_eq!(part(&own, 1)["scope"], "todos");
        let expected = format!("author service-{algorithm}");
        assert_eq!(ask(&service, &own).await.ok(), expected);

        let alices = log_in(&provider, algorithm, "alice").await;
        assert_eq!(part(&alices, 0)["alg"], algorithm);
        assert_eq!(ask(&service, &alices).await.ok(), "web_user alice");
        let bobs = log_in(&provider, algorithm, "bob").await;
        assert_eq!(ask(&service, &bobs).await.ok(), "jdoe123 bob");

        // One token's claims with another one's signature.
        let (claims, _) = bobs.rsplit_once('.').expect("it has parts");
        let (_, signature) = alices.rsplit_once('.').expect("it has parts");
        let forged = ask(&service, &format!("{claims}.{signature}")).await;
        assert_eq!(forged.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_token_for_another_service_is_refused() {
    let provider = provider().await;
    let token = service_token(&provider, "ES256").await;
    let url = format!("{}/jwks", provider.issuer());
    let verifier = async |audience: &str| {
        let builder = JwtVerifier::builder()
            .jwks_url(&url)
            .expect("it is on loopback");
        let built = builder.audience(audience).build().await;
        built.unwrap_or_else(|e| panic!("{e}"))
    };
    assert!(verifier(AUDIENCE).await.verify(&token).is_ok());
    let error = verifier("https://other.example").await.verify(&token);
    assert_eq!(
        error.expect_err("it is for todos"),
        TokenError::WrongAudience
    );
    let report = provider.report();
    assert_eq!((report.discovery_requests, report.jwks_requests), (0, 2));
}

#[tokio::test]
async fn of_tokens_that_come_before_the_keys_each_is_accepted_after_one_fetch() {
    let provider = provider().await;
    let token = service_token(&provider, "EdDSA").await;
    let builder = JwtVerifier::builder().oidc_issuer(provider.issuer());
    let builder = builder.expect("it is on loopback").audience(AUDIENCE);
    let verifier = builder.build_lazy().unwrap_or_else(|e| panic!("{e}"));
    assert!(!verifier.is_ready());
    let all = std::iter::repeat_with(|| verifier.verify_fresh(&token)).take(100);
    for result in futures_util::future::join_all(all).await {
        assert!(result.is_ok());
    }
    assert!(verifier.is_ready());
    let report = provider.report();
    assert_eq!((report.discovery_requests, report.jwks_requests), (1, 1));
}
