//! Run with: cargo run --example tls
//!
//! The API of the example `todos` with TLS on both sides: clients reach the service by HTTP/2 or HTTP/1.1 over TLS, and by
//! nothing else; the service reaches PostgreSQL with a certificate and a password of its own, after it has verified the
//! server's. An authority that is made at the start signs all three certificates. Nothing is left when it ends.
//!
//! It starts a PostgreSQL of its own, since TLS is a matter of the server's files: DATABASE_URL does not count.

#[path = "support/local_postgres/mod.rs"]
mod local_postgres;
#[path = "support/serve.rs"]
mod serve;
#[path = "support/tls_certificates.rs"]
mod tls_certificates;
#[path = "support/tls_database.rs"]
mod tls_database;
#[allow(dead_code, reason = "this example uses a part of it")]
#[path = "support/todos_database.rs"]
mod todos_database;
#[path = "support/todos_guide.rs"]
mod todos_guide;
#[path = "support/tokens.rs"]
mod tokens;

use std::io::Write;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{StatusCode, Version};
use axum::routing::get;
use axum::{Extension, Json, Router};
use clap::Parser;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rolescope::{
    Error, JwtAuthLayer, JwtVerifier, RoleScopeLayer, RoleScopedConnection, RoleScopedPool,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tower::{Layer, ServiceBuilder};
use tower_http::trace::TraceLayer;

use serve::{Shutdown, chain};
use tls_certificates::{Authority, Certificate};
use tls_database::TlsDatabase;
use todos_database::random_hex;

/// How long a client may take to say hello.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// HTTP/2 and HTTP/1.1 over TLS 1.3 and 1.2. Older versions rustls does not have.
fn tls(own: &Certificate) -> Result<TlsAcceptor, String> {
    let certificates = CertificateDer::pem_slice_iter(own.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| chain(&e))?;
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).map_err(|e| chain(&e))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| chain(&e))?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|e| chain(&e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What is spoken with a client.
#[derive(Clone, Debug)]
struct Spoken(String);

async fn serve_https(
    listener: TcpListener,
    tls: TlsAcceptor,
    app: Router,
    stop: impl Future<Output = ()>,
) -> Result<(), String> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new());
    server.http2().timer(TokioTimer::new());
    let connections = GracefulShutdown::new();
    let (open, closing) = watch::channel(());
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let Ok((socket, _)) = accepted else {
            // The process has too many files open, for example.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (tls, app, server) = (tls.clone(), app.clone(), server.clone());
        let (watcher, mut closing) = (connections.watcher(), closing.clone());
        // In its own task from here on, so that nobody waits for another's handshake.
        tokio::spawn(async move {
            let shaken = tokio::select! {
                shaken = tokio::time::timeout(HANDSHAKE, tls.accept(socket)) => shaken,
                _ = closing.changed() => return,
            };
            let stream = match shaken {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!("a handshake failed: {error}"),
                Err(_) => return tracing::debug!("a handshake took too long"),
            };
            let version = stream.get_ref().1.protocol_version();
            let spoken = version.map_or_else(String::new, |version| format!("{version:?}"));
            let service = TowerToHyperService::new(Extension(Spoken(spoken)).layer(app));
            let connection = server.serve_connection(TokioIo::new(stream), service);
            if let Err(error) = watcher.watch(connection.into_owned()).await {
                tracing::debug!("a connection ended early: {error}");
            }
        });
    }
    drop(open);
    connections.shutdown().await;
    Ok(())
}

fn app(auth: JwtAuthLayer, pool: RoleScopedPool) -> Router {
    let layers = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(auth)
        .layer(RoleScopeLayer::new(pool));
    Router::new()
        .route("/todos", get(list).post(add))
        .route("/tls", get(what_is_spoken))
        .layer(layers)
}

async fn list(db: RoleScopedConnection) -> Result<Json<Vec<Value>>, Error> {
    let sql = "SELECT id, owner, task, public FROM todos ORDER BY id";
    let rows = db.query(sql, &[]).await?;
    let todos = rows.iter().map(|row| {
        let (id, public): (i64, bool) = (row.get("id"), row.get("public"));
        let (owner, task): (&str, &str) = (row.get("owner"), row.get("task"));
        json!({ "id": id, "owner": owner, "task": task, "public": public })
    });
    Ok(Json(todos.collect()))
}

#[derive(Deserialize)]
struct NewTodo {
    task: String,
    owner: Option<String>,
}

async fn add(
    db: RoleScopedConnection,
    Json(new): Json<NewTodo>,
) -> Result<(StatusCode, Json<Value>), Error> {
    let row = db
        .query_one(
            "INSERT INTO todos (owner, task)
             VALUES (coalesce($1, current_setting('request.jwt.claims')::json ->> 'sub'), $2)
             RETURNING id, owner, public",
            &[&new.owner, &new.task],
        )
        .await?;
    let (id, owner, public): (i64, &str, bool) = (row.get(0), row.get(1), row.get(2));
    let todo = json!({ "id": id, "owner": owner, "task": new.task, "public": public });
    Ok((StatusCode::CREATED, Json(todo)))
}

async fn what_is_spoken(
    http: Version,
    Extension(Spoken(tls)): Extension<Spoken>,
    db: RoleScopedConnection,
) -> Result<Json<Value>, Error> {
    let sql = "SELECT version, certificate FROM connection_tls()";
    let row = db.query_one(sql, &[]).await?;
    let (version, certificate): (Option<&str>, Option<&str>) = (row.get(0), row.get(1));
    Ok(Json(json!({
        "client": { "http": format!("{http:?}"), "tls": tls },
        "database": { "tls": version, "certificate": certificate },
    })))
}

#[derive(Parser)]
#[command(about = "A list of todos with TLS from the client to the database")]
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
    match run(Args::parse().port).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(port: u16) -> Result<(), String> {
    let listener = serve::bind(port).await?;
    let authority = Authority::new("authority of the example tls").map_err(|e| chain(&e))?;
    let database = TlsDatabase::start(&authority).await?;
    let own = authority.server(&["localhost", "127.0.0.1"]);
    let own = own.map_err(|e| chain(&e))?;
    // From here on nobody can sign anything any more.
    drop(authority);
    let shutdown = Shutdown::catch()?;

    let secret = random_hex(32)?;
    let verifier = JwtVerifier::builder()
        .hs256(&secret)
        .map_err(|e| chain(&e))?
        .audience("todos")
        .build()
        .map_err(|e| chain(&e))?;
    let pool = RoleScopedPool::builder(&database.login().url)
        .map_err(|e| chain(&e))?
        .anonymous_role(&database.login().names.anon)
        .build()
        .await
        .map_err(|e| chain(&e))?;

    let url = serve::url(&listener)?.replace("http://127.0.0.1", "https://localhost");
    let guide = guide(&url, &secret, &database)?;
    // Whether anybody reads it is no reason to stop.
    let _ = std::io::stdout().write_all(guide.as_bytes());
    let app = app(JwtAuthLayer::new(verifier), pool.clone());
    let server = serve_https(listener, tls(&own)?, app, shutdown.stop());
    serve::serve(server, shutdown).await?;
    pool.close().await;
    Ok(())
}

fn guide(url: &str, secret: &str, database: &TlsDatabase) -> Result<String, String> {
    let authority = database.authority_file();
    let authority = authority.display();
    let guide = todos_guide::guide(url, secret, &database.login().names.web_user)?;
    let guide = guide.replace("curl -i ", &format!("curl -i --cacert {authority} "));
    let address = url.replace("https://", "");
    Ok(format!(
        "{guide}
# What is spoken on the whole way, by HTTP/2 and by HTTP/1.1.
curl -i --cacert {authority} {url}/tls
curl -i --cacert {authority} --http1.1 {url}/tls

# Without TLS, and without trust in the authority: no answer.
curl -i http://{address}/todos
curl -i {url}/todos

# The service's certificate, and how it is verified.
openssl s_client -connect {address} -servername localhost -alpn h2 -CAfile {authority} </dev/null

The certificates are good as long as it runs.
"
    ))
}
