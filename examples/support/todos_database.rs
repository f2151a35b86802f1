//! The database of the example `todos`: made on a server at the start, removed at the end.

use std::fmt::Write;
use std::io::Read;
use std::path::PathBuf;

use rolescope::tokio_postgres::config::{Config, Host, SslMode};
use rolescope::tokio_postgres::error::SqlState;
use rolescope::tokio_postgres::{self, Client, NoTls};

/// The table `todos`, its roles and its policies: what every example begins with.
pub(crate) const SQL: &str = include_str!("../sql/todos.sql");

/// What the names of [`Names::unique`] begin with: this, 16 hexadecimal digits and an underscore.
const UNIQUE: &str = "rolescope_example_";

/// How the service logs in, and as whom it may run.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) url: String,
    pub(crate) names: Names,
    /// The server's log, where the server is ours.
    #[allow(dead_code, reason = "one of the examples reads it")]
    pub(crate) log: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub(crate) struct Names {
    prefix: String,
    pub(crate) database: String,
    pub(crate) authenticator: String,
    pub(crate) anon: String,
    pub(crate) web_user: String,
    /// Owns `basic_auth`, where an example has it.
    pub(crate) accounts: String,
    /// Sends its mails.
    pub(crate) mailer: String,
    /// Says who somebody is at GitHub, where people sign in with it.
    pub(crate) identity_broker: String,
}

impl Names {
    /// For a server that nobody else uses.
    pub(crate) fn plain() -> Self {
        Self::with_prefix(String::new())
    }

    /// For a server that others use, too.
    pub(crate) fn unique() -> Result<Self, String> {
        Ok(Self::with_prefix(format!("{UNIQUE}{}_", random_hex(8)?)))
    }

    fn with_prefix(prefix: String) -> Self {
        Self {
            database: format!("{prefix}todos"),
            authenticator: format!("{prefix}authenticator"),
            anon: format!("{prefix}anon"),
            web_user: format!("{prefix}web_user"),
            accounts: format!("{prefix}accounts"),
            mailer: format!("{prefix}mailer"),
            identity_broker: format!("{prefix}identity_broker"),
            prefix,
        }
    }

    /// Puts the names where the SQL has variables of psql: `:"anon"`, and `:'anon'` where they are values.
    pub(crate) fn fill_in(&self, sql: &str) -> String {
        let names = [
            ("authenticator", &self.authenticator),
            ("anon", &self.anon),
            ("web_user", &self.web_user),
            ("accounts", &self.accounts),
            ("mailer", &self.mailer),
            ("identity_broker", &self.identity_broker),
        ];
        names.iter().fold(sql.to_owned(), |sql, (variable, name)| {
            sql.replace(&format!(":\"{variable}\""), name)
                .replace(&format!(":'{variable}'"), &format!("'{name}'"))
        })
    }
}

/// A database with the table `todos`, and a connection that may remove it.
pub(crate) struct TodosDatabase {
    admin: Client,
    login: Login,
}

impl TodosDatabase {
    /// Makes the database and its roles on the server of `url`, and runs these files of `sql/` in it.
    pub(crate) async fn create(url: &str, names: Names, files: &[&str]) -> Result<Self, String> {
        let mut config: Config = url.parse().map_err(|e| describe("it cannot be read", &e))?;
        // As long as this connection is open, other runs of this example see by this name that we are alive.
        config.application_name(&names.prefix);
        let admin = connect(&config).await?;
        remove_leftovers(&admin).await;

        let password = random_hex(16)?;
        let login = Login {
            url: login_url(&config, &names, &password),
            names,
            log: None,
        };
        let this = Self { admin, login };
        if let Err(error) = this.fill(config, &password, files).await {
            let _ = this.remove().await;
            return Err(error);
        }
        Ok(this)
    }

    async fn fill(&self, mut config: Config, password: &str, files: &[&str]) -> Result<(), String> {
        let names = &self.login.names;
        let Names {
            database,
            authenticator,
            ..
        } = names;
        self.admin
            .batch_execute(&format!("CREATE DATABASE {database}"))
            .await
            .map_err(|e| describe("the database cannot be made", &e))?;
        let inside = connect(config.dbname(database)).await?;
        for sql in files {
            inside
                .batch_execute(&names.fill_in(sql))
                .await
                .map_err(|e| describe("a file of sql/ cannot be run", &e))?;
        }
        inside
            .batch_execute(&format!("ALTER ROLE {authenticator} PASSWORD '{password}'"))
            .await
            .map_err(|e| describe("the password cannot be set", &e))
    }

    pub(crate) fn login(&self) -> &Login {
        &self.login
    }

    /// Removes the database and its roles.
    pub(crate) async fn remove(self) -> Result<(), String> {
        let Names {
            database,
            authenticator,
            anon,
            web_user,
            accounts,
            mailer,
            identity_broker,
            ..
        } = &self.login.names;
        let run = async |sql: String| {
            let result = self.admin.batch_execute(&sql).await;
            result.map_err(|e| describe(&format!("`{sql}` failed, run it yourself"), &e))
        };
        // The plain form waits for connections that are about to close; only a superuser may close others by force.
        let drop_database = format!("DROP DATABASE IF EXISTS {database}");
        if run(drop_database.clone()).await.is_err() {
            run(drop_database + " WITH (FORCE)").await?;
        }
        run(format!(
            "DROP ROLE IF EXISTS {authenticator}, {anon}, {web_user}, {accounts}, {mailer}, {identity_broker}"
        ))
        .await?;
        Ok(())
    }
}

/// Removes what killed runs left: databases and roles whose run has no connection any more.
async fn remove_leftovers(admin: &Client) {
    let leftovers = format!(
        "SELECT kind, name FROM (
            SELECT 'DATABASE', datname FROM pg_database WHERE datname ~ '^{UNIQUE}[0-9a-f]{{16}}_todos$'
            UNION ALL
            SELECT 'ROLE', rolname FROM pg_roles WHERE rolname ~ '^{UNIQUE}[0-9a-f]{{16}}_(authenticator|anon|web_user|accounts|mailer|identity_broker)$'
         ) AS made (kind, name)
         WHERE NOT EXISTS (
            SELECT FROM pg_stat_activity WHERE application_name = left(made.name, {})
         )
         ORDER BY kind",
        UNIQUE.len() + 17
    );
    // Best effort: another run may be doing the same, and may have made them as a user that we are not.
    for row in admin.query(&leftovers, &[]).await.unwrap_or_default() {
        let (kind, name) = (row.get::<_, &str>(0), row.get::<_, &str>(1));
        let _ = admin
            .batch_execute(&format!("DROP {kind} IF EXISTS {name}"))
            .await;
    }
}

async fn connect(config: &Config) -> Result<Client, String> {
    let (client, connection) = config
        .connect(NoTls)
        .await
        .map_err(|e| describe("cannot connect", &e))?;
    tokio::spawn(connection);
    Ok(client)
}

/// The administrator's server as the authenticator reaches it.
fn login_url(config: &Config, names: &Names, password: &str) -> String {
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(directory) => directory.to_string_lossy().into_owned(),
    });
    let hosts: Vec<_> = hosts.collect();
    let plain = config.get_ssl_mode() == SslMode::Disable;
    let ports: Vec<_> = config.get_ports().iter().map(u16::to_string).collect();
    let mut url = String::new();
    for (key, value) in [
        ("host", hosts.join(",").as_str()),
        ("port", &ports.join(",")),
        ("user", &names.authenticator),
        ("password", password),
        ("dbname", &names.database),
        ("sslmode", if plain { "disable" } else { "" }),
    ] {
        if !value.is_empty() {
            let value = value.replace('\\', r"\\").replace('\'', r"\'");
            let _ = write!(url, "{key}='{value}' ");
        }
    }
    url
}

fn describe(what: &str, error: &tokio_postgres::Error) -> String {
    let cure = match error.code() {
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            "; name a superuser, or a role with CREATEDB and CREATEROLE"
        }
        _ => "",
    };
    format!("{what}: {}{cure}", crate::serve::chain(error))
}

/// Returns random bytes as hexadecimal digits, fit for a secret.
pub(crate) fn random_hex(bytes: usize) -> Result<String, String> {
    let mut random = vec![0; bytes];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .map_err(|e| format!("cannot read /dev/urandom: {e}"))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
