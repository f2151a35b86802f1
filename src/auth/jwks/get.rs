//! One document by HTTP, within limits.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};

use super::super::jwt::{FetchError, FetchErrorKind};
use super::client::{Answer, BoxError, Client, reasons};
use super::freshness;
use super::url::KeyUrl;

const MAX_REDIRECTS: usize = 3;
const MAX_BODY: usize = 1024 * 1024;
const USER_AGENT: &str = concat!("rolescope/", env!("CARGO_PKG_VERSION"));

/// A document, and for how long it is fresh.
pub(super) struct Document {
    pub(super) text: String,
    pub(super) fresh: Option<Duration>,
    content_type: Option<String>,
    url: KeyUrl,
}

impl Document {
    /// Says of the document that it is not what it should be.
    pub(super) fn is_not(&self, kind: FetchErrorKind, message: &str) -> FetchError {
        let what = self.content_type.as_deref().unwrap_or("none");
        failed(
            &self.url,
            kind,
            &format!("{message} (content-type: {what})"),
        )
    }
}

pub(super) fn failed(url: &KeyUrl, kind: FetchErrorKind, message: &str) -> FetchError {
    FetchError::new(kind, format!("{url}: {message}"))
}

/// Gets a document. How long it may take is the caller's to say.
pub(super) async fn get(client: &dyn Client, url: &KeyUrl) -> Result<Document, FetchError> {
    let mut at = url.clone();
    for _ in 0..=MAX_REDIRECTS {
        let answer = client
            .send(request(&at))
            .await
            .map_err(|error| broken(&at, &error))?;
        match answer.status() {
            StatusCode::OK => return read(at, answer).await,
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => at = next(&at, answer.headers())?,
            status => {
                let message = format!("the answer is {}, and not 200", status.as_u16());
                return Err(failed(&at, FetchErrorKind::Status, &message));
            }
        }
    }
    Err(failed(
        url,
        FetchErrorKind::Redirect,
        "it is redirected more than three times",
    ))
}

fn request(url: &KeyUrl) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = url.uri().clone();
    let headers = request.headers_mut();
    let mut set = |name, value| headers.insert(name, http::HeaderValue::from_static(value));
    set(header::ACCEPT, "application/json, application/jwk-set+json");
    set(header::ACCEPT_ENCODING, "identity");
    set(header::USER_AGENT, USER_AGENT);
    request
}

fn next(at: &KeyUrl, headers: &HeaderMap) -> Result<KeyUrl, FetchError> {
    let location = headers.get(header::LOCATION);
    let location = location.and_then(|location| location.to_str().ok());
    location.and_then(|location| at.redirected(location)).ok_or_else(|| {
        failed(
            at,
            FetchErrorKind::Redirect,
            "it is redirected to another scheme, host or port: give the URL that it leads to, if that is to be trusted",
        )
    })
}

async fn read(url: KeyUrl, answer: Answer) -> Result<Document, FetchError> {
    let (head, body) = answer.into_parts();
    let mut encodings = head.headers.get_all(header::CONTENT_ENCODING).iter();
    if !encodings.all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(failed(
            &url,
            FetchErrorKind::Encoding,
            "the body is compressed, though the request said not to",
        ));
    }
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(failed(
                &url,
                FetchErrorKind::TooLarge,
                "the body has more than 1 MiB",
            ));
        }
        Err(error) => return Err(broken(&url, &error)),
    };
    let content_type = head.headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let document = Document {
        text: String::from_utf8_lossy(&body).into_owned(),
        fresh: freshness::of(&head.headers),
        content_type: content_type.map(|value| value.chars().take(60).collect()),
        url,
    };
    if std::str::from_utf8(&body).is_err() {
        return Err(document.is_not(FetchErrorKind::Malformed, "the body is not text"));
    }
    Ok(document)
}

fn broken(url: &KeyUrl, error: &BoxError) -> FetchError {
    let reasons = url.without_query(&reasons(error));
    failed(
        url,
        FetchErrorKind::Transport,
        &format!("no whole answer: {reasons}"),
    )
}
