//! The page of the example `todos`: its files, and what it is told as it happens.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{StreamExt, stream};
use rolescope::auth::jwt::TokenError;
use rolescope::{Claims, JwtAuthLayer, JwtVerifier};
use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;

use crate::feed::Feed;
use crate::mailer::Mail;
use crate::statement_log::Logged;

/// What the page shows besides todos.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) verifier: JwtVerifier,
    /// None where the server's log cannot be read.
    pub(crate) statements: Option<Arc<Feed<Logged>>>,
    pub(crate) mails: Arc<Feed<Mail>>,
    /// Told when the service ends.
    pub(crate) stop: watch::Receiver<bool>,
}

/// Nothing but what comes from here: no inline script or style, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

macro_rules! file {
    ($name:literal, $kind:literal) => {
        (
            concat!("/page/", $name),
            $kind,
            include_str!(concat!("todos_page/", $name)),
        )
    };
}

const FILES: [(&str, &str, &str); 11] = [
    file!("page.css", "text/css"),
    file!("page.js", "text/javascript"),
    file!("pane.js", "text/javascript"),
    file!("account.js", "text/javascript"),
    file!("mailbox.js", "text/javascript"),
    file!("routes.js", "text/javascript"),
    file!("session.js", "text/javascript"),
    file!("todos.js", "text/javascript"),
    file!("sql.js", "text/javascript"),
    file!("dom.js", "text/javascript"),
    file!("icon.svg", "image/svg+xml"),
];

/// Makes the routes of the page. `auth` leaves the claims that its stream is for.
pub(crate) fn routes(page: Page, auth: JwtAuthLayer) -> Router {
    let index = include_str!("todos_page/index.html");
    let router = Router::new().route("/", get(async || file("text/html", index)));
    let router = FILES
        .into_iter()
        .fold(router, |router, (path, kind, text)| {
            router.route(path, get(async move || file(kind, text)))
        });
    router
        .route("/mails", get(mails))
        .route("/events", get(events).layer(auth))
        .with_state(page)
}

fn file(kind: &str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, &*format!("{kind}; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    let headers = headers.map(|(name, value): (HeaderName, &str)| (name, value.to_owned()));
    (headers, text).into_response()
}

/// The mails that would have been sent. Only for an example: whoever reads them can sign in as anybody.
async fn mails(State(page): State<Page>) -> Response {
    let changes = page.mails.subscribe();
    let lines = stream::unfold(
        (page.clone(), changes, 0),
        async |(page, mut changes, seen)| {
            let new = loop {
                let new = page.mails.after(seen, |_| true);
                if !new.is_empty() {
                    break new;
                }
                changes.changed().await.ok()?;
            };
            let (seen, lines) = (new.last()?.0, lines(&new));
            Some((lines, (page, changes, seen)))
        },
    );
    streamed(lines, page.stop)
}

/// What the database runs for the caller's token, and at last that the token is good no more.
async fn events(State(page): State<Page>, claims: Claims, headers: HeaderMap) -> Response {
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.split_once(' '))
        .map(|(_, token)| token.to_owned())
        .unwrap_or_default();
    let first = json!({ "kind": "open", "log": page.statements.is_some() });
    let follower = Follower {
        jti: claims.jwt_id().unwrap_or_default().to_owned(),
        changes: page.statements.as_ref().map(|feed| feed.subscribe()),
        page: page.clone(),
        token,
        seen: 0,
        ended: false,
    };
    let first = stream::once(async move { line(&first) });
    let rest = stream::unfold(follower, async |mut follower| {
        Some((follower.next().await?, follower))
    });
    streamed(first.chain(rest), page.stop)
}

struct Follower {
    page: Page,
    token: String,
    jti: String,
    changes: Option<watch::Receiver<u64>>,
    seen: u64,
    ended: bool,
}

impl Follower {
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        loop {
            let new = match &self.page.statements {
                Some(feed) => feed.after(self.seen, |logged| *logged.jti == *self.jti),
                None => Vec::new(),
            };
            if let Some((last, _)) = new.last() {
                self.seen = *last;
                return Some(lines(&new));
            }
            // A stream outlives the look at its token, so it looks again.
            if let Err(refused) = self.page.verifier.verify(&self.token) {
                self.ended = true;
                let revoked = refused == TokenError::Revoked;
                return Some(line(&json!({ "kind": "ended", "revoked": revoked })));
            }
            let changed = async {
                match &mut self.changes {
                    Some(changes) => drop(changes.changed().await),
                    None => pending().await,
                }
            };
            let _ = tokio::time::timeout(Duration::from_millis(200), changed).await;
        }
    }
}

fn line(value: &impl Serialize) -> Bytes {
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

fn lines<T: Serialize>(new: &[(u64, T)]) -> Bytes {
    #[derive(Serialize)]
    struct Numbered<'a, T> {
        number: u64,
        #[serde(flatten)]
        value: &'a T,
    }
    let lines = new.iter().map(|(number, value)| {
        line(&Numbered {
            number: *number,
            value,
        })
    });
    lines.collect::<Vec<_>>().concat().into()
}

/// Lines of JSON until the service ends.
fn streamed(
    lines: impl stream::Stream<Item = Bytes> + Send + 'static,
    mut stop: watch::Receiver<bool>,
) -> Response {
    let stopped = async move { drop(stop.wait_for(|stop| *stop).await.map(drop)) };
    let body = Body::from_stream(lines.take_until(Box::pin(stopped)).map(Ok::<_, Infallible>));
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, body).into_response()
}
