//! `examples/todos.rs`, with each command that it prints.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::support::example::Example;
use crate::support::files::TemporaryDirectory;
use crate::support::processes::{assert_gone, processes_that_name};
use crate::support::todos_guide::each_command_shows_its_point;
use crate::support::{connect, server};

#[test]
fn todos_needs_nothing_and_leaves_nothing_when_told_to_end() {
    for signal in ["INT", "TERM"] {
        let directory = TemporaryDirectory::new("todos");
        let mut example = Example::start(&mut in_directory(&directory));
        assert_ne!(processes_that_name(directory.path()), "");
        each_command_shows_its_point(&mut example);
        assert!(example.end_with(signal).success());
        assert_gone(directory.path());
        assert_eq!(directory.entries(), Vec::<PathBuf>::new());
    }
}

#[test]
fn todos_leaves_nothing_when_killed() {
    let directory = TemporaryDirectory::new("todos");
    let mut example = Example::start(&mut in_directory(&directory));
    assert!(!example.end_with("KILL").success());
    assert_gone(directory.path());
    assert_eq!(directory.entries(), Vec::<PathBuf>::new());
}

fn in_directory(directory: &TemporaryDirectory) -> Command {
    let mut command = Example::command("todos");
    command
        .args(["--port", "0"])
        .env("ROLESCOPE_PG_DIR", directory.path());
    command
}

#[tokio::test]
async fn todos_on_a_server_of_yours_uses_names_of_its_own_and_removes_them() {
    let server = tokio::task::spawn_blocking(server)
        .await
        .expect("the server starts");
    let admin = connect(&server.superuser_url("postgres")).await;
    admin
        .batch_execute("CREATE ROLE builder LOGIN CREATEDB CREATEROLE")
        .await
        .expect("it can be made");
    let left = async || {
        let sql = "SELECT datname::text FROM pg_database WHERE datname LIKE 'rolescope%'
                   UNION ALL SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'rolescope%'";
        let rows = admin.query(sql, &[]).await.expect("it answers");
        rows.iter()
            .map(|row| row.get::<_, String>(0))
            .collect::<Vec<_>>()
    };
    let start = || {
        let mut command = Example::command("todos");
        let url = server.url("builder", "postgres");
        Example::start(command.args(["--port", "0"]).env("DATABASE_URL", url))
    };

    let mut example = start();
    each_command_shows_its_point(&mut example);
    assert_eq!(left().await.len(), 6);
    assert!(example.end_with("TERM").success());
    assert_eq!(left().await, Vec::<String>::new());

    // What a kill leaves, the next run removes, but not what belongs to one that still runs.
    let (mut killed, mut running) = (start(), start());
    assert_eq!(left().await.len(), 12);
    killed.end_with("KILL");
    let alive =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'rolescope_example%'";
    let noticed = async {
        while admin
            .query_one(alive, &[])
            .await
            .expect("it answers")
            .get::<_, i64>(0)
            != 1
        {
            tokio::task::yield_now().await;
        }
    };
    let noticed = tokio::time::timeout(Duration::from_secs(30), noticed).await;
    noticed.expect("the server notices that one is gone");
    assert_eq!(left().await.len(), 12);
    let mut next = start();
    assert_eq!(left().await.len(), 12);
    assert!(next.end_with("TERM").success());
    each_command_shows_its_point(&mut running);
    assert!(running.end_with("INT").success());
    assert_eq!(left().await, Vec::<String>::new());
}

#[test]
fn todos_names_the_cure_when_it_cannot_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    assert_eq!(
        Example::fail(Example::command("todos").args(["--port", &port])),
        format!(
            "error: port {port} is in use: choose another one with `--port`, or `--port 0` for any that is free\n"
        )
    );

    let url =
        format!("postgres://postgres@127.0.0.1:{port}/postgres?connect_timeout=1&sslmode=disable");
    drop(taken);
    let error = Example::fail(
        Example::command("todos")
            .args(["--port", "0"])
            .env("DATABASE_URL", url),
    );
    assert!(
        error.starts_with("error: DATABASE_URL: cannot connect: "),
        "{error}"
    );

    let url = server().url("authenticator", "postgres");
    let error = Example::fail(
        Example::command("todos")
            .args(["--port", "0"])
            .env("DATABASE_URL", url),
    );
    assert_eq!(
        error,
        "error: DATABASE_URL: the database cannot be made: db error: ERROR: permission denied to create database; \
         name a superuser, or a role with CREATEDB and CREATEROLE\n"
    );

    let nowhere = TemporaryDirectory::new("empty");
    let error = Example::fail(
        Example::command("todos")
            .args(["--port", "0"])
            .env("ROLESCOPE_PG_BIN", nowhere.path()),
    );
    assert!(
        error.starts_with("error: ROLESCOPE_PG_BIN: there is no `initdb` in "),
        "{error}"
    );
    assert!(
        error.ends_with("\nOr set DATABASE_URL to a server that you have.\n"),
        "{error}"
    );
}
