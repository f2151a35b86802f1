//! Keys that come, go and change; and floods of tokens whose keys nobody knows.

use rolescope::auth::jwt::TokenError;

use super::issuer::{base64, json, with_header};
use super::*;

/// A token whose key id is this number, signed by nobody.
fn stranger(number: usize) -> String {
    let header = base64(format!(r#"{{"alg":"EdDSA","kid":"stranger {number}"}}"#).as_bytes());
    let payload = base64(br#"{"exp":4102444800}"#);
    format!("{header}.{payload}.{}", base64(&[0; 64]))
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_known_with_its_first_tokens_by_one_fetch() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let issuer = Issuer::new([&old]);
    let verifier = verifier(&issuer).await;
    assert_eq!(issuer.fetches(), 1);

    issuer.publishes([&old, &new]);
    assert_eq!(
        outcome(&verifier, &new.token()),
        Err(TokenError::UnknownKey)
    );
    assert_eq!(issuer.fetches(), 1, "who does not wait has nothing fetched");

    issuer.hold();
    let waiting: Vec<_> = (0..100)
        .map(|number| {
            let (verifier, token) = (
                verifier.clone(),
                new.token_with(&format!(r#","n":{number}"#)),
            );
            tokio::spawn(async move { fresh(&verifier, &token).await })
        })
        .collect();
    while issuer.fetches() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        outcome(&verifier, &old.token()),
        Ok(()),
        "who has its key does not wait"
    );
    assert_eq!(fresh(&verifier, &old.token()).await, Ok(()));
    issuer.release();
    for token in waiting {
        assert_eq!(token.await.unwrap(), Ok(()));
    }
    assert_eq!(issuer.fetches(), 2);
    assert_eq!(outcome(&verifier, &new.token()), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_key_is_refused_with_the_next_fetch_also_from_the_cache() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let issuer = Issuer::new([]);
    let published = jwks([&old]);
    issuer.answers(move |_| with_header("cache-control", "max-age=90", &published));
    let verifier = verifier(&issuer).await;
    let token = old.token();
    assert_eq!(outcome(&verifier, &token), Ok(()));
    assert_eq!(outcome(&verifier, &token), Ok(()));
    assert_eq!(verifier.cache_status().hits, 1);

    issuer.publishes([&new]);
    seconds(89).await;
    assert_eq!(outcome(&verifier, &token), Ok(()), "it is still fresh");
    seconds(2).await;
    assert_eq!(issuer.fetches(), 2);
    assert_eq!(outcome(&verifier, &token), Err(TokenError::UnknownKey));
    assert_eq!(outcome(&verifier, &new.token()), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn another_key_of_the_same_id_replaces_the_first() {
    let (old, new) = (Signer::new("same"), Signer::new("same"));
    let issuer = Issuer::new([&old]);
    let verifier = verifier(&issuer).await;
    let token = old.token();
    assert_eq!(outcome(&verifier, &token), Ok(()));
    issuer.publishes([&new]);
    assert_eq!(
        fresh(&verifier, &new.token()).await,
        Err(TokenError::BadSignature)
    );
    assert_eq!(issuer.fetches(), 1, "forgeries have nothing fetched");
    seconds(301).await;
    assert_eq!(outcome(&verifier, &token), Err(TokenError::BadSignature));
    assert_eq!(outcome(&verifier, &new.token()), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn keys_that_did_not_change_stay_verified() {
    let (one, two) = (Signer::new("one"), Signer::new("two"));
    let issuer = Issuer::new([&one, &two]);
    let verifier = verifier(&issuer).await;
    let token = one.token();
    assert_eq!(outcome(&verifier, &token), Ok(()));
    let first = verifier.verify(&token).unwrap();
    // The same in every byte, and the same in another order.
    seconds(301).await;
    issuer.publishes([&two, &one]);
    seconds(301).await;
    assert_eq!(issuer.fetches(), 3);
    let again = verifier.verify(&token).unwrap();
    assert!(
        std::ptr::eq(first.as_json(), again.as_json()),
        "it is the one in the cache"
    );
}

#[tokio::test(start_paused = true)]
async fn keys_of_the_same_id_are_all_tried() {
    let (one, two) = (Signer::new("same"), Signer::new("same"));
    let verifier = verifier(&Issuer::new([&one, &two])).await;
    assert_eq!(outcome(&verifier, &one.token()), Ok(()));
    assert_eq!(outcome(&verifier, &two.token()), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_unknown_keys_in_a_minute_make_three_fetches_at_most() {
    let signer = Signer::new("known");
    let issuer = Issuer::new([&signer]);
    let verifier = verifier(&issuer).await;
    let mut waiting = Vec::new();
    for tick in 0..1_000 {
        for number in 0..10 {
            let (verifier, token) = (verifier.clone(), stranger(tick * 10 + number));
            waiting.push(tokio::spawn(async move { fresh(&verifier, &token).await }));
        }
        let token = signer.token_with(&format!(r#","n":{tick}"#));
        assert_eq!(outcome(&verifier, &token), Ok(()));
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    for token in waiting {
        assert_eq!(token.await.unwrap(), Err(TokenError::UnknownKey));
    }
    // The first one, and two that strangers asked for.
    assert_eq!(issuer.fetches(), 3);
    assert_eq!(verifier.key_status()[0].fetches, 3);
}

#[tokio::test(start_paused = true)]
async fn a_flood_while_there_are_no_keys_makes_no_fetches_of_its_own() {
    let issuer = Issuer::new([]);
    let verifier = builder(&issuer).build_lazy().unwrap();
    for number in 0..6_000 {
        let refused = fresh(&verifier, &stranger(number)).await;
        assert_eq!(refused, Err(TokenError::KeysUnavailable));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // After 0, 2, 6, 14 and 30 seconds.
    assert_eq!(issuer.fetches(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_came_too_soon_after_another_is_known_half_a_minute_later() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let issuer = Issuer::new([&old]);
    let verifier = verifier(&issuer).await;
    assert_eq!(
        fresh(&verifier, &stranger(1)).await,
        Err(TokenError::UnknownKey)
    );
    issuer.publishes([&old, &new]);
    seconds(29).await;
    assert_eq!(
        fresh(&verifier, &new.token()).await,
        Err(TokenError::UnknownKey)
    );
    seconds(1).await;
    assert_eq!(fresh(&verifier, &new.token()).await, Ok(()));
    assert_eq!(issuer.fetches(), 3);
}

#[tokio::test(start_paused = true)]
async fn of_several_issuers_only_the_tokens_own_is_asked() {
    let (ours, theirs) = (Signer::new("1"), Signer::new("1"));
    let (here, there) = (Issuer::new([&ours]), Issuer::new([&theirs]));
    let verifier = JwtVerifier::of_issuers([
        builder(&here).issuer("here").build().await.unwrap(),
        builder(&there).issuer("there").build().await.unwrap(),
    ])
    .unwrap();
    assert_eq!(
        fresh(&verifier, &ours.token_with(r#","iss":"here""#)).await,
        Ok(())
    );
    assert_eq!(
        fresh(&verifier, &theirs.token_with(r#","iss":"there""#)).await,
        Ok(())
    );
    let crossed = ours.token_with(r#","iss":"there""#);
    assert_eq!(
        fresh(&verifier, &crossed).await,
        Err(TokenError::BadSignature)
    );
    let new = Signer::new("2");
    there.publishes([&theirs, &new]);
    assert_eq!(
        fresh(&verifier, &new.token_with(r#","iss":"there""#)).await,
        Ok(())
    );
    assert_eq!((here.fetches(), there.fetches()), (1, 2));
    let issuers: Vec<_> = verifier
        .key_status()
        .into_iter()
        .map(|one| one.issuers)
        .collect();
    assert_eq!(issuers, [["here"], ["there"]]);
}

#[tokio::test(start_paused = true)]
async fn fixed_keys_are_used_besides() {
    let (fixed, remote) = (Signer::new("fixed"), Signer::new("remote"));
    let issuer = Issuer::new([&remote]);
    issuer.is_down();
    let verifier = builder(&issuer)
        .jwk(&fixed.jwk())
        .unwrap()
        .build_lazy()
        .unwrap();
    assert_eq!(fresh(&verifier, &fixed.token()).await, Ok(()));
    assert_eq!(
        fresh(&verifier, &remote.token()).await,
        Err(TokenError::KeysUnavailable)
    );
    assert!(!verifier.is_ready());
    issuer.publishes([&remote]);
    seconds(3).await;
    assert!(verifier.is_ready());
    assert_eq!(outcome(&verifier, &fixed.token()), Ok(()));
    assert_eq!(outcome(&verifier, &remote.token()), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn secrets_among_published_keys_are_not_used() {
    let signer = Signer::new("1");
    let issuer = Issuer::new([]);
    let secret = base64(crate::auth::mint::SECRET.as_bytes());
    let oct = format!(r#"{{"kty":"oct","k":"{secret}"}}"#);
    let text = format!(r#"{{"keys":[{oct},{}]}}"#, signer.jwk());
    issuer.answers(move |_| json(&text));
    let verifier = builder(&issuer).audience("todos").build().await.unwrap();
    let forged = crate::auth::mint::token("");
    assert_eq!(
        outcome(&verifier, &forged),
        Err(TokenError::AlgorithmNotAllowed)
    );
    let good = signer.token_with(r#","aud":"todos""#);
    assert_eq!(outcome(&verifier, &good), Ok(()));

    let alone = format!(r#"{{"keys":[{oct}]}}"#);
    issuer.answers(move |_| json(&alone));
    let error = builder(&issuer).build().await.unwrap_err();
    assert_eq!(kind(error), FetchErrorKind::NoKey);
}
