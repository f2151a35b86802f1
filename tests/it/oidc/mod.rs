//! Tokens of a real OpenID provider, from its own flows to the database role that they become.

mod browser;
mod example;
mod flows;
mod issuers;
mod local_provider;
mod rotation;

use axum::Router;
use axum::routing::get;
use rolescope::{Error, JwtAuthLayer, JwtVerifier, RoleScopeLayer, RoleScopedConnection};
use serde_json::{Value, json};

use crate::support::Database;
use crate::support::local_provider::LocalProvider;
use crate::support::oidc_client::client_credentials;
use crate::support::service::{Reply, request, send};

const AUDIENCE: &str = "https://todos.example";
const ALGORITHMS: [&str; 3] = ["RS256", "ES256", "EdDSA"];
const SECRET: &str = "a-secret-of-clients-that-tests-have";
const CALLBACK: &str = "http://127.0.0.1:9/callback";

/// Services and browsers for each algorithm: services are `author`, alice is `web_user`, bob `jdoe123`.
fn config() -> Value {
    let clients = ALGORITHMS.iter().flat_map(|algorithm| {
        [
            json!({
                "client_id": format!("service-{algorithm}"), "client_secret": SECRET,
                "alg": algorithm, "claims": { "role": "author" },
            }),
            json!({
                "client_id": format!("browser-{algorithm}"), "redirect_uris": [CALLBACK], "alg": algorithm,
            }),
        ]
    });
    json!({
        "port": 0,
        "audience": AUDIENCE,
        "tokenSeconds": 600,
        "jwksCacheControl": "public, max-age=3600",
        "clients": clients.collect::<Vec<_>>(),
        "accounts": { "alice": { "role": "web_user" }, "bob": { "role": "jdoe123" } },
    })
}

async fn provider() -> LocalProvider {
    provider_with(config()).await
}

async fn provider_with(config: Value) -> LocalProvider {
    let start = move || LocalProvider::start(&config);
    let started = tokio::task::spawn_blocking(start).await.expect("no panic");
    started.unwrap_or_else(|e| panic!("{e}"))
}

/// A token of a service's own.
async fn service_token(provider: &LocalProvider, algorithm: &str) -> String {
    let client = format!("service-{algorithm}");
    let token = client_credentials(provider.issuer(), &client, SECRET).await;
    token.unwrap_or_else(|e| panic!("{e}"))
}

/// A verifier that was told no more than the issuer.
async fn verifier(provider: &LocalProvider) -> JwtVerifier {
    let builder = JwtVerifier::builder().oidc_issuer(provider.issuer());
    let builder = builder.expect("it is on loopback").audience(AUDIENCE);
    builder.build().await.unwrap_or_else(|e| panic!("{e}"))
}

/// A service that answers with the role that it runs as, and the token's subject.
async fn service(database: &Database, verifier: JwtVerifier) -> Router {
    async fn whoami(db: RoleScopedConnection) -> Result<String, Error> {
        let sql =
            "SELECT current_user || ' ' || (current_setting('request.jwt.claims')::json ->> 'sub')";
        db.query_one_scalar(sql, &[]).await
    }
    Router::new()
        .route("/", get(whoami))
        .layer(RoleScopeLayer::new(database.pool().await))
        .layer(JwtAuthLayer::new(verifier))
}

async fn ask(service: &Router, token: &str) -> Reply {
    let bearer = format!("Bearer {token}");
    send(service, request(hyper::Method::GET, "/", &[&bearer])).await
}
