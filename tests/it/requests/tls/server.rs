//! PostgreSQL on a port of 127.0.0.1, with and without TLS.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rolescope::scope::RoleScopedPoolBuilder;
use rolescope::{RoleName, RoleScope, RoleScopedPool, SetupError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_postgres::Client;

use super::certificates::{Authority, Certificate};
use crate::support::files::{TemporaryDirectory, set_mode};
use crate::support::local_postgres::{LocalPostgres, Search};
use crate::support::proxy::within;
use crate::support::{TEMPLATE, connect, run};

/// The name in the server's certificate.
pub(super) const HOST: &str = "db.test";
pub(super) const PASSWORD: &str = "scram's password";

/// With TLS alone `authenticator`, by password, `certified`, by certificate, and `doubly`, by both; `loose`, by its password and
/// anybody's certificate; `either` as it likes.
const ACCESS: &str = "\
local all all trust
host all either 127.0.0.1/32 trust
hostssl all authenticator 127.0.0.1/32 scram-sha-256
hostssl all certified 127.0.0.1/32 cert
hostssl all doubly 127.0.0.1/32 scram-sha-256 clientcert=verify-full
hostssl all loose 127.0.0.1/32 scram-sha-256 clientcert=verify-ca
";

const ROLES: &str = "
    CREATE ROLE either LOGIN NOINHERIT IN ROLE anon, web_user;
    CREATE ROLE certified LOGIN NOINHERIT IN ROLE anon;
    CREATE ROLE doubly LOGIN NOINHERIT IN ROLE anon;
    CREATE ROLE loose LOGIN NOINHERIT IN ROLE anon;
    CREATE FUNCTION speaks_tls() RETURNS bool LANGUAGE sql SECURITY DEFINER AS
        'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()';
    CREATE FUNCTION shown() RETURNS text LANGUAGE sql SECURITY DEFINER AS
        'SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()';";

/// A server that ends with the test, or with the process where it is kept for all.
pub(super) struct Server {
    postgres: LocalPostgres,
}

/// Who signs certificates, for all tests.
pub(super) struct Authorities {
    pub(super) ours: Authority,
    pub(super) others: Authority,
}

pub(super) fn authorities() -> &'static Authorities {
    static AUTHORITIES: OnceLock<Authorities> = OnceLock::new();
    AUTHORITIES.get_or_init(|| Authorities {
        ours: Authority::new("our authority"),
        others: Authority::new("another authority"),
    })
}

/// The files of one test.
pub(super) struct Files(TemporaryDirectory);

impl Files {
    pub(super) fn new() -> Self {
        Self(TemporaryDirectory::new("tls"))
    }

    /// The certificate of the authority that has signed the server's, behind another one's.
    pub(super) fn ours(&self) -> PathBuf {
        let stranger = Authority::new("a third authority").certificate;
        self.write("ours.crt", &(stranger + &authorities().ours.certificate))
    }

    /// The certificate of an authority that has not signed the server's.
    pub(super) fn others(&self) -> PathBuf {
        self.write("others.crt", &authorities().others.certificate)
    }

    /// A client's certificate and key.
    pub(super) fn client(&self, name: &str, certificate: &Certificate) -> (PathBuf, PathBuf) {
        let key = self.write(&format!("{name}.key"), &certificate.key);
        set_mode(&key, 0o600);
        let certificate = self.write(&format!("{name}.crt"), &certificate.certificate);
        (certificate, key)
    }

    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("it can be written");
        path
    }
}

impl Server {
    /// The server with TLS that the tests of this binary share.
    pub(super) async fn with_tls() -> &'static Self {
        static SERVER: OnceCell<Server> = OnceCell::const_new();
        let start = async || {
            let names = [HOST, "127.0.0.1"];
            Self::start_with_tls(&authorities().ours.sign(HOST, &names)).await
        };
        SERVER.get_or_init(start).await
    }

    /// The server without TLS that the tests of this binary share.
    pub(super) async fn without_tls() -> &'static Self {
        static SERVER: OnceCell<Server> = OnceCell::const_new();
        SERVER.get_or_init(Self::start).await
    }

    async fn start() -> Self {
        let start = || {
            let programs = Search::from_env().find()?;
            LocalPostgres::start_on_loopback(&programs)
        };
        let started = tokio::task::spawn_blocking(start).await.expect("no panic");
        let this = Self {
            postgres: started.unwrap_or_else(|e| panic!("{e}")),
        };
        let admin = this.admin().await;
        run(&admin, TEMPLATE).await;
        run(&admin, ROLES).await;
        run(&admin, "SET password_encryption = 'scram-sha-256'").await;
        let password = PASSWORD.replace('\'', "''");
        for role in ["authenticator", "doubly", "loose"] {
            run(&admin, &format!("ALTER ROLE {role} PASSWORD '{password}'")).await;
        }
        this
    }

    pub(super) async fn start_with_tls(certificate: &Certificate) -> Self {
        let this = Self::start().await;
        let admin = this.admin().await;
        write(&admin, "root.crt", &authorities().ours.certificate).await;
        write(&admin, "pg_hba.conf", ACCESS).await;
        write(&admin, "server.crt", &certificate.certificate).await;
        write(&admin, "server.key", &certificate.key).await;
        run(&admin, "ALTER SYSTEM SET ssl_ca_file = 'root.crt'").await;
        if let Err(error) = admin.batch_execute("ALTER SYSTEM SET ssl = on").await {
            let reason = error.as_db_error().map(ToString::to_string);
            panic!(
                "{}: these tests need a PostgreSQL that was built with OpenSSL: set ROLESCOPE_PG_BIN to the programs \
                 of one, such as apt's or npm's",
                reason.unwrap_or_else(|| error.to_string())
            );
        }
        this.reload().await;
        this
    }

    /// Has the server present another certificate from now on.
    pub(super) async fn present(&self, certificate: &Certificate) {
        let admin = self.admin().await;
        write(&admin, "server.crt", &certificate.certificate).await;
        write(&admin, "server.key", &certificate.key).await;
        self.reload().await;
    }

    /// Reloads, and sees that the server has taken it.
    async fn reload(&self) {
        const LOADED: &str = "SELECT pg_conf_load_time()::text";
        let loaded = async || -> String {
            let time = self.admin().await.query_one_scalar(LOADED, &[]).await;
            time.expect("it can be asked")
        };
        let before = loaded().await;
        run(&self.admin().await, "SELECT pg_reload_conf()").await;
        within(async { while loaded().await == before {} }).await;

        let mut stream = TcpStream::connect(("127.0.0.1", self.port()))
            .await
            .expect("it listens");
        let ssl_request = [0, 0, 0, 8, 4, 210, 22, 47];
        stream
            .write_all(&ssl_request)
            .await
            .expect("it can be sent");
        let answer = stream.read_u8().await.expect("it is answered");
        let log = self.postgres.directory().join("log");
        let log = std::fs::read_to_string(log).unwrap_or_default();
        assert_eq!(answer, b'S', "the server does not speak TLS:\n{log}");
    }

    /// Connects as the superuser, over the socket.
    pub(super) async fn admin(&self) -> Client {
        connect(&self.postgres.superuser_url("postgres")).await
    }

    pub(super) fn port(&self) -> u16 {
        self.postgres.port()
    }

    /// A connection string for a user.
    pub(super) fn url(&self, user: &str) -> Url {
        Url::to_port(self.port(), user)
    }
}

/// Writes a file into the server's own directory, as the server.
async fn write(admin: &Client, name: &str, text: &str) {
    let mut sql = "COPY (SELECT * FROM unnest(ARRAY[''".to_owned();
    for line in text.lines() {
        write!(sql, ", '{line}'").expect("a string takes it");
    }
    write!(
        sql,
        "])) TO PROGRAM 'umask 077; cat > {name}.new; mv {name}.new {name}'"
    )
    .expect("a string takes it");
    run(admin, &sql).await;
}

/// A connection string in the making.
#[derive(Clone, Debug)]
pub(super) struct Url(Vec<(&'static str, String)>);

impl Url {
    /// A connection string for a user of whoever listens on this port.
    pub(super) fn to_port(port: u16, user: &str) -> Self {
        let url = Self(Vec::new()).with("hostaddr", "127.0.0.1");
        let url = url
            .with("port", &port.to_string())
            .with("dbname", "postgres");
        url.with("user", user).with("password", PASSWORD)
    }

    /// Says this, instead of what was said by that name before.
    pub(super) fn with(mut self, key: &'static str, value: &str) -> Self {
        self.0.retain(|(name, _)| *name != key);
        self.0.push((key, value.to_owned()));
        self
    }

    pub(super) fn file(self, key: &'static str, file: &Path) -> Self {
        self.with(key, file.to_str().expect("it is text"))
    }

    pub(super) fn builder(&self) -> Result<RoleScopedPoolBuilder, SetupError> {
        RoleScopedPool::builder(&self.to_string())
            .map(|builder| builder.anonymous_role("anon").max_size(1))
    }

    pub(super) async fn pool(&self) -> Result<RoleScopedPool, SetupError> {
        within(self.builder()?.build()).await
    }

    /// Builds a pool, and tells whether a transaction's connection speaks TLS, or why there is none.
    pub(super) async fn speaks_tls(&self) -> Result<bool, String> {
        let pool = self.pool().await.map_err(|e| e.to_string())?;
        let anon = RoleScope::for_role(RoleName::parse("anon").expect("a name"));
        let db = pool.begin(&anon);
        let speaks = within(db.query_one_scalar("SELECT speaks_tls()", &[])).await;
        within(db.rollback()).await.expect("it ends");
        Ok(speaks.expect("it can be asked"))
    }

    #[track_caller]
    pub(super) fn refused(&self) -> impl Future<Output = String> {
        let at = std::panic::Location::caller();
        let this = self.clone();
        async move {
            let result = this.pool().await;
            let error = result
                .err()
                .unwrap_or_else(|| panic!("{this} is not refused\nat {at}"));
            assert!(error.problems().is_empty(), "{error}");
            error.to_string()
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.0 {
            let value = value.replace('\\', r"\\").replace('\'', r"\'");
            write!(f, "{key}='{value}' ")?;
        }
        Ok(())
    }
}
