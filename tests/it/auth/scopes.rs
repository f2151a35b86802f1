//! Scopes, and what challenges say of them and of where tokens are to be had.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use rolescope::auth::{Access, JwtAuthLayer, RequireScopeLayer};
use rolescope::{Error, ErrorKind};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use super::layer::{Body, bearer, layer, request};
use super::mint;

const METADATA: &str = "https://api.example/.well-known/oauth-protected-resource";

fn requires(scopes: &[&str]) -> RequireScopeLayer {
    RequireScopeLayer::new(scopes.iter().copied()).unwrap()
}

async fn hello(_: Request<Body>) -> Result<Response<Body>, Error> {
    Ok(Response::new(Body::from("hello")))
}

/// The status, the challenge and the error that a request is answered with.
async fn answer(
    auth: JwtAuthLayer,
    scopes: RequireScopeLayer,
    request: Request<Body>,
) -> (u16, Option<String>, Option<ErrorKind>) {
    let service = ServiceBuilder::new().layer(auth).layer(scopes);
    let response = service
        .service(service_fn(hello))
        .oneshot(request)
        .await
        .unwrap();
    let challenge = response.headers().get(header::WWW_AUTHENTICATE);
    let challenge = challenge.map(|value| value.to_str().unwrap().to_owned());
    let kind = response.extensions().get::<Error>().map(Error::kind);
    (response.status().as_u16(), challenge, kind)
}

#[tokio::test]
async fn a_token_without_the_scope_is_refused_and_told_which() {
    let needed = || requires(&["todos:read", "todos:write"]);
    for granted in [
        r#","scope":"todos:read todos:write""#,
        r#","scope":"openid todos:write todos:read profile""#,
        r#","scp":["todos:read","todos:write"]"#,
        r#","scp":"todos:read todos:write""#,
    ] {
        let reply = answer(layer(), needed(), bearer(&mint::token(granted))).await;
        assert_eq!(reply, (200, None, None), "{granted}");
    }
    let challenge = "Bearer error=\"insufficient_scope\", error_description=\"the token does not grant a scope that is \
                     needed here\", scope=\"todos:read todos:write\"";
    for granted in [
        "",
        r#","scope":"""#,
        r#","scope":"todos:read""#,
        r#","scope":"todos:read Todos:Write""#,
        r#","scope":"todos:read,todos:write""#,
        r#","scope":"todos:read todos:writes""#,
        r#","scope":"todos:read","scp":"todos:write""#,
        r#","scp":["todos:read todos:write"]"#,
        r#","scope":["todos:read","todos:write",7]"#,
    ] {
        let reply = answer(layer(), needed(), bearer(&mint::token(granted))).await;
        let refused = (
            403,
            Some(challenge.to_owned()),
            Some(ErrorKind::InsufficientScope),
        );
        assert_eq!(reply, refused, "{granted}");
    }
}

#[tokio::test]
async fn a_stranger_has_no_scopes() {
    let needed = || requires(&["todos:read"]);
    let (status, challenge, kind) = answer(layer(), needed(), request(&[])).await;
    assert_eq!((status, challenge.as_deref()), (401, Some("Bearer")));
    assert_eq!(kind, Some(ErrorKind::MissingToken));
    let lenient = layer().treat_invalid_token_as_anonymous();
    let (status, _, kind) = answer(lenient, needed(), bearer("garbage")).await;
    assert_eq!((status, kind), (401, Some(ErrorKind::MissingToken)));
    // Nobody has looked at the request: that is no stranger.
    let alone = needed().layer(service_fn(hello));
    let response = alone.oneshot(bearer("garbage")).await.unwrap();
    let kind = response.extensions().get::<Error>().map(Error::kind);
    assert_eq!(
        (response.status().as_u16(), kind),
        (500, Some(ErrorKind::MissingLayer))
    );
}

#[tokio::test]
async fn a_grpc_client_is_refused_in_its_own_words() {
    let mut call = bearer(&mint::token(""));
    let grpc = HeaderValue::from_static("application/grpc");
    call.headers_mut().insert(header::CONTENT_TYPE, grpc);
    let service = ServiceBuilder::new()
        .layer(layer())
        .layer(requires(&["todos:read"]));
    let response = service
        .service(service_fn(hello))
        .oneshot(call)
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["grpc-status"], "7");
    assert!(!response.headers().contains_key(header::WWW_AUTHENTICATE));
}

#[test]
fn what_is_no_scope_is_not_required() {
    for scopes in [
        &[][..],
        &[""],
        &["a b"],
        &["a", "b\""],
        &["b\\"],
        &["é"],
        &["a\n"],
    ] {
        assert!(
            RequireScopeLayer::new(scopes.iter().copied()).is_err(),
            "{scopes:?}"
        );
    }
    assert!(RequireScopeLayer::new(["https://api.example/todos.read", "!#[]~"]).is_ok());
}

#[tokio::test]
async fn a_handler_asks_for_scopes_of_its_own() {
    let handler = async |request: Request<Body>| -> Result<Response<Full<Bytes>>, Error> {
        let access = Access::from_extensions(request.extensions())?;
        // A quote would end the challenge's text: such a scope is refused without its name.
        let kind = |scopes: &[&str]| access.require_scopes(scopes).map_err(|error| error.kind());
        assert!(kind(&[]).is_ok() && kind(&["a", "b"]).is_ok());
        assert_eq!(kind(&["a", "c"]).unwrap_err(), ErrorKind::InsufficientScope);
        let error = access.require_scopes(&["x\", y=\"z"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InsufficientScope);
        Ok(error.to_response())
    };
    let service = layer().layer(service_fn(handler));
    let response = service
        .oneshot(bearer(&mint::token(r#","scope":"a b""#)))
        .await
        .unwrap();
    let challenge = response.headers()[header::WWW_AUTHENTICATE]
        .to_str()
        .unwrap();
    assert!(challenge.ends_with("needed here\""), "{challenge}");
}

#[tokio::test]
async fn each_challenge_names_the_metadata() {
    let auth = || layer().resource_metadata(METADATA).unwrap();
    let named = format!("Bearer resource_metadata=\"{METADATA}\"");
    let needed = || requires(&["todos:read"]);
    // The layer's own, and one from further in.
    let (_, own, _) = answer(auth().require_token(), needed(), request(&[])).await;
    assert_eq!(own.as_deref(), Some(&*named));
    let (_, inner, _) = answer(auth(), needed(), request(&[])).await;
    assert_eq!(inner.as_deref(), Some(&*named));
    for (sent, error) in [
        (bearer("garbage"), "invalid_token"),
        (bearer(&mint::token("")), "insufficient_scope"),
        (
            request(&[
                ("authorization", b"Bearer a"),
                ("authorization", b"Bearer b"),
            ]),
            "invalid_request",
        ),
    ] {
        let (_, challenge, _) = answer(auth(), needed(), sent).await;
        let challenge = challenge.unwrap();
        let begin = format!("{named}, error=\"{error}\", ");
        assert!(challenge.starts_with(&begin), "{challenge}");
    }
    let (status, challenge, _) = answer(
        auth(),
        needed(),
        bearer(&mint::token(r#","scope":"todos:read""#)),
    )
    .await;
    assert_eq!((status, challenge), (200, None));
}

#[tokio::test]
async fn challenges_of_other_schemes_are_left_alone() {
    let handler = async |_: Request<Body>| -> Result<Response<Body>, Error> {
        let mut response = Response::new(Body::default());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        for challenge in [
            "Basic realm=\"Bearer\"",
            "Bearer realm=\"x\", Digest qop=\"auth\"",
        ] {
            let challenge = HeaderValue::from_static(challenge);
            response
                .headers_mut()
                .append(header::WWW_AUTHENTICATE, challenge);
        }
        Ok(response)
    };
    let service = layer()
        .resource_metadata(METADATA)
        .unwrap()
        .layer(service_fn(handler));
    let response = service.oneshot(request(&[])).await.unwrap();
    let challenges = response.headers().get_all(header::WWW_AUTHENTICATE);
    let bearer =
        format!("Bearer resource_metadata=\"{METADATA}\", realm=\"x\", Digest qop=\"auth\"");
    assert_eq!(
        challenges.iter().collect::<Vec<_>>(),
        ["Basic realm=\"Bearer\"", &*bearer]
    );
}

#[test]
fn metadata_that_is_no_url_is_refused() {
    for url in [
        "",
        "/metadata",
        "http://api.example/",
        "https://api.example/\", error=\"x",
    ] {
        let error = layer().resource_metadata(url).unwrap_err();
        assert!(error.to_string().contains("absolute https URL"), "{url}");
    }
}
