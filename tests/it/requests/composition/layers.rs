//! With tower-http's layers around them, and tower's.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use http_body_util::BodyExt;
use rolescope::{Error, RoleScopeLayer, RoleScopedConnection};
use tokio::sync::Barrier;
use tower::buffer::BufferLayer;
use tower::limit::ConcurrencyLimitLayer;
use tower::util::{BoxCloneSyncService, Either, option_layer};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_http::cors::CorsLayer;
use tower_http::map_response_body::MapResponseBodyLayer;
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::{DefaultMakeSpan, TraceLayer};

use super::who;
use crate::support::database;
use crate::support::events::Recorder;
use crate::support::service::{self, auth, send, service, token};

const WEB_USER: Option<&str> = Some(r#"{"role":"web_user"}"#);

#[tokio::test]
async fn all_of_them_at_once() {
    let database = database().await;
    let pool = database.pool().await;
    let barrier = Arc::new(Barrier::new(4));
    let together = Arc::clone(&barrier);
    let app = Router::new()
        .route("/who", get(who))
        .route(
            "/together",
            get(async move |db: RoleScopedConnection| {
                let before: String = db
                    .query_one_scalar("SELECT current_user::text", &[])
                    .await?;
                together.wait().await;
                let after: String = db
                    .query_one_scalar("SELECT current_user::text", &[])
                    .await?;
                Ok::<_, Error>(format!("{before} {after}"))
            }),
        )
        .layer(
            ServiceBuilder::new()
                .layer(SetSensitiveRequestHeadersLayer::new([
                    header::AUTHORIZATION,
                ]))
                .layer(TraceLayer::new_for_http())
                .layer(CorsLayer::permissive())
                .layer(TimeoutLayer::with_status_code(
                    StatusCode::REQUEST_TIMEOUT,
                    Duration::from_secs(60),
                ))
                .layer(ConcurrencyLimitLayer::new(4))
                .layer(auth())
                .layer(RoleScopeLayer::new(pool)),
        );
    assert_eq!(
        service::get(&app, "/who", WEB_USER).await.ok(),
        "web_user /who"
    );
    assert_eq!(service::get(&app, "/who", None).await.ok(), "anon /who");
    // Four at once, each of another role, and each stays what it is.
    let roles = ["web_user", "author", "jdoe123", "user_role"];
    let calls = roles.map(|role| {
        let app = app.clone();
        tokio::spawn(async move {
            let claims = format!(r#"{{"role":"{role}"}}"#);
            service::get(&app, "/together", Some(&claims)).await.ok()
        })
    });
    for (call, role) in calls.into_iter().zip(roles) {
        assert_eq!(call.await.expect("no panic"), format!("{role} {role}"));
    }
}

fn preflight() -> Request<Body> {
    Request::options("/who")
        .header("origin", "https://example.org")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "authorization")
        .header("authorization", "Bearer garbage")
        .body(Body::empty())
        .expect("the request is well formed")
}

#[tokio::test]
async fn a_preflight_is_answered_before_authentication_where_cors_is_outside() {
    let database = database().await;
    let pool = database.pool().await;
    let routes = || Router::new().route("/who", get(who));
    let scope = || RoleScopeLayer::new(pool.clone());

    let right = routes()
        .layer(scope())
        .layer(auth().require_token())
        .layer(CorsLayer::permissive());
    let reply = send(&right, preflight()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.headers["access-control-allow-origin"], "*");
    // A browser shows a page only those answers that allow it, refusals included.
    let reply = service::get(&right, "/who", None).await;
    assert_eq!(reply.status, 401);
    assert_eq!(reply.headers["access-control-allow-origin"], "*");

    let wrong = routes()
        .layer(scope())
        .layer(CorsLayer::permissive())
        .layer(auth().require_token());
    assert_eq!(send(&wrong, preflight()).await.status, 401);
}

/// An OPTIONS request of another kind is a request like others.
#[tokio::test]
async fn a_plain_options_request_is_authenticated() {
    let database = database().await;
    let app = service(
        &database.pool().await,
        Router::new().route("/who", axum::routing::options(who)),
    );
    let request = |token: &str| {
        let request = Request::options("/who").header("authorization", format!("Bearer {token}"));
        request
            .body(Body::empty())
            .expect("the request is well formed")
    };
    assert_eq!(send(&app, request("garbage")).await.status, 401);
    let token = token(r#"{"role":"web_user"}"#);
    assert_eq!(send(&app, request(&token)).await.ok(), "web_user /who");
}

#[tokio::test]
async fn a_trace_outside_shows_no_token_where_the_header_is_marked() {
    let database = database().await;
    let scope = RoleScopeLayer::new(database.pool().await);
    let trace =
        || TraceLayer::new_for_http().make_span_with(DefaultMakeSpan::new().include_headers(true));
    let routes = || Router::new().route("/who", get(who));
    let marked = ServiceBuilder::new()
        .layer(SetSensitiveRequestHeadersLayer::new([
            header::AUTHORIZATION,
        ]))
        .layer(trace())
        .layer(auth())
        .layer(scope.clone());
    let unmarked = ServiceBuilder::new()
        .layer(trace())
        .layer(auth())
        .layer(scope.clone());
    let inside = ServiceBuilder::new()
        .layer(auth())
        .layer(trace())
        .layer(scope);
    let token = token(WEB_USER.expect("claims"));
    // The second is how not to do it: it proves that the others could fail.
    for (app, shown) in [
        (routes().layer(marked), false),
        (routes().layer(unmarked), true),
        (routes().layer(inside), false),
    ] {
        let recorder = Recorder::start();
        assert_eq!(
            service::get(&app, "/who", WEB_USER).await.ok(),
            "web_user /who"
        );
        let lines = format!("{:?}", recorder.take());
        assert!(lines.contains("authorization"), "{lines}");
        assert_eq!(lines.contains(&token), shown, "{lines}");
    }
}

#[tokio::test]
async fn a_nested_router_reads_the_path_as_the_layer_saw_it() {
    let database = database().await;
    let pool = database.pool().await;
    let routes = || Router::new().route("/who", get(who));
    let around = service(&pool, Router::new().nest("/api", routes()));
    assert_eq!(
        service::get(&around, "/api/who", WEB_USER).await.ok(),
        "web_user /api/who"
    );
    // axum takes the prefix off before an inner layer is asked.
    let within = Router::new().nest("/api", service(&pool, routes()));
    assert_eq!(
        service::get(&within, "/api/who", WEB_USER).await.ok(),
        "web_user /who"
    );
}

#[tokio::test]
async fn a_route_layer_leaves_unknown_paths_alone() {
    let database = database().await;
    let pool = database.pool().await;
    let app = Router::new()
        .route("/who", get(who))
        .route_layer(RoleScopeLayer::new(pool.clone()))
        .route_layer(auth().require_token())
        .route("/open", get(async || "open"));
    assert_eq!(
        service::get(&app, "/who", WEB_USER).await.ok(),
        "web_user /who"
    );
    assert_eq!(service::get(&app, "/who", None).await.status, 401);
    assert_eq!(service::get(&app, "/open", None).await.ok(), "open");
    assert_eq!(service::get(&app, "/nowhere", None).await.status, 404);
    let guarded = Router::new()
        .route("/who", get(who))
        .layer(auth().require_token());
    assert_eq!(service::get(&guarded, "/nowhere", None).await.status, 401);
}

/// Two scopes, one inside of the other: the inner one's role is the handler's.
#[tokio::test]
async fn the_layer_next_to_the_handler_decides() {
    let database = database().await;
    let pool = database.pool().await;
    let strict = rolescope::RolePolicy::new()
        .allow(["author"])
        .expect("a name");
    let routes = Router::new()
        .route("/who", get(who))
        .layer(RoleScopeLayer::new(pool.clone()).roles(strict.clone()));
    let app = service(&pool, routes);
    assert_eq!(service::get(&app, "/who", WEB_USER).await.status, 403);
    assert_eq!(
        service::get(&app, "/who", Some(r#"{"role":"author"}"#))
            .await
            .ok(),
        "author /who"
    );

    let routes = Router::new()
        .route("/who", get(who))
        .layer(RoleScopeLayer::new(pool.clone()));
    let app = routes
        .layer(RoleScopeLayer::new(pool).roles(strict))
        .layer(auth());
    assert_eq!(
        service::get(&app, "/who", WEB_USER).await.ok(),
        "web_user /who"
    );
}

async fn body_of<S>(mut service: S, claims: Option<&str>) -> (StatusCode, String)
where
    S: Service<Request<Body>>,
    S::Response: IntoResponse,
    S::Error: std::fmt::Debug,
{
    let mut request = Request::get("/who");
    if let Some(claims) = claims {
        request = request.header("authorization", format!("Bearer {}", token(claims)));
    }
    let request = request
        .body(Body::empty())
        .expect("the request is well formed");
    let service = service.ready().await.expect("the service is ready");
    let response = service.call(request).await.expect("the service answers");
    let response = response.into_response();
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .expect("the body is whole")
        .to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn a_service_can_be_boxed_and_cloned() {
    let database = database().await;
    let layers = ServiceBuilder::new()
        .layer(auth())
        .layer(RoleScopeLayer::new(database.pool().await));
    let boxed = BoxCloneSyncService::new(layers.service(Router::new().route("/who", get(who))));
    let (status, body) = body_of(boxed.clone(), WEB_USER).await;
    assert_eq!((status, &*body), (StatusCode::OK, "web_user /who"));
    assert_eq!(body_of(boxed, Some("{}")).await.1, "anon /who");
}

#[tokio::test]
async fn a_service_can_stand_behind_a_buffer_and_before_one() {
    let database = database().await;
    let pool = database.pool().await;
    let behind = ServiceBuilder::new()
        .layer(BufferLayer::new(2))
        .layer(auth())
        .layer(RoleScopeLayer::new(pool.clone()))
        .service(Router::new().route("/who", get(who)));
    assert_eq!(body_of(behind.clone(), WEB_USER).await.1, "web_user /who");
    assert_eq!(body_of(behind, None).await.1, "anon /who");
    // The layers' own readiness is the buffer's here: a place in it is reserved before the call.
    let before = ServiceBuilder::new()
        .layer(auth())
        .layer(RoleScopeLayer::new(pool))
        .layer(BufferLayer::new(1))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(Router::new().route("/who", get(who)));
    let calls: Vec<_> = (0..8)
        .map(|_| tokio::spawn(body_of(before.clone(), WEB_USER)))
        .collect();
    for call in calls {
        assert_eq!(call.await.expect("no panic").1, "web_user /who");
    }
}

/// tower asks both sides for the same response, and a layer that may stand in for the body has a body of its own.
#[tokio::test]
async fn layers_can_be_left_out() {
    let database = database().await;
    let pool = database.pool().await;
    let optional = |with: bool| {
        option_layer(with.then(|| {
            ServiceBuilder::new()
                .layer(MapResponseBodyLayer::new(Body::new))
                .layer(auth())
                .layer(RoleScopeLayer::new(pool.clone()))
        }))
    };
    for (with, status) in [(true, 200), (false, 500)] {
        let app = Router::new().route("/who", get(who)).layer(optional(with));
        assert_eq!(service::get(&app, "/who", WEB_USER).await.status, status);
    }
}

#[tokio::test]
async fn a_service_can_be_one_of_two() {
    let database = database().await;
    let layers = ServiceBuilder::new()
        .layer(MapResponseBodyLayer::new(Body::new))
        .layer(auth())
        .layer(RoleScopeLayer::new(database.pool().await));
    let scoped = layers.service(Router::new().route("/who", get(who)));
    let open = Router::new().route("/who", get(async || "open"));
    for (service, body) in [
        (Either::Left(scoped), "web_user /who"),
        (Either::Right(open), "open"),
    ] {
        assert_eq!(body_of(service, WEB_USER).await.1, body);
    }
}
