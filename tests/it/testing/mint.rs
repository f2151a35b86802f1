//! Each token of the kit, and the one reason for which it is refused.

use std::time::{Duration, SystemTime};

use rolescope::auth::jwt::TokenError;
use rolescope::testing::{ManualClock, Mint, SigningKey};
use serde_json::json;

fn mints() -> [Mint; 3] {
    [
        SigningKey::es256("key"),
        SigningKey::ed25519("key"),
        SigningKey::hs256([7; 32]),
    ]
    .map(|key| {
        Mint::new(key)
            .issuer("https://login.example")
            .audience("todos")
    })
}

#[test]
fn a_token_is_good_and_says_what_it_was_told() {
    for mint in mints() {
        let token = mint.token(json!({ "sub": "alice", "role": "web_user" }));
        let claims = mint.verifier().verify(&token).unwrap();
        assert_eq!(claims.subject(), Some("alice"));
        assert_eq!(claims.issuer(), Some("https://login.example"));
        assert_eq!(claims.audience().collect::<Vec<_>>(), ["todos"]);
        assert_eq!(claims.raw("role"), Some(r#""web_user""#));
        let own = mint.token(json!({ "aud": ["other", "todos"] }));
        assert_eq!(mint.verifier().verify(&own).unwrap().audience().count(), 2);
    }
}

#[test]
fn each_other_token_is_refused_for_what_its_name_says() {
    for mint in mints() {
        let verifier = mint.verifier();
        let claims = json!({ "sub": "alice" });
        for (token, reason) in [
            (mint.expired(&claims), TokenError::Expired),
            (mint.not_yet_valid(&claims), TokenError::NotYetValid),
            (mint.without_expiry(&claims), TokenError::MissingExpiry),
            (
                mint.for_another_audience(&claims),
                TokenError::WrongAudience,
            ),
            (mint.of_another_issuer(&claims), TokenError::WrongIssuer),
            (
                mint.signed_by_another_key(&claims),
                TokenError::BadSignature,
            ),
            (mint.unsigned(&claims), TokenError::Unsigned),
        ] {
            assert_eq!(verifier.verify(&token).unwrap_err(), reason);
        }
    }
    for mint in &mints()[..2] {
        let token = mint.with_unknown_key(json!({}));
        let error = mint.verifier().verify(&token).unwrap_err();
        assert_eq!(error, TokenError::UnknownKey);
    }
}

/// The signature, and not the kind of the key, is what another key's token is refused for.
#[test]
fn another_key_is_one_of_the_same_kind_and_id() {
    use rolescope::issuer;
    let secret = [7; 64];
    for key in [
        issuer::SigningKey::hs256(secret),
        issuer::SigningKey::hs384(secret),
        issuer::SigningKey::hs512(secret),
    ] {
        let key = key.expect("it is long enough").with_id("key");
        let mint = Mint::new(key.into());
        let verifier = mint.verifier();
        let token = mint.signed_by_another_key(json!({}));
        assert_eq!(
            verifier.verify(&token).unwrap_err(),
            TokenError::BadSignature
        );
        assert!(verifier.verify(&mint.token(json!({}))).is_ok());
    }
}

#[test]
fn two_keys_of_a_kind_are_two_keys() {
    let [one, two] = [(); 2].map(|()| Mint::new(SigningKey::es256("key")));
    assert!(one.verifier().verify(&one.token(json!({}))).is_ok());
    assert!(one.verifier().verify(&two.token(json!({}))).is_err());
}

#[test]
fn a_mint_and_its_verifier_go_by_the_clock_that_is_set() {
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
    let mint = Mint::new(SigningKey::ed25519("key"))
        .lifetime(Duration::from_secs(60))
        .clock(clock.clone());
    let (token, verifier) = (mint.token(json!({})), mint.verifier());
    assert!(verifier.verify(&token).is_ok());
    clock.advance(Duration::from_secs(89));
    assert!(verifier.verify(&token).is_ok());
    clock.advance(Duration::from_secs(1));
    assert_eq!(verifier.verify(&token).unwrap_err(), TokenError::Expired);
    assert!(verifier.verify(&mint.token(json!({}))).is_ok());
}
