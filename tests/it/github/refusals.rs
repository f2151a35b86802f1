//! Whoever did not begin a sign-in does not end it, and no part of one is good twice.

use std::time::SystemTime;

use axum::http::header::{CACHE_CONTROL, SET_COOKIE};

use super::browser::{Browser, location};
use super::*;
use crate::support::github::attempt::{Attempt, LIFETIME};
use crate::support::oidc_client::parameter;
use crate::support::service::Reply;

const ATTEMPT: &str = "__Host-github_attempt";

#[track_caller]
pub(super) fn assert_refused(reply: &Reply, status: u16, code: &str) {
    let json = reply.json();
    assert_eq!(
        (reply.status.as_u16(), &json["code"]),
        (status, &json!(code)),
        "{reply:?}"
    );
    assert!(
        json["message"].is_string() && json["hint"].is_string(),
        "{reply:?}"
    );
    assert_eq!(reply.headers[CACHE_CONTROL], "no-store");
    let cookies = reply.headers.get_all(SET_COOKIE).iter();
    for cookie in cookies.map(|cookie| cookie.to_str().expect("it is text")) {
        assert!(!cookie.contains("refresh="), "{cookie}");
    }
}

/// A callback with one parameter changed, or removed.
fn with(callback: &str, name: &str, value: Option<&str>) -> String {
    let (path, query) = callback.split_once('?').expect("it has a query");
    let mut pairs: Vec<_> = query.split('&').map(str::to_owned).collect();
    pairs.retain(|pair| !pair.starts_with(&format!("{name}=")));
    pairs.extend(value.map(|value| format!("{name}={value}")));
    format!("{path}?{}", pairs.join("&"))
}

#[tokio::test]
async fn only_the_browser_that_began_a_sign_in_ends_it() {
    let service = Service::start(settings(provider().await.issuer())).await;
    let mut alice = Browser::new(&service);
    let url = alice.begin().await;
    let callback = alice.consent(&url, "alice").await;
    let state = parameter(&callback, "state").expect("there is one");
    let code = parameter(&callback, "code").expect("there is one");

    let mut other = Browser::new(&service);
    let others_url = other.begin().await;
    let others_state = parameter(&others_url, "state")
        .expect("there is one")
        .to_owned();
    let mut without = Browser::new(&service);
    // Login CSRF: mallory's code, brought to a browser that has begun a sign-in of its own, and to one that has not.
    assert_refused(&other.visit(&callback).await, 400, "sign_in_not_begun");
    assert_refused(&without.visit(&callback).await, 400, "sign_in_not_begun");
    let mixed = with(&callback, "state", Some(&others_state));
    assert_refused(&alice.visit(&mixed).await, 400, "sign_in_not_begun");
    // One sign-in's state with another one's code passes here; the provider knows who asked for the code.
    assert_refused(&other.visit(&mixed).await, 400, "bad_code");

    let short = &state[..42];
    for state in [None, Some(""), Some(short), Some("%C3%A4"), Some("%00")] {
        let reply = alice.visit(&with(&callback, "state", state)).await;
        assert_refused(&reply, 400, "sign_in_not_begun");
    }
    for twice in ["state", "code"] {
        let reply = alice.visit(&format!("{callback}&{twice}=x")).await;
        assert_refused(&reply, 400, "sign_in_not_begun");
    }
    // Of two cookies, a neighbour has planted one.
    let mine = alice.cookies[0][ATTEMPT].clone();
    for planted in [
        format!("1; {ATTEMPT}={mine}"),
        format!("{mine}; {ATTEMPT}=1"),
    ] {
        alice.cookies[0].insert(ATTEMPT.to_owned(), planted);
        assert_refused(&alice.visit(&callback).await, 400, "sign_in_not_begun");
    }
    for cookie in [
        "",
        ".",
        "1",
        "x.y",
        &mine[1..],
        &format!("{mine}x"),
        state,
        code,
    ] {
        alice.cookies[0].insert(ATTEMPT.to_owned(), cookie.to_owned());
        assert_refused(&alice.visit(&callback).await, 400, "sign_in_not_begun");
    }

    // None of that has ended what alice began.
    alice.cookies[0].insert(ATTEMPT.to_owned(), mine);
    let ended = alice.visit(&callback).await;
    assert_eq!(location(&ended.headers), "/page");
}

#[tokio::test]
async fn a_sign_in_ends_once() {
    let service = Service::start(settings(provider().await.issuer())).await;
    let mut alice = Browser::new(&service);
    let url = alice.begin().await;
    let callback = alice.consent(&url, "alice").await;
    let attempt = alice.cookies[0][ATTEMPT].clone();
    assert_eq!(alice.visit(&callback).await.status, 303);
    assert!(!alice.cookies[0].contains_key(ATTEMPT));
    assert_refused(&alice.visit(&callback).await, 400, "sign_in_not_begun");

    // A browser that kept the cookie: the code is used,
    alice.cookies[0].insert(ATTEMPT.to_owned(), attempt.clone());
    assert_refused(&alice.visit(&callback).await, 400, "bad_code");
    // and so is the state, with a code that is good.
    alice.cookies[0].insert(ATTEMPT.to_owned(), attempt);
    let again = alice.consent(&url, "alice").await;
    assert_ne!(again, callback);
    let reply = alice.visit(&again).await;
    assert_refused(&reply, 400, "PT400");
    assert_eq!(reply.json()["message"], "this sign-in has ended already");
    assert_eq!(
        service
            .column("SELECT count(*)::text FROM basic_auth.sessions")
            .await,
        ["1"]
    );
}

#[tokio::test]
async fn a_sign_in_that_took_too_long_is_over() {
    let service = Service::start(settings(provider().await.issuer())).await;
    let ago = |time| SystemTime::now() - time;
    let minute = Duration::from_secs(60);
    for (began, status) in [(ago(LIFETIME + minute), 400), (ago(LIFETIME - minute), 303)] {
        let mut alice = Browser::new(&service);
        let url = alice.begin().await;
        // The same, begun earlier: another state, and another challenge of the same verifier's.
        let attempt = Attempt::begin(began);
        alice.cookies[0].insert(ATTEMPT.to_owned(), attempt.secret().to_owned());
        let challenge = oauth2::PkceCodeChallenge::from_code_verifier_sha256(&attempt.verifier());
        let state = attempt.state();
        let url = with(&url, "state", Some(state.secret()));
        let url = with(&url, "code_challenge", Some(challenge.as_str()));
        let callback = alice.consent(&url, "alice").await;
        let reply = alice.visit(&callback).await;
        assert_eq!(reply.status, status, "{reply:?}");
    }
}

#[tokio::test]
async fn a_code_is_good_with_its_own_verifier_only() {
    let service = Service::start(settings(provider().await.issuer())).await;
    let (mut alice, mut mallory) = (Browser::new(&service), Browser::new(&service));
    let alices = alice.begin().await;
    let stolen = alice.consent(&alices, "alice").await;
    let stolen = parameter(&stolen, "code").expect("there is one");
    // Mallory has got hold of alice's code, and puts it into an answer to a sign-in of his own.
    let own = mallory.begin().await;
    let own = mallory.consent(&own, "mallory").await;
    let injected = with(&own, "code", Some(stolen));
    assert_refused(&mallory.visit(&injected).await, 400, "bad_code");
    assert_eq!(
        mallory
            .token()
            .await
            .expect_err("there is no session")
            .status,
        401
    );
    for code in ["", "wrong", "%00", "%ff"] {
        let mut browser = Browser::new(&service);
        let url = browser.begin().await;
        let callback = browser.consent(&url, "alice").await;
        let reply = browser.visit(&with(&callback, "code", Some(code))).await;
        assert_refused(&reply, 400, "bad_code");
    }
}

#[tokio::test]
async fn whoever_says_no_is_told_so() {
    let service = Service::start(settings(provider().await.issuer())).await;
    let mut browser = Browser::new(&service);
    let reply = browser.sign_in("nobody").await;
    assert_refused(&reply, 403, "access_denied");
    assert!(!browser.cookies[0].contains_key(ATTEMPT));
    assert_eq!(
        service
            .column("SELECT id::text FROM basic_auth.users")
            .await,
        [""; 0]
    );

    // Only who has begun is told anything; and what else a provider may say is not repeated.
    let mut other = Browser::new(&service);
    let denied = "/auth/github/callback?error=access_denied&state=x";
    assert_refused(&other.get(denied).await, 400, "sign_in_not_begun");
    for (query, status, code) in [
        (
            "error=server_error&error_description=%3Cscript%3E",
            502,
            "github_unavailable",
        ),
        (
            "error=application_suspended&code=x",
            502,
            "github_unavailable",
        ),
        ("", 400, "sign_in_not_begun"),
    ] {
        let url = other.begin().await;
        let state = parameter(&url, "state").expect("there is one");
        let reply = other
            .get(&format!("/auth/github/callback?state={state}&{query}"))
            .await;
        assert_refused(&reply, status, code);
        assert!(!reply.body.contains("script"), "{reply:?}");
    }
}

#[tokio::test]
async fn a_session_cookie_that_is_none_gives_no_token() {
    let service = Service::start(settings("http://127.0.0.1:9")).await;
    let well_formed = rolescope::issuer::RefreshToken::random().expect("there is randomness");
    for cookie in [
        None,
        Some(""),
        Some("x"),
        Some("\"'"),
        Some(well_formed.as_str()),
    ] {
        let mut browser = Browser::new(&service);
        if let Some(cookie) = cookie {
            browser.cookies[0].insert("__Host-refresh".to_owned(), cookie.to_owned());
        }
        let reply = browser.token().await.expect_err("it is nobody's");
        assert_refused(&reply, 401, "no_session");
    }
    // It is a POST, so that no link and no image makes one.
    let reply = Browser::new(&service).get("/auth/github/token").await;
    assert_eq!(reply.status, 405);
}
