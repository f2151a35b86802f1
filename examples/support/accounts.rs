//! The routes of `sql/basic_auth.sql` and `sql/sessions.sql`: sign-up, login, refresh, sessions.
//!
//! They go behind `JwtAuthLayer` and `RoleScopeLayer`, as all routes do. None of them decides anything: what anon may call
//! is granted to anon, and the functions take the caller from the claims of the transaction.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, USER_AGENT, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use headers::HeaderMapExt;
use headers::authorization::{Authorization, Basic};
use rolescope::issuer::{IssuedToken, RefreshToken, TokenIssuer};
use rolescope::{Error, RoleScopedConnection};
use serde::Deserialize;
use serde_json::json;

/// The routes, for a service that signs its tokens with `issuer`.
pub(crate) fn routes(issuer: TokenIssuer) -> Router {
    Router::new()
        .route("/signup", post(signup))
        .route("/verify", post(verify))
        .route("/login", post(login))
        .route("/refresh", post(refresh))
        .route("/logout", post(logout))
        .route("/logout_everywhere", post(logout_everywhere))
        .route("/sessions", get(sessions))
        .route("/sessions/{id}", delete(revoke_session))
        .route("/password_reset", post(request_password_reset))
        .route("/reset_password", post(reset_password))
        .with_state(issuer)
}

#[derive(Deserialize)]
struct Credentials {
    email: String,
    password: String,
}

// The answer does not tell whether the address is known: a mail does, to whom it belongs.
async fn signup(
    db: RoleScopedConnection,
    Client { address, .. }: Client,
    Json(new): Json<Credentials>,
) -> Result<StatusCode, Error> {
    db.execute(
        "SELECT signup($1, $2, $3)",
        &[&new.email, &new.password, &address],
    )
    .await?;
    Ok(StatusCode::ACCEPTED)
}

#[derive(Deserialize)]
struct OneTimeToken {
    token: String,
}

async fn verify(
    db: RoleScopedConnection,
    Json(mail): Json<OneTimeToken>,
) -> Result<StatusCode, Error> {
    let row = db
        .query_one("SELECT verify_email($1)", &[&mail.token])
        .await?;
    Ok(no_content_if(row.get(0), StatusCode::BAD_REQUEST))
}

async fn login(
    State(issuer): State<TokenIssuer>,
    db: RoleScopedConnection,
    client: Client,
    SignIn { credentials, basic }: SignIn,
) -> Result<Response, Error> {
    let Some(refresh) = new_refresh_token() else {
        return Ok(StatusCode::INTERNAL_SERVER_ERROR.into_response());
    };
    let token = db
        .issue_token(
            &issuer,
            "SELECT login($1, $2, $3, $4, $5)",
            &[
                &credentials.email,
                &credentials.password,
                &refresh.hash().as_slice(),
                &client.address,
                &client.user_agent,
            ],
        )
        .await?;
    // Here, since a 401 would be rolled back, and the attempt with it.
    db.commit().await?;
    Ok(match token {
        Some(token) => tokens(&token, &refresh),
        // Browsers ask for a password where they are challenged for Basic, so only who began with it is.
        None if basic => refused("Basic realm=\"accounts\", charset=\"UTF-8\""),
        None => refused("Bearer"),
    })
}

#[derive(Deserialize)]
struct Refresh {
    refresh_token: String,
}

async fn refresh(
    State(issuer): State<TokenIssuer>,
    db: RoleScopedConnection,
    Json(old): Json<Refresh>,
) -> Result<Response, Error> {
    let Ok(old) = RefreshToken::parse(&old.refresh_token) else {
        return Ok(refused("Bearer"));
    };
    let Some(new) = new_refresh_token() else {
        return Ok(StatusCode::INTERNAL_SERVER_ERROR.into_response());
    };
    let token = db
        .issue_token(
            &issuer,
            "SELECT refresh($1, $2)",
            &[&old.hash().as_slice(), &new.hash().as_slice()],
        )
        .await?;
    // Here, since a 401 would be rolled back, and with it the end of a session whose old token came back.
    db.commit().await?;
    Ok(match token {
        Some(token) => tokens(&token, &new),
        None => refused("Bearer"),
    })
}

async fn logout(db: RoleScopedConnection) -> Result<StatusCode, Error> {
    db.execute("SELECT logout()", &[]).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn logout_everywhere(db: RoleScopedConnection) -> Result<StatusCode, Error> {
    db.execute("SELECT logout_everywhere()", &[]).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn sessions(db: RoleScopedConnection) -> Result<Response, Error> {
    let sql = "SELECT coalesce(json_agg(s), '[]')::text FROM sessions() s";
    let list: String = db.query_one_scalar(sql, &[]).await?;
    Ok(([(CONTENT_TYPE, "application/json")], list).into_response())
}

async fn revoke_session(
    db: RoleScopedConnection,
    Path(id): Path<String>,
) -> Result<StatusCode, Error> {
    let row = db
        .query_one("SELECT revoke_session($1::text::uuid)", &[&id])
        .await?;
    Ok(no_content_if(row.get(0), StatusCode::NOT_FOUND))
}

#[derive(Deserialize)]
struct Forgotten {
    email: String,
}

// As for sign-up, only a mail tells whether the address is known.
async fn request_password_reset(
    db: RoleScopedConnection,
    Client { address, .. }: Client,
    Json(forgotten): Json<Forgotten>,
) -> Result<StatusCode, Error> {
    db.execute(
        "SELECT request_password_reset($1, $2)",
        &[&forgotten.email, &address],
    )
    .await?;
    Ok(StatusCode::ACCEPTED)
}

#[derive(Deserialize)]
struct NewPassword {
    token: String,
    password: String,
}

async fn reset_password(
    db: RoleScopedConnection,
    Json(new): Json<NewPassword>,
) -> Result<StatusCode, Error> {
    let row = db
        .query_one(
            "SELECT reset_password($1, $2)",
            &[&new.token, &new.password],
        )
        .await?;
    Ok(no_content_if(row.get(0), StatusCode::BAD_REQUEST))
}

/// E-mail and password, as JSON or as `Authorization: Basic`, which `JwtAuthLayer` takes for no token.
struct SignIn {
    credentials: Credentials,
    basic: bool,
}

impl<S: Send + Sync> FromRequest<S> for SignIn {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        if let Some(Authorization(basic)) = request.headers().typed_get::<Authorization<Basic>>() {
            let credentials = Credentials {
                email: basic.username().to_owned(),
                password: basic.password().to_owned(),
            };
            return Ok(Self {
                credentials,
                basic: true,
            });
        }
        let Json(credentials) = Json::from_request(request, state)
            .await
            .map_err(IntoResponse::into_response)?;
        Ok(Self {
            credentials,
            basic: false,
        })
    }
}

/// Who calls. Behind a proxy the address is the proxy's: take it from the header that yours sets, and from no other.
struct Client {
    address: Option<IpAddr>,
    user_agent: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let user_agent = parts.headers.get(USER_AGENT).and_then(|v| v.to_str().ok());
        Ok(Self {
            address: peer.map(|ConnectInfo(peer)| peer.ip().to_canonical()),
            user_agent: user_agent.map(str::to_owned),
        })
    }
}

fn new_refresh_token() -> Option<RefreshToken> {
    RefreshToken::random()
        .inspect_err(|error| tracing::error!(%error, "no refresh token can be made"))
        .ok()
}

fn tokens(token: &IssuedToken, refresh: &RefreshToken) -> Response {
    let body = json!({
        "access_token": token.as_str(),
        "token_type": "Bearer",
        "expires_in": token.expires_in().as_secs(),
        "refresh_token": refresh.as_str(),
    });
    ([(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

fn refused(challenge: &'static str) -> Response {
    let headers = [(WWW_AUTHENTICATE, challenge), (CACHE_CONTROL, "no-store")];
    (StatusCode::UNAUTHORIZED, headers).into_response()
}

fn no_content_if(done: bool, otherwise: StatusCode) -> StatusCode {
    if done {
        StatusCode::NO_CONTENT
    } else {
        otherwise
    }
}
