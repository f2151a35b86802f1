//! Run with: cargo run --example whoami -- postgres://authenticator@localhost:5432/mydb --anonymous anon --jwt-secret SECRET
//!
//! Tells each caller who they are to the database: the role that they run as, the role that logged in, and the claims
//! that policies can read. It works on any database whose roles stand as in `sql/roles.sql`.

#[path = "support/serve.rs"]
mod serve;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::{Parser, ValueEnum};
use rolescope::auth::jwt::{Algorithm, BuildError, Key, KeyErrorKind};
use rolescope::scope::revocation::RevocationListener;
use rolescope::{
    Claims, Error, JwtAuthLayer, JwtVerifier, RolePolicy, RoleScopeLayer, RoleScopedConnection,
    RoleScopedPool,
};
use serde::Serialize;
use tower::ServiceBuilder;
use tower_http::trace::TraceLayer;

use serve::{Shutdown, chain};

fn app(auth: JwtAuthLayer, scope: RoleScopeLayer) -> Router {
    let layers = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(auth)
        .layer(scope);
    Router::new()
        .route("/", get(whoami))
        .route("/logout", post(logout))
        .layer(layers)
}

#[derive(Serialize)]
struct Whoami {
    outcome: &'static str,
    current_user: String,
    session_user: String,
    claims: Option<String>,
}

async fn whoami(claims: Option<Claims>, db: RoleScopedConnection) -> Result<Json<Whoami>, Error> {
    let row = db
        .query_one(
            "SELECT current_user::text, session_user::text, current_setting('request.jwt.claims', true)",
            &[],
        )
        .await?;
    Ok(Json(Whoami {
        outcome: if claims.is_some() {
            "verified"
        } else {
            "anonymous"
        },
        current_user: row.get(0),
        session_user: row.get(1),
        claims: row.get(2),
    }))
}

/// Ends the caller's session, where the database has those of `sql/sessions.sql`.
async fn logout(db: RoleScopedConnection) -> Result<StatusCode, Error> {
    db.execute("SELECT logout()", &[]).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tells each caller who they are to the database.
#[derive(Parser)]
struct Args {
    /// The database, and the role that logs in.
    url: String,
    /// The role of callers without a token.
    #[arg(long, value_name = "ROLE")]
    anonymous: Option<String>,
    /// A secret for HS256.
    #[arg(long, value_name = "SECRET", allow_hyphen_values = true)]
    jwt_secret: Vec<String>,
    /// A secret for HS256, in base64.
    #[arg(long, value_name = "BASE64", allow_hyphen_values = true)]
    jwt_secret_base64: Vec<String>,
    /// A file with a public key, as PEM or JWK.
    #[arg(long, value_name = "FILE")]
    jwt_key: Vec<PathBuf>,
    /// A file with a JWKS, a set of keys.
    #[arg(long, value_name = "FILE")]
    jwks: Vec<PathBuf>,
    /// The URL of a JWKS, which is fetched and kept fresh.
    #[arg(long, value_name = "URL", conflicts_with = "oidc_issuer")]
    jwks_url: Option<String>,
    /// An OpenID provider: accept its tokens only, by the keys that it publishes.
    #[arg(long, value_name = "URL")]
    oidc_issuer: Option<String>,
    /// Accept tokens for this audience; said several times, for any of them.
    #[arg(long)]
    audience: Vec<String>,
    /// Accept tokens of this issuer; said several times, of any of them.
    #[arg(long)]
    issuer: Vec<String>,
    /// Where the role stands in the claims: a name, or a path such as `.realm_access.roles[0]`.
    #[arg(long, value_name = "PATH", default_value = "role")]
    role_claim: String,
    /// What becomes of a request with an invalid token.
    #[arg(long, value_enum, default_value_t = InvalidToken::Reject)]
    invalid_token: InvalidToken,
    /// What becomes of a token that never expires.
    #[arg(long, value_enum, default_value_t = MissingExp::Reject)]
    missing_exp: MissingExp,
    /// What becomes of a secret of less than 32 bytes, which can be guessed.
    #[arg(long, value_enum, default_value_t = ShortSecret::Refuse)]
    short_secret: ShortSecret,
    /// Refuse tokens that the database says are revoked, as with `sql/sessions.sql`: `POST /logout` ends the caller's session.
    #[arg(long)]
    revocations: bool,
    /// The port to listen on; 0 for any that is free.
    #[arg(long, default_value_t = 3000)]
    port: u16,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum InvalidToken {
    Reject,
    Anonymous,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum MissingExp {
    Reject,
    Accept,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum ShortSecret {
    Refuse,
    Accept,
}

#[tokio::main]
async fn main() -> ExitCode {
    serve::log_to_stderr();
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), String> {
    let mut auth = JwtAuthLayer::new(verifier(&args).await?);
    if args.invalid_token == InvalidToken::Anonymous {
        auth = auth.treat_invalid_token_as_anonymous();
    }
    let policy = RolePolicy::new()
        .claim(&args.role_claim)
        .map_err(|e| format!("--role-claim: {}", chain(&e)))?;
    let mut pool = RoleScopedPool::builder(&args.url).map_err(|e| chain(&e))?;
    if let Some(role) = args.anonymous {
        pool = pool.anonymous_role(role);
    }
    let listener = serve::bind(args.port).await?;
    let pool = pool.build().await.map_err(|e| chain(&e))?;
    let shutdown = Shutdown::catch()?;

    let url = serve::url(&listener)?;
    // Whether anybody reads it is no reason to stop.
    let _ = writeln!(std::io::stdout(), "listening on {url}");
    let app = app(auth, RoleScopeLayer::new(pool.clone()).roles(policy));
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.stop());
    serve::serve(server, shutdown).await?;
    pool.close().await;
    Ok(())
}

async fn verifier(args: &Args) -> Result<JwtVerifier, String> {
    let mut builder = JwtVerifier::builder();
    for audience in &args.audience {
        builder = builder.audience(audience);
    }
    for issuer in &args.issuer {
        builder = builder.issuer(issuer);
    }
    if args.missing_exp == MissingExp::Accept {
        builder = builder.dangerous().accept_missing_exp();
    }
    if args.short_secret == ShortSecret::Accept {
        builder = builder.dangerous().accept_short_secrets();
    }
    if args.revocations {
        let listener = RevocationListener::builder(&args.url).map_err(|e| chain(&e))?;
        let listener = listener.build().await.map_err(|e| chain(&e))?;
        builder = builder.revocations(listener.revocations());
    }
    let keys = keys(args)?;
    let explained = |error: BuildError| match &error {
        BuildError::Key(key) if key.kind() == KeyErrorKind::ShortSecret => {
            format!("{key}; here that is `--short-secret accept`")
        }
        _ => chain(&error),
    };
    let fetched = match (&args.jwks_url, &args.oidc_issuer) {
        (Some(url), _) => builder
            .jwks_url(url)
            .map_err(|e| format!("--jwks-url: {}", chain(&e)))?,
        (None, Some(url)) => builder
            .oidc_issuer(url)
            .map_err(|e| format!("--oidc-issuer: {}", chain(&e)))?,
        (None, None) if keys.is_empty() => {
            return Err(
                "there is no key to verify tokens with: give at least one of --jwt-secret, \
                 --jwt-secret-base64, --jwt-key, --jwks, --jwks-url and --oidc-issuer"
                    .into(),
            );
        }
        (None, None) => {
            let builder = builder.keys(keys).map_err(|e| chain(&e))?;
            return builder.build().map_err(explained);
        }
    };
    let all = keys
        .into_iter()
        .fold(fetched, |builder, key| builder.key(key));
    all.build().await.map_err(explained)
}

fn keys(args: &Args) -> Result<Vec<Key>, String> {
    let mut keys = vec![];
    for secret in &args.jwt_secret {
        keys.push(Key::hs256(secret).map_err(|e| format!("--jwt-secret: {}", chain(&e)))?);
    }
    for secret in &args.jwt_secret_base64 {
        let key = Key::hmac_base64(Algorithm::HS256, secret);
        keys.push(key.map_err(|e| format!("--jwt-secret-base64: {}", chain(&e)))?);
    }
    for file in &args.jwt_key {
        let text = read("--jwt-key", file)?;
        let key = match text.trim_start().starts_with('{') {
            true => Key::from_jwk(&text),
            false => Key::from_pem(&text),
        };
        keys.push(key.map_err(|e| format!("--jwt-key {}: {}", file.display(), chain(&e)))?);
    }
    for file in &args.jwks {
        let set = Key::from_jwks(&read("--jwks", file)?);
        keys.extend(set.map_err(|e| format!("--jwks {}: {}", file.display(), chain(&e)))?);
    }
    Ok(keys)
}

fn read(flag: &str, file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|e| format!("{flag} {}: {e}", file.display()))
}
