//! Run with: cargo run --example todos
//!
//! A list of todos in which PostgreSQL decides who sees and writes what. It needs no set-up: it finds or fetches a
//! PostgreSQL of its own, prepares it with `sql/todos.sql`, `sql/basic_auth.sql` and `sql/sessions.sql`, serves a page on
//! which one can be several users side by side, and prints `curl` commands to try. `--port` chooses the port.
//!
//! Nothing is left when it ends, however it ends. With DATABASE_URL, a superuser's or one with CREATEDB and CREATEROLE,
//! it makes a database and five roles on that server, named `rolescope_example_..`, and removes them on Ctrl-C or
//! SIGTERM; what a `kill -9` leaves there, the next start removes.

#[path = "support/accounts.rs"]
mod accounts;
#[path = "support/feed.rs"]
mod feed;
#[path = "support/local_postgres/mod.rs"]
mod local_postgres;
#[path = "support/mailer.rs"]
mod mailer;
#[path = "support/serve.rs"]
mod serve;
#[path = "support/statement_log.rs"]
mod statement_log;
#[path = "support/todos_database.rs"]
mod todos_database;
#[path = "support/todos_guide.rs"]
mod todos_guide;
#[path = "support/todos_page.rs"]
mod todos_page;
#[path = "support/todos_run.rs"]
mod todos_run;
#[path = "support/tokens.rs"]
mod tokens;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::{get, patch};
use axum::{Json, Router};
use clap::Parser;
use rolescope::issuer::{SigningKey, TokenIssuer};
use rolescope::role::RoleName;
use rolescope::scope::revocation::RevocationListener;
use rolescope::{
    Error, JwtAuthLayer, JwtVerifier, RoleScopeLayer, RoleScopedConnection, RoleScopedPool,
};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower::ServiceBuilder;
use tower_http::trace::TraceLayer;

use feed::Feed;
use local_postgres::Extra;
use mailer::send_mails;
use serve::{Shutdown, chain};
use statement_log::Logged;
use todos_database::{Login, SQL, random_hex};
use todos_guide::guide;
use todos_page::Page;

fn app(auth: JwtAuthLayer, pool: RoleScopedPool, issuer: TokenIssuer) -> Router {
    let layers = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(auth)
        .layer(RoleScopeLayer::new(pool));
    Router::new()
        .route("/todos", get(list).post(add))
        .route("/todos/{id}", patch(change).delete(remove))
        .merge(accounts::routes(issuer))
        .layer(layers)
}

#[derive(Serialize)]
struct Todo {
    id: i64,
    owner: String,
    task: String,
    public: bool,
}

// It asks for all todos: row-level security leaves those that the caller may see.
async fn list(db: RoleScopedConnection) -> Result<Json<Vec<Todo>>, Error> {
    let rows = db
        .query("SELECT id, owner, task, public FROM todos ORDER BY id", &[])
        .await?;
    let todos = rows.iter().map(|row| Todo {
        id: row.get("id"),
        owner: row.get("owner"),
        task: row.get("task"),
        public: row.get("public"),
    });
    Ok(Json(todos.collect()))
}

#[derive(Deserialize)]
struct NewTodo {
    task: String,
    owner: Option<String>,
    #[serde(default)]
    public: bool,
}

// It writes whatever owner the caller names: row-level security refuses all but the caller.
async fn add(
    db: RoleScopedConnection,
    Json(new): Json<NewTodo>,
) -> Result<(StatusCode, Json<Todo>), Error> {
    let row = db
        .query_one(
            "INSERT INTO todos (owner, task, public)
             VALUES (coalesce($1, current_setting('request.jwt.claims')::json ->> 'sub'), $2, $3)
             RETURNING id, owner",
            &[&new.owner, &new.task, &new.public],
        )
        .await?;
    let todo = Todo {
        id: row.get("id"),
        owner: row.get("owner"),
        task: new.task,
        public: new.public,
    };
    Ok((StatusCode::CREATED, Json(todo)))
}

#[derive(Deserialize)]
struct Change {
    task: Option<String>,
    public: Option<bool>,
}

// It changes whatever row the caller names: row-level security hides all but the caller's own from it.
async fn change(
    db: RoleScopedConnection,
    Path(id): Path<i64>,
    Json(change): Json<Change>,
) -> Result<StatusCode, Error> {
    let changed = db
        .execute(
            "UPDATE todos SET task = coalesce($2, task), public = coalesce($3, public) WHERE id = $1",
            &[&id, &change.task, &change.public],
        )
        .await?;
    Ok(found(changed))
}

async fn remove(db: RoleScopedConnection, Path(id): Path<i64>) -> Result<StatusCode, Error> {
    let removed = db
        .execute("DELETE FROM todos WHERE id = $1", &[&id])
        .await?;
    Ok(found(removed))
}

fn found(rows: u64) -> StatusCode {
    match rows {
        0 => StatusCode::NOT_FOUND,
        _ => StatusCode::NO_CONTENT,
    }
}

#[derive(Parser)]
#[command(
    about = "A list of todos in which PostgreSQL decides who sees and writes what",
    after_help = todos_run::ENVIRONMENT
)]
struct Args {
    /// The port to listen on; 0 for any that is free.
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// How long the access tokens of those who sign in are good for, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    token_lifetime: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let lifetime = format!(
        r#"GRANT :"accounts" TO CURRENT_USER;
           SET ROLE :"accounts";
           UPDATE basic_auth.settings SET access_lifetime = '{} seconds';
           RESET ROLE;
           REVOKE :"accounts" FROM CURRENT_USER;"#,
        args.token_lifetime
    );
    let files = [
        SQL,
        include_str!("sql/basic_auth.sql"),
        include_str!("sql/sessions.sql"),
        &lifetime,
    ];
    let extra = Extra {
        arguments: statement_log::SETTINGS.map(str::to_owned).into(),
        ..Extra::default()
    };
    todos_run::run_on(&extra, &files, args.port, serve).await
}

async fn serve(login: Login, listener: TcpListener, shutdown: Shutdown) -> Result<(), String> {
    let url = serve::url(&listener)?;
    let secret = random_hex(32)?;
    let issuer = SigningKey::hs256(&secret).map_err(|e| chain(&e))?;
    let issuer = TokenIssuer::builder(issuer)
        .issuer(&url)
        .audience("todos")
        .build()
        .map_err(|e| chain(&e))?;
    let revocations = RevocationListener::builder(&login.url)
        .map_err(|e| chain(&e))?
        .build()
        .await
        .map_err(|e| chain(&e))?;
    let verifier = JwtVerifier::builder()
        .keys(issuer.verifying_keys())
        .map_err(|e| chain(&e))?
        .audience("todos")
        // It issues them itself, so there is one clock.
        .leeway(Duration::ZERO)
        .revocations(revocations.revocations())
        .build()
        .map_err(|e| chain(&e))?;
    let pool = RoleScopedPool::builder(&login.url)
        .map_err(|e| chain(&e))?
        .anonymous_role(&login.names.anon)
        .build()
        .await
        .map_err(|e| chain(&e))?;

    let guide = guide(&url, &secret, &login.names.web_user)?.replacen(
        "\n\n",
        &format!("\n\nOpen {url}/ in a browser to be two users side by side, or:\n\n"),
        1,
    );
    // Whether anybody reads it is no reason to stop.
    let _ = std::io::stdout().write_all(guide.as_bytes());

    let mails = Arc::new(Feed::new(100));
    let (stopping, stop) = watch::channel(false);
    let page = Page {
        verifier: verifier.clone(),
        statements: login.log.map(statements),
        mails: Arc::clone(&mails),
        stop,
    };
    let auth = JwtAuthLayer::new(verifier);
    let app = app(auth.clone(), pool.clone(), issuer)
        .merge(todos_page::routes(page, auth))
        .into_make_service_with_connect_info::<SocketAddr>();
    let told = shutdown.stop();
    let server = axum::serve(listener, app).with_graceful_shutdown(async move {
        told.await;
        // The page's streams would not end by themselves.
        stopping.send_replace(true);
    });
    let mailer = RoleName::parse(&login.names.mailer).map_err(|e| chain(&e))?;
    tokio::select! {
        served = serve::serve(server, shutdown) => served?,
        () = send_mails(&login.url, &pool, mailer, |mail| mails.push(mail)) => {}
    }
    pool.close().await;
    Ok(())
}

/// What the server runs from now on.
fn statements(log: PathBuf) -> Arc<Feed<Logged>> {
    let feed = Arc::new(Feed::new(1000));
    let filled = Arc::clone(&feed);
    tokio::spawn(async move {
        if let Err(error) = statement_log::follow(&log, &filled).await {
            tracing::warn!("the server's log cannot be read: {error}");
        }
    });
    feed
}
