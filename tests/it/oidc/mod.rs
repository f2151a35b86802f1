//! Tokens of a real OpenID provider, from its own flows to the database role that they become.

mod browser;
mod flows;
mod issuers;
mod local_provider;

use axum::Router;
use axum::routing::get;
use rolescope::{Error, JwtAuthLayer, JwtVerifier, RoleScopeLayer, RoleScopedConnection};
use serde_json::{Value, json};

use crate::support::Database;
use crate::support::local_provider::LocalProvider;
use crate::support::oidc_client::{self, client_credentials};
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

async fn get_json(url: &str) -> Value {
    let request = hyper::Request::get(url).body(Default::default());
    let answer = oidc_client::send(request.expect("it is well formed")).await;
    let answer = answer.unwrap_or_else(|e| panic!("{e}"));
    serde_json::from_str(&answer.body).unwrap_or_else(|e| panic!("{e}: {answer:?}"))
}

/// A verifier with the keys that the provider has now.
async fn verifier_of_now(provider: &LocalProvider) -> JwtVerifier {
    let issuer = provider.issuer();
    let discovery = get_json(&format!("{issuer}/.well-known/openid-configuration")).await;
    let jwks = get_json(discovery["jwks_uri"].as_str().expect("it is a URL")).await;
    let builder = JwtVerifier::builder().issuer(issuer).audience(AUDIENCE);
    let builder = builder
        .jwks(&jwks.to_string())
        .expect("its keys can be used");
    builder.build().expect("it has keys")
}

/// A service that answers with the role that it runs as, and the token's subject.
async fn service(database: &Database, verifier: JwtVerifier) -> Router {
    let whoami = async |db: RoleScopedConnection| {
        let sql =
            "SELECT current_user || ' ' || (current_setting('request.jwt.claims')::json ->> 'sub')";
        db.query_one_scalar::<String>(sql, &[]).await
    };
    Router::new()
        .route(
            "/",
            get(async move |db| whoami(db).await.map_err(Error::from)),
        )
        .layer(RoleScopeLayer::new(database.pool().await))
        .layer(JwtAuthLayer::new(verifier))
}

async fn ask(service: &Router, token: &str) -> Reply {
    let bearer = format!("Bearer {token}");
    send(service, request(hyper::Method::GET, "/", &[&bearer])).await
}
