//! Starting before the issuer, outliving its failures, and ending.

use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use rolescope::JwtAuthLayer;
use rolescope::auth::jwt::Algorithm;
use tower::{Layer, ServiceExt, service_fn};

use super::*;

const HOUR: u64 = 60 * 60;

async fn status(verifier: &JwtVerifier, token: &str) -> StatusCode {
    let inner =
        service_fn(async |_: Request<()>| Ok::<_, rolescope::Error>(Response::new(String::new())));
    let service = JwtAuthLayer::new(verifier.clone()).layer(inner);
    let request = Request::builder().header("authorization", format!("Bearer {token}"));
    let response = service.oneshot(request.body(()).unwrap()).await.unwrap();
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        assert!(response.headers().contains_key("retry-after"));
    }
    response.status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cold_start_with_a_thousand_tokens_makes_one_fetch() {
    let signer = Signer::new("1");
    let issuer = Issuer::new([&signer]);
    issuer.hold();
    let verifier = builder(&issuer).build_lazy().unwrap();
    assert!(!verifier.is_ready());
    let waiting: Vec<_> = (0..1_000)
        .map(|number| {
            let (verifier, token) = (
                verifier.clone(),
                signer.token_with(&format!(r#","n":{number}"#)),
            );
            tokio::spawn(async move { status(&verifier, &token).await })
        })
        .collect();
    issuer.release();
    for answered in waiting {
        assert_eq!(answered.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(issuer.fetches(), 1);
    assert!(verifier.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_service_starts_before_its_issuer() {
    let signer = Signer::new("1");
    let issuer = Issuer::new([&signer]);
    issuer.is_down();
    let error = builder(&issuer).build().await.unwrap_err();
    assert!(error.to_string().contains("connection refused"), "{error}");
    assert!(error.to_string().contains(URL), "{error}");
    assert_eq!(kind(error), FetchErrorKind::Transport);

    let verifier = builder(&issuer).build_lazy().unwrap();
    assert_eq!(
        status(&verifier, &signer.token()).await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    let keys = &verifier.key_status()[0];
    assert_eq!((keys.is_ready, keys.age, keys.fetches), (false, None, 1));
    assert!(
        keys.last_error
            .as_ref()
            .unwrap()
            .contains("connection refused")
    );
    issuer.publishes([&signer]);
    seconds(3).await;
    assert_eq!(status(&verifier, &signer.token()).await, StatusCode::OK);
    let keys = &verifier.key_status()[0];
    assert_eq!(
        (keys.is_ready, keys.fetches, &keys.last_error),
        (true, 2, &None)
    );
    assert!(keys.age.is_some());
}

#[tokio::test(start_paused = true)]
async fn the_last_good_keys_are_used_for_a_day() {
    let signer = Signer::new("1");
    let issuer = Issuer::new([&signer]);
    let verifier = verifier(&issuer).await;
    let token = signer.token();
    assert_eq!(outcome(&verifier, &token), Ok(()));
    issuer.is_down();
    seconds(24 * HOUR - 1).await;
    assert_eq!(outcome(&verifier, &token), Ok(()));
    let keys = &verifier.key_status()[0];
    assert_eq!(keys.age, Some(Duration::from_secs(24 * HOUR - 1)));
    assert!(keys.is_ready && keys.last_error.is_some());
    assert!(keys.fetches > 1000, "each minute one");

    seconds(2).await;
    assert_eq!(
        outcome(&verifier, &token),
        Err(TokenError::KeysUnavailable),
        "also from the cache"
    );
    assert_eq!(
        status(&verifier, &token).await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert!(!verifier.is_ready());

    issuer.publishes([&signer]);
    seconds(62).await;
    assert!(verifier.is_ready());
    assert_eq!(outcome(&verifier, &token), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_last_verifier() {
    for is_held in [false, true] {
        let issuer = Issuer::new([&Signer::new("1")]);
        let verifier = verifier(&issuer).await;
        let clone = verifier.clone();
        if is_held {
            issuer.hold();
            seconds(301).await;
            assert_eq!(issuer.fetches(), 2);
        }
        drop(verifier);
        seconds(1).await;
        assert!(issuer.owners() > 1, "a clone is left");
        drop(clone);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(issuer.owners(), 1, "while it was held: {is_held}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_goes_on_without_whoever_waits_for_it() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let issuer = Issuer::new([&old]);
    let verifier = verifier(&issuer).await;
    issuer.publishes([&new]);
    issuer.hold();
    let token = new.token();
    assert!(fresh(&verifier, &token).now_or_never().is_none());
    issuer.release();
    seconds(1).await;
    assert_eq!(outcome(&verifier, &token), Ok(()));
}

#[test]
fn keys_end_with_their_runtime() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    };
    let signer = Signer::new("1");
    let issuer = Issuer::new([&signer]);
    let first = runtime();
    let verifier = first.block_on(verifier(&issuer));
    let token = signer.token();
    assert_eq!(outcome(&verifier, &token), Ok(()));
    issuer.hold();
    let (waiting, stranger) = (verifier.clone(), Signer::new("2").token());
    assert!(fresh(&waiting, &stranger).now_or_never().is_none());
    drop(first);
    let late = runtime().block_on(fresh(&verifier, &token));
    assert_eq!(late, Err(TokenError::KeysUnavailable));
    let error = verifier.key_status().remove(0).last_error.unwrap();
    assert!(
        error.contains("build the verifier in the runtime that uses it"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_panics_ends_the_keys() {
    let signer = Signer::new("1");
    let issuer = Issuer::new([&signer]);
    let verifier = verifier(&issuer).await;
    issuer.answers(|_| panic!("the client's own bug"));
    let token = Signer::new("2").token();
    let waiting = tokio::time::timeout(Duration::from_secs(20), fresh(&verifier, &token)).await;
    assert_eq!(waiting, Ok(Err(TokenError::KeysUnavailable)));
    assert_eq!(
        outcome(&verifier, &signer.token()),
        Err(TokenError::KeysUnavailable)
    );
}

#[test]
fn without_a_runtime_nothing_is_built() {
    let issuer = Issuer::new([&Signer::new("1")]);
    let error = builder(&issuer).build_lazy().unwrap_err();
    assert_eq!(error, BuildError::NoRuntime);
    let error = builder(&issuer).build().now_or_never().unwrap();
    assert_eq!(error.unwrap_err(), BuildError::NoRuntime);
}

#[cfg(not(feature = "jwks-client"))]
#[tokio::test]
async fn without_a_client_nothing_is_built() {
    let builder = || JwtVerifier::builder().jwks_url(URL).unwrap();
    assert_eq!(builder().build_lazy().unwrap_err(), BuildError::NoClient);
    assert_eq!(builder().build().await.unwrap_err(), BuildError::NoClient);
}

#[tokio::test]
async fn rules_are_checked_before_anything_is_fetched() {
    let issuer = Issuer::new([&Signer::new("1")]);
    let contradicting = || builder(&issuer).audience("todos").any_audience();
    let error = contradicting().build().await.unwrap_err();
    assert_eq!(error, BuildError::AudienceContradiction);
    let error = contradicting().build_lazy().unwrap_err();
    assert_eq!(error, BuildError::AudienceContradiction);
    for useless in [vec![], vec![Algorithm::HS256]] {
        let error = builder(&issuer)
            .algorithms(useless)
            .build_lazy()
            .unwrap_err();
        assert_eq!(error, BuildError::NoAlgorithm);
    }
    assert_eq!(issuer.fetches(), 0);
}

#[tokio::test]
async fn keys_are_narrowed_to_what_is_accepted() {
    let signer = Signer::new("1");
    let issuer = Issuer::new([&signer]);
    let narrowed = |algorithm| builder(&issuer).algorithms([algorithm]).build();
    let verifier = narrowed(Algorithm::EdDSA).await.unwrap();
    assert_eq!(outcome(&verifier, &signer.token()), Ok(()));
    let error = narrowed(Algorithm::ES256).await.unwrap_err();
    assert_eq!(kind(error), FetchErrorKind::NoKey);
}
