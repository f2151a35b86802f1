//! The extractors, through an axum router.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use rolescope::Claims;
use rolescope::auth::JwtAuthLayer;
use tower::ServiceExt;

use super::mint;

fn app() -> Router {
    Router::new()
        .route(
            "/whoami",
            get(async |claims: Claims| claims.subject().unwrap_or("?").to_owned()),
        )
        .route(
            "/greeting",
            get(async |claims: Option<Claims>| match claims {
                Some(claims) => format!("welcome back, {}", claims.subject().unwrap_or("?")),
                None => "hello, stranger".to_owned(),
            }),
        )
        .route("/health", get(async || "fine"))
}

fn layered() -> Router {
    app().layer(JwtAuthLayer::new(mint::verifier()))
}

async fn answer(
    app: Router,
    path: &str,
    token: Option<&str>,
) -> (StatusCode, Option<String>, String) {
    let mut request = Request::builder().uri(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = app
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    let challenge = response.headers().get("www-authenticate");
    let challenge = challenge.map(|value| value.to_str().unwrap().to_owned());
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, challenge, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn claims_are_extracted() {
    let token = mint::token(r#","sub":"ann""#);
    let (status, _, body) = answer(layered(), "/whoami", Some(&token)).await;
    assert_eq!((status, &*body), (StatusCode::OK, "ann"));
    let (_, _, body) = answer(layered(), "/greeting", Some(&token)).await;
    assert_eq!(body, "welcome back, ann");
}

#[tokio::test]
async fn an_anonymous_request_has_no_claims() {
    let (status, challenge, body) = answer(layered(), "/whoami", None).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(challenge.as_deref(), Some("Bearer"));
    assert!(body.contains("missing_token"), "{body}");

    let (status, _, body) = answer(layered(), "/greeting", None).await;
    assert_eq!((status, &*body), (StatusCode::OK, "hello, stranger"));
}

#[tokio::test]
async fn an_optional_extractor_does_not_let_an_invalid_token_in() {
    for path in ["/whoami", "/greeting", "/health"] {
        let (status, challenge, _) = answer(layered(), path, Some("garbage")).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(challenge.unwrap().contains("invalid_token"), "{path}");
    }
}

#[tokio::test]
async fn without_the_layer_nobody_is_anonymous() {
    let token = mint::token("");
    for path in ["/whoami", "/greeting"] {
        for token in [None, Some(&*token)] {
            let (status, challenge, body) = answer(app(), path, token).await;
            assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
            assert_eq!(challenge, None);
            assert!(body.contains("missing_layer"), "{body}");
        }
    }
    assert_eq!(answer(app(), "/health", None).await.0, StatusCode::OK);
}
