//! `examples/accounts.rs`, with each command that it prints.

use std::process::Command;

use crate::support::example::Example;

#[test]
fn accounts_each_command_shows_its_point() {
    let mut example = Example::start(Example::command("accounts").args(["--port", "0"]));
    let guide = example.lines_until("A session lasts for");
    let (first, rest) = guide.split_at(position(&guide, "# She signs in."));
    let signed_up = shell(first);
    assert!(signed_up.starts_with("HTTP/1.1 202 "), "{signed_up}");
    // The mail has a command, too.
    let _ = example.lines_until("# Mail to alice@example.com: welcome!");
    let verified = shell(&[example.line()]);
    assert!(verified.starts_with("HTTP/1.1 204 "), "{verified}");

    let output = shell(rest);
    let points = [
        r#""refresh_token":"#,
        "web_user alice@example.com",
        r#""current":true"#,
        r#""refresh_token":"#,
        "HTTP/1.1 204 ",
        "HTTP/1.1 202 ",
    ];
    let mut left = output.as_str();
    for point in points {
        let (_, after) = left
            .split_once(point)
            .unwrap_or_else(|| panic!("no {point} in {left}\nof {output}"));
        left = after;
    }
    let _ = example.lines_until("# Mail to alice@example.com: this sets a new password");
    let reset = shell(&[example.line()]);
    assert!(reset.starts_with("HTTP/1.1 204 "), "{reset}");
    assert!(example.end_with("INT").success());
}

fn position(lines: &[String], start: &str) -> usize {
    let found = lines.iter().position(|line| line.starts_with(start));
    found.unwrap_or_else(|| panic!("no {start} in {lines:?}"))
}

/// Runs what somebody pastes into a shell.
fn shell(lines: &[String]) -> String {
    let output = Command::new("sh").args(["-c", &lines.join("\n")]).output();
    let output = output.expect("there is a shell");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("it is text")
}
