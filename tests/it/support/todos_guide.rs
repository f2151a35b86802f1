//! The commands that the examples `todos` and `hyper_server` print.

use std::process::Command;

use serde_json::json;

use super::example::{Example, Response};

/// Runs each command as it was printed, and returns all that was printed.
#[track_caller]
pub(crate) fn each_command_shows_its_point(example: &mut Example) -> Vec<String> {
    let lines = example.lines_until("The tokens are good for");
    let commands: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("curl "))
        .collect();
    let explained = lines.iter().filter(|line| line.starts_with("# ")).count();
    assert_eq!((commands.len(), explained), (6, 6));
    let answers: Vec<_> = commands.into_iter().map(|command| run(command)).collect();
    let [anonymous, alice, added, bob, as_alice, forged] = &answers[..] else {
        panic!("{answers:?}");
    };

    let public = json!({ "id": 1, "owner": "alice", "task": "read the policies in todos.sql", "public": true });
    let of_alice =
        json!({ "id": 2, "owner": "alice", "task": "buy a present for bob", "public": false });
    let of_bob = json!({ "id": 3, "owner": "bob", "task": "water the plants", "public": false });
    let new = json!({ "id": 4, "owner": "alice", "task": "call the plumber", "public": false });
    assert_eq!((anonymous.status, &anonymous.body), (200, &json!([public])));
    assert_eq!(
        (alice.status, &alice.body),
        (200, &json!([public, of_alice]))
    );
    assert_eq!((added.status, &added.body), (201, &new));
    assert_eq!((bob.status, &bob.body), (200, &json!([public, of_bob])));
    assert_eq!(
        (as_alice.status, &as_alice.body["code"]),
        (403, &json!("42501"))
    );
    assert_eq!(
        (forged.status, &forged.body["code"]),
        (401, &json!("invalid_token"))
    );
    let challenge = forged
        .header("www-authenticate")
        .expect("a 401 has a challenge");
    assert!(
        challenge.starts_with(r#"bearer error="invalid_token""#),
        "{challenge}"
    );
    lines
}

fn run(command: &str) -> Response {
    let output = Command::new("sh")
        .args(["-c", command])
        .output()
        .expect("sh runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_ne!(
        output.status.code(),
        Some(127),
        "install curl, which this test runs: {errors}"
    );
    assert!(output.status.success(), "{command}: {errors}");
    Response::parse(&String::from_utf8_lossy(&output.stdout))
}
