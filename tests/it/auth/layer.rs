//! What the layer does with a request, and with the service behind it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use rolescope::auth::{Access, Bearer, Cookie, Header, JwtAuth, JwtAuthLayer, Query};
use rolescope::{Claims, Error, ErrorKind, ResponseBody};
use tower::Layer;
use tower_test::mock;

use super::mint;

pub(super) type Body = Full<Bytes>;
pub(super) type Mock = mock::Mock<Request<Body>, Response<Body>>;
pub(super) type Handle = mock::Handle<Request<Body>, Response<Body>>;
type Answer = Response<ResponseBody<Body>>;

pub(super) fn layer() -> JwtAuthLayer {
    JwtAuthLayer::new(mint::verifier())
}

pub(super) fn request(headers: &[(&str, &[u8])]) -> Request<Body> {
    let mut request = Request::new(Body::default());
    for (name, value) in headers {
        request.headers_mut().append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value).unwrap(),
        );
    }
    request
}

pub(super) fn bearer(token: &str) -> Request<Body> {
    request(&[("authorization", format!("Bearer {token}").as_bytes())])
}

/// What the inner service sees of a request that is let through.
async fn passed(layer: JwtAuthLayer, request: Request<Body>) -> Request<Body> {
    let (mut service, mut handle) = mock::spawn_layer::<_, Response<Body>, _>(layer);
    handle.allow(1);
    assert!(service.poll_ready::<Request<Body>>().is_ready());
    let response = tokio::spawn(service.call(request));
    let (seen, answer) = handle
        .next_request()
        .await
        .expect("the request is let through");
    answer.send_response(Response::new(Body::from("inner")));
    let response = response.await.unwrap().unwrap();
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "inner"
    );
    seen
}

/// The refusal, once it is sure that the inner service has seen nothing of the request.
async fn refused(layer: JwtAuthLayer, request: Request<Body>) -> Answer {
    let (mut service, mut handle): (mock::Spawn<JwtAuth<Mock>>, Handle) = mock::spawn_layer(layer);
    handle.allow(1);
    assert!(service.poll_ready::<Request<Body>>().is_ready());
    let response = tokio::select! {
        response = service.call(request) => response.expect("a refusal is a response"),
        _ = handle.next_request() => panic!("the request is let through"),
    };
    drop(service);
    assert!(
        handle.next_request().await.is_none(),
        "the request is not let through"
    );
    response
}

fn access(request: &Request<Body>) -> &Access {
    Access::from_extensions(request.extensions()).unwrap()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_good_token_arrives_as_claims() {
    let token = mint::token(r#","sub":"ann","role":"web_user""#);
    for scheme in ["Bearer ", "bearer ", "BEARER\t", "bEaReR   "] {
        let seen = passed(
            layer(),
            request(&[("authorization", format!("{scheme}{token}").as_bytes())]),
        )
        .await;
        assert_eq!(
            seen.extensions().get::<Claims>().unwrap().subject(),
            Some("ann")
        );
        assert!(access(&seen).token_sent());
        assert_eq!(access(&seen).claims().unwrap().subject(), Some("ann"));
    }
}

#[tokio::test]
async fn no_token_is_anonymous() {
    let rows: &[&[(&str, &[u8])]] = &[
        &[],
        &[("authorization", b"Basic YTpi")],
        &[("authorization", b"")],
        &[("authorization", b"\xff\xfe")],
        &[("authorization", b"Bearertoken")],
        &[("cookie", b"token=x"), ("x-token", b"y")],
    ];
    for headers in rows {
        let seen = passed(layer(), request(headers)).await;
        assert!(access(&seen).is_anonymous(), "{headers:?}");
        assert!(!access(&seen).token_sent(), "{headers:?}");
        assert!(seen.extensions().get::<Claims>().is_none(), "{headers:?}");
    }
}

#[tokio::test]
async fn a_refused_request_never_reaches_the_inner_service() {
    let (token, other) = (mint::token(""), mint::token(r#","sub":"ann""#));
    let (signed, _) = token.rsplit_once('.').unwrap();
    let (_, signature_of_other) = other.rsplit_once('.').unwrap();
    let bad_signature = format!("{signed}.{signature_of_other}");
    let expired = mint::expired_token();
    let other_audience = mint::sign(r#"{"exp":4102444800,"aud":"others"}"#);
    let rows: Vec<(&[u8], &str)> = vec![
        (b"", "the token is empty"),
        (b"garbage", "the token is not a signed JSON Web Token"),
        (b"\xff\xff", "the token is not a signed JSON Web Token"),
        (
            "\u{fc}".as_bytes(),
            "the token is not a signed JSON Web Token",
        ),
        (
            bad_signature.as_bytes(),
            "the signature of the token is not valid",
        ),
        (expired.as_bytes(), "the token has expired"),
        (
            other_audience.as_bytes(),
            "the token is meant for another audience",
        ),
    ];
    for (token, description) in rows {
        let header = [b"Bearer ", token].concat();
        let response = refused(layer(), request(&[("authorization", &header)])).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{description}");
        assert_eq!(
            text(response.headers(), "www-authenticate"),
            Some(&*format!(
                r#"Bearer error="invalid_token", error_description="{description}""#
            )),
        );
        assert_eq!(
            text(response.headers(), "content-type"),
            Some("application/json")
        );
        let error = response.extensions().get::<Error>().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidToken);
        assert_eq!(error.token_error().unwrap().as_str(), description);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["code"], "invalid_token");
        assert_eq!(body["message"], description);
    }
}

#[tokio::test]
async fn two_authorization_headers_are_a_bad_request() {
    let bearer = format!("Bearer {}", mint::token(""));
    for first in ["Basic YTpi", &bearer] {
        let headers = [
            ("authorization", first.as_bytes()),
            ("authorization", bearer.as_bytes()),
        ];
        for layer in [layer(), layer().treat_invalid_token_as_anonymous()] {
            let response = refused(layer, request(&headers)).await;
            assert_eq!(response.status(), StatusCode::BAD_REQUEST);
            let challenge = text(response.headers(), "www-authenticate").unwrap();
            assert!(
                challenge.starts_with(r#"Bearer error="invalid_request""#),
                "{challenge}"
            );
        }
    }
}

#[tokio::test]
async fn where_a_token_is_required_anonymous_requests_are_refused() {
    let response = refused(layer().require_token(), request(&[])).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(text(response.headers(), "www-authenticate"), Some("Bearer"));
    assert_eq!(
        response.extensions().get::<Error>().unwrap().kind(),
        ErrorKind::MissingToken
    );

    let seen = passed(layer().require_token(), bearer(&mint::token(""))).await;
    assert!(!access(&seen).is_anonymous());
}

#[tokio::test]
async fn an_invalid_token_is_anonymous_where_that_was_asked_for() {
    let older = || layer().treat_invalid_token_as_anonymous();
    for token in ["garbage", "", &mint::expired_token(), "\u{fc}"] {
        let seen = passed(older(), bearer(token)).await;
        assert!(access(&seen).is_anonymous(), "{token}");
        assert!(access(&seen).token_sent(), "{token}");
        assert!(seen.extensions().get::<Claims>().is_none());
    }
    let seen = passed(older(), bearer(&mint::token(""))).await;
    assert!(!access(&seen).is_anonymous());

    let response = refused(older().require_token(), bearer("garbage")).await;
    assert_eq!(
        response.status(),
        StatusCode::UNAUTHORIZED,
        "require_token wins"
    );
}

#[tokio::test]
async fn a_grpc_client_is_answered_in_grpc() {
    let grpc = |content_type: &'static [u8], authorization: &'static [u8]| {
        request(&[
            ("content-type", content_type),
            ("authorization", authorization),
        ])
    };
    let rows = [
        (
            refused(layer(), grpc(b"application/grpc", b"Bearer garbage")).await,
            true,
        ),
        (
            refused(layer(), grpc(b"application/grpc+proto", b"Bearer garbage")).await,
            true,
        ),
        (
            refused(
                layer().require_token(),
                grpc(b"application/grpc", b"Basic x"),
            )
            .await,
            true,
        ),
        (
            refused(layer(), grpc(b"application/json", b"Bearer garbage")).await,
            false,
        ),
    ];
    for (response, is_grpc) in rows {
        assert_eq!(response.status() == StatusCode::OK, is_grpc);
        assert_eq!(
            text(response.headers(), "grpc-status"),
            is_grpc.then_some("16")
        );
        assert_eq!(response.headers().contains_key("grpc-message"), is_grpc);
        assert_eq!(
            response.headers().contains_key("www-authenticate"),
            !is_grpc
        );
    }
}

#[tokio::test]
async fn claims_that_were_there_before_do_not_outlive_the_layer() {
    let seen = passed(layer(), bearer(&mint::token(r#","sub":"ann""#))).await;
    let stale = seen.extensions().get::<Claims>().unwrap().clone();

    let mut anonymous = request(&[]);
    anonymous.extensions_mut().insert(stale);
    anonymous.extensions_mut().insert(access(&seen).clone());
    let seen = passed(layer(), anonymous).await;
    assert!(seen.extensions().get::<Claims>().is_none());
    assert!(access(&seen).is_anonymous());
}

#[tokio::test]
async fn what_carried_the_token_is_marked_as_sensitive() {
    let token = mint::token("");
    let seen = passed(layer(), bearer(&token)).await;
    assert!(seen.headers()["authorization"].is_sensitive());
    assert!(!format!("{:?}", seen.headers()).contains(&token));

    let seen = passed(layer(), request(&[("authorization", b"Basic YTpi")])).await;
    assert!(seen.headers()["authorization"].is_sensitive());

    let cookie = format!("token={token}");
    let layer = layer().token_source((Bearer, Cookie::new("token")));
    let headers = [
        ("cookie", b"a=b".as_slice()),
        ("cookie", cookie.as_bytes()),
        ("x", b"y"),
    ];
    let seen = passed(layer, request(&headers)).await;
    assert!(
        seen.headers()
            .get_all("cookie")
            .iter()
            .all(HeaderValue::is_sensitive)
    );
    assert!(!seen.headers()["x"].is_sensitive());
}

#[tokio::test]
async fn the_token_comes_from_where_it_was_said_to_come_from() {
    let token = mint::token("");
    let cookie = || layer().token_source(Cookie::new("token"));
    let header = || layer().token_source(Header::new(HeaderName::from_static("x-token")));
    let query = || layer().token_source(Query::new("access_token"));

    let with_cookie = || request(&[("cookie", format!("token={token}").as_bytes())]);
    let with_header = || request(&[("x-token", token.as_bytes())]);
    let with_query = || {
        let mut request = request(&[]);
        *request.uri_mut() = format!("/feed?access_token={token}").parse().unwrap();
        request
    };
    for (layer, request) in [
        (cookie(), with_cookie()),
        (header(), with_header()),
        (query(), with_query()),
    ] {
        assert!(!access(&passed(layer, request).await).is_anonymous());
    }
    for layer in [cookie(), header(), query()] {
        assert!(access(&passed(layer, bearer(&token)).await).is_anonymous());
    }
    for request in [with_cookie(), with_header(), with_query()] {
        assert!(access(&passed(layer(), request).await).is_anonymous());
    }
    let mut garbage = request(&[]);
    *garbage.uri_mut() = "/?access_token=%FF".parse().unwrap();
    assert_eq!(
        refused(query(), garbage).await.status(),
        StatusCode::UNAUTHORIZED
    );
}

#[test]
fn debug_tells_no_secret() {
    let text = format!("{:?}", layer().layer(()));
    assert!(!text.contains("test secret"), "{text}");
    assert!(text.contains("require_token: false"), "{text}");
}
