//! Streaming standbys: a primary for the whole binary, and as many standbys as a test starts. They end with it.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Mutex;

use super::files::{TemporaryDirectory, set_mode};
use super::local_postgres::{Extra, LocalPostgres, Search};
use super::{Database, database_on, make_template};

/// What a primary needs for its standbys; a standby has to allow no less.
const REPLICATION: [&str; 4] = ["-c", "wal_level=replica", "-c", "max_wal_senders=20"];

/// Nobody makes a database while the primary's files are copied: one that vanishes would be missed.
static COPYING: Mutex<()> = Mutex::const_new(());

/// Returns the primary of this test binary. It is never dropped and ends with the process all the same.
fn primary() -> &'static LocalPostgres {
    static PRIMARY: OnceLock<LocalPostgres> = OnceLock::new();
    PRIMARY.get_or_init(|| {
        // A standby is sent what the primary has written out, which is not to take a while, and what it has kept.
        let sent = [
            "-c",
            "synchronous_commit=local",
            "-c",
            "wal_keep_size=512MB",
        ];
        let arguments = REPLICATION.iter().chain(&sent);
        let primary = start(&Extra {
            arguments: arguments.map(|&argument| argument.to_owned()).collect(),
            ..Extra::default()
        });
        make_template(&primary);
        primary
    })
}

fn start(extra: &Extra) -> LocalPostgres {
    let programs = Search::from_env().find();
    programs
        .and_then(|programs| LocalPostgres::start_with_extra(&programs, extra))
        .unwrap_or_else(|e| panic!("{e}"))
}

/// Makes a database for one test on a server that can have standbys.
pub(crate) async fn replicated_database() -> Database {
    let primary = tokio::task::spawn_blocking(primary)
        .await
        .expect("the primary starts");
    let _turn = COPYING.lock().await;
    database_on(primary).await
}

/// A standby with all that its primary had when it was started, and what comes later a moment later.
#[derive(Debug)]
pub(crate) struct Standby {
    server: LocalPostgres,
    name: String,
}

impl Standby {
    /// Starts a standby of a [`replicated_database`]'s server.
    pub(crate) async fn of(database: &Database) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let primary = database.server.directory();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let data = primary.join(format!("standby-{number}"));
        let label = copy_data(database, &data).await;
        let files = TemporaryDirectory::new("standby");
        for (name, text) in [("backup_label", &*label), ("standby.signal", "")] {
            let file = files.path().join(name);
            fs::write(&file, text).expect("a file can be written");
            set_mode(&file, 0o644);
        }
        let mut arguments: Vec<String> = REPLICATION.map(str::to_owned).into();
        arguments.push("-c".into());
        arguments.push(format!(
            "primary_conninfo=host={} user=postgres",
            primary.display()
        ));
        let extra = Extra {
            arguments,
            files: Some(files.path().to_owned()),
            data: Some(data),
        };
        let server = tokio::task::spawn_blocking(move || start(&extra))
            .await
            .expect("the standby starts");
        Self {
            server,
            name: database.name.clone(),
        }
    }

    pub(crate) fn server(&self) -> &LocalPostgres {
        &self.server
    }

    /// Returns the URL for a user, who needs no password.
    pub(crate) fn url(&self, user: &str) -> String {
        self.server.url(user, &self.name)
    }

    /// Connects as the superuser.
    pub(crate) async fn admin(&self) -> tokio_postgres::Client {
        super::connect(&self.url("postgres")).await
    }
}

/// Has the primary copy its files, and returns the label that tells a standby where to begin.
async fn copy_data(database: &Database, to: &Path) -> String {
    let (begin, end) = if database.server.major_version() >= 15 {
        (
            "SELECT pg_backup_start('standby', true)",
            "SELECT labelfile FROM pg_backup_stop(false)",
        )
    } else {
        (
            "SELECT pg_start_backup('standby', true, false)",
            "SELECT labelfile FROM pg_stop_backup(false, false)",
        )
    };
    let _turn = COPYING.lock().await;
    let admin = database.admin().await;
    admin
        .batch_execute("CREATE TEMP TABLE nothing (x text)")
        .await
        .expect("it is made");
    admin.query_one(begin, &[]).await.expect("it begins");
    // By the server's own user, to whom the files have to belong. What vanishes meanwhile is not needed, and what is in
    // pg_wal is streamed.
    let copy = format!(
        "COPY nothing FROM PROGRAM \
         'mkdir {to} && cd {from} && for name in *; do [ $name = pg_wal ] || cp -R $name {to}; done 2>/dev/null; \
         mkdir {to}/pg_wal'",
        from = database.server.directory().join("data").display(),
        to = to.display()
    );
    admin.batch_execute(&copy).await.expect("it is copied");
    let label = admin.query_one(end, &[]).await.expect("it ends");
    label.get(0)
}
