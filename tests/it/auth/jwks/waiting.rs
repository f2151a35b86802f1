//! What the layer does with a request whose key is being fetched, and with the service behind it.

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use rolescope::auth::{Access, JwtAuth};
use rolescope::{Claims, JwtAuthLayer};
use tower_test::mock;

use super::*;

type Body = Full<Bytes>;
type Inner = mock::Mock<Request<Body>, Response<Body>>;

fn request(token: &str) -> Request<Body> {
    let request = Request::builder().header("authorization", format!("Bearer {token}"));
    request.body(Body::default()).unwrap()
}

#[tokio::test]
async fn a_request_that_waits_is_answered_by_the_service_that_was_ready() {
    let (first, second) = (Signer::new("1"), Signer::new("2"));
    let issuer = Issuer::new([&first]);
    let layer = JwtAuthLayer::new(verifier(&issuer).await);
    let (mut service, mut handle): (mock::Spawn<JwtAuth<Inner>>, _) = mock::spawn_layer(layer);
    // Ready once: a call of any other but that one panics.
    handle.allow(1);
    assert!(service.poll_ready::<Request<Body>>().is_ready());
    issuer.hold();
    issuer.publishes([&first, &second]);
    let mut answered = Box::pin(service.call(request(&second.token())));
    assert!((&mut answered).now_or_never().is_none());
    let seen = handle.next_request().now_or_never();
    assert!(seen.is_none(), "nobody is let in before the key is known");

    issuer.release();
    let mut answered = tokio::spawn(answered);
    let (seen, answer) = tokio::select! {
        seen = handle.next_request() => seen.unwrap(),
        early = &mut answered => panic!("it did not reach the service: {early:?}"),
    };
    assert!(
        !Access::from_extensions(seen.extensions())
            .unwrap()
            .is_anonymous()
    );
    assert!(seen.extensions().get::<Claims>().is_some());
    assert!(seen.headers()["authorization"].is_sensitive());
    answer.send_response(Response::new(Body::default()));
    assert_eq!(answered.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_request_that_waited_in_vain_reaches_nobody() {
    let issuer = Issuer::new([&Signer::new("1")]);
    let stranger = Signer::new("2").token();
    for (is_down, lenient, expected) in [
        (false, false, Some(StatusCode::UNAUTHORIZED)),
        // Anonymous.
        (false, true, None),
        // Nobody knows yet whether the token is good.
        (true, false, Some(StatusCode::SERVICE_UNAVAILABLE)),
        (true, true, Some(StatusCode::SERVICE_UNAVAILABLE)),
    ] {
        issuer.publishes([&Signer::new("1")]);
        let verifier = if is_down {
            issuer.is_down();
            builder(&issuer).build_lazy().unwrap()
        } else {
            verifier(&issuer).await
        };
        let mut layer = JwtAuthLayer::new(verifier);
        if lenient {
            layer = layer.treat_invalid_token_as_anonymous();
        }
        let (mut service, mut handle): (mock::Spawn<JwtAuth<Inner>>, _) = mock::spawn_layer(layer);
        handle.allow(1);
        assert!(service.poll_ready::<Request<Body>>().is_ready());
        let answered = service.call(request(&stranger));
        let refused = tokio::select! {
            response = answered => Some(response.unwrap().status()),
            seen = handle.next_request() => {
                let (seen, _) = seen.unwrap();
                let access = Access::from_extensions(seen.extensions()).unwrap();
                assert!(access.is_anonymous() && access.token_sent());
                None
            }
        };
        assert_eq!(refused, expected, "down: {is_down}, lenient: {lenient}");
    }
}
