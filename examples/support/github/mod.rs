//! Sign-in with GitHub, as routes to mount: the authorization-code flow of RFC 6749 with PKCE (RFC 7636).
//!
//! | route | what it does |
//! |---|---|
//! | `GET /auth/github` | sends the browser to GitHub |
//! | `GET /auth/github/callback` | where GitHub sends it back: begins a session, and shows the page of [`Settings::page`] |
//! | `POST /auth/github/token` | returns an access token for the browser's session, and rotates its refresh token |
//!
//! The browser keeps the refresh token as a cookie that no script can read and no other site can have sent
//! (`HttpOnly`, `SameSite=Strict`). It is no part of an address or a body: a callback is a navigation, whose body is shown and
//! whose address is kept in the history. The page asks `POST /auth/github/token` for the access token, which lives in its
//! memory.
//!
//! GitHub's own token is used for two questions, who and which address, and forgotten.
#![allow(
    dead_code,
    reason = "the examples and the tests each use a part of this"
)]

pub(crate) mod attempt;
mod http;
mod profile;
mod refusal;
mod session;
mod settings;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::{CACHE_CONTROL, LOCATION, SET_COOKIE, USER_AGENT};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rolescope::issuer::TokenIssuer;
use rolescope::{RoleName, RoleScopedPool};
use serde::Deserialize;
use serde_json::json;

use attempt::{Attempt, Cookie};
use profile::GitHub;
use refusal::Refusal;
use session::Sessions;
pub(crate) use settings::{PATH, Settings};

/// How long a browser keeps its refresh token; how long that is good, the database says.
const SESSION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

struct SignIn {
    settings: Settings,
    github: GitHub,
    sessions: Sessions,
}

/// Makes the routes. They stand outside of `RoleScopeLayer`: whoever signs in has no role yet.
///
/// `broker` is the one role that may say who somebody is (`github.sql`), and `issuer` signs the sessions' access tokens.
///
/// # Errors
///
/// The text says what is wrong with the settings or the pool.
pub(crate) fn routes(
    settings: Settings,
    pool: RoleScopedPool,
    broker: RoleName,
    issuer: TokenIssuer,
) -> Result<Router, String> {
    settings.check()?;
    let sign_in = SignIn {
        github: GitHub::new(&settings)?,
        sessions: Sessions::new(pool, broker, issuer)?,
        settings,
    };
    Ok(Router::new()
        .route(PATH, get(begin))
        .route(&format!("{PATH}/callback"), get(callback))
        .route(&format!("{PATH}/token"), post(token))
        .with_state(Arc::new(sign_in)))
}

impl SignIn {
    /// Remembers a sign-in that has begun.
    fn attempt(&self) -> Cookie {
        Cookie {
            name: "github_attempt",
            https: self.settings.is_https(),
            same_site: "Lax",
            lifetime: attempt::LIFETIME,
        }
    }

    /// Keeps the refresh token.
    fn refresh(&self) -> Cookie {
        Cookie {
            name: "refresh",
            https: self.settings.is_https(),
            same_site: "Strict",
            lifetime: SESSION,
        }
    }
}

async fn begin(State(sign_in): State<Arc<SignIn>>) -> Response {
    let attempt = Attempt::begin(SystemTime::now());
    let cookie = sign_in.attempt().set(attempt.secret());
    see_other(
        sign_in.github.authorize_url(&attempt).as_str(),
        vec![cookie],
    )
}

/// What GitHub sends back, with RFC 6749's names. Whatever else comes with it is of no interest.
#[derive(Deserialize)]
struct Answer {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
}

async fn callback(
    State(sign_in): State<Arc<SignIn>>,
    headers: HeaderMap,
    answer: Result<Query<Answer>, QueryRejection>,
) -> Response {
    // One that has a parameter twice is nobody's.
    let ended = match answer {
        Ok(Query(answer)) => finish(&sign_in, &headers, answer).await,
        Err(_) => Err(Refusal::NotBegun),
    };
    // Whatever came of it, it is not tried a second time.
    let forget = sign_in.attempt().remove();
    match ended {
        Ok(refresh) => {
            let keep = sign_in.refresh().set(&refresh);
            see_other(&sign_in.settings.page, vec![forget, keep])
        }
        // Somebody else's link must not end what this browser has begun itself.
        Err(refusal @ Refusal::NotBegun) => answered(refusal, vec![]),
        Err(refusal) => answered(refusal, vec![forget]),
    }
}

/// Returns the refresh token of the session that begins.
async fn finish(sign_in: &SignIn, headers: &HeaderMap, answer: Answer) -> Result<String, Refusal> {
    let state = answer.state.ok_or(Refusal::NotBegun)?;
    let cookie = sign_in.attempt();
    let secret = cookie.of(headers).ok_or(Refusal::NotBegun)?;
    // Before anything else is looked at: until here, anybody may have made this request.
    let attempt = Attempt::resume(secret, &state, SystemTime::now()).ok_or(Refusal::NotBegun)?;
    match (answer.error.as_deref(), answer.code) {
        (None, Some(code)) if code.is_empty() => Err(Refusal::Code),
        (None, Some(code)) => {
            let profile = sign_in.github.profile(code, &attempt).await?;
            let agent = headers
                .get(USER_AGENT)
                .and_then(|agent| agent.to_str().ok());
            sign_in
                .sessions
                .begin(&profile, &attempt.mark(), agent)
                .await
        }
        (Some("access_denied"), _) => Err(Refusal::Denied),
        (Some(word), _) => Err(Refusal::said(word)),
        (None, None) => Err(Refusal::NotBegun),
    }
}

/// Cross-site requests do not have the cookie, and so get nothing.
async fn token(State(sign_in): State<Arc<SignIn>>, headers: HeaderMap) -> Response {
    let cookie = sign_in.refresh();
    // Nor does a neighbour on a subdomain get one, to whom browsers do lend it. Old ones do not say who asks.
    let asked_by = headers.get("sec-fetch-site");
    let is_own = asked_by.is_none_or(|site| site == "same-origin");
    let refreshed = match cookie.of(&headers).filter(|_| is_own) {
        Some(refresh) => sign_in.sessions.refresh(refresh).await,
        None => Err(Refusal::NoSession),
    };
    match refreshed {
        Ok((access, refresh)) => {
            let left = access.expires_at().duration_since(SystemTime::now());
            let body = json!({
                "access_token": access.as_str(),
                "token_type": "Bearer",
                "expires_in": left.unwrap_or_default().as_secs(),
            });
            answered(Json(body), vec![cookie.set(refresh.as_str())])
        }
        // The cookie stays: of two requests at once, the one that came too late must not take the other's.
        Err(refusal) => answered(refusal, vec![]),
    }
}

fn see_other(url: &str, cookies: Vec<String>) -> Response {
    let location = [(LOCATION, url.to_owned())];
    answered((StatusCode::SEE_OTHER, location), cookies)
}

/// None of these answers may be kept by anybody but the browser they are for, and not even by that.
fn answered(answer: impl IntoResponse, cookies: Vec<String>) -> Response {
    let mut response = ([(CACHE_CONTROL, "no-store")], answer).into_response();
    for cookie in cookies {
        // A token or a secret of ours has no character that a header must not have.
        if let Ok(cookie) = cookie.parse() {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
    }
    response
}
