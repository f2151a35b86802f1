//! A PostgreSQL with the database `todos` that speaks TLS and nothing else: with its own certificate, and to one login role,
//! by certificate and password.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rolescope::tokio_postgres::{self, Client, NoTls};

use crate::local_postgres::{LocalPostgres, Search};
use crate::serve::chain;
use crate::tls_certificates::Authority;
use crate::todos_database::{Login, Names, SQL, TodosDatabase};

/// The host in the certificate of the database.
const HOST: &str = "localhost";

// pg_hba.conf: whoever is in no line is refused. `clientcert=verify-full` asks for a certificate whose common name is the
// role's, beside the password; the method `cert` would ask for the certificate alone.
const ACCESS: &str = "\
# The administrator, who has started this server, by a socket in a directory of its own.
local   all   postgres      trust
# The service: by its certificate, by its password, and by TLS alone.
hostssl todos authenticator 127.0.0.1/32 scram-sha-256 clientcert=verify-full
";

/// What a request may know of the connection that serves it. pg_stat_ssl shows other roles' sessions to nobody.
const CONNECTION_TLS: &str = "\
    CREATE FUNCTION connection_tls() RETURNS TABLE (version text, certificate text) LANGUAGE sql STABLE SECURITY DEFINER
        SET search_path = pg_catalog, pg_temp
        AS 'SELECT version, client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()'";

/// The server and its files. All of it is gone when this is dropped, or the process ends.
pub(crate) struct TlsDatabase {
    server: LocalPostgres,
    login: Login,
    // It keeps the administrator's session.
    _database: TodosDatabase,
}

impl TlsDatabase {
    pub(crate) async fn start(authority: &Authority) -> Result<Self, String> {
        let start = || LocalPostgres::start_on_loopback(&Search::from_env().find()?);
        let server = tokio::task::spawn_blocking(start)
            .await
            .map_err(|e| e.to_string())??;
        let url = server.superuser_url("postgres");
        let database = TodosDatabase::create(&url, Names::plain(), &[SQL]).await?;
        let mut login = database.login().clone();

        write_server_files(&server, authority, &login.names)?;
        let url = server.superuser_url(&login.names.database);
        speak_tls(&connect(&url).await?, &url).await?;
        login.url = client_url(&server, authority, &login)?;
        Ok(Self {
            server,
            login,
            _database: database,
        })
    }

    /// How the service logs in.
    pub(crate) fn login(&self) -> &Login {
        &self.login
    }

    /// A file with the certificate of the authority.
    pub(crate) fn authority_file(&self) -> PathBuf {
        self.server.directory().join("tls/ca.crt")
    }
}

/// What `ssl = on` looks for in the data directory.
fn write_server_files(
    server: &LocalPostgres,
    authority: &Authority,
    names: &Names,
) -> Result<(), String> {
    let own = authority.server(&[HOST]).map_err(|e| chain(&e))?;
    let data = server.directory().join("data");
    let access = ACCESS
        .replace("todos", &names.database)
        .replace("authenticator", &names.authenticator);
    for (name, text) in [
        ("server.crt", &*own.certificate),
        ("server.key", &own.key),
        ("ca.crt", authority.certificate()),
        ("pg_hba.conf", &access),
    ] {
        write(&data, name, text)?;
    }
    Ok(())
}

/// Writes what the service needs, and returns how it connects: it verifies the server in full, shows its certificate, and
/// gives its password only if that is bound to the server's certificate.
fn client_url(
    server: &LocalPostgres,
    authority: &Authority,
    login: &Login,
) -> Result<String, String> {
    let user = &login.names.authenticator;
    let own = authority.client(user).map_err(|e| chain(&e))?;
    let directory = server.directory().join("tls");
    fs::create_dir(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    write(&directory, "ca.crt", authority.certificate())?;
    write(&directory, "client.crt", &own.certificate)?;
    write(&directory, "client.key", &own.key)?;
    // Who removes the server's directory must be able to remove this one.
    give_to_owner(server.directory(), &directory)
        .map_err(|e| format!("{}: {e}", directory.display()))?;
    let config: tokio_postgres::Config = login.url.parse().map_err(|e| chain(&e))?;
    let password = config.get_password().unwrap_or_default();
    let (port, database) = (server.port(), &login.names.database);
    let directory = directory.display();
    Ok(format!(
        "host={HOST} hostaddr=127.0.0.1 port={port} dbname={database} user={user} password={} \
         sslmode=verify-full channel_binding=require sslrootcert='{directory}/ca.crt' \
         sslcert='{directory}/client.crt' sslkey='{directory}/client.key'",
        String::from_utf8_lossy(password)
    ))
}

async fn connect(url: &str) -> Result<Client, String> {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .map_err(|e| chain(&e))?;
    tokio::spawn(connection);
    Ok(client)
}

/// Has the server read what was written, and waits until it has: sessions that begin from then on are told so.
async fn speak_tls(admin: &Client, url: &str) -> Result<(), String> {
    for sql in [
        CONNECTION_TLS,
        "ALTER SYSTEM SET ssl_ca_file = 'ca.crt'",
        "ALTER SYSTEM SET ssl = on",
        "SELECT pg_reload_conf()",
    ] {
        let done = admin.batch_execute(sql).await;
        done.map_err(|e| format!("{sql}: {}", chain(&e)))?;
    }
    for _ in 0..1000 {
        let on = connect(url).await?.query_one("SHOW ssl", &[]).await;
        if on.map_err(|e| chain(&e))?.get::<_, &str>(0) == "on" {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err("the server does not speak TLS: its log says why".to_owned())
}

/// Writes a file that nobody but the owner of its directory can read, who for root is somebody else.
fn write(directory: &Path, name: &str, text: &str) -> Result<(), String> {
    let path = directory.join(name);
    let written = || -> io::Result<()> {
        let _ = fs::remove_file(&path);
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(text.as_bytes())?;
        give_to_owner(directory, &path)
    };
    written().map_err(|e| format!("{}: {e}", path.display()))
}

/// Has what lies in a directory belong to the owner of that: for root, the server is somebody else's.
fn give_to_owner(directory: &Path, path: &Path) -> io::Result<()> {
    let (owner, own) = (fs::metadata(directory)?, fs::metadata(path)?);
    if (owner.uid(), owner.gid()) != (own.uid(), own.gid()) {
        chown(path, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}
