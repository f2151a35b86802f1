//! STUB: accounts in memory, until those of SQL are here.
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use jsonwebtoken::{EncodingKey, Header};
use serde::Deserialize;
use serde_json::json;

use crate::feed::Feed;
use crate::todos_database::random_hex;
use crate::todos_page::Mail;

#[derive(Clone)]
pub(crate) struct Stub(Arc<Inner>);
struct Inner {
    secret: String,
    role: String,
    lifetime: Duration,
    mails: Arc<Feed<Mail>>,
    users: Mutex<HashMap<String, User>>,
    refresh: Mutex<HashMap<String, String>>,
}
#[derive(Clone)]
struct User {
    id: String,
    password: String,
    token: String,
    verified: bool,
}
#[derive(Deserialize)]
struct Login {
    email: String,
    password: String,
}
#[derive(Deserialize)]
struct Token {
    #[serde(alias = "refresh_token")]
    token: String,
}

pub(crate) fn routes(
    secret: &str,
    role: &str,
    lifetime: Duration,
    mails: Arc<Feed<Mail>>,
) -> Router {
    Router::new()
        .route("/signup", post(signup))
        .route("/verify", post(verify))
        .route("/login", post(login))
        .route("/refresh", post(refresh))
        .route("/logout", post(logout))
        .route("/logout_everywhere", post(logout))
        .with_state(Stub(Arc::new(Inner {
            secret: secret.into(),
            role: role.into(),
            lifetime,
            mails,
            users: Mutex::default(),
            refresh: Mutex::default(),
        })))
}

impl Stub {
    fn tokens(&self, email: &str) -> Response {
        let id = self.0.users.lock().unwrap()[email].id.clone();
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let claims = json!({"iss": "http://127.0.0.1:3000", "sub": id, "role": self.0.role, "aud": "todos", "email": email, "iat": now.as_secs(),
            "exp": (now + self.0.lifetime).as_secs(), "jti": random_hex(16).unwrap(), "sid": random_hex(16).unwrap() });
        let key = EncodingKey::from_secret(self.0.secret.as_bytes());
        let access = jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap();
        let refresh = random_hex(32).unwrap();
        self.0
            .refresh
            .lock()
            .unwrap()
            .insert(refresh.clone(), email.to_owned());
        Json(json!({"access_token": access, "token_type": "Bearer", "expires_in": self.0.lifetime.as_secs(), "refresh_token": refresh})).into_response()
    }
}
async fn signup(State(stub): State<Stub>, Json(new): Json<Login>) -> StatusCode {
    let token = random_hex(16).unwrap();
    let id = random_hex(16).unwrap();
    let id = format!(
        "{}-{}-{}-{}-{}",
        &id[..8],
        &id[8..12],
        &id[12..16],
        &id[16..20],
        &id[20..]
    );
    let user = User {
        id,
        password: new.password,
        token: token.clone(),
        verified: false,
    };
    stub.0.users.lock().unwrap().insert(new.email.clone(), user);
    stub.0.mails.push(Mail {
        to: new.email,
        kind: "verify".into(),
        token,
    });
    StatusCode::ACCEPTED
}
async fn verify(State(stub): State<Stub>, Json(t): Json<Token>) -> StatusCode {
    for user in stub.0.users.lock().unwrap().values_mut() {
        if user.token == t.token {
            user.verified = true;
            return StatusCode::NO_CONTENT;
        }
    }
    StatusCode::BAD_REQUEST
}
async fn login(State(stub): State<Stub>, Json(l): Json<Login>) -> Response {
    let ok = stub
        .0
        .users
        .lock()
        .unwrap()
        .get(&l.email)
        .is_some_and(|u| u.verified && u.password == l.password);
    if ok {
        stub.tokens(&l.email)
    } else {
        StatusCode::UNAUTHORIZED.into_response()
    }
}
async fn refresh(State(stub): State<Stub>, Json(t): Json<Token>) -> Response {
    let email = stub.0.refresh.lock().unwrap().remove(&t.token);
    match email {
        Some(email) => stub.tokens(&email),
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}
async fn logout(State(stub): State<Stub>, _headers: HeaderMap) -> StatusCode {
    stub.0.refresh.lock().unwrap().clear();
    StatusCode::NO_CONTENT
}
