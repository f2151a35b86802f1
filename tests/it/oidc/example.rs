//! `examples/oidc.rs`, with each command that it prints, and `whoami` with a provider.

use std::process::Command;

use serde_json::json;

use super::{AUDIENCE, provider, service_token};
use crate::support::database;
use crate::support::example::{Example, Response};

#[test]
fn oidc_needs_nothing_and_each_command_shows_its_point() {
    let mut example = Example::start(Example::command("oidc").args(["--port", "0"]));
    let lines = example.lines_until("The tokens are good for");
    let commands: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("curl "))
        .collect();
    let answers: Vec<_> = commands.iter().map(|command| run(command)).collect();
    let [anonymous, alice, bob, service, forged] = &answers[..] else {
        panic!("{answers:?}");
    };
    let ids = |answer: &Response| -> Vec<u64> {
        let todos = answer.body["todos"].as_array().expect("it is a list");
        todos
            .iter()
            .filter_map(|todo| todo["id"].as_u64())
            .collect()
    };
    for (answer, role, todos) in [
        (anonymous, "anon", &[1][..]),
        (alice, "web_user", &[1, 2]),
        (bob, "web_user", &[1, 3]),
        (service, "web_user", &[1]),
    ] {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body["role"], role);
        assert_eq!(ids(answer), todos);
    }
    assert_eq!(alice.body["subject"], "alice");
    assert_eq!(service.body["subject"], "report");
    assert_eq!(
        (forged.status, &forged.body["code"]),
        (401, &json!("invalid_token"))
    );

    // What a person would see first.
    let url = lines
        .iter()
        .find(|line| line.starts_with("http"))
        .expect("there is a link");
    let page = curl(&format!("curl -sL -b '' {url}"));
    assert!(
        page.contains("I am alice") && page.contains("I am bob"),
        "{page}"
    );
    let foreign = curl(&format!(
        "curl -i '{}/callback?code=1&state=2'",
        example.url()
    ));
    assert!(foreign.starts_with("HTTP/1.1 400 "), "{foreign}");
    assert!(example.end_with("INT").success());
}

fn run(command: &str) -> Response {
    Response::parse(&curl(command))
}

fn curl(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output();
    let output = output.expect("sh runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "is there curl? {command}: {errors}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn whoami_takes_its_keys_from_a_provider() {
    let (database, provider) = tokio::join!(database(), provider());
    let token = service_token(&provider, "ES256").await;
    let issuer = provider.issuer().to_owned();
    let jwks = format!("{issuer}/jwks");
    for flags in [["--oidc-issuer", &issuer], ["--jwks-url", &jwks]] {
        let mut command = Example::command("whoami");
        command.args([
            &database.url("authenticator"),
            "--port",
            "0",
            "--audience",
            AUDIENCE,
        ]);
        let example = Example::start(command.args(flags));
        let whoami = example.get(Some(&token));
        assert_eq!(whoami.body["current_user"], "author", "{whoami:?}");
        let forged = format!("{token}x");
        assert_eq!(example.get(Some(&forged)).status, 401);
    }

    let fails = |flags: [&str; 2]| {
        let mut command = Example::command("whoami");
        command.args([&database.url("authenticator"), "--port", "0"]);
        Example::fail(command.args(flags))
    };
    let error = fails(["--oidc-issuer", "http://login.example"]);
    assert!(error.starts_with("error: --oidc-issuer: "), "{error}");
    drop(provider);
    let error = fails(["--jwks-url", &jwks]);
    assert!(
        error.starts_with("error: ") && error.contains("jwks"),
        "{error}"
    );
}
