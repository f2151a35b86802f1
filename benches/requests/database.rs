//! The database that all variants use, and the tokens of its users.

use std::time::{Duration, Instant, SystemTime};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls};

use crate::local_postgres::{LocalPostgres, Search};

pub(crate) const SECRET: &str = "a secret of thirty-two bytes, or more";
pub(crate) const AUDIENCE: &str = "bench";
/// What each variant reads: the caller's 10 rows of 1000.
pub(crate) const LIST: &str = "SELECT id, title, done FROM items ORDER BY id";
/// What each variant writes: one row, which only its owner may change.
pub(crate) const SET: &str = "UPDATE counters SET value = $2 WHERE id = $1";

/// A PostgreSQL of our own on a port of 127.0.0.1.
pub(crate) struct Database {
    // Dropped after the connection.
    pub(crate) admin: Client,
    server: LocalPostgres,
}

impl Database {
    pub(crate) async fn start() -> Result<Self, String> {
        let server = tokio::task::spawn_blocking(|| {
            LocalPostgres::start_on_loopback(&Search::from_env().find()?)
        })
        .await
        .map_err(|e| e.to_string())??;
        let admin = connect(&url("postgres", server.port())).await?;
        let this = Self { admin, server };
        this.run(include_str!("schema.sql")).await?;
        Ok(this)
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.port()
    }

    pub(crate) async fn run(&self, sql: &str) -> Result<(), String> {
        let result = self.admin.batch_execute(sql).await;
        result.map_err(|e| format!("{sql}: {e:?}"))
    }

    pub(crate) async fn text(&self, sql: &str) -> Result<String, String> {
        let row = self.admin.query_one(sql, &[]).await;
        row.and_then(|row| row.try_get(0))
            .map_err(|e| format!("{sql}: {e:?}"))
    }

    /// Tells what of the server's settings bears on the figures.
    pub(crate) async fn describe(&self) -> Result<String, String> {
        self.text(
            "SELECT 'PostgreSQL ' || current_setting('server_version') || ' (' || string_agg(name || ' = ' || setting, ', ' ORDER BY name) || ')'
             FROM pg_settings WHERE name IN ('synchronous_commit', 'fsync', 'full_page_writes', 'jit', 'autovacuum')",
        )
        .await
    }

    /// What `owner` must be answered, read past all policies.
    pub(crate) async fn items_of(&self, owner: &str) -> Result<Value, String> {
        let text = self
            .text(&format!(
                "SELECT json_agg(json_build_object('id', id, 'title', title, 'done', done) ORDER BY id)::text
                 FROM items WHERE owner = '{owner}'"
            ))
            .await?;
        serde_json::from_str(&text).map_err(|e| e.to_string())
    }
}

pub(crate) fn url(user: &str, port: u16) -> String {
    format!("postgresql://{user}@127.0.0.1:{port}/postgres?sslmode=disable")
}

pub(crate) async fn connect(url: &str) -> Result<Client, String> {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .map_err(|e| format!("{url}: {e}"))?;
    tokio::spawn(connection);
    Ok(client)
}

/// Measures the median round trip of a prepared `SELECT 1`.
pub(crate) async fn round_trip(port: u16) -> Result<Duration, String> {
    let client = connect(&url("postgres", port)).await?;
    let measured = async {
        let statement = client.prepare("SELECT 1").await?;
        let mut times = Vec::new();
        for _ in 0..200 {
            let begun = Instant::now();
            client.query(&statement, &[]).await?;
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        Ok::<_, tokio_postgres::Error>(times[times.len() / 2])
    };
    measured.await.map_err(|e| e.to_string())
}

/// The claims of a user's session: one token for each `session`.
pub(crate) fn claims(subject: &str, role: &str, session: usize) -> Value {
    let exp = SystemTime::now() + Duration::from_secs(12 * 60 * 60);
    let exp = exp
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    json!({
        "sub": subject, "role": role, "aud": AUDIENCE, "exp": exp,
        "jti": format!("{session:08}"), "email": format!("{subject}@example.org"),
    })
}

pub(crate) fn token(claims: &Value, secret: &str) -> Result<String, String> {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::default(), claims, &key).map_err(|e| e.to_string())
}
