//! Two providers, each of which is an issuer of its own.

use hyper::StatusCode;
use rolescope::auth::jwt::TokenError;

use super::browser::log_in;
use super::*;
use crate::support::database;

/// They have the same key ids, so that only `iss` tells whose keys a token is for.
#[tokio::test]
async fn a_token_of_one_provider_is_never_accepted_for_the_other() {
    let (database, one, other) = tokio::join!(database(), provider(), provider());
    assert_ne!(one.issuer(), other.issuer());
    let of_one = verifier(&one).await;
    let of_other = verifier(&other).await;
    let both = JwtVerifier::of_issuers([of_one.clone(), of_other.clone()]).expect("they differ");
    let both = service(&database, both).await;
    for algorithm in ALGORITHMS {
        for (provider, own, foreign) in [(&one, &of_one, &of_other), (&other, &of_other, &of_one)] {
            let token = service_token(provider, algorithm).await;
            let reply = ask(&both, &token).await;
            assert_eq!(reply.ok(), format!("author service-{algorithm}"));
            assert!(own.verify(&token).is_ok());
            let error = foreign.verify(&token).expect_err("it is another one's");
            assert_eq!(error, TokenError::BadSignature);
        }
        let ones = log_in(&one, algorithm, "alice").await;
        let others = log_in(&other, algorithm, "bob").await;
        assert_eq!(ask(&both, &ones).await.ok(), "web_user alice");
        assert_eq!(ask(&both, &others).await.ok(), "jdoe123 bob");
        // What the one says, signed by the other.
        let (claims, _) = ones.rsplit_once('.').expect("it has parts");
        let (_, signature) = others.rsplit_once('.').expect("it has parts");
        let forged = ask(&both, &format!("{claims}.{signature}")).await;
        assert_eq!(forged.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_provider_that_is_not_trusted_is_nobody() {
    let (database, one, other, third) =
        tokio::join!(database(), provider(), provider(), provider());
    let both = [verifier(&one).await, verifier(&other).await];
    let both = JwtVerifier::of_issuers(both).expect("they differ");
    let token = service_token(&third, "RS256").await;
    let error = both.verify(&token).expect_err("nobody knows it");
    assert_eq!(error, TokenError::WrongIssuer);
    let reply = ask(&service(&database, both).await, &token).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
}
