//! A person's browser: it follows redirects and keeps cookies.

use std::collections::BTreeMap;

use hyper::Request;
use hyper::header::{COOKIE, LOCATION, SET_COOKIE};

use super::CALLBACK;
use crate::support::local_provider::LocalProvider;
use crate::support::oidc_client::{Login, parameter, send};

/// Logs a person in, and returns the token that their client gets for it.
pub(super) async fn log_in(provider: &LocalProvider, algorithm: &str, person: &str) -> String {
    let (issuer, client) = (provider.issuer(), format!("browser-{algorithm}"));
    let (login, url) = Login::start(issuer, &client, CALLBACK, "chosen by a test");
    let callback = visit(issuer, &format!("{url}&login_hint={person}")).await;
    assert_eq!(parameter(&callback, "state"), Some(&*login.state));
    let code = parameter(&callback, "code").unwrap_or_else(|| panic!("no code: {callback}"));
    let token = login.finish(issuer, &client, code).await;
    token.unwrap_or_else(|e| panic!("{e}"))
}

/// Follows redirects until they lead to the client, and returns where that is.
async fn visit(issuer: &str, url: &str) -> String {
    let mut url = url.to_owned();
    let mut cookies = BTreeMap::new();
    for _ in 0..10 {
        if url.starts_with(CALLBACK) {
            return url;
        }
        let values: Vec<_> = cookies.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let request = Request::get(&url).header(COOKIE, values.join("; "));
        let request = request.body(Default::default()).expect("it is well formed");
        let answer = send(request).await.unwrap_or_else(|e| panic!("{e}"));
        for cookie in answer.headers.get_all(SET_COOKIE) {
            let cookie = cookie.to_str().expect("it is text");
            let pair = cookie
                .split(';')
                .next()
                .and_then(|pair| pair.split_once('='));
            let (name, value) = pair.expect("it has a name");
            cookies.insert(name.to_owned(), value.to_owned());
        }
        let location = answer.headers.get(LOCATION);
        let location = location.unwrap_or_else(|| panic!("no redirect: {answer:?}"));
        let location = location.to_str().expect("it is text");
        url = match location.strip_prefix('/') {
            Some(path) => format!("{issuer}/{path}"),
            None => location.to_owned(),
        };
    }
    panic!("too many redirects, the last one to {url}");
}
