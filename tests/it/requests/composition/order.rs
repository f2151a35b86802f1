//! Layers that are missing, or stand in the wrong order: 500, and a log that names the cure.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use rolescope::auth::Access;
use rolescope::{Claims, Error, ErrorKind, RoleScopeLayer, RoleScopedConnection};

use super::{unreachable_pool, who};
use crate::support::events::Recorder;
use crate::support::service::{self, Reply, auth, send};

const ADD_AUTH: &str = "no JwtAuthLayer has seen this request: add it outside of RoleScopeLayer and of the handlers (with Router::layer the last call is the outermost)";
const ADD_SCOPE: &str = "no RoleScopeLayer has seen this request: add it inside of JwtAuthLayer and outside of the handlers (with Router::layer the last call is the outermost)";

#[track_caller]
fn check(reply: &Reply, recorder: &Recorder, cure: &str) {
    assert_eq!(reply.status, 500, "{reply:?}");
    assert_eq!(reply.kind(), ErrorKind::MissingLayer);
    assert_eq!(
        reply.json(),
        serde_json::json!({ "code": "missing_layer", "message": "internal server error", "details": null, "hint": null })
    );
    let errors = recorder.errors();
    let [event] = &errors[..] else {
        panic!("one event, not {errors:?}");
    };
    assert_eq!(event.message(), cure);
    assert_eq!(event.get("kind"), Some("missing_layer"));
    assert_eq!(event.get("status"), Some("500"));
}

fn routes() -> Router {
    Router::new()
        .route("/who", get(who))
        .route(
            "/may-be",
            get(async |db: Option<RoleScopedConnection>| format!("{}", db.is_some())),
        )
        .route(
            "/claims",
            get(async |claims: Claims| claims.as_json().to_owned()),
        )
        .route(
            "/may-be-claims",
            get(async |claims: Option<Claims>| format!("{}", claims.is_some())),
        )
        .route(
            "/access",
            get(async |request: Request<Body>| {
                let access = Access::from_extensions(request.extensions())?;
                Ok::<_, Error>(format!("{}", access.is_anonymous()))
            }),
        )
}

#[tokio::test]
async fn without_a_layer_nothing_is_read_as_anonymous() {
    let app = routes();
    let recorder = Recorder::start();
    for (path, cure) in [
        ("/who", ADD_SCOPE),
        ("/may-be", ADD_SCOPE),
        ("/claims", ADD_AUTH),
        ("/may-be-claims", ADD_AUTH),
        ("/access", ADD_AUTH),
    ] {
        check(&service::get(&app, path, None).await, &recorder, cure);
        check(
            &service::get(&app, path, Some(r#"{"role":"web_user"}"#)).await,
            &recorder,
            cure,
        );
    }
}

#[tokio::test]
async fn authentication_alone_is_no_scope() {
    let app = routes().layer(auth());
    let recorder = Recorder::start();
    for path in ["/who", "/may-be"] {
        check(&service::get(&app, path, None).await, &recorder, ADD_SCOPE);
    }
    assert_eq!(service::get(&app, "/access", None).await.ok(), "true");
}

#[tokio::test]
async fn a_scope_without_authentication_refuses_every_request() {
    let app = routes().layer(RoleScopeLayer::new(unreachable_pool(Some("anon"))));
    let recorder = Recorder::start();
    for path in ["/who", "/may-be", "/claims", "/nowhere"] {
        check(&service::get(&app, path, None).await, &recorder, ADD_AUTH);
    }
}

#[tokio::test]
async fn a_scope_outside_of_the_authentication_refuses_every_request() {
    let app = routes()
        .layer(auth())
        .layer(RoleScopeLayer::new(unreachable_pool(Some("anon"))));
    let recorder = Recorder::start();
    check(&service::get(&app, "/who", None).await, &recorder, ADD_AUTH);

    let request = Request::post("/who").header("content-type", "application/grpc");
    let reply = send(
        &app,
        request
            .body(Body::empty())
            .expect("the request is well formed"),
    )
    .await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers["grpc-status"], "13");
    assert_eq!(reply.headers["grpc-message"], "internal server error");
    assert_eq!(recorder.errors().len(), 1);
}
