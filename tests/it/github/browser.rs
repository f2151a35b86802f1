//! A person's browser: it follows redirects, keeps cookies and clicks. The service is asked without a socket in between.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, COOKIE, LOCATION, SET_COOKIE, USER_AGENT};
use axum::http::{HeaderMap, Method, Request};
use serde_json::Value;

use super::{SERVICE, Service};
use crate::support::oidc_client;
use crate::support::service::{Reply, send};

/// What one person has open.
pub(super) struct Browser {
    service: Router,
    /// Of the service and of the provider. A real one keeps them apart, too.
    pub(super) cookies: [BTreeMap<String, String>; 2],
}

impl Browser {
    pub(super) fn new(service: &Service) -> Self {
        Self::of(service.router.clone())
    }

    pub(super) fn of(service: Router) -> Self {
        Self {
            service,
            cookies: Default::default(),
        }
    }

    /// Begins a sign-in, and returns where the service sends this browser.
    pub(super) async fn begin(&mut self) -> String {
        let reply = self.get("/auth/github").await;
        assert_eq!(reply.status, 303, "{reply:?}");
        location(&reply.headers)
    }

    /// Is a person at the provider, where they click on `account` when they are asked who they are. Returns where the
    /// provider sends them at last.
    pub(super) async fn consent(&mut self, url: &str, account: &str) -> String {
        let mut url = url.to_owned();
        for _ in 0..10 {
            if url.starts_with(SERVICE) {
                return url;
            }
            let request = Request::get(&url).header(COOKIE, self.cookie_header(1));
            let request = request.body(Default::default()).expect("it is well formed");
            let answer = oidc_client::send(request)
                .await
                .unwrap_or_else(|e| panic!("{e}"));
            self.keep(1, &answer.headers);
            let next = match answer.headers.get(LOCATION) {
                Some(_) => location(&answer.headers),
                None => {
                    assert_eq!(answer.status, 200, "{answer:?}");
                    let link = format!("?as={account}");
                    assert!(
                        answer.body.contains(&format!("href=\"{link}\"")),
                        "{answer:?}"
                    );
                    link
                }
            };
            let origin = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
            url = match next.as_bytes()[0] {
                b'/' => format!("{origin}{next}"),
                b'?' => format!("{url}{next}"),
                _ => next,
            };
        }
        panic!("too many redirects, the last one to {url}");
    }

    /// Signs in, from the first click to the page.
    pub(super) async fn sign_in(&mut self, account: &str) -> Reply {
        let url = self.begin().await;
        let callback = self.consent(&url, account).await;
        self.visit(&callback).await
    }

    /// Signs in and returns the first access token.
    pub(super) async fn token_of(&mut self, account: &str) -> String {
        let reply = self.sign_in(account).await;
        assert_eq!(reply.status, 303, "{reply:?}");
        assert_eq!(location(&reply.headers), "/page");
        self.token()
            .await
            .unwrap_or_else(|reply| panic!("{reply:?}"))
    }

    /// Asks for an access token, as the page does.
    pub(super) async fn token(&mut self) -> Result<String, Reply> {
        let reply = self
            .send(Method::POST, "/auth/github/token", None, "")
            .await;
        if reply.status != 200 {
            return Err(reply);
        }
        let json = reply.json();
        assert_eq!(json["token_type"], "Bearer");
        let seconds = json["expires_in"].as_u64().expect("it is a number");
        assert!((1..=300).contains(&seconds), "{seconds}");
        let Value::String(token) = &json["access_token"] else {
            panic!("{json}");
        };
        Ok(token.clone())
    }

    /// Goes to an address of the service.
    pub(super) async fn visit(&mut self, url: &str) -> Reply {
        let path = url.strip_prefix(SERVICE).expect("it is the service's");
        self.get(path).await
    }

    pub(super) async fn get(&mut self, path: &str) -> Reply {
        self.send(Method::GET, path, None, "").await
    }

    pub(super) async fn send(
        &mut self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: &'static str,
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(USER_AGENT, "a browser of tests")
            .header(COOKIE, self.cookie_header(0));
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Body::from(body)).expect("it is well formed");
        let reply = send(&self.service, request).await;
        self.keep(0, &reply.headers);
        reply
    }

    fn cookie_header(&self, of: usize) -> String {
        let pairs = self.cookies[of].iter().map(|(k, v)| format!("{k}={v}"));
        pairs.collect::<Vec<_>>().join("; ")
    }

    fn keep(&mut self, of: usize, headers: &HeaderMap) {
        for cookie in headers.get_all(SET_COOKIE) {
            let cookie = cookie.to_str().expect("it is text");
            let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
            let (name, value) = pair.split_once('=').expect("it has a name");
            let attributes = attributes.to_ascii_lowercase();
            if attributes.contains("max-age=0") || attributes.contains("01 jan 1970") {
                self.cookies[of].remove(name);
            } else {
                self.cookies[of].insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

pub(super) fn location(headers: &HeaderMap) -> String {
    let location = headers
        .get(LOCATION)
        .unwrap_or_else(|| panic!("no redirect: {headers:?}"));
    location.to_str().expect("it is text").to_owned()
}
