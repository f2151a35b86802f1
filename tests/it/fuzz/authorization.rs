//! Any `Authorization` header, several of them, and the same bytes where cookies, queries and other headers are read.

use std::convert::Infallible;
use std::sync::LazyLock;

use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use rolescope::auth::{
    Access, Bearer, Cookie, Header, JwtAuthLayer, Query, TokenSource, TokenSourceError,
};
use rolescope::{Claims, Error, JwtVerifier};
use tower::{Layer, ServiceExt, service_fn};

use super::reference;

static LAYER: LazyLock<JwtAuthLayer> = LazyLock::new(|| {
    let verifier = JwtVerifier::builder().hs256(reference::SECRET);
    let verifier = verifier.expect("the secret is long enough").build();
    JwtAuthLayer::new(verifier.expect("it is built"))
});

pub(crate) fn check(data: &[u8]) {
    let values: Vec<HeaderValue> = data
        .split(|byte| *byte == b'\n')
        .filter_map(|value| HeaderValue::from_bytes(value).ok())
        .collect();
    let request = || {
        let mut request = Request::new(());
        for value in &values {
            request
                .headers_mut()
                .append(header::AUTHORIZATION, value.clone());
        }
        request
    };
    let (parts, ()) = request().into_parts();
    let found = Bearer.token(&parts);
    let found = found
        .as_ref()
        .map(|token| token.as_ref().map(|token| token.expose()));
    assert_eq!(found, expected(&values).as_ref().map(|token| *token));
    match expected(&values) {
        Err(TokenSourceError::Ambiguous) => check_layer(request(), StatusCode::BAD_REQUEST),
        Ok(None) => check_layer(request(), StatusCode::NO_CONTENT),
        // None of these is signed.
        _ => check_layer(request(), StatusCode::UNAUTHORIZED),
    }
    check_other_places(data);
}

/// RFC 6750 section 2.1, RFC 9110 sections 5.5 and 11.1: read with a list of words in place of a cursor.
fn expected(values: &[HeaderValue]) -> Result<Option<&str>, TokenSourceError> {
    let value = match values {
        [] => return Ok(None),
        [value] => value.as_bytes(),
        _ => return Err(TokenSourceError::Ambiguous),
    };
    let space = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let mut words = value.split(space).filter(|word| !word.is_empty());
    match words.next() {
        Some(scheme) if scheme.eq_ignore_ascii_case(b"bearer") => {}
        _ => return Ok(None),
    }
    let (first, last) = (words.next(), words.next_back());
    let address = |word: &[u8]| word.as_ptr().addr() - value.as_ptr().addr();
    let token = match (first, last) {
        (None, _) => b"",
        (Some(only), None) => only,
        (Some(first), Some(last)) => &value[address(first)..address(last) + last.len()],
    };
    let token = std::str::from_utf8(token).map_err(|_| TokenSourceError::Malformed)?;
    Ok(Some(token))
}

fn check_layer(request: Request<()>, expected: StatusCode) {
    let inner = service_fn(async |request: Request<()>| {
        let access = Access::from_extensions(request.extensions()).expect("the layer was here");
        assert!(access.is_anonymous() && !access.token_sent());
        assert!(request.extensions().get::<Claims>().is_none());
        assert!(request.headers().values().all(HeaderValue::is_sensitive));
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok::<_, Infallible>(response)
    });
    let response = LAYER.layer(inner).oneshot(request).now_or_never();
    let response = response
        .expect("nothing is waited for")
        .expect("it is infallible");
    assert_eq!(response.status(), expected);
    let challenge = response.headers().get(header::WWW_AUTHENTICATE);
    let is_refusal = response.extensions().get::<Error>().is_some();
    assert_eq!(challenge.is_some(), is_refusal);
}

fn check_other_places(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else {
        return;
    };
    let mut request = Request::new(());
    let name = HeaderName::from_static("x-token");
    request.headers_mut().insert(header::COOKIE, value.clone());
    request.headers_mut().insert(name.clone(), value);
    if let Ok(uri) = [b"/?".as_slice(), data].concat().as_slice().try_into() {
        *request.uri_mut() = uri;
    }
    let (parts, ()) = request.into_parts();
    let sources: [Box<dyn TokenSource>; 3] = [
        Box::new(Cookie::new("token")),
        Box::new(Query::new("token")),
        Box::new(Header::new(name)),
    ];
    for source in sources {
        if let Ok(Some(token)) = source.token(&parts) {
            // A token is never made of what was not sent.
            let token = token.expose().as_bytes();
            let sent = token.is_empty() || data.windows(token.len()).any(|part| part == token);
            assert!(sent, "{}", token.escape_ascii());
        }
    }
}
