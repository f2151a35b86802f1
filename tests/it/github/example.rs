//! `examples/github.rs`, with each command that it prints.

use std::process::Command;

use super::*;
use crate::support::example::{Example, Response};

fn curl(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output();
    let output = output.expect("sh runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "is there curl? {script}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn github_needs_nothing_and_each_command_shows_its_point() {
    let mut command = Example::command("github");
    for name in ["GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET"] {
        command.env_remove(name);
    }
    let mut example = Example::start(command.args(["--port", "0"]));
    let lines = example.lines_until("Ctrl-C");
    let commands: Vec<_> = lines.iter().filter(|line| line.contains("curl ")).collect();
    let [begin, consent, token, list, foreign] = &commands[..] else {
        panic!("{lines:?}");
    };
    let url = example.url();
    let signed_in = format!("{begin}\n{consent}\n{token}");
    let answer = curl(&format!("{signed_in}\n{list}\nrm $jar $jar.html"));
    let (landed, answer) = answer.split_once('\n').expect("it is two answers");
    assert_eq!(landed, format!("200 {url}/"));
    let list = Response::parse(answer);
    assert_eq!(list.status, 200, "{list:?}");
    assert_eq!(list.body["role"], "web_user");
    assert_eq!(list.body["subject"].as_str().map(str::len), Some(36));
    // What is public, and nothing that is alice's in the example's table: there she is another.
    assert_eq!(list.body["todos"].as_array().map(Vec::len), Some(1));
    let foreign = Response::parse(&curl(foreign));
    assert_eq!(
        (foreign.status, &foreign.body["code"]),
        (400, &json!("sign_in_not_begun"))
    );
    assert!(curl(&format!("curl -s {url}/")).contains("href=\"/auth/github\""));
    assert!(example.end_with("INT").success());
}

#[test]
fn github_with_half_of_a_client_says_what_is_missing() {
    let mut command = Example::command("github");
    let command = command.args(["--port", "0"]).env("GITHUB_CLIENT_ID", "x");
    let error = Example::fail(command.env_remove("GITHUB_CLIENT_SECRET"));
    let cure =
        "error: GITHUB_CLIENT_SECRET is not set: register the service at https://github.com/";
    assert!(error.contains(cure), "{error}");
}
