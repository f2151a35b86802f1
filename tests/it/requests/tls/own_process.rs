//! What belongs to the whole process, a test changes in one of its own.

use std::path::Path;
use std::process::Command;

use super::server::{HOST, Server, Url};

/// In the environment, it has a test act on the server there.
const PORT_OF_CHILD: &str = "ROLESCOPE_TEST_TLS_ON_PORT";

/// Runs one of these tests as a process with a home and root certificates of the system of its own. There it returns the
/// URL of the shared server.
pub(super) async fn in_a_process_of_its_own(test: &str, home: &Path, system: &Path) -> Option<Url> {
    if let Ok(port) = std::env::var(PORT_OF_CHILD) {
        let port = port.parse().expect("it is a number");
        return Some(Url::to_port(port, "either").with("host", HOST));
    }
    let server = Server::with_tls().await;
    let mut child = Command::new(std::env::current_exe().expect("this program is somewhere"));
    child
        .args(["--exact", &format!("requests::tls::{test}")])
        .args(["--nocapture", "--test-threads=1"])
        .env(PORT_OF_CHILD, server.port().to_string())
        .env("HOME", home)
        .env("SSL_CERT_FILE", system)
        .env_remove("SSL_CERT_DIR");
    let child =
        tokio::task::spawn_blocking(move || child.output().expect("this program can be run"));
    let child = child.await.expect("no panic");
    let lines = [child.stdout, child.stderr].concat();
    let lines = String::from_utf8_lossy(&lines);
    assert!(
        child.status.success() && lines.contains("1 passed"),
        "{lines}"
    );
    None
}
