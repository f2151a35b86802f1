//! Other processes: ending them, and seeing that they are gone.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Waits for what no event tells, such as the end of somebody else's child.
#[track_caller]
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited 30 s until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal such as `TERM` to one process.
#[track_caller]
pub(crate) fn end_with(signal: &str, pid: &str) {
    let status = Command::new("kill")
        .args([&format!("-{signal}"), pid])
        .status()
        .expect("kill runs");
    assert!(status.success(), "kill -{signal} {pid}: {status}");
}

#[track_caller]
pub(crate) fn assert_gone(directory: &Path) {
    wait_until("its processes are gone", || {
        processes_that_name(directory).is_empty()
    });
}

/// Lists process ids and arguments. Supervisor, `initdb` and server have their directory among the arguments.
pub(crate) fn processes_that_name(directory: &Path) -> String {
    let output = Command::new("ps")
        .args(["-A", "-ww", "-o", "pid=,args="])
        .output()
        .expect("ps runs: it is in the package procps");
    let directory = directory.to_str().expect("it is text");
    let lines = String::from_utf8_lossy(&output.stdout);
    lines
        .lines()
        .filter(|line| line.contains(directory))
        .collect::<Vec<_>>()
        .join("\n")
}
