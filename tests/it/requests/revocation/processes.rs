//! Two processes of a service on one database, with the users and sessions of `examples/sql`: what is revoked through one is
//! refused by both.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::run;
use crate::support::database;
use crate::support::example::Example;
use crate::support::service::{SECRET, sign};

/// What makes a process refuse a token that it has served before.
const WAYS: [&str; 4] = [
    "POST /logout",
    "UPDATE basic_auth.users SET disabled = true WHERE id = $1",
    "UPDATE basic_auth.users SET role = 'user_role' WHERE id = $1",
    "DELETE FROM basic_auth.users WHERE id = $1",
];

/// How often: `ROLESCOPE_TRIES=100` measures.
fn tries() -> usize {
    let tries = std::env::var("ROLESCOPE_TRIES").ok();
    tries.map_or(WAYS.len(), |tries| tries.parse().expect("a number"))
}

/// The SQL of the examples. The roles that it makes are of the whole server, so they have names of this test's own.
fn sql(file: &str) -> String {
    [
        ("authenticator", "authenticator"),
        ("anon", "anon"),
        ("web_user", "web_user"),
        ("accounts", "accounts_of_processes"),
        ("mailer", "mailer_of_processes"),
    ]
    .iter()
    .fold(file.to_owned(), |sql, (variable, name)| {
        sql.replace(&format!(":\"{variable}\""), name)
            .replace(&format!(":'{variable}'"), &format!("'{name}'"))
    })
}

/// Makes a user and signs in: the user's id, and the token that a service would give.
async fn signed_in(admin: &Client, number: usize) -> (String, String) {
    let user = "INSERT INTO basic_auth.users (role, verified) VALUES ('web_user', true) RETURNING id::text";
    let user: String = admin.query_one(user, &[]).await.expect("a user").get(0);
    let session = format!(
        "SELECT to_jsonb(c)::text FROM basic_auth.start_session('{user}', sha256('{number}')) AS c"
    );
    let claims: String = admin
        .query_one(&session, &[])
        .await
        .expect("a session")
        .get(0);
    (user, sign(&claims))
}

fn status(process: &Example, method: &str, path: &str, token: &str) -> u16 {
    let authority = process.url().strip_prefix("http://").expect("plain HTTP");
    let mut stream = TcpStream::connect(authority).expect("it listens");
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\nContent-Length: 0\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    )
    .expect("the request can be sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is answered");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    status.unwrap_or_else(|| panic!("{answer:?}"))
}

/// How long after `committed` the process refuses the token.
fn refusal(process: &Example, token: &str, committed: Instant) -> Duration {
    loop {
        let status = status(process, "GET", "/", token);
        let passed = committed.elapsed();
        if status == 401 {
            return passed;
        }
        assert_eq!(status, 200);
        assert!(passed < Duration::from_secs(20), "it is still accepted");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_refuse_a_token_that_both_have_served_soon_after_the_commit() {
    let database = database().await;
    let admin = database.admin().await;
    for file in [
        include_str!("../../../../examples/sql/basic_auth.sql"),
        include_str!("../../../../examples/sql/sessions.sql"),
    ] {
        run(&admin, &sql(file)).await;
    }
    run(&admin, "INSERT INTO basic_auth.roles VALUES ('user_role')").await;
    let start = || {
        let mut command = Example::command("whoami");
        command.args([&database.url("authenticator"), "--port", "0"]);
        command.args(["--anonymous", "anon", "--jwt-secret", SECRET]);
        Example::start(command.arg("--revocations"))
    };
    let processes = [start(), start()];
    let (_, untouched) = signed_in(&admin, usize::MAX).await;
    let mut took = Vec::new();
    for number in 0..tries() {
        let (user, token) = signed_in(&admin, number).await;
        for process in processes.iter().chain(&processes) {
            assert_eq!(status(process, "GET", "/", &token), 200);
        }
        match WAYS[number % WAYS.len()] {
            "POST /logout" => {
                let one = &processes[number / WAYS.len() % 2];
                assert_eq!(status(one, "POST", "/logout", &token), 204);
            }
            sql => {
                run(&admin, &sql.replace("$1", &format!("'{user}'"))).await;
            }
        }
        let committed = Instant::now();
        std::thread::scope(|scope| {
            let refusals = processes
                .each_ref()
                .map(|process| scope.spawn(|| refusal(process, &token, committed)));
            took.extend(refusals.map(|refusal| refusal.join().expect("no panic")));
        });
        for process in &processes {
            assert_eq!(status(process, "GET", "/", &untouched), 200);
        }
    }
    took.sort();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    eprintln!(
        "from the COMMIT to the refusal, {} times: median {:?}, p99 {:?}, longest {:?}",
        took.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}
