//! Run with: cargo run --example tonic_server --features tonic
//!
//! The todos of the example `todos` over gRPC, with methods of all four kinds, and a client that calls each and tells what
//! it was answered. `support/todos.proto` describes the service for other clients.

#[path = "support/local_postgres/mod.rs"]
mod local_postgres;
#[path = "support/serve.rs"]
mod serve;
#[path = "support/todos_database.rs"]
mod todos_database;
#[path = "support/todos_grpc.rs"]
mod todos_grpc;
#[path = "support/todos_run.rs"]
mod todos_run;
#[path = "support/tokens.rs"]
mod tokens;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use futures_util::{StreamExt, TryStreamExt, stream};
use rolescope::tokio_postgres::Row;
use rolescope::{
    AccessMode, Error, JwtAuthLayer, JwtVerifier, RoleScopeLayer, RoleScopedConnection,
    RoleScopedPool,
};
use tokio::net::TcpListener;
use tonic::metadata::MetadataValue;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};
use tower::ServiceBuilder;
use tower_http::trace::{DefaultOnFailure, TraceLayer};
use tracing::Level;

use serve::{Shutdown, chain};
use todos_database::{Login, random_hex};
use todos_grpc::{
    Added, LIST, ListRequest, NewTodo, Todo, Todos, TodosClient, TodosServer, TodosService,
};
use tokens::sign;

async fn serve_grpc(
    listener: TcpListener,
    auth: JwtAuthLayer,
    pool: RoleScopedPool,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    // Every gRPC request is a POST. Which of them only read, their path tells.
    let scope = RoleScopeLayer::new(pool).access_mode(|_, uri| match uri.path() {
        LIST => AccessMode::ReadOnly,
        _ => AccessMode::ReadWrite,
    });
    // A refusal is no failure of the server. What is one, this crate logs itself.
    let trace = TraceLayer::new_for_grpc().on_failure(DefaultOnFailure::new().level(Level::DEBUG));
    let layers = ServiceBuilder::new().layer(trace).layer(auth).layer(scope);
    Server::builder()
        .layer(layers)
        .add_service(TodosServer::new(Service))
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), stop)
        .await
}

struct Service;

impl TodosService for Service {
    // It asks for all todos: row-level security leaves those that the caller may see.
    async fn list(&self, request: Request<ListRequest>) -> Result<Response<Todos>, Status> {
        let db = RoleScopedConnection::from_extensions(request.extensions())?;
        let rows = db
            .query("SELECT id, owner, task, public FROM todos ORDER BY id", &[])
            .await?;
        let todos = stream::iter(rows).map(|row| Ok(todo(&row)));
        Ok(Response::new(todos.boxed()))
    }

    async fn add(&self, request: Request<NewTodo>) -> Result<Response<Todo>, Status> {
        let db = RoleScopedConnection::from_extensions(request.extensions())?;
        let added = insert(&db, request.get_ref()).await?;
        Ok(Response::new(added))
    }

    // All of them, or none: they share a transaction.
    async fn add_all(
        &self,
        request: Request<Streaming<NewTodo>>,
    ) -> Result<Response<Added>, Status> {
        let db = RoleScopedConnection::from_extensions(request.extensions())?;
        let mut new = request.into_inner();
        let mut count = 0;
        while let Some(new) = new.try_next().await? {
            insert(&db, &new).await?;
            count += 1;
        }
        Ok(Response::new(Added { count }))
    }

    // The transaction is open as long as the stream is, and committed before the client sees that it was.
    async fn add_each(
        &self,
        request: Request<Streaming<NewTodo>>,
    ) -> Result<Response<Todos>, Status> {
        let db = RoleScopedConnection::from_extensions(request.extensions())?;
        let added = request.into_inner().and_then(move |new| {
            let db = db.clone();
            async move { Ok(insert(&db, &new).await?) }
        });
        Ok(Response::new(added.boxed()))
    }
}

// It writes whatever owner the caller names: row-level security refuses all but the caller.
async fn insert(db: &RoleScopedConnection, new: &NewTodo) -> Result<Todo, Error> {
    let row = db
        .query_one(
            "INSERT INTO todos (owner, task, public)
             VALUES (coalesce($1, current_setting('request.jwt.claims')::json ->> 'sub'), $2, $3)
             RETURNING id, owner, task, public",
            &[&new.owner, &new.task, &new.public],
        )
        .await?;
    Ok(todo(&row))
}

fn todo(row: &Row) -> Todo {
    Todo {
        id: row.get("id"),
        owner: row.get("owner"),
        task: row.get("task"),
        public: row.get("public"),
    }
}

#[derive(Parser)]
#[command(
    about = "A list of todos over gRPC, in which PostgreSQL decides who sees and writes what",
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

    let url = serve::url(&listener)?;
    let auth = JwtAuthLayer::new(verifier);
    let server = serve_grpc(listener, auth, pool.clone(), shutdown.stop());
    let server = serve::serve(server, shutdown);
    let dialogue = dialogue(&url, &secret, &login.names.web_user);
    let (served, ()) = tokio::try_join!(server, async {
        let told = dialogue.await?;
        // Whether anybody reads it is no reason to stop.
        let _ = io::stdout().write_all(told.as_bytes());
        Ok(())
    })?;
    pool.close().await;
    Ok(served)
}

/// Calls each method, and tells what it was answered.
async fn dialogue(url: &str, secret: &str, role: &str) -> Result<String, String> {
    let channel = Channel::from_shared(url.to_owned()).map_err(|e| chain(&e))?;
    let mut todos = TodosClient::new(channel.connect().await.map_err(|e| chain(&e))?);
    let alice = sign("alice", role, secret)?;
    let bob = sign("bob", role, secret)?;
    let forged = sign("alice", role, &random_hex(32)?)?;

    let anybodys = list(&mut todos, None).await;
    let alices = list(&mut todos, Some(&alice)).await;
    let added = todos.add(by(Some(&alice), new("call the plumber"))?).await;
    let all = stream::iter([new("feed the cat"), new("")]);
    let none = todos.add_all(by(Some(&alice), all)?).await;
    let each = stream::iter([new("buy milk"), new("buy bread")]);
    let each = match todos.add_each(by(Some(&alice), each)?).await {
        Ok(stream) => stream.into_inner().try_collect::<Vec<_>>().await,
        Err(status) => Err(status),
    };
    let bobs = list(&mut todos, Some(&bob)).await;
    let raise = NewTodo {
        owner: Some("alice".to_owned()),
        ..new("give bob a raise")
    };
    let as_alice = todos.add(by(Some(&bob), raise)?).await;
    let nobodys = list(&mut todos, Some(&forged)).await;
    let afterwards = list(&mut todos, Some(&alice)).await;

    Ok(format!(
        "listening on {url}

Without a token, List: {}
Alice, List: {}
Alice, Add: {}
Alice, AddAll, of which one is empty: {}
Alice, AddEach: {}
Bob, List: {}
Bob, Add in Alice's name: {}
Somebody else's token, List: {}
Alice, List: {}

Ctrl-C ends it.
",
        tell(anybodys, tasks),
        tell(alices, tasks),
        tell(added, |added| added.get_ref().task.clone()),
        tell(none, |added| added.get_ref().count.to_string()),
        tell(each, tasks),
        tell(bobs, tasks),
        tell(as_alice, |added| added.get_ref().task.clone()),
        tell(nobodys, tasks),
        tell(afterwards, tasks),
    ))
}

async fn list(todos: &mut TodosClient, token: Option<&str>) -> Result<Vec<Todo>, Status> {
    let request = by(token, ListRequest {}).map_err(Status::internal)?;
    todos.list(request).await?.into_inner().try_collect().await
}

fn by<T>(token: Option<&str>, message: T) -> Result<Request<T>, String> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let bearer = MetadataValue::try_from(format!("Bearer {token}")).map_err(|e| chain(&e))?;
        request.metadata_mut().insert("authorization", bearer);
    }
    Ok(request)
}

fn new(task: &str) -> NewTodo {
    NewTodo {
        task: task.to_owned(),
        owner: None,
        public: false,
    }
}

fn tasks(todos: Vec<Todo>) -> String {
    let tasks: Vec<_> = todos.into_iter().map(|todo| todo.task).collect();
    tasks.join(", ")
}

fn tell<T>(result: Result<T, Status>, ok: impl FnOnce(T) -> String) -> String {
    match result {
        Ok(value) => ok(value),
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    }
}
