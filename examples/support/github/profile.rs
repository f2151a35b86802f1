//! Who a code belongs to, by GitHub's word.

use axum::http::Request;
use axum::http::header::{ACCEPT, AUTHORIZATION};
use oauth2::basic::{BasicClient, BasicErrorResponse, BasicErrorResponseType};
use oauth2::url::Url;
use oauth2::{
    AccessToken, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet,
    EndpointSet, PkceCodeChallenge, RedirectUrl, RequestTokenError, Scope, TokenResponse, TokenUrl,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::attempt::Attempt;
use super::http::{Http, HttpError};
use super::refusal::Refusal;
use super::settings::Settings;

type Client = BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// The service as a client of GitHub's.
#[derive(Debug)]
pub(super) struct GitHub {
    client: Client,
    http: Http,
    user: Url,
    emails: Url,
}

/// Who somebody is at GitHub. The number is theirs for ever; the login name and the address can become another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) id: i64,
    pub(super) login: String,
    /// The primary address, where GitHub has verified it.
    pub(super) email: Option<String>,
}

#[derive(Deserialize)]
struct User {
    id: i64,
    login: String,
}

#[derive(Deserialize)]
struct Email {
    email: String,
    primary: bool,
    verified: bool,
}

impl GitHub {
    pub(super) fn new(settings: &Settings) -> Result<Self, String> {
        let Settings { api_url, .. } = settings;
        let below = |path: &str| {
            let mut url = api_url.clone();
            let base = api_url.path().trim_end_matches('/');
            url.set_path(&format!("{base}{path}"));
            url
        };
        let client = BasicClient::new(ClientId::new(settings.client_id.clone()))
            .set_client_secret(ClientSecret::new(settings.client_secret.clone()))
            .set_auth_type(AuthType::RequestBody)
            .set_auth_uri(AuthUrl::from_url(settings.authorize_url.clone()))
            .set_token_uri(TokenUrl::from_url(settings.token_url.clone()))
            .set_redirect_uri(RedirectUrl::from_url(settings.callback()));
        Ok(Self {
            client,
            http: Http::new(settings.timeout)?,
            user: below("/user"),
            emails: below("/user/emails"),
        })
    }

    /// Where a person's browser is to be sent.
    pub(super) fn authorize_url(&self, attempt: &Attempt) -> Url {
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&attempt.verifier());
        let scopes = ["read:user", "user:email"].map(|scope| Scope::new(scope.to_owned()));
        let request = self.client.authorize_url(|| attempt.state());
        request
            .add_scopes(scopes)
            .set_pkce_challenge(challenge)
            .url()
            .0
    }

    /// Exchanges a code for a token, asks with it who they are, and forgets it.
    pub(super) async fn profile(
        &self,
        code: String,
        attempt: &Attempt,
    ) -> Result<Profile, Refusal> {
        let exchange = self
            .client
            .exchange_code(AuthorizationCode::new(code))
            .set_pkce_verifier(attempt.verifier());
        let answer = exchange.request_async(&self.http).await;
        let answer = answer.map_err(no_token)?;
        let token = answer.access_token();
        let User { id, login } = self.ask(&self.user, token).await?;
        let emails: Vec<Email> = self.ask(&self.emails, token).await?;
        let is_text = |text: &str| !text.is_empty() && !text.contains(char::is_control);
        if id < 1 || !is_text(&login) {
            return Err(Refusal::garbage("a user without a number or a name"));
        }
        let mut emails = emails.into_iter();
        let email = emails.find(|email| email.primary && email.verified && is_text(&email.email));
        Ok(Profile {
            id,
            login,
            email: email.map(|email| email.email),
        })
    }

    async fn ask<T: DeserializeOwned>(&self, url: &Url, token: &AccessToken) -> Result<T, Refusal> {
        let request = Request::get(url.as_str())
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, format!("Bearer {}", token.secret()))
            .body(Vec::new())
            .map_err(|_| Refusal::garbage("a token that is none"))?;
        let answer = self.http.send(request).await?;
        if !answer.status().is_success() {
            return Err(Refusal::status(answer.status()));
        }
        // What serde says of it could show a part of it.
        serde_json::from_slice(answer.body()).map_err(|_| Refusal::garbage("no such JSON"))
    }
}

fn no_token(error: RequestTokenError<HttpError, BasicErrorResponse>) -> Refusal {
    let said = match error {
        RequestTokenError::Request(error) => return error.into(),
        RequestTokenError::ServerResponse(said) => said,
        // GitHub says what is wrong with the status 200.
        RequestTokenError::Parse(_, body) => match serde_json::from_slice(&body) {
            Ok(said) => said,
            Err(_) => return Refusal::garbage("neither a token nor an error"),
        },
        RequestTokenError::Other(_) => return Refusal::garbage("no JSON"),
    };
    match said.error() {
        BasicErrorResponseType::InvalidGrant => Refusal::Code,
        BasicErrorResponseType::InvalidClient | BasicErrorResponseType::UnauthorizedClient => {
            Refusal::Client
        }
        BasicErrorResponseType::Extension(word) => match word.as_str() {
            "bad_verification_code" => Refusal::Code,
            "incorrect_client_credentials" => Refusal::Client,
            "unverified_user_email" => Refusal::NoEmail,
            word => Refusal::said(word),
        },
        other => Refusal::said(other.as_ref()),
    }
}
