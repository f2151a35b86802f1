//! The routes of `examples/support/accounts.rs`, as a client meets them.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, StatusCode};
use axum::routing::get;
use rolescope::issuer::{SigningKey, TokenIssuer};
use rolescope::role::RoleName;
use rolescope::{Error, JwtAuthLayer, JwtVerifier, RoleScopeLayer, RoleScopedConnection};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use self::mailer::{Mail, send_mails};
use super::{Accounts, PASSWORD, claim};
use crate::support::proxy::within;
use crate::support::service::{Reply, send};

#[path = "../../../examples/support/mailer.rs"]
mod mailer;
#[path = "../../../examples/support/accounts.rs"]
mod routes;

struct Service {
    accounts: Accounts,
    app: Router,
    pool: rolescope::RoleScopedPool,
}

impl Service {
    async fn new() -> Self {
        let accounts = Accounts::new().await;
        accounts
            .execute("INSERT INTO basic_auth.roles VALUES ('author')")
            .await;
        let pool = accounts.database.pool().await;
        let key = SigningKey::random_ed25519("1").expect("there is randomness");
        let issuer = TokenIssuer::builder(key)
            .issuer("https://login.example")
            .build()
            .expect("it is complete");
        let verifier = JwtVerifier::builder()
            .keys(issuer.verifying_keys())
            .expect("there is one")
            .issuer("https://login.example")
            .build()
            .expect("there is a crypto backend");
        async fn whoami(db: RoleScopedConnection) -> Result<String, Error> {
            db.query_one_scalar("SELECT current_user::text", &[]).await
        }
        let app = routes::routes(issuer)
            .route("/whoami", get(whoami))
            .layer(RoleScopeLayer::new(pool.clone()))
            .layer(JwtAuthLayer::new(verifier));
        Self {
            accounts,
            app,
            pool,
        }
    }

    async fn call(
        &self,
        method: Method,
        uri: &str,
        authorization: Option<&str>,
        body: &Value,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let body = if body.is_null() {
            Body::empty()
        } else {
            request = request.header("content-type", "application/json");
            Body::from(body.to_string())
        };
        send(&self.app, request.body(body).expect("it is one")).await
    }

    async fn post(&self, uri: &str, body: Value) -> Reply {
        self.call(Method::POST, uri, None, &body).await
    }

    async fn login(&self, email: &str, password: &str) -> Reply {
        self.post("/login", json!({ "email": email, "password": password }))
            .await
    }

    async fn refresh(&self, tokens: &Value) -> Reply {
        self.post(
            "/refresh",
            json!({ "refresh_token": tokens["refresh_token"] }),
        )
        .await
    }

    async fn with(&self, method: Method, uri: &str, tokens: &Value) -> Reply {
        let bearer = format!("Bearer {}", claim(tokens, "access_token"));
        self.call(method, uri, Some(&bearer), &Value::Null).await
    }
}

#[tokio::test]
async fn accounts_http_from_the_sign_up_to_the_sign_out() {
    let service = Service::new().await;
    let (sender, mut sent) = mpsc::unbounded_channel::<Mail>();
    let (url, pool) = (
        service.accounts.database.url("authenticator"),
        service.pool.clone(),
    );
    let mailer = RoleName::parse(&service.accounts.mailer).expect("it is a name");
    let mailing = tokio::spawn(async move {
        send_mails(&url, &pool, mailer, |mail| {
            sender.send(mail).expect("it is read")
        })
        .await;
    });
    let mut token_of = async |kind: &str| {
        let mail = within(sent.recv()).await.expect("it is sent");
        assert_eq!(
            (mail.kind.as_str(), mail.to.as_str()),
            (kind, "alice@example.com")
        );
        mail.token.expect("it has one")
    };

    let alice = json!({ "email": "alice@example.com", "password": PASSWORD });
    assert_eq!(
        service.post("/signup", alice.clone()).await.status,
        StatusCode::ACCEPTED
    );
    let token = token_of("verify").await;
    let wrong = service.post("/verify", json!({ "token": "x" })).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    for status in [StatusCode::NO_CONTENT, StatusCode::BAD_REQUEST] {
        assert_eq!(
            service
                .post("/verify", json!({ "token": token }))
                .await
                .status,
            status
        );
    }

    let answer = service.post("/login", alice).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    let first = answer.json();
    assert_eq!(first["token_type"], "Bearer");
    assert!((200..=300).contains(&first["expires_in"].as_u64().expect("a number")));
    assert_eq!(
        service.with(Method::GET, "/whoami", &first).await.ok(),
        "web_user"
    );
    let second = service.refresh(&first).await.json();
    assert_eq!(
        service.with(Method::GET, "/whoami", &second).await.ok(),
        "web_user"
    );
    let sessions = service.with(Method::GET, "/sessions", &second).await.json();
    assert_eq!(sessions[0]["current"], true);
    assert_eq!(sessions.as_array().expect("a list").len(), 1);

    let forgotten = json!({ "email": "alice@example.com" });
    assert_eq!(
        service.post("/password_reset", forgotten).await.status,
        StatusCode::ACCEPTED
    );
    let reset = json!({ "token": token_of("reset").await, "password": "a new password of hers" });
    for status in [StatusCode::NO_CONTENT, StatusCode::BAD_REQUEST] {
        assert_eq!(
            service.post("/reset_password", reset.clone()).await.status,
            status
        );
    }
    assert_eq!(
        service.refresh(&second).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        service.login("alice@example.com", PASSWORD).await.status,
        StatusCode::UNAUTHORIZED
    );

    let third = service
        .login("alice@example.com", "a new password of hers")
        .await
        .json();
    let fourth = service
        .login("alice@example.com", "a new password of hers")
        .await
        .json();
    let sessions = service.with(Method::GET, "/sessions", &third).await.json();
    let other = sessions
        .as_array()
        .expect("a list")
        .iter()
        .find(|s| s["current"] == false);
    let other = format!("/sessions/{}", claim(other.expect("there is one"), "id"));
    for status in [StatusCode::NO_CONTENT, StatusCode::NOT_FOUND] {
        assert_eq!(
            service.with(Method::DELETE, &other, &third).await.status,
            status
        );
    }
    assert_eq!(
        service.refresh(&fourth).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        service.with(Method::POST, "/logout", &third).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        service.refresh(&third).await.status,
        StatusCode::UNAUTHORIZED
    );

    let [fifth, sixth] = [
        service
            .login("alice@example.com", "a new password of hers")
            .await
            .json(),
        service
            .login("alice@example.com", "a new password of hers")
            .await
            .json(),
    ];
    let everywhere = service
        .with(Method::POST, "/logout_everywhere", &fifth)
        .await;
    assert_eq!(everywhere.status, StatusCode::NO_CONTENT);
    for tokens in [fifth, sixth] {
        assert_eq!(
            service.refresh(&tokens).await.status,
            StatusCode::UNAUTHORIZED
        );
    }
    mailing.abort();
}

#[tokio::test]
async fn accounts_http_a_failed_login_leaves_its_trace() {
    let service = Service::new().await;
    service.accounts.user("alice@example.com").await;
    for _ in 0..5 {
        let refused = service.login("alice@example.com", "wrong").await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        assert_eq!(refused.headers["www-authenticate"], "Bearer");
        assert_eq!(refused.body, "");
    }
    let limited = service.login("alice@example.com", PASSWORD).await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
    let seconds: u32 = limited.headers["retry-after"]
        .to_str()
        .expect("text")
        .parse()
        .expect("a number");
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(limited.json()["code"], "too_many_attempts");
}

#[tokio::test]
async fn accounts_http_basic_is_for_login_only() {
    let service = Service::new().await;
    service.accounts.user("alice@example.com").await;
    use base64::Engine as _;
    let basic = |password: &str| {
        let text = format!("alice@example.com:{password}");
        format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(text)
        )
    };
    let (right, wrong) = (basic(PASSWORD), basic("wrong"));
    let login = async |basic: &str| {
        let none = Value::Null;
        service
            .call(Method::POST, "/login", Some(basic), &none)
            .await
    };
    let tokens = login(&right).await.json();
    assert_eq!(
        service.with(Method::GET, "/whoami", &tokens).await.ok(),
        "web_user"
    );
    let refused = login(&wrong).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        refused.headers["www-authenticate"],
        r#"Basic realm="accounts", charset="UTF-8""#
    );
    let elsewhere = service
        .call(Method::GET, "/whoami", Some(&right), &Value::Null)
        .await;
    assert_eq!(elsewhere.ok(), "anon");
    let elsewhere = service
        .call(Method::GET, "/sessions", Some(&right), &Value::Null)
        .await;
    assert_eq!(elsewhere.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn accounts_http_an_old_refresh_token_ends_the_session_for_good() {
    let service = Service::new().await;
    service.accounts.user("alice@example.com").await;
    let first = service.login("alice@example.com", PASSWORD).await.json();
    let second = service.refresh(&first).await.json();
    let third = service.refresh(&second).await.json();
    let back = service.refresh(&first).await;
    assert_eq!(back.status, StatusCode::UNAUTHORIZED);
    assert_eq!(back.headers["cache-control"], "no-store");
    assert_eq!(
        service.refresh(&third).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(service.accounts.revoked().await.len(), 3);
    for garbage in [json!("x"), json!("")] {
        let refused = service
            .post("/refresh", json!({ "refresh_token": garbage }))
            .await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    }
}

/// The second seed's fifth point: new tokens when they expire, or when permissions change.
#[tokio::test]
async fn accounts_http_changed_permissions_are_in_the_next_token_and_the_old_one_is_revoked() {
    let service = Service::new().await;
    service.accounts.user("alice@example.com").await;
    let first = service.login("alice@example.com", PASSWORD).await.json();
    assert_eq!(
        service.with(Method::GET, "/whoami", &first).await.ok(),
        "web_user"
    );
    service
        .accounts
        .execute("UPDATE basic_auth.users SET role = 'author'")
        .await;
    let revoked = service.accounts.revoked().await;
    assert_eq!(revoked, [claim(&payload(&first), "jti")]);
    let second = service.refresh(&first).await.json();
    assert_eq!(
        service.with(Method::GET, "/whoami", &second).await.ok(),
        "author"
    );
    assert!(
        !service
            .accounts
            .revoked()
            .await
            .contains(&claim(&payload(&second), "jti").to_owned())
    );
}

#[tokio::test]
async fn accounts_http_sessions_say_where_they_were_begun() {
    let service = Service::new().await;
    service.accounts.user("alice@example.com").await;
    let body = json!({ "email": "alice@example.com", "password": PASSWORD });
    let peer: SocketAddr = "[::ffff:192.0.2.7]:4711".parse().expect("an address");
    let request = Request::post("/login")
        .header("content-type", "application/json")
        .header("user-agent", "a browser")
        .extension(ConnectInfo(peer))
        .body(Body::from(body.to_string()))
        .expect("it is one");
    let tokens = send(&service.app, request).await.json();
    let sessions = service.with(Method::GET, "/sessions", &tokens).await.json();
    assert_eq!(sessions[0]["address"], "192.0.2.7");
    assert_eq!(sessions[0]["user_agent"], "a browser");
}

#[tokio::test]
async fn accounts_http_nobody_is_told_who_has_an_account() {
    let service = Service::new().await;
    service.accounts.user("alice@example.com").await;
    let mut answers = Vec::new();
    for email in ["alice@example.com", "nobody@example.com"] {
        for (uri, body) in [
            ("/signup", json!({ "email": email, "password": PASSWORD })),
            ("/password_reset", json!({ "email": email })),
            ("/login", json!({ "email": email, "password": "wrong" })),
        ] {
            let reply = service.post(uri, body).await;
            answers.push(format!(
                "{uri} {} {:?} {}",
                reply.status, reply.headers, reply.body
            ));
        }
    }
    assert_eq!(answers[..3], answers[3..]);
    let short = json!({ "email": "alice@example.com", "password": "short" });
    let refused = service.post("/signup", short).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        refused.json()["message"],
        "a password has 15 to 1000 characters"
    );
}

fn payload(tokens: &Value) -> Value {
    use base64::Engine as _;
    let part = claim(tokens, "access_token")
        .split('.')
        .nth(1)
        .expect("there are three");
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(part)
        .expect("it is base64");
    serde_json::from_slice(&json).expect("it is JSON")
}
