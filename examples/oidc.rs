//! Run with: cargo run --example oidc
//!
//! Log in with an OpenID provider, and have PostgreSQL decide what you see. It needs no set-up: it finds or fetches a
//! PostgreSQL of its own, as `todos` does, and has npm fetch an OpenID provider, which runs on loopback as long as it does.
//! It prints where to log in, and `curl` commands that do the same. `--port` chooses the port.
//!
//! `JwtVerifier::builder().oidc_issuer(..)` is all that the service knows of the provider. What is below of `/login` and
//! `/callback` is what a web front end does, and no part of it.

#[path = "support/local_postgres/mod.rs"]
mod local_postgres;
#[path = "support/local_provider/mod.rs"]
mod local_provider;
#[path = "support/oidc_client.rs"]
mod oidc_client;
#[path = "support/serve.rs"]
mod serve;
#[path = "support/todos_database.rs"]
mod todos_database;
#[path = "support/todos_run.rs"]
mod todos_run;

use std::collections::HashMap;
use std::io::Write;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::get;
use axum::{Json, Router};
use clap::Parser;
use rolescope::{
    Claims, Error, JwtAuthLayer, JwtVerifier, RoleScopeLayer, RoleScopedConnection, RoleScopedPool,
};
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_http::trace::TraceLayer;

use local_provider::LocalProvider;
use oidc_client::Login;
use serve::{Shutdown, chain};
use todos_database::{Login as DatabaseLogin, random_hex};

const AUDIENCE: &str = "https://todos.example";

fn app(auth: JwtAuthLayer, pool: RoleScopedPool) -> Router {
    let layers = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(auth)
        .layer(RoleScopeLayer::new(pool));
    Router::new().route("/todos", get(list)).layer(layers)
}

#[derive(Serialize)]
struct Seen {
    subject: Option<String>,
    role: String,
    todos: Vec<Todo>,
}

#[derive(Serialize)]
struct Todo {
    id: i64,
    owner: String,
    task: String,
}

async fn list(claims: Option<Claims>, db: RoleScopedConnection) -> Result<Json<Seen>, Error> {
    let rows = db
        .query("SELECT id, owner, task FROM todos ORDER BY id", &[])
        .await?;
    let todos = rows.iter().map(|row| Todo {
        id: row.get("id"),
        owner: row.get("owner"),
        task: row.get("task"),
    });
    Ok(Json(Seen {
        subject: claims.and_then(|claims| claims.subject().map(str::to_owned)),
        role: db
            .query_one_scalar("SELECT current_user::text", &[])
            .await?,
        todos: todos.collect(),
    }))
}

/// The web front end: a client of the provider, and of the service.
#[derive(Clone)]
struct Frontend {
    issuer: String,
    callback: String,
    /// The logins that have begun, by their `state`.
    logins: Arc<Mutex<HashMap<String, Login>>>,
}

type Parameters = Query<HashMap<String, String>>;
type Failed = (StatusCode, String);

/// Sends a person to the provider. `?as=alice` has them be alice without being asked.
async fn login(
    State(frontend): State<Frontend>,
    Query(parameters): Parameters,
) -> Result<Redirect, Failed> {
    let Frontend {
        issuer, callback, ..
    } = &frontend;
    let failed = |error| (StatusCode::INTERNAL_SERVER_ERROR, error);
    let random = random_hex(32).map_err(failed)?;
    let (login, mut url) = Login::start(issuer, "web", callback, &random);
    let is_name = |name: &&String| name.chars().all(|c| c.is_ascii_alphanumeric());
    if let Some(name) = parameters.get("as").filter(is_name) {
        url = format!("{url}&login_hint={name}");
    }
    let mut logins = frontend
        .logins
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    logins.insert(login.state.clone(), login);
    Ok(Redirect::to(&url))
}

/// Where the provider sends them back to. A real front end would keep the token, and not show it.
async fn callback(
    State(frontend): State<Frontend>,
    Query(parameters): Parameters,
) -> Result<String, Failed> {
    let parameter = |name| parameters.get(name).map(String::as_str).unwrap_or_default();
    let login = {
        let mut logins = frontend
            .logins
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        logins.remove(parameter("state"))
    };
    let unknown = || {
        (
            StatusCode::BAD_REQUEST,
            "no login has begun that this ends".to_owned(),
        )
    };
    let login = login.ok_or_else(unknown)?;
    let token = login
        .finish(&frontend.issuer, "web", parameter("code"))
        .await;
    token.map_err(|error| (StatusCode::BAD_GATEWAY, error))
}

#[derive(Parser)]
#[command(
    about = "Log in with an OpenID provider, and have PostgreSQL decide what you see",
    after_help = todos_run::ENVIRONMENT
)]
struct Args {
    /// The port to listen on; 0 for any that is free.
    #[arg(long, default_value_t = 3000)]
    port: u16,
}

#[tokio::main]
async fn main() -> ExitCode {
    todos_run::run(Args::parse().port, serve).await
}

async fn serve(
    database: DatabaseLogin,
    listener: TcpListener,
    shutdown: Shutdown,
) -> Result<(), String> {
    let url = serve::url(&listener)?;
    let callback_url = format!("{url}/callback");
    let secret = random_hex(32)?;
    let role = json!({ "role": database.names.web_user });
    let config = json!({
        "port": 0,
        "audience": AUDIENCE,
        "tokenSeconds": 3600,
        "clients": [
            { "client_id": "web", "redirect_uris": [&callback_url], "alg": "ES256" },
            { "client_id": "report", "client_secret": &secret, "alg": "ES256", "claims": &role },
        ],
        "accounts": { "alice": &role, "bob": &role },
    });
    let provider = tokio::task::spawn_blocking(move || LocalProvider::start(&config))
        .await
        .map_err(|e| e.to_string())??;

    let issuer = provider.issuer();
    let verifier = JwtVerifier::builder()
        .oidc_issuer(issuer)
        .map_err(|e| chain(&e))?
        .audience(AUDIENCE)
        .build()
        .await
        .map_err(|e| chain(&e))?;
    let pool = RoleScopedPool::builder(&database.url)
        .map_err(|e| chain(&e))?
        .anonymous_role(&database.names.anon)
        .build()
        .await
        .map_err(|e| chain(&e))?;
    let frontend = Frontend {
        issuer: issuer.to_owned(),
        callback: callback_url,
        logins: Arc::default(),
    };
    let app = Router::new()
        .route("/login", get(login))
        .route("/callback", get(callback))
        .with_state(frontend)
        .merge(app(JwtAuthLayer::new(verifier), pool.clone()));

    // Whether anybody reads it is no reason to stop.
    let _ = std::io::stdout().write_all(guide(&url, issuer, &secret).as_bytes());
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.stop());
    serve::serve(server, shutdown).await?;
    pool.close().await;
    Ok(())
}

fn guide(url: &str, issuer: &str, secret: &str) -> String {
    let as_person =
        |name| format!(r#"-H "Authorization: Bearer $(curl -sL -b '' '{url}/login?as={name}')""#);
    let (alice, bob) = (as_person("alice"), as_person("bob"));
    format!(
        r#"listening on {url}

# In a browser: log in as alice or bob with the provider {issuer}, which sends you back with a token.
{url}/login

# Without a token: anon, who sees what is public.
curl -i {url}/todos

# Alice logs in. The token says web_user, and policies go by its sub: she also sees what is hers.
curl -i {alice} {url}/todos

# Bob logs in.
curl -i {bob} {url}/todos

# A service gets a token of its own: its sub is `report`, who owns nothing.
curl -i -H "Authorization: Bearer $(curl -s -u report:{secret} -d grant_type=client_credentials {issuer}/token | sed 's/.*"access_token":"\([^"]*\)".*/\1/')" {url}/todos

# A token that the provider has not signed: 401.
curl -i {alice_}x" {url}/todos

The tokens are good for an hour. Ctrl-C ends it.
"#,
        alice_ = alice.trim_end_matches('"'),
    )
}
