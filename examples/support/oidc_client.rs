//! What a client of an OpenID provider does: it gets tokens, for itself or in the name of a person.
#![allow(
    dead_code,
    reason = "the examples and the tests each use a part of this"
)]

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// Sends a request to a server on loopback.
pub(crate) async fn send(request: Request<Full<Bytes>>) -> Result<Answer, String> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let response = client.request(request).await.map_err(|e| e.to_string())?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// Gets a client a token of its own (RFC 6749 section 4.4).
pub(crate) async fn client_credentials(
    issuer: &str,
    id: &str,
    secret: &str,
) -> Result<String, String> {
    let form = "grant_type=client_credentials&scope=todos".to_owned();
    access_token(issuer, form, Some((id, secret))).await
}

/// The part of a login that the client remembers until the person comes back (RFC 7636, RFC 6749 section 10.12).
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) state: String,
    verifier: String,
    redirect_uri: String,
}

impl Login {
    /// Starts a login out of 32 random bytes or more, and returns where the person's browser is to be sent.
    pub(crate) fn start(
        issuer: &str,
        client: &str,
        redirect_uri: &str,
        random: &str,
    ) -> (Self, String) {
        let of = |what: &str| {
            let hash = Sha256::digest(format!("{what}{random}"));
            URL_SAFE_NO_PAD.encode(hash)
        };
        let this = Self {
            state: of("state"),
            verifier: of("verifier"),
            redirect_uri: redirect_uri.to_owned(),
        };
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&this.verifier));
        let url = format!(
            "{issuer}/auth?client_id={client}&response_type=code&redirect_uri={redirect_uri}&scope=openid%20todos\
             &state={}&code_challenge={challenge}&code_challenge_method=S256",
            this.state
        );
        (this, url)
    }

    /// Exchanges the code that the person came back with for a token.
    pub(crate) async fn finish(
        &self,
        issuer: &str,
        client: &str,
        code: &str,
    ) -> Result<String, String> {
        let Self {
            verifier,
            redirect_uri,
            ..
        } = self;
        let form = format!(
            "grant_type=authorization_code&client_id={client}&code={code}&redirect_uri={redirect_uri}\
             &code_verifier={verifier}"
        );
        access_token(issuer, form, None).await
    }
}

async fn access_token(
    issuer: &str,
    form: String,
    basic: Option<(&str, &str)>,
) -> Result<String, String> {
    let mut request = Request::post(format!("{issuer}/token"))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some((id, secret)) = basic {
        let credentials = STANDARD.encode(format!("{id}:{secret}"));
        request = request.header(AUTHORIZATION, format!("Basic {credentials}"));
    }
    let request = request.body(form.into()).map_err(|e| e.to_string())?;
    let answer = send(request).await?;
    let json: Value = serde_json::from_str(&answer.body).map_err(|e| e.to_string())?;
    let token = json["access_token"].as_str().map(str::to_owned);
    token.ok_or_else(|| format!("the provider gave no token: {}", answer.body))
}

/// Returns a parameter of a URL's query, where it needs no decoding.
pub(crate) fn parameter<'u>(url: &'u str, name: &str) -> Option<&'u str> {
    let (_, query) = url.split_once('?')?;
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}
