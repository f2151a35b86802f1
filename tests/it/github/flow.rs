//! The way in: what travels, what is kept where, and what the token is good for.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, SET_COOKIE};
use axum::http::{Method, Request};

use super::browser::{Browser, location};
use super::*;
use crate::support::oidc_client::parameter;
use crate::support::service::{self, Reply};

fn set_cookies(reply: &Reply) -> Vec<String> {
    let cookies = reply.headers.get_all(SET_COOKIE).iter();
    cookies
        .map(|cookie| cookie.to_str().expect("it is text").to_owned())
        .collect()
}

#[tokio::test]
async fn a_sign_in_gives_a_session_whose_tokens_the_service_takes() {
    let service = Service::start(settings(provider().await.issuer())).await;
    let mut alice = Browser::new(&service);

    // Out: PKCE and a state, and a cookie that comes back from another site, on this host alone, for ten minutes.
    let begun = alice.get("/auth/github").await;
    assert_eq!(begun.status, 303);
    assert_eq!(begun.headers[CACHE_CONTROL], "no-store");
    let url = location(&begun.headers);
    assert_eq!(parameter(&url, "response_type"), Some("code"));
    assert_eq!(parameter(&url, "client_id"), Some("todos"));
    assert_eq!(parameter(&url, "scope"), Some("read%3Auser+user%3Aemail"));
    assert_eq!(parameter(&url, "code_challenge_method"), Some("S256"));
    assert_eq!(parameter(&url, "code_challenge").map(str::len), Some(43));
    assert_eq!(parameter(&url, "state").map(str::len), Some(43));
    assert!(!url.contains(CLIENT_SECRET));
    let [cookie] = &set_cookies(&begun)[..] else {
        panic!("{begun:?}");
    };
    let (pair, attributes) = cookie.split_once("; ").expect("it has attributes");
    assert!(pair.starts_with("__Host-github_attempt="), "{cookie}");
    assert_eq!(
        attributes,
        "Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure"
    );
    // The address says neither the cookie nor the verifier.
    let secret = pair.split_once('=').expect("it has a value").1;
    assert!(!url.contains(secret));

    // Back: to the page that was configured, with no token in an address or a body.
    let callback = alice.consent(&url, "alice").await;
    let ended = alice.visit(&callback).await;
    assert_eq!((ended.status.as_u16(), &*ended.body), (303, ""));
    assert_eq!(location(&ended.headers), "/page");
    assert_eq!(ended.headers[CACHE_CONTROL], "no-store");
    let [forgotten, kept] = &set_cookies(&ended)[..] else {
        panic!("{ended:?}");
    };
    assert!(
        forgotten.starts_with("__Host-github_attempt=; Path=/; Max-Age=0"),
        "{forgotten}"
    );
    assert!(kept.starts_with("__Host-refresh="), "{kept}");
    assert!(
        kept.ends_with("; Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict; Secure"),
        "{kept}"
    );

    // The token is a user's, who has the role of who signs up, and is listed with the browser that it was.
    let token = alice.token().await.expect("there is a session");
    let list = alice.send(Method::GET, "/todos", Some(&token), "").await;
    assert_eq!(list.ok(), "web_user: ");
    let session = "SELECT u.role || ' ' || u.email || ' ' || u.verified || ' ' || s.user_agent
                   FROM basic_auth.sessions s JOIN basic_auth.users u ON u.id = s.user_id";
    assert_eq!(
        service.column(session).await,
        ["web_user alice@example.com true a browser of tests"]
    );

    // A page on a subdomain makes the browser send the cookie, and gets nothing for it.
    let neighbour = Request::post("/auth/github/token")
        .header(
            "cookie",
            format!("__Host-refresh={}", alice.cookies[0]["__Host-refresh"]),
        )
        .header("sec-fetch-site", "same-site");
    let neighbour = neighbour.body(Body::empty()).expect("it is well formed");
    let refused = service::send(&service.router, neighbour).await;
    assert_eq!(refused.status, 401, "{refused:?}");

    // Each refresh rotates; one that comes back much later ends the session.
    let first = alice.cookies[0].clone();
    alice.token().await.expect("there is a session");
    assert_ne!(alice.cookies[0], first);
    alice.token().await.expect("there is a session");
    let mut thief = Browser::new(&service);
    thief.cookies[0] = first;
    assert_eq!(thief.token().await.expect_err("it is old").status, 401);
    assert_eq!(alice.token().await.expect_err("it was revoked").status, 401);
}

#[tokio::test]
async fn policies_keep_two_people_of_github_apart() {
    let service = Service::start(settings(provider().await.issuer())).await;
    let (mut alice, mut bob) = (Browser::new(&service), Browser::new(&service));
    let alices = alice.token_of("alice").await;
    let bobs = bob.token_of("bob").await;
    for (browser, token, task) in [(&mut alice, &alices, "hers"), (&mut bob, &bobs, "his")] {
        let added = browser
            .send(Method::POST, "/todos", Some(token), task)
            .await;
        assert_eq!(added.status, 200, "{added:?}");
    }
    for (browser, token, seen) in [
        (&mut alice, &alices, "web_user: hers"),
        (&mut bob, &bobs, "web_user: his"),
    ] {
        let list = browser.send(Method::GET, "/todos", Some(token), "").await;
        assert_eq!(list.ok(), seen);
    }

    // The cookies by themselves are no token: only the page's own request makes one of them.
    let list = alice.get("/todos").await;
    assert_eq!(list.status, 401, "{list:?}");
}

#[tokio::test]
async fn nothing_in_a_request_says_where_a_browser_is_sent() {
    let service = Service::start(settings(provider().await.issuer())).await;
    let mut browser = Browser::new(&service);
    let elsewhere = "https://evil.example/";
    let names = [
        "redirect_uri",
        "redirect",
        "return_to",
        "next",
        "url",
        "page",
    ];
    let query = names.map(|name| format!("{name}={elsewhere}")).join("&");
    let begun = browser.get(&format!("/auth/github?{query}")).await;
    let url = location(&begun.headers);
    assert!(
        url.starts_with(provider().await.issuer()) && !url.contains("evil"),
        "{url}"
    );
    let callback = browser.consent(&url, "alice").await;
    let ended = browser.visit(&format!("{callback}&{query}")).await;
    assert_eq!(location(&ended.headers), "/page");
}

#[test]
fn settings_that_would_send_something_astray_are_refused() {
    let read = |changed: &'static str, to: &'static str| {
        Settings::read("http://127.0.0.1:3000", move |name| match name {
            _ if name == changed => Some(to.to_owned()),
            "GITHUB_CLIENT_ID" | "GITHUB_CLIENT_SECRET" => Some("x".to_owned()),
            _ => None,
        })
    };
    let settings = read("", "").expect("it has what it needs");
    assert_eq!(
        settings.authorize_url.as_str(),
        "https://github.com/login/oauth/authorize"
    );
    assert_eq!(
        settings.token_url.as_str(),
        "https://github.com/login/oauth/access_token"
    );
    assert_eq!(settings.api_url.as_str(), "https://api.github.com/");
    assert_eq!(
        settings.callback().as_str(),
        "http://127.0.0.1:3000/auth/github/callback"
    );
    assert!(
        !format!("{settings:?}").contains("client_secret"),
        "{settings:?}"
    );

    for (name, value, says) in [
        (
            "GITHUB_CLIENT_ID",
            " ",
            "GITHUB_CLIENT_ID is not set: register the service at https://github.com/settings/applications/new with the callback URL http://127.0.0.1:3000/auth/github/callback",
        ),
        (
            "GITHUB_CLIENT_SECRET",
            "",
            "GITHUB_CLIENT_SECRET is not set: register",
        ),
        (
            "GITHUB_TOKEN_URL",
            "http://github.example/token",
            "GITHUB_TOKEN_URL http://github.example/token is not safe: use https",
        ),
        (
            "GITHUB_AUTHORIZE_URL",
            "github.example",
            "GITHUB_AUTHORIZE_URL \"github.example\" is no URL",
        ),
        (
            "GITHUB_API_URL",
            "https://me:secret@github.example",
            "GITHUB_API_URL: leave out the user name",
        ),
    ] {
        let error = read(name, value).expect_err(name);
        assert!(error.starts_with(says), "{error}");
    }
    let error = Settings::read("http://todos.example", |_| None).expect_err("it is no https");
    assert!(error.contains("is not safe: use https"), "{error}");
}

#[tokio::test]
async fn a_page_elsewhere_is_refused_when_the_routes_are_made() {
    let database = database().await;
    let pool = database.pool().await;
    for page in [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "page",
        "",
        "/a\r\nb",
    ] {
        let mut settings = settings("http://127.0.0.1:9");
        settings.page = page.to_owned();
        let broker = RoleName::parse("broker").expect("it is a name");
        let error = routes(settings, pool.clone(), broker, issuer()).expect_err(page);
        assert!(
            error.ends_with("is no path of this service: begin it with one /"),
            "{error}"
        );
    }

    // On loopback there need not be https, and then browsers would not keep a cookie that wants it.
    let mut settings = settings("http://127.0.0.1:9");
    settings.service = "http://localhost:3000".parse().expect("a URL");
    let broker = RoleName::parse("broker").expect("it is a name");
    let router = routes(settings, pool, broker, issuer()).expect("they are good");
    let begun = Browser::of(router).get("/auth/github").await;
    let [cookie] = &set_cookies(&begun)[..] else {
        panic!("{begun:?}");
    };
    assert!(cookie.starts_with("github_attempt="), "{cookie}");
    assert!(!cookie.contains("Secure"), "{cookie}");
}
