//! Runs an example as a user would: its own process, real HTTP.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use super::processes::end_with;

/// A running example. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Example {
    child: Child,
    output: BufReader<ChildStdout>,
    url: String,
}

impl Example {
    /// Makes the command of an example that cargo has built beside this test.
    pub(crate) fn command(name: &str) -> Command {
        let mut command = Command::new(built(name));
        command.env_remove("DATABASE_URL");
        command
    }

    /// Starts it and waits for its `listening on` line.
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let mut output = BufReader::new(child.stdout.take().expect("its output is piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("its output is text");
        let url = line.trim().strip_prefix("listening on ");
        let url = url
            .unwrap_or_else(|| panic!("it printed {line:?}"))
            .to_owned();
        Self { child, output, url }
    }

    /// Runs it until it ends with an error, and returns what it wrote to standard error.
    #[cfg(feature = "axum")]
    #[track_caller]
    pub(crate) fn fail(command: &mut Command) -> String {
        let output = command.output().expect("the example starts");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{text}");
        text
    }

    /// Reads its output up to the line that begins like this, which is left out.
    pub(crate) fn lines_until(&mut self, end: &str) -> Vec<String> {
        let lines = self
            .output
            .by_ref()
            .lines()
            .map(|line| line.expect("its output is text"));
        lines.take_while(|line| !line.starts_with(end)).collect()
    }

    /// Reads one more line of its output.
    #[cfg(all(feature = "axum", feature = "postgres", feature = "issuer"))]
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output
            .read_line(&mut line)
            .expect("its output is text");
        line
    }

    /// Returns where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Sends a GET request to `/`.
    #[cfg(all(feature = "axum", feature = "jwks-client"))]
    pub(crate) fn get(&self, token: Option<&str>) -> Response {
        use std::io::Write;
        use std::net::TcpStream;

        let authority = self.url.strip_prefix("http://").expect("it is plain HTTP");
        let mut stream = TcpStream::connect(authority).expect("it listens");
        let authorization = token
            .map(|token| format!("Authorization: Bearer {token}\r\n"))
            .unwrap_or_default();
        write!(
            stream,
            "GET / HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{authorization}\r\n"
        )
        .expect("the request can be sent");
        let mut text = String::new();
        stream
            .read_to_string(&mut text)
            .expect("the answer is text");
        Response::parse(&text)
    }

    /// Sends a signal such as `TERM` and waits for the end.
    pub(crate) fn end_with(&mut self, signal: &str) -> ExitStatus {
        end_with(signal, &self.child.id().to_string());
        self.child.wait().expect("it ends")
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer as it came over the wire, or as `curl -i` prints it.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: serde_json::Value,
}

impl Response {
    #[track_caller]
    pub(crate) fn parse(text: &str) -> Self {
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Self {
            status: status.unwrap_or_else(|| panic!("no status: {head:?}")),
            head: head.to_lowercase(),
            body: serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {text:?}")),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let name = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(&name))
    }
}

fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this binary has a path");
    let profile = test
        .ancestors()
        .nth(2)
        .expect("it lies in target/PROFILE/deps");
    let example = profile.join("examples").join(name);
    assert!(
        example.exists(),
        "{} is not there: `cargo test` builds it, `cargo test --test it` needs a `cargo build --examples` before",
        example.display()
    );
    example
}
