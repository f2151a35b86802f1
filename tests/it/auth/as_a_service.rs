//! The layer as a good citizen among tower's services: readiness, clones, errors and bounds.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use rolescope::auth::JwtAuth;
use tower::{Layer, Service, ServiceExt};
use tower_test::mock;

use super::layer::{Body, Handle, Mock, bearer, layer, request};
use super::mint;

#[tokio::test]
async fn inner_readiness_is_passed_through_and_consumed_once() {
    let (mut service, mut handle): (mock::Spawn<JwtAuth<Mock>>, Handle) =
        mock::spawn_layer(layer());
    handle.allow(0);
    assert!(service.poll_ready::<Request<Body>>().is_pending());
    handle.allow(1);
    assert!(service.is_woken());
    assert!(service.poll_ready::<Request<Body>>().is_ready());
    let response = service.call(request(&[]));
    let (_, answer) = handle.next_request().await.unwrap();
    assert!(service.poll_ready::<Request<Body>>().is_pending());
    answer.send_response(Response::default());
    assert_eq!(response.await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn the_inner_services_errors_are_passed_on_untouched() {
    let (mut service, mut handle): (mock::Spawn<JwtAuth<Mock>>, Handle) =
        mock::spawn_layer(layer());
    handle.allow(1);
    assert!(service.poll_ready::<Request<Body>>().is_ready());
    let response = service.call(request(&[]));
    let (_, answer) = handle.next_request().await.unwrap();
    answer.send_error("the inner service's own");
    assert_eq!(
        response.await.unwrap_err().to_string(),
        "the inner service's own"
    );

    let (mut service, mut handle): (mock::Spawn<JwtAuth<Mock>>, Handle) =
        mock::spawn_layer(layer());
    handle.send_error("not ready, ever");
    let Poll::Ready(Err(error)) = service.poll_ready::<Request<Body>>() else {
        panic!("the error is passed on")
    };
    assert_eq!(error.to_string(), "not ready, ever");
}

/// Panics if it is called without having been asked, and its clones have not been asked.
#[derive(Default)]
struct Touchy {
    ready: bool,
}

impl Clone for Touchy {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<B> Service<Request<B>> for Touchy {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        assert!(
            std::mem::take(&mut self.ready),
            "called without being ready"
        );
        std::future::ready(Ok(Response::default()))
    }
}

#[tokio::test]
async fn the_service_that_was_asked_is_the_one_that_is_called() {
    let mut service = layer().layer(Touchy::default());
    for _ in 0..3 {
        let ready = ServiceExt::<Request<Body>>::ready(&mut service)
            .await
            .unwrap();
        let response = ready.call(request(&[])).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
    let response = service.clone().oneshot(bearer("garbage")).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

#[test]
fn the_types_are_what_frameworks_ask_for() {
    fn framework<T: Clone + Send + Sync + 'static>(_: &T) {}
    fn future<T: Send + 'static>(_: &T) {}
    fn service<B, S: Service<Request<B>>>(_: &S) {}

    framework(&layer());
    framework(&mint::verifier());
    let mut over = layer().layer(Touchy::default());
    framework(&over);
    service::<(), _>(&over);
    service::<Empty<Bytes>, _>(&over);
    service::<String, _>(&over);
    future(&Service::<Request<()>>::call(
        &mut layer().layer(Touchy { ready: true }),
        Request::new(()),
    ));
    let _ = &mut over;

    let once: Box<dyn FnOnce()> = Box::new(|| ());
    // A service that is neither `Clone` nor `Send` can be wrapped, too.
    struct NotClone(
        #[allow(dead_code, reason = "it is there for what it is not")] Box<dyn FnOnce()>,
    );
    let _ = layer().layer(NotClone(once));
}
