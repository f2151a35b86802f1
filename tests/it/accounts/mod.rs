//! `examples/sql/basic_auth.sql` and `examples/sql/sessions.sql`: what they promise, and what is tried against them.

mod example;
mod guide;
mod http;
mod mails;
mod passwords;
mod revocation;
mod rights;
mod sessions;

use serde_json::Value;
use tokio_postgres::{Client, Error};

use crate::support::proxy::within;
use crate::support::{self, Database};

const BASIC_AUTH: &str = include_str!("../../../examples/sql/basic_auth.sql");
const SESSIONS: &str = include_str!("../../../examples/sql/sessions.sql");

/// The functions that a transaction has called, and how often.
const CALLS: &str = "SELECT string_agg(funcname || ' ' || calls, ', ' ORDER BY funcname) FROM pg_stat_xact_user_functions";

const PASSWORD: &str = "correct horse battery staple";

/// A database with both files run in it. Roles belong to the whole server, so two of them have names of its own.
#[derive(Debug)]
struct Accounts {
    database: Database,
    accounts: String,
    mailer: String,
}

impl Accounts {
    async fn new() -> Self {
        let database = support::database().await;
        let this = Self {
            accounts: format!("{}_accounts", database.name()),
            mailer: format!("{}_mailer", database.name()),
            database,
        };
        for sql in [BASIC_AUTH, SESSIONS] {
            this.execute(&this.fill_in(sql)).await;
        }
        // The least that bcrypt has: each hash takes a millisecond.
        this.execute("UPDATE basic_auth.settings SET bcrypt_cost = 4")
            .await;
        this
    }

    fn fill_in(&self, sql: &str) -> String {
        let names = [
            ("authenticator", "authenticator"),
            ("anon", "anon"),
            ("web_user", "web_user"),
            ("accounts", &self.accounts),
            ("mailer", &self.mailer),
        ];
        names.iter().fold(sql.to_owned(), |sql, (variable, name)| {
            sql.replace(&format!(":\"{variable}\""), name)
                .replace(&format!(":'{variable}'"), &format!("'{name}'"))
        })
    }

    /// Runs SQL as the superuser.
    async fn execute(&self, sql: &str) {
        self.database.execute(sql).await;
    }

    /// One value, as the superuser sees it.
    async fn ask(&self, sql: &str) -> String {
        scalar(&self.database.admin().await, sql)
            .await
            .expect("it answers")
    }

    /// A session that runs as this role.
    async fn session(&self, role: &str) -> Client {
        let client = self.database.connect("authenticator").await;
        support::run(&client, &format!("SET ROLE {role}")).await;
        client
    }

    /// A session of a superuser in which the calls of functions are counted, for one transaction.
    async fn counting(&self) -> Client {
        let client = self.database.admin().await;
        support::run(&client, "SET track_functions = 'all'").await;
        client
    }

    async fn anon(&self) -> Client {
        self.session("anon").await
    }

    /// A session of a caller with these claims, as a request has it.
    async fn caller(&self, claims: &Value) -> Client {
        let client = self.session("web_user").await;
        client
            .query(
                "SELECT set_config('request.jwt.claims', $1, false)",
                &[&claims.to_string()],
            )
            .await
            .expect("it is set");
        client
    }

    /// Makes a user with [`PASSWORD`], who has verified the address, and returns the id.
    async fn user(&self, email: &str) -> String {
        self.ask(&format!(
            "INSERT INTO basic_auth.users (email, pass, role, verified)
             VALUES ('{email}', basic_auth.hash_password('{PASSWORD}'), 'web_user', true) RETURNING id::text"
        ))
        .await
    }

    /// The mails to send: kind, address and token.
    async fn mails(&self) -> Vec<(String, String, Option<String>)> {
        let mailer = self.session(&self.mailer).await;
        let sql = "SELECT kind, email, token FROM basic_auth.take_mails()";
        let rows = mailer.query(sql, &[]).await.expect("it may");
        rows.iter()
            .map(|row| (row.get(0), row.get(1), row.get(2)))
            .collect()
    }

    /// The token of the one mail to send, which is of this kind.
    async fn token(&self, kind: &str) -> String {
        let mails = self.mails().await;
        let [(found, _, Some(token))] = &mails[..] else {
            panic!("{mails:?}");
        };
        assert_eq!(found, kind);
        token.clone()
    }

    /// The access tokens that verifiers refuse, as the authenticator is told.
    async fn revoked(&self) -> Vec<String> {
        let listener = self.session("NONE").await;
        let sql = "SELECT claim, value, issued_before IS NULL FROM basic_auth.revoked_tokens() ORDER BY value";
        let rows = listener.query(sql, &[]).await.expect("it may");
        rows.iter()
            .map(|row| {
                assert_eq!((row.get::<_, &str>(0), row.get(2)), ("jti", true));
                row.get(1)
            })
            .collect()
    }
}

async fn scalar(client: &Client, sql: &str) -> Result<String, Error> {
    Ok(client.query_one(sql, &[]).await?.get(0))
}

/// The claims that a function returns, or `None` for a refusal.
async fn claims(
    client: &Client,
    call: &str,
    parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
) -> Result<Option<Value>, Error> {
    let sql = format!(
        "SELECT CASE WHEN c IS NULL THEN NULL ELSE pg_catalog.to_json(c)::pg_catalog.text END FROM {call} c"
    );
    let row = client.query_one(&sql, parameters).await?;
    let text: Option<String> = row.get(0);
    Ok(text.map(|text| serde_json::from_str(&text).expect("it is JSON")))
}

/// `login`, with the hash of a refresh token of this name.
async fn login(
    client: &Client,
    email: &str,
    password: &str,
    refresh: &str,
) -> Result<Option<Value>, Error> {
    login_from(client, email, password, refresh, None).await
}

async fn login_from(
    client: &Client,
    email: &str,
    password: &str,
    refresh: &str,
    address: Option<&str>,
) -> Result<Option<Value>, Error> {
    let address: Option<std::net::IpAddr> = address.map(|a| a.parse().expect("an address"));
    let call = "public.login($1, $2, pg_catalog.sha256(pg_catalog.convert_to($3, 'UTF8')), $4, 'a browser')";
    claims(client, call, &[&email, &password, &refresh, &address]).await
}

/// `refresh`, with the hashes of refresh tokens of these names.
async fn refresh(client: &Client, old: &str, new: &str) -> Result<Option<Value>, Error> {
    let call = "public.refresh(pg_catalog.sha256(pg_catalog.convert_to($1, 'UTF8')), pg_catalog.sha256(pg_catalog.convert_to($2, 'UTF8')))";
    claims(client, call, &[&old, &new]).await
}

#[track_caller]
fn sqlstate<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    let error = result.expect_err("it is refused");
    let code = error.code().expect("the server refused it");
    code.code().to_owned()
}

fn claim<'a>(claims: &'a Value, name: &str) -> &'a str {
    claims[name].as_str().expect("it is a text")
}

/// Waits until this session waits for a lock of another one.
async fn waits(admin: &Client, pid: i32) {
    let blocked = async {
        loop {
            let sql = "SELECT cardinality(pg_blocking_pids($1)) > 0";
            let row = admin.query_one(sql, &[&pid]).await.expect("it answers");
            if row.get(0) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    within(blocked).await;
}

async fn pid(client: &Client) -> i32 {
    let row = client.query_one("SELECT pg_backend_pid()", &[]).await;
    row.expect("it answers").get(0)
}
