//! Why nobody is signed in: what they are told, and what only the operator is.

use axum::Json;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::http::HttpError;
use super::settings::PATH;

/// Its answers look as those of `rolescope::Error`. None of them has a token, a code or what a provider wrote in it.
#[derive(Debug)]
pub(super) enum Refusal {
    /// This browser has not begun what the request wants to end, or too long ago.
    NotBegun,
    /// The person said no.
    Denied,
    /// The code is wrong, used or too old, or was meant for another browser.
    Code,
    /// GitHub does not know this client, or its secret is another one.
    Client,
    /// GitHub said something else: the word of its `error`.
    Said(String),
    /// GitHub answered with a status that it should not.
    Status(StatusCode),
    /// GitHub answered what cannot be read.
    Garbage(&'static str),
    Http(HttpError),
    /// They have no primary address that GitHub has verified.
    NoEmail,
    /// The database gave no session.
    Disabled,
    /// The refresh token is missing or not good any more.
    NoSession,
    /// The database refused, and says why.
    Database(rolescope::Error),
    /// The service cannot make a token.
    Token(String),
}

impl Refusal {
    pub(super) fn garbage(what: &'static str) -> Self {
        Self::Garbage(what)
    }

    pub(super) fn status(status: StatusCode) -> Self {
        Self::Status(status)
    }

    /// Such words are short, and what is not is no such word.
    pub(super) fn said(word: &str) -> Self {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        Self::Said(word.chars().filter(|&c| is_word(c)).take(60).collect())
    }

    fn log(&self) {
        match self {
            Self::Client => tracing::error!(
                "GitHub does not know this client: compare GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET with what it shows"
            ),
            Self::Said(word) if word == "redirect_uri_mismatch" => tracing::error!(
                "GitHub has another callback URL for this client: register the one that ends in {PATH}/callback"
            ),
            Self::Said(word) => tracing::error!(error = word, "GitHub refused a sign-in"),
            Self::Status(status) => tracing::error!(%status, "GitHub answered with an error"),
            Self::Garbage(what) => tracing::error!(what, "GitHub's answer cannot be read"),
            Self::Http(error) => tracing::error!(%error, "GitHub cannot be asked"),
            Self::Token(error) => tracing::error!(error, "no token can be made"),
            _ => {}
        }
    }
}

impl From<HttpError> for Refusal {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

impl From<rolescope::Error> for Refusal {
    fn from(error: rolescope::Error) -> Self {
        Self::Database(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.log();
        let (status, code, message, hint) = match self {
            // It says itself what may be told.
            Self::Database(error) => return error.into_response(),
            Self::NotBegun => (
                StatusCode::BAD_REQUEST,
                "sign_in_not_begun",
                "this browser has begun no sign-in that this could end, or more than ten minutes ago",
                "begin again, with cookies allowed",
            ),
            Self::Denied => (
                StatusCode::FORBIDDEN,
                "access_denied",
                "the sign-in was refused at GitHub",
                "begin again and allow it",
            ),
            Self::Code => (
                StatusCode::BAD_REQUEST,
                "bad_code",
                "GitHub does not accept the code: it is wrong, used or too old",
                "begin again",
            ),
            Self::NoEmail => (
                StatusCode::FORBIDDEN,
                "no_verified_email",
                "there is no address that GitHub has verified",
                "verify your primary address at GitHub, then begin again",
            ),
            Self::Disabled => (
                StatusCode::FORBIDDEN,
                "account_disabled",
                "this account may not sign in",
                "ask whoever runs this service",
            ),
            Self::NoSession => (
                StatusCode::UNAUTHORIZED,
                "no_session",
                "nobody is signed in, or not any more",
                "sign in",
            ),
            Self::Http(HttpError::TimedOut) => (
                StatusCode::GATEWAY_TIMEOUT,
                "github_unavailable",
                "GitHub did not answer in time",
                "try again later",
            ),
            Self::Token(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "sign_in_failed",
                "no token can be made now",
                "the log has the reason",
            ),
            Self::Client | Self::Said(_) | Self::Status(_) | Self::Garbage(_) | Self::Http(_) => (
                StatusCode::BAD_GATEWAY,
                "github_unavailable",
                "GitHub's answer is of no use",
                "try again later; the log has the reason",
            ),
        };
        let body = json!({ "code": code, "message": message, "details": null, "hint": hint });
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110 wants one; there is no scheme for cookies.
            let scheme = HeaderValue::from_static("Cookie");
            response.headers_mut().insert("www-authenticate", scheme);
        }
        response
    }
}
