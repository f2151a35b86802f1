//! Sign-in with GitHub: a browser, a real OAuth server and a real database. Fakes only for what that server never does.

mod browser;
mod example;
mod faults;
mod flow;
mod guide;
mod identities;
mod refusals;
mod sql;

use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use rolescope::issuer::{SigningKey, TokenIssuer};
use rolescope::{
    Error, JwtAuthLayer, JwtVerifier, RoleName, RolePolicy, RoleScopeLayer, RoleScopedConnection,
    RoleScopedPool,
};
use serde_json::{Value, json};

use crate::support::github::{Settings, routes};
use crate::support::local_provider::LocalProvider;
use crate::support::{Database, database};

/// Where browsers reach the service, as far as GitHub and the cookies know.
const SERVICE: &str = "https://todos.example";
const CLIENT_SECRET: &str = "the-client-secret-of-these-tests-only";
const AUDIENCE: &str = "todos";

fn account(id: i64, login: &str, email: &str) -> Value {
    json!({
        "user": { "id": id, "login": login, "name": null, "type": "User" },
        "emails": [
            { "email": format!("{id}+{login}@users.noreply.github.com"), "primary": false, "verified": true },
            { "email": email, "primary": true, "verified": true, "visibility": "private" },
        ],
    })
}

/// Who has an account. Each is of one test, where it changes.
fn accounts() -> Value {
    let unverified = json!({
        "user": { "id": 5, "login": "erin" },
        "emails": [
            { "email": "alice@example.com", "primary": true, "verified": false },
            { "email": "second@example.com", "primary": false, "verified": true },
        ],
    });
    json!({
        "alice": account(1, "alice", "alice@example.com"),
        "bob": account(2, "bob", "bob@example.com"),
        "mallory": account(3, "mallory", "Alice@Example.com"),
        "renamed": account(4, "renamed", "renamed@example.com"),
        "newcomer": account(6, "newcomer", "newcomer@example.com"),
        "erin": unverified,
    })
}

/// The provider of all these tests. It is never dropped and ends with the process all the same.
async fn provider() -> &'static LocalProvider {
    static PROVIDER: OnceLock<LocalProvider> = OnceLock::new();
    let start = || {
        PROVIDER.get_or_init(|| {
            let names = ["alice", "bob", "mallory", "renamed", "newcomer", "erin"];
            let claims = names.map(|name| (name.to_owned(), json!({})));
            let claims: serde_json::Map<_, _> = claims.into_iter().collect();
            let config = json!({
                "port": 0,
                "clients": [{
                    "client_id": "todos",
                    "client_secret": CLIENT_SECRET,
                    "redirect_uris": [format!("{SERVICE}/auth/github/callback")],
                    "token_endpoint_auth_method": "client_secret_post",
                    "alg": "ES256",
                }],
                "accounts": claims,
                "github": accounts(),
            });
            LocalProvider::start(&config).unwrap_or_else(|e| panic!("{e}"))
        })
    };
    tokio::task::spawn_blocking(start).await.expect("no panic")
}

/// Settings for a provider of the addresses that ours has.
fn settings(provider: &str) -> Settings {
    let mut settings = Settings::read(SERVICE, |name| {
        let value = match name {
            "GITHUB_CLIENT_ID" => "todos".to_owned(),
            "GITHUB_CLIENT_SECRET" => CLIENT_SECRET.to_owned(),
            "GITHUB_AUTHORIZE_URL" => format!("{provider}/auth"),
            "GITHUB_TOKEN_URL" => format!("{provider}/token"),
            "GITHUB_API_URL" => format!("{provider}/api"),
            _ => return None,
        };
        Some(value)
    })
    .unwrap_or_else(|e| panic!("{e}"));
    settings.page = "/page".to_owned();
    // Whoever is meant to answer does, however busy the machine is.
    settings.timeout = Duration::from_secs(60);
    settings
}

/// A service with a database of its own.
struct Service {
    database: Database,
    pool: RoleScopedPool,
    broker: String,
    issuer: TokenIssuer,
    router: Router,
}

impl Service {
    async fn start(settings: Settings) -> Self {
        let database = database().await;
        let broker = install(&database).await;
        let pool = database.pool().await;
        let issuer = issuer();
        let role = RoleName::parse(&broker).expect("it is a name");
        let router = routes(settings, pool.clone(), role, issuer.clone());
        let router = router.unwrap_or_else(|e| panic!("{e}"));
        let router = router.merge(todos(&pool, &issuer));
        Self {
            database,
            pool,
            broker,
            issuer,
            router,
        }
    }

    /// One column of what a statement returns to a superuser, as text.
    async fn column(&self, sql: &str) -> Vec<String> {
        let rows = self.database.admin().await.query(sql, &[]).await;
        let rows = rows.unwrap_or_else(|e| panic!("{e:?}"));
        rows.iter().map(|row| row.get(0)).collect()
    }
}

fn issuer() -> TokenIssuer {
    let key = SigningKey::hs256("a secret of these tests that is long enough").expect("it is");
    let builder = TokenIssuer::builder(key).issuer(SERVICE).audience(AUDIENCE);
    builder.build().expect("there is all it needs")
}

/// Has the SQL files make what a sign-in needs, with roles of this database's own, and returns the broker's name.
async fn install(database: &Database) -> String {
    let name = database.name();
    let broker = format!("{name}_identity_broker");
    for file in [
        include_str!("../../../examples/sql/basic_auth.sql"),
        include_str!("../../../examples/sql/sessions.sql"),
        include_str!("../../../examples/sql/github.sql"),
        "CREATE TABLE todos (
            owner text NOT NULL DEFAULT (nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub'),
            task text NOT NULL);
         ALTER TABLE todos ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON todos TO web_user
            USING (owner = (SELECT nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub'));
         GRANT SELECT, INSERT ON todos TO web_user",
    ] {
        let mut sql = file.to_owned();
        for (variable, value) in [
            ("authenticator", "authenticator"),
            ("anon", "anon"),
            ("web_user", "web_user"),
            ("accounts", &format!("{name}_accounts")),
            ("mailer", &format!("{name}_mailer")),
            ("identity_broker", &broker),
        ] {
            sql = sql.replace(&format!(":\"{variable}\""), value);
            sql = sql.replace(&format!(":'{variable}'"), &format!("'{value}'"));
        }
        database.execute(&sql).await;
    }
    broker
}

/// What people sign in for.
fn todos(pool: &RoleScopedPool, issuer: &TokenIssuer) -> Router {
    async fn list(db: RoleScopedConnection) -> Result<String, Error> {
        let sql = "SELECT current_user || ': ' || coalesce(string_agg(task, ', ' ORDER BY task), '') FROM todos";
        db.query_one_scalar(sql, &[]).await
    }
    async fn add(db: RoleScopedConnection, task: String) -> Result<(), Error> {
        let sql = "INSERT INTO todos (task) VALUES ($1)";
        db.execute(sql, &[&task]).await.map(drop)
    }
    Router::new()
        .route("/todos", get(list).post(add))
        .layer(RoleScopeLayer::new(pool.clone()).roles(policy()))
        .layer(auth(issuer))
}

fn policy() -> RolePolicy {
    RolePolicy::new().allow(["web_user"]).expect("it is a name")
}

fn auth(issuer: &TokenIssuer) -> JwtAuthLayer {
    let verifier = JwtVerifier::builder()
        .keys(issuer.verifying_keys())
        .expect("there is one")
        .issuer(SERVICE)
        .audience(AUDIENCE)
        .build();
    JwtAuthLayer::new(verifier.expect("there is a crypto backend"))
}
