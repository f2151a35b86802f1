//! Run with: cargo run --example accounts
//!
//! Sign-up, login, refresh and sign-out, with users in PostgreSQL and access tokens that end when a user's role does. It needs
//! no set-up: it finds or fetches a PostgreSQL of its own, prepares it with `sql/todos.sql`, `sql/basic_auth.sql` and
//! `sql/sessions.sql`, and prints `curl` commands to try, and the mails that it would send. `--port` chooses the port.
//!
//! Nothing is left when it ends, however it ends. DATABASE_URL is as in the example `todos`.

#[path = "support/accounts.rs"]
mod accounts;
#[path = "support/local_postgres/mod.rs"]
mod local_postgres;
#[path = "support/mailer.rs"]
mod mailer;
#[path = "support/serve.rs"]
mod serve;
#[path = "support/todos_database.rs"]
mod todos_database;
#[path = "support/todos_run.rs"]
mod todos_run;

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use axum::Router;
use axum::routing::get;
use clap::Parser;
use rolescope::issuer::{SigningKey, TokenIssuer};
use rolescope::role::RoleName;
use rolescope::scope::revocation::RevocationListener;
use rolescope::{
    Error, JwtAuthLayer, JwtVerifier, RoleScopeLayer, RoleScopedConnection, RoleScopedPool,
};
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_http::trace::TraceLayer;

use mailer::{Mail, send_mails};
use serve::{Shutdown, chain};
use todos_database::{Login, SQL};

fn app(auth: JwtAuthLayer, pool: RoleScopedPool, issuer: TokenIssuer) -> Router {
    let layers = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(auth)
        .layer(RoleScopeLayer::new(pool));
    accounts::routes(issuer)
        .route("/whoami", get(whoami))
        .layer(layers)
}

async fn whoami(db: RoleScopedConnection) -> Result<String, Error> {
    let sql = "SELECT format(E'%s %s\\n', current_user, current_setting('request.jwt.claims')::json ->> 'email')";
    db.query_one_scalar(sql, &[]).await
}

#[derive(Parser)]
#[command(
    about = "Sign-up, login, refresh and sign-out, with users in PostgreSQL",
    after_help = todos_run::ENVIRONMENT
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
    ];
    todos_run::run_with(files, Args::parse().port, serve).await
}

async fn serve(login: Login, listener: TcpListener, shutdown: Shutdown) -> Result<(), String> {
    let url = serve::url(&listener)?;
    let key = SigningKey::random_ed25519("1").map_err(|e| chain(&e))?;
    let issuer = TokenIssuer::builder(key)
        .issuer(&url)
        .audience("accounts")
        .build()
        .map_err(|e| chain(&e))?;
    let revocations = RevocationListener::builder(&login.url).map_err(|e| chain(&e))?;
    let revocations = revocations.build().await.map_err(|e| chain(&e))?;
    let verifier = JwtVerifier::builder()
        .keys(issuer.verifying_keys())
        .map_err(|e| chain(&e))?
        .issuer(&url)
        .audience("accounts")
        .revocations(revocations.revocations())
        .build()
        .map_err(|e| chain(&e))?;
    let pool = RoleScopedPool::builder(&login.url)
        .map_err(|e| chain(&e))?
        .anonymous_role(&login.names.anon)
        .build()
        .await
        .map_err(|e| chain(&e))?;

    print(&guide(&url));
    let mailer = RoleName::parse(&login.names.mailer).map_err(|e| chain(&e))?;
    let app = app(JwtAuthLayer::new(verifier), pool.clone(), issuer)
        .into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.stop());
    tokio::select! {
        served = serve::serve(server, shutdown) => served?,
        () = send_mails(&login.url, &pool, mailer, |mail| print(&text(&mail, &url))) => {}
    }
    pool.close().await;
    Ok(())
}

fn print(text: &str) {
    // Whether anybody reads it is no reason to stop.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// A real mail has a link to a page of yours, which sends this when somebody presses its button: mail filters open links.
fn text(Mail { to, kind, token }: &Mail, url: &str) -> String {
    let json = "-H 'content-type: application/json'";
    let token = token.as_deref().unwrap_or_default();
    match kind.as_str() {
        "verify" => format!(
            "\n# Mail to {to}: welcome! This makes your account.\ncurl -i {json} -d '{{\"token\":\"{token}\"}}' {url}/verify\n"
        ),
        "reset" => format!(
            "\n# Mail to {to}: this sets a new password, and signs you out everywhere.\n\
             curl -i {json} -d '{{\"token\":\"{token}\",\"password\":\"a new password of yours\"}}' {url}/reset_password\n"
        ),
        _ => format!(
            "\n# Mail to {to}: somebody tried to sign up with your address. You have an account.\n"
        ),
    }
}

fn guide(url: &str) -> String {
    let json = "-H 'content-type: application/json'";
    let credentials =
        r#"-d '{"email":"alice@example.com","password":"correct horse battery staple"}'"#;
    format!(
        r#"listening on {url}

# Alice signs up: 202, and her mail is printed here. Paste its command to make the account.
curl -i {json} {credentials} {url}/signup

# She signs in. With `-u alice@example.com` in place of the JSON, curl asks for the password.
tokens=$(curl -s {json} {credentials} {url}/login); echo "$tokens"
token() {{ echo "$tokens" | sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/"; }}

# Who is it?
curl -i -H "Authorization: Bearer $(token access_token)" {url}/whoami

# Where is she signed in?
curl -i -H "Authorization: Bearer $(token access_token)" {url}/sessions

# New tokens. The old refresh token is used up: used again after 10 seconds, it ends the session.
tokens=$(curl -s {json} -d "{{\"refresh_token\":\"$(token refresh_token)\"}}" {url}/refresh); echo "$tokens"

# She signs out.
curl -i -H "Authorization: Bearer $(token access_token)" -X POST {url}/logout

# The access token has not expired, and is refused all the same.
curl -i -H "Authorization: Bearer $(token access_token)" {url}/whoami

# Alice has forgotten her password.
curl -i {json} -d '{{"email":"alice@example.com"}}' {url}/password_reset

A session lasts for 14 days without use. Ctrl-C ends it.
"#
    )
}
