//! Run with: cargo run --example todos
//!
//! A list of todos in which PostgreSQL decides who sees and writes what. It needs no set-up: it finds or fetches a
//! PostgreSQL of its own, prepares it with `sql/todos.sql`, and prints `curl` commands to try. `--port` chooses the port.
//!
//! Nothing is left when it ends, however it ends. With DATABASE_URL, a superuser's or one with CREATEDB and CREATEROLE,
//! it makes a database and three roles on that server, named `rolescope_example_..`, and removes them on Ctrl-C or
//! SIGTERM; what a `kill -9` leaves there, the next start removes.

#[path = "support/local_postgres/mod.rs"]
mod local_postgres;
#[path = "support/serve.rs"]
mod serve;
#[path = "support/todos_database.rs"]
mod todos_database;
#[path = "support/todos_guide.rs"]
mod todos_guide;
#[path = "support/todos_run.rs"]
mod todos_run;
#[path = "support/tokens.rs"]
mod tokens;

use std::io::Write;
use std::process::ExitCode;

use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use clap::Parser;
use rolescope::{
    Error, JwtAuthLayer, JwtVerifier, RoleScopeLayer, RoleScopedConnection, RoleScopedPool,
};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_http::trace::TraceLayer;

use serve::{Shutdown, chain};
use todos_database::{Login, random_hex};
use todos_guide::guide;

fn app(auth: JwtAuthLayer, pool: RoleScopedPool) -> Router {
    let layers = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(auth)
        .layer(RoleScopeLayer::new(pool));
    Router::new()
        .route("/todos", get(list).post(add))
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

#[derive(Parser)]
#[command(
    about = "A list of todos in which PostgreSQL decides who sees and writes what",
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

async fn serve(login: Login, listener: TcpListener, shutdown: Shutdown) -> Result<(), String> {
    let secret = random_hex(32)?;
    let verifier = JwtVerifier::builder()
        .hs256(&secret)
        .map_err(|e| chain(&e))?
        .audience("todos")
        .build()
        .map_err(|e| chain(&e))?;
    let pool = RoleScopedPool::builder(&login.url)
        .map_err(|e| chain(&e))?
        .anonymous_role(&login.names.anon)
        .build()
        .await
        .map_err(|e| chain(&e))?;

    let guide = guide(&serve::url(&listener)?, &secret, &login.names.web_user)?;
    // Whether anybody reads it is no reason to stop.
    let _ = std::io::stdout().write_all(guide.as_bytes());
    let app = app(JwtAuthLayer::new(verifier), pool.clone());
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.stop());
    serve::serve(server, shutdown).await?;
    pool.close().await;
    Ok(())
}
