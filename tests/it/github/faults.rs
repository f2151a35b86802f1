//! What the provider of the other tests cannot be brought to: GitHub as it says no with a 200, and servers that are broken.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use tokio::net::TcpListener;

use super::browser::Browser;
use super::refusals::assert_refused;
use super::*;
use crate::support::events::Recorder;
use crate::support::oidc_client::parameter;
use crate::support::proxy::within;

/// In no answer and no line of the log.
const CODE: &str = "a-code-that-nobody-sees";
const TOKEN: &str = "gho_a_token_that_nobody_sees";
const LEAK: &str = "words-of-the-provider";

/// What a server answers: a status, a content type and a body, or something worse.
#[derive(Clone, Copy)]
enum Says {
    Json(u16, &'static str),
    Text(u16, &'static str),
    /// What would be good, were it not so long.
    Large(&'static str),
    /// Not at all.
    Hangs,
    /// A head, and then nothing.
    HangsHalfWay,
    Redirect,
}

const TOKEN_ANSWER: &str = r#"{"access_token":"gho_a_token_that_nobody_sees","scope":"read:user,user:email","token_type":"bearer"}"#;
const USER_ANSWER: &str = r#"{"login":"octocat","id":583231}"#;
const EMAILS_ANSWER: &str = r#"[{"email":"octocat@example.com","primary":true,"verified":true}]"#;
const GOOD_TOKEN: Says = Says::Json(200, TOKEN_ANSWER);
const GOOD_USER: Says = Says::Json(200, USER_ANSWER);
const GOOD_EMAILS: Says = Says::Json(200, EMAILS_ANSWER);

async fn say(says: Says) -> Response {
    let response = Response::builder();
    match says {
        Says::Json(status, body) => response
            .status(status)
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .body(Body::from(body)),
        Says::Text(status, body) => response
            .status(status)
            .header(CONTENT_TYPE, "text/html")
            .body(Body::from(body)),
        Says::Large(good) => response
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(format!("{}{good}", " ".repeat(1 << 20)))),
        Says::Hangs => std::future::pending().await,
        Says::HangsHalfWay => {
            response
                .header(CONTENT_TYPE, "application/json")
                .body(Body::from_stream(futures_util::stream::pending::<
                    Result<&'static str, std::convert::Infallible>,
                >()))
        }
        Says::Redirect => response
            .status(307)
            .header("location", "/elsewhere")
            .body(Body::empty()),
    }
    .expect("it is well formed")
}

/// A server with these answers to `/token`, `/api/user` and `/api/user/emails`. `/elsewhere` gives a good token.
async fn fake(token: Says, user: Says, emails: Says) -> String {
    // As GitHub, it wants to know who asks.
    async fn api(State(says): State<Says>, headers: HeaderMap) -> Response {
        assert_eq!(headers["authorization"], format!("Bearer {TOKEN}"));
        assert_eq!(headers["accept"], "application/json");
        assert_eq!(headers["user-agent"], "rolescope-example");
        say(says).await
    }
    async fn exchange(State(says): State<Says>, headers: HeaderMap, form: String) -> Response {
        assert_eq!(headers["accept"], "application/json");
        let secret = format!("client_secret={CLIENT_SECRET}");
        for part in [
            &format!("code={CODE}"),
            &secret,
            "code_verifier=",
            "redirect_uri=",
        ] {
            assert!(form.contains(part), "{form}");
        }
        say(says).await
    }
    let routes = Router::new()
        .route("/token", post(exchange).with_state(token))
        .route("/elsewhere", post(|| say(GOOD_TOKEN)))
        .route("/api/user", get(api).with_state(user))
        .route("/api/user/emails", get(api).with_state(emails));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!("http://{address}")
}

/// Comes back from there with a code, to a service with a database only where one is needed.
async fn sign_in(router: &Router) -> crate::support::service::Reply {
    let mut browser = Browser::of(router.clone());
    let url = browser.begin().await;
    let state = parameter(&url, "state").expect("there is one");
    let path = format!("/auth/github/callback?code={CODE}&state={state}");
    browser.get(&path).await
}

async fn routes_of(database: &Database, settings: Settings) -> Router {
    let broker = RoleName::parse("web_user").expect("it is a name");
    let routes = routes(settings, database.pool().await, broker, issuer());
    routes.unwrap_or_else(|e| panic!("{e}"))
}

#[tokio::test]
async fn what_a_provider_does_wrong_is_a_clear_answer_without_secrets() {
    let recorder = Recorder::start();
    let database = database().await;
    let token = |says| (says, GOOD_USER, GOOD_EMAILS);
    let user = |says| (GOOD_TOKEN, says, GOOD_EMAILS);
    let emails = |says| (GOOD_TOKEN, GOOD_USER, says);
    let unavailable = (502, "github_unavailable");
    let unreadable = "GitHub's answer cannot be read";
    let garbage = Says::Text(200, "<p>words-of-the-provider");
    for ((token, user, emails), (status, code), logged) in [
        // GitHub says it with the status 200.
        (
            token(Says::Json(
                200,
                r#"{"error":"bad_verification_code","error_description":"words-of-the-provider","error_uri":"https://docs.github.com"}"#,
            )),
            (400, "bad_code"),
            "",
        ),
        (
            token(Says::Json(
                200,
                r#"{"error":"incorrect_client_credentials","error_description":"words-of-the-provider"}"#,
            )),
            unavailable,
            "GitHub does not know this client: compare GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET with what it shows",
        ),
        (
            token(Says::Json(200, r#"{"error":"redirect_uri_mismatch"}"#)),
            unavailable,
            "GitHub has another callback URL for this client: register the one that ends in /auth/github/callback",
        ),
        (
            token(Says::Json(200, r#"{"error":"unverified_user_email"}"#)),
            (403, "no_verified_email"),
            "",
        ),
        (
            token(Says::Json(
                200,
                r#"{"error":"what is this\r\nwords-of-the-provider?"}"#,
            )),
            unavailable,
            "GitHub refused a sign-in",
        ),
        // Others with the status of RFC 6749.
        (
            token(Says::Json(400, r#"{"error":"invalid_grant"}"#)),
            (400, "bad_code"),
            "",
        ),
        (
            token(Says::Json(401, r#"{"error":"invalid_client"}"#)),
            unavailable,
            "GitHub does not know this client: compare GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET with what it shows",
        ),
        (token(garbage), unavailable, unreadable),
        (token(Says::Json(200, "")), unavailable, unreadable),
        (
            token(Says::Json(200, "words-of-the-provider")),
            unavailable,
            unreadable,
        ),
        (
            token(Says::Json(
                200,
                r#"{"access_token":7,"token_type":"bearer"}"#,
            )),
            unavailable,
            unreadable,
        ),
        (
            token(Says::Json(
                200,
                r#"{"access_token":"a\u0000b","token_type":"bearer"}"#,
            )),
            unavailable,
            unreadable,
        ),
        (
            token(Says::Text(
                200,
                "access_token=gho_a_token_that_nobody_sees&token_type=bearer",
            )),
            unavailable,
            unreadable,
        ),
        (
            token(Says::Text(500, "words-of-the-provider")),
            unavailable,
            unreadable,
        ),
        (token(Says::Text(503, "")), unavailable, unreadable),
        // The client's secret is not carried elsewhere.
        (token(Says::Redirect), unavailable, unreadable),
        (
            token(Says::Large(TOKEN_ANSWER)),
            unavailable,
            "GitHub cannot be asked",
        ),
        (
            user(Says::Json(401, r#"{"message":"words-of-the-provider"}"#)),
            unavailable,
            "GitHub answered with an error",
        ),
        (
            user(Says::Text(500, "words-of-the-provider")),
            unavailable,
            "GitHub answered with an error",
        ),
        (
            user(Says::Redirect),
            unavailable,
            "GitHub answered with an error",
        ),
        (user(garbage), unavailable, unreadable),
        (
            user(Says::Json(
                200,
                r#"{"login":"words-of-the-provider","id":"7"}"#,
            )),
            unavailable,
            unreadable,
        ),
        (
            user(Says::Json(
                200,
                r#"{"login":"words-of-the-provider","id":7.5}"#,
            )),
            unavailable,
            unreadable,
        ),
        (
            user(Says::Json(
                200,
                r#"{"login":"words-of-the-provider","id":99999999999999999999}"#,
            )),
            unavailable,
            unreadable,
        ),
        (
            user(Says::Json(
                200,
                r#"{"login":"words-of-the-provider","id":0}"#,
            )),
            unavailable,
            unreadable,
        ),
        (
            user(Says::Json(200, r#"{"login":"","id":7}"#)),
            unavailable,
            unreadable,
        ),
        (
            user(Says::Json(200, r#"{"login":"a\u0000b","id":7}"#)),
            unavailable,
            unreadable,
        ),
        (
            user(Says::Large(USER_ANSWER)),
            unavailable,
            "GitHub cannot be asked",
        ),
        (
            emails(Says::Json(404, r#"{"message":"words-of-the-provider"}"#)),
            unavailable,
            "GitHub answered with an error",
        ),
        (
            emails(Says::Json(200, r#"{"message":"words-of-the-provider"}"#)),
            unavailable,
            unreadable,
        ),
        (
            emails(Says::Large(EMAILS_ANSWER)),
            unavailable,
            "GitHub cannot be asked",
        ),
    ] {
        let provider = fake(token, user, emails).await;
        let reply = sign_in(&routes_of(&database, settings(&provider)).await).await;
        assert_refused(&reply, status, code);
        let lines = recorder.take();
        let own: Vec<_> = lines
            .iter()
            .filter(|line| line.target.contains("github"))
            .collect();
        let messages: Vec<_> = own.iter().map(|line| line.message()).collect();
        let expected: Vec<_> = Some(logged)
            .filter(|logged| !logged.is_empty())
            .into_iter()
            .collect();
        assert_eq!(messages, expected);
        for secret in [CODE, TOKEN, LEAK, CLIENT_SECRET] {
            assert!(!format!("{reply:?}").contains(secret), "{reply:?}");
            assert!(!format!("{own:?}").contains(secret), "{own:?}");
        }
    }
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_given_up() {
    let database = database().await;
    for says in [Says::Hangs, Says::HangsHalfWay] {
        for (token, user) in [(says, GOOD_USER), (GOOD_TOKEN, says)] {
            let provider = fake(token, user, GOOD_EMAILS).await;
            let mut settings = settings(&provider);
            settings.timeout = Duration::from_millis(if matches!(token, Says::Json(..)) {
                2000
            } else {
                50
            });
            let reply = within(sign_in(&routes_of(&database, settings).await)).await;
            assert_refused(&reply, 504, "github_unavailable");
        }
    }
    // Nobody listens there any more.
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let provider = format!("http://{}", closed.local_addr().expect("an address"));
    drop(closed);
    let reply = sign_in(&routes_of(&database, settings(&provider)).await).await;
    assert_refused(&reply, 502, "github_unavailable");
}

#[tokio::test]
async fn a_service_with_the_wrong_secret_is_refused_by_a_real_provider() {
    let database = database().await;
    let mut settings = settings(provider().await.issuer());
    settings.client_secret = "another".to_owned();
    let router = routes_of(&database, settings).await;
    let mut browser = Browser::of(router);
    let recorder = Recorder::start();
    let reply = browser.sign_in("alice").await;
    assert_refused(&reply, 502, "github_unavailable");
    let lines = recorder.take();
    let cure = lines.iter().find(|line| line.target.contains("github"));
    let cure = cure.expect("the operator is told").message();
    assert!(cure.contains("GITHUB_CLIENT_SECRET"), "{cure}");
}

#[tokio::test]
async fn a_database_that_does_not_know_the_broker_is_a_clear_answer() {
    // The role is there and granted, and may not ask: github.sql has not been run.
    let provider = fake(GOOD_TOKEN, GOOD_USER, GOOD_EMAILS).await;
    let database = database().await;
    let reply = sign_in(&routes_of(&database, settings(&provider)).await).await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR, "{reply:?}");
    assert!(!reply.body.contains("octocat"), "{reply:?}");
}
