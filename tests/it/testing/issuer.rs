//! The issuer of the kit, in place of an HTTP client.

use std::time::Duration;

use rolescope::JwtVerifier;
use rolescope::auth::jwt::{BuildError, TokenError};
use rolescope::testing::{Fault, TestIssuer};
use serde_json::json;

async fn verifier(issuer: &TestIssuer) -> Result<JwtVerifier, BuildError> {
    let builder = JwtVerifier::builder().oidc_issuer(issuer.url())?;
    builder
        .fetch_with(issuer.clone())
        .audience("todos")
        .build()
        .await
}

#[tokio::test(start_paused = true)]
async fn it_publishes_rotates_and_retires_its_keys() {
    for url in [
        "https://login.example",
        "https://login.example/realms/todos",
    ] {
        let issuer = TestIssuer::new(url);
        issuer.set_max_age(Duration::from_secs(120));
        let mint = issuer.mint().audience("todos");
        let verifier = verifier(&issuer).await.unwrap();
        let old = mint.token(json!({}));
        assert!(verifier.verify(&old).is_ok());

        issuer.rotate();
        let new = mint.token(json!({}));
        assert_eq!(verifier.verify(&new).unwrap_err(), TokenError::UnknownKey);
        assert!(verifier.verify_fresh(&new).await.is_ok());
        assert!(verifier.verify(&old).is_ok());

        issuer.retire();
        tokio::time::sleep(Duration::from_secs(119)).await;
        assert!(verifier.verify(&old).is_ok());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(verifier.verify(&old).unwrap_err(), TokenError::UnknownKey);
        assert!(verifier.verify(&new).is_ok());
        assert_eq!(
            (issuer.discovery_requests(), issuer.jwks_requests()),
            (3, 3)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn it_fails_as_told_and_recovers() {
    let issuer = TestIssuer::new("https://login.example");
    for fault in [
        Fault::Unreachable,
        Fault::Status(503),
        Fault::Body("<html>try again later</html>".into()),
        Fault::Silent,
    ] {
        issuer.fail(fault.clone());
        let error = verifier(&issuer).await.unwrap_err();
        assert!(matches!(error, BuildError::Fetch(_)), "{fault:?}: {error}");
    }
    issuer.recover();
    let verifier = verifier(&issuer).await.unwrap();
    let token = issuer.mint().audience("todos").token(json!({}));
    assert!(verifier.verify(&token).is_ok());
    assert_eq!(
        (issuer.discovery_requests(), issuer.jwks_requests()),
        (5, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn keys_outlive_their_issuer_until_they_are_too_old() {
    let issuer = TestIssuer::new("https://login.example");
    let mint = issuer
        .mint()
        .audience("todos")
        .lifetime(Duration::from_secs(24 * 60 * 60));
    let builder = JwtVerifier::builder().oidc_issuer(issuer.url()).unwrap();
    let builder = builder.fetch_with(issuer.clone()).audience("todos");
    let verifier = builder
        .max_key_age(Duration::from_secs(3600))
        .build()
        .await
        .unwrap();
    let token = mint.token(json!({}));
    issuer.fail(Fault::Status(500));
    tokio::time::sleep(Duration::from_secs(3590)).await;
    assert!(verifier.verify(&token).is_ok());
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(
        verifier.verify(&token).unwrap_err(),
        TokenError::KeysUnavailable
    );
    issuer.recover();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(verifier.verify(&token).is_ok());
}
