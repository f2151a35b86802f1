//! What the tests share: one PostgreSQL for the whole binary, one database per test.

#[cfg(all(
    feature = "axum",
    feature = "postgres",
    feature = "jwks-client",
    feature = "aws-lc-rs",
    feature = "issuer"
))]
#[path = "../../../examples/support/github/mod.rs"]
pub(crate) mod github;
#[path = "../../../examples/support/local_postgres/mod.rs"]
pub(crate) mod local_postgres;
#[cfg(all(
    feature = "axum",
    feature = "postgres",
    feature = "jwks-client",
    feature = "aws-lc-rs"
))]
#[path = "../../../examples/support/local_provider/mod.rs"]
pub(crate) mod local_provider;
#[cfg(all(
    feature = "axum",
    feature = "postgres",
    feature = "jwks-client",
    feature = "aws-lc-rs"
))]
#[path = "../../../examples/support/oidc_client.rs"]
pub(crate) mod oidc_client;

#[cfg(all(
    feature = "axum",
    feature = "postgres",
    any(feature = "aws-lc-rs", feature = "rust-crypto")
))]
pub(crate) mod events;
#[cfg(feature = "aws-lc-rs")]
pub(crate) mod example;
pub(crate) mod files;
#[cfg(all(
    feature = "axum",
    feature = "tonic",
    any(feature = "aws-lc-rs", feature = "rust-crypto")
))]
pub(crate) mod grpc;
#[cfg(all(feature = "axum", any(feature = "aws-lc-rs", feature = "rust-crypto")))]
pub(crate) mod pgbouncer;
pub(crate) mod processes;
#[cfg(all(
    feature = "axum",
    feature = "postgres",
    any(feature = "aws-lc-rs", feature = "rust-crypto")
))]
pub(crate) mod proxy;
#[cfg(all(
    feature = "axum",
    feature = "postgres",
    any(feature = "aws-lc-rs", feature = "rust-crypto")
))]
pub(crate) mod service;
#[cfg(all(
    feature = "axum",
    feature = "postgres",
    any(feature = "aws-lc-rs", feature = "rust-crypto")
))]
pub(crate) mod standby;
#[cfg(feature = "aws-lc-rs")]
pub(crate) mod todos_guide;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio_postgres::{self, Client, NoTls};

use local_postgres::LocalPostgres;

/// What each test's database starts with. Roles belong to the whole server, so no test makes or alters one of these.
pub(crate) const TEMPLATE: &str = concat!(
    include_str!("../../../examples/sql/roles.sql"),
    "CREATE ROLE jdoe123 IN ROLE author; CREATE ROLE web_user; CREATE ROLE user_role;
     GRANT jdoe123, web_user, user_role TO authenticator;
     CREATE ROLE not_granted;
     CREATE ROLE resting NOLOGIN; GRANT resting TO authenticator;
     GRANT USAGE ON SCHEMA public TO jdoe123, web_user, user_role, not_granted;"
);

/// Returns the server of this test binary. It is never dropped and ends with the process all the same.
pub(crate) fn server() -> &'static LocalPostgres {
    static SERVER: OnceLock<LocalPostgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = LocalPostgres::start().unwrap_or_else(|e| panic!("{e}"));
        make_template(&server);
        server
    })
}

/// Makes the roles, and what each test's database is copied from.
fn make_template(server: &LocalPostgres) {
    let make = async {
        let admin = connect(&server.superuser_url("postgres")).await;
        run(&admin, "CREATE DATABASE template_of_tests").await;
        drop(admin);
        let admin = connect(&server.superuser_url("template_of_tests")).await;
        run(&admin, TEMPLATE).await;
    };
    // A thread of its own, since the test that comes first may be inside a runtime.
    std::thread::scope(|scope| {
        let made = scope.spawn(|| runtime().block_on(make)).join();
        made.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// The one database of an [`own_server`] that tests use.
#[cfg(all(
    feature = "axum",
    feature = "postgres",
    any(feature = "aws-lc-rs", feature = "rust-crypto")
))]
pub(crate) const OWN_DATABASE: &str = "template_of_tests";

/// Starts a server that one test may stop and break, with more arguments of `postgres`. It has the roles of the others.
#[cfg(all(
    feature = "axum",
    feature = "postgres",
    any(feature = "aws-lc-rs", feature = "rust-crypto")
))]
pub(crate) async fn own_server(arguments: &'static [&str]) -> LocalPostgres {
    let start = move || {
        let programs = local_postgres::Search::from_env().find()?;
        let extra = local_postgres::Extra {
            arguments: arguments.iter().map(|&a| a.to_owned()).collect(),
            ..local_postgres::Extra::default()
        };
        let server = LocalPostgres::start_with_extra(&programs, &extra)?;
        make_template(&server);
        Ok(server)
    };
    let started: Result<_, String> = tokio::task::spawn_blocking(start).await.expect("no panic");
    started.unwrap_or_else(|e| panic!("{e}"))
}

/// Makes a database for one test.
pub(crate) async fn database() -> Database {
    let server = tokio::task::spawn_blocking(server)
        .await
        .expect("the server starts");
    database_on(server).await
}

async fn database_on(server: &'static LocalPostgres) -> Database {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    // On /dev/shm it takes half the time of the default, which writes each page to the log.
    let strategy = if server.major_version() >= 15 {
        "STRATEGY FILE_COPY"
    } else {
        ""
    };
    let admin = connect(&server.superuser_url("postgres")).await;
    run(
        &admin,
        &format!("CREATE DATABASE {name} TEMPLATE template_of_tests {strategy}"),
    )
    .await;
    Database {
        server,
        name,
        #[cfg(all(feature = "axum", any(feature = "aws-lc-rs", feature = "rust-crypto")))]
        pgbouncer: OnceLock::new(),
    }
}

/// A database that one test has for itself, with the roles `authenticator`, `anon`, `author`, `jdoe123`, `web_user`
/// and `user_role`, all granted to `authenticator`, `resting`, which is granted to it too and may do nothing, and
/// `not_granted`, which is not.
#[derive(Debug)]
pub(crate) struct Database {
    server: &'static LocalPostgres,
    name: String,
    #[cfg(all(feature = "axum", any(feature = "aws-lc-rs", feature = "rust-crypto")))]
    pgbouncer: OnceLock<Option<pgbouncer::PgBouncer>>,
}

impl Database {
    /// Returns the URL for a user, who needs no password.
    pub(crate) fn url(&self, user: &str) -> String {
        self.server.url(user, &self.name)
    }

    /// Returns the name of the database.
    #[cfg(all(feature = "axum", any(feature = "aws-lc-rs", feature = "rust-crypto")))]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the socket that its server listens on.
    #[cfg(all(feature = "axum", any(feature = "aws-lc-rs", feature = "rust-crypto")))]
    pub(crate) fn socket(&self) -> std::path::PathBuf {
        let config: tokio_postgres::Config = self.url("postgres").parse().expect("a URL");
        match config.get_hosts() {
            [tokio_postgres::config::Host::Unix(directory)] => {
                directory.join(format!(".s.PGSQL.{}", config.get_ports()[0]))
            }
            hosts => panic!("it listens on a socket, not on {hosts:?}"),
        }
    }

    /// Connects as the superuser.
    pub(crate) async fn admin(&self) -> Client {
        connect(&self.url("postgres")).await
    }

    /// Connects as a user, with what the server does by itself at login.
    pub(crate) async fn connect(&self, user: &str) -> Client {
        connect(&self.url(user)).await
    }

    /// Runs SQL as the superuser.
    #[track_caller]
    pub(crate) fn execute(&self, sql: &str) -> impl Future<Output = ()> {
        let at = std::panic::Location::caller();
        async move {
            let result = self.admin().await.batch_execute(sql).await;
            result.unwrap_or_else(|e| panic!("{}\nat {at}", describe(&e)));
        }
    }
}

/// Connects with what the server does by itself at login.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .unwrap_or_else(|e| panic!("cannot connect to {url}: {}", describe(&e)));
    tokio::spawn(connection);
    client
}

/// Runs SQL on a connection.
pub(crate) async fn run(client: &Client, sql: &str) {
    client
        .batch_execute(sql)
        .await
        .unwrap_or_else(|e| panic!("{}\nin: {sql}", describe(&e)));
}

fn describe(error: &tokio_postgres::Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built")
}
