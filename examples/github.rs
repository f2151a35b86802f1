//! Run with: cargo run --example github
//!
//! Sign in with GitHub, and have PostgreSQL decide what you see. Register an OAuth app at
//! <https://github.com/settings/applications/new> with the callback URL `http://127.0.0.1:3000/auth/github/callback`, and set
//! GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET to what GitHub shows. Without them it needs no set-up: npm fetches an OAuth server
//! that stands in for GitHub, with accounts of alice and bob, and it prints `curl` commands to try.
//!
//! The routes are `support/github`, to copy; the database is that of `accounts` and `sql/github.sql`. `--port` chooses the port.
//! Nothing is left when it ends, however it ends. DATABASE_URL is as in the example `todos`.

#[path = "support/github/mod.rs"]
mod github;
#[path = "support/local_postgres/mod.rs"]
mod local_postgres;
#[path = "support/local_provider/mod.rs"]
mod local_provider;
#[path = "support/serve.rs"]
mod serve;
#[path = "support/todos_database.rs"]
mod todos_database;
#[path = "support/todos_run.rs"]
mod todos_run;

use std::collections::HashMap;
use std::io::Write;
use std::process::ExitCode;

use axum::response::Html;
use axum::routing::get;
use axum::{Json, Router};
use clap::Parser;
use rolescope::issuer::{SigningKey, TokenIssuer};
use rolescope::{
    Claims, Error, JwtAuthLayer, JwtVerifier, RoleName, RolePolicy, RoleScopeLayer,
    RoleScopedConnection, RoleScopedPool,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_http::trace::TraceLayer;

use github::Settings;
use local_provider::LocalProvider;
use serve::{Shutdown, chain};
use todos_database::{Login, SQL, random_hex};

const AUDIENCE: &str = "todos";

fn app(auth: JwtAuthLayer, pool: RoleScopedPool, roles: RolePolicy) -> Router {
    let layers = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(auth)
        .layer(RoleScopeLayer::new(pool).roles(roles));
    Router::new().route("/todos", get(list)).layer(layers)
}

async fn list(claims: Option<Claims>, db: RoleScopedConnection) -> Result<Json<Value>, Error> {
    let rows = db
        .query("SELECT owner, task FROM todos ORDER BY id", &[])
        .await?;
    let todos = rows.iter().map(|row| {
        let (owner, task): (String, String) = (row.get("owner"), row.get("task"));
        json!({ "owner": owner, "task": task })
    });
    Ok(Json(json!({
        "subject": claims.as_ref().and_then(|claims| claims.subject()),
        "role": db.role().as_str(),
        "todos": todos.collect::<Vec<_>>(),
    })))
}

#[derive(Parser)]
#[command(
    about = "Sign in with GitHub, and have PostgreSQL decide what you see",
    after_help = format!(
        "{}\n  GITHUB_CLIENT_ID, GITHUB_CLIENT_SECRET\n                       \
         your OAuth app at GitHub; without them a stand-in is asked, which npm fetches",
        todos_run::ENVIRONMENT
    )
)]
struct Args {
    /// The port to listen on; 0 for any that is free.
    #[arg(long, default_value_t = 3000)]
    port: u16,
}

#[tokio::main]
async fn main() -> ExitCode {
    let files = &[
        SQL,
        include_str!("sql/basic_auth.sql"),
        include_str!("sql/sessions.sql"),
        include_str!("sql/github.sql"),
    ];
    todos_run::run_with(files, Args::parse().port, serve).await
}

async fn serve(login: Login, listener: TcpListener, shutdown: Shutdown) -> Result<(), String> {
    let url = serve::url(&listener)?;
    let is_set = |name: &&str| std::env::var(name).is_ok_and(|value| !value.is_empty());
    let (mut given, mut stand_in) = (HashMap::new(), None);
    if ["GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET"]
        .iter()
        .all(|name| !is_set(name))
    {
        let secret = random_hex(32)?;
        let provider = stand_in_for_github(&url, &secret).await?;
        given = HashMap::from([
            ("GITHUB_CLIENT_ID", "todos".to_owned()),
            ("GITHUB_CLIENT_SECRET", secret),
            (
                "GITHUB_AUTHORIZE_URL",
                format!("{}/auth", provider.issuer()),
            ),
            ("GITHUB_TOKEN_URL", format!("{}/token", provider.issuer())),
            ("GITHUB_API_URL", format!("{}/api", provider.issuer())),
        ]);
        stand_in = Some(provider);
    }
    let variable = |name: &str| {
        given
            .get(name)
            .cloned()
            .or_else(|| std::env::var(name).ok())
    };
    let settings = Settings::read(&url, variable)?;

    let key = SigningKey::random_ed25519("1").map_err(|e| chain(&e))?;
    let issuer = TokenIssuer::builder(key)
        .issuer(&url)
        .audience(AUDIENCE)
        .build()
        .map_err(|e| chain(&e))?;
    let verifier = JwtVerifier::builder()
        .keys(issuer.verifying_keys())
        .map_err(|e| chain(&e))?
        .issuer(&url)
        .audience(AUDIENCE)
        .build()
        .map_err(|e| chain(&e))?;
    let pool = RoleScopedPool::builder(&login.url)
        .map_err(|e| chain(&e))?
        .anonymous_role(&login.names.anon)
        .build()
        .await
        .map_err(|e| chain(&e))?;
    let broker = RoleName::parse(&login.names.identity_broker).map_err(|e| chain(&e))?;
    // The broker is granted to the service, too, and no token may be that role.
    let roles = RolePolicy::new()
        .allow([&login.names.web_user])
        .map_err(|e| chain(&e))?;

    let app = Router::new()
        .route(
            "/",
            get(async || Html(include_str!("support/github/page.html"))),
        )
        .merge(github::routes(settings, pool.clone(), broker, issuer)?)
        .merge(app(JwtAuthLayer::new(verifier), pool.clone(), roles));

    // Whether anybody reads it is no reason to stop.
    let _ = std::io::stdout().write_all(guide(&url, stand_in.is_some()).as_bytes());
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.stop());
    serve::serve(server, shutdown).await?;
    pool.close().await;
    Ok(())
}

/// Another server than GitHub, for those who have no OAuth app there: the same flow, and the same answers of the user API.
async fn stand_in_for_github(url: &str, secret: &str) -> Result<LocalProvider, String> {
    let account = |id: u32, login: &str| {
        json!({
            "user": { "id": id, "login": login },
            "emails": [{ "email": format!("{login}@example.com"), "primary": true, "verified": true }],
        })
    };
    let config = json!({
        "port": 0,
        "clients": [{
            "client_id": "todos",
            "client_secret": secret,
            "redirect_uris": [format!("{url}{}/callback", github::PATH)],
            "token_endpoint_auth_method": "client_secret_post",
            "alg": "ES256",
        }],
        "accounts": { "alice": {}, "bob": {} },
        "github": { "alice": account(1, "alice"), "bob": account(2, "bob") },
    });
    tokio::task::spawn_blocking(move || LocalProvider::start(&config))
        .await
        .map_err(|e| e.to_string())?
}

fn guide(url: &str, stand_in: bool) -> String {
    let commands = if stand_in {
        format!(
            r#"
# The same without a browser: alice begins, and is asked who she is by the server that stands in for GitHub.
jar=$(mktemp); form=$(curl -sL -b $jar -c $jar -o $jar.html -w '%{{url_effective}}' {url}/auth/github)

# She says so, and is sent back and on to the page.
curl -sL -b $jar -c $jar -o $jar.html -w '%{{http_code}} %{{url_effective}}\n' "$form?as=alice"

# The page asks for an access token.
token=$(curl -s -b $jar -c $jar -X POST {url}/auth/github/token | sed 's/.*"access_token":"\([^"]*\)".*/\1/')

# Now she is a user, and PostgreSQL runs her statements as web_user.
curl -i -H "Authorization: Bearer $token" {url}/todos

# An answer of GitHub's that nobody has asked for: 400.
curl -i '{url}/auth/github/callback?code=1&state=2'
"#
        )
    } else {
        String::new()
    };
    format!(
        r#"listening on {url}

# In a browser: sign in.
{url}/
{commands}
Ctrl-C ends it.
"#
    )
}
