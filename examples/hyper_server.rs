//! Run with: cargo run --example hyper_server
//!
//! The API of the example `todos` on plain hyper and tower: HTTP/1.1 and HTTP/2 on one port, routes by a `match`, no axum.
//! Such a service takes this crate with `default-features = false, features = ["postgres", "aws-lc-rs"]`.

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

use std::convert::Infallible;
use std::io::{self, Write};
use std::pin::pin;
use std::process::ExitCode;

use bytes::Bytes;
use clap::Parser;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
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

async fn serve_http(
    listener: TcpListener,
    auth: JwtAuthLayer,
    pool: RoleScopedPool,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let service = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(auth)
        .layer(RoleScopeLayer::new(pool))
        .service_fn(handle);
    let server = auto::Builder::new(TokioExecutor::new());
    let connections = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let (socket, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            () = &mut stop => break,
        };
        let service = TowerToHyperService::new(service.clone());
        let connection = server.serve_connection(TokioIo::new(socket), service);
        let connection = connections.watch(connection.into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection ended early: {error}");
            }
        });
    }
    connections.shutdown().await;
    Ok(())
}

// An error becomes a response here: an `Err` would make hyper close the connection.
async fn handle(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let response = match (request.method(), request.uri().path()) {
        (&Method::GET, "/todos") => list(request).await,
        (&Method::POST, "/todos") => add(request).await,
        (_, "/todos") => Ok(empty(StatusCode::METHOD_NOT_ALLOWED)),
        _ => Ok(empty(StatusCode::NOT_FOUND)),
    };
    Ok(response.unwrap_or_else(|error| error.to_response()))
}

#[derive(Serialize)]
struct Todo {
    id: i64,
    owner: String,
    task: String,
    public: bool,
}

// It asks for all todos: row-level security leaves those that the caller may see.
async fn list(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Error> {
    let db = RoleScopedConnection::from_extensions(request.extensions())?;
    let rows = db
        .query("SELECT id, owner, task, public FROM todos ORDER BY id", &[])
        .await?;
    let todos = rows.iter().map(|row| Todo {
        id: row.get("id"),
        owner: row.get("owner"),
        task: row.get("task"),
        public: row.get("public"),
    });
    Ok(json(StatusCode::OK, &todos.collect::<Vec<_>>()))
}

#[derive(Deserialize)]
struct NewTodo {
    task: String,
    owner: Option<String>,
    #[serde(default)]
    public: bool,
}

// It writes whatever owner the caller names: row-level security refuses all but the caller.
async fn add(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Error> {
    let db = RoleScopedConnection::from_extensions(request.extensions())?;
    let Ok(body) = Limited::new(request.into_body(), 64 * 1024).collect().await else {
        return Ok(empty(StatusCode::PAYLOAD_TOO_LARGE));
    };
    let Ok(new) = serde_json::from_slice::<NewTodo>(&body.to_bytes()) else {
        return Ok(empty(StatusCode::BAD_REQUEST));
    };
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
    Ok(json(StatusCode::CREATED, &todo))
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(value) {
        Ok(body) => {
            let mut response = Response::new(Full::from(body));
            *response.status_mut() = status;
            let json = header::HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        Err(_) => empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

#[derive(Parser)]
#[command(
    about = "A list of todos on plain hyper, in which PostgreSQL decides who sees and writes what",
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
    let _ = io::stdout().write_all(guide.as_bytes());
    let auth = JwtAuthLayer::new(verifier);
    let server = serve_http(listener, auth, pool.clone(), shutdown.stop());
    serve::serve(server, shutdown).await?;
    pool.close().await;
    Ok(())
}
