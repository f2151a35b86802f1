//! (p): PostgREST, where `ROLESCOPE_BENCH_POSTGREST` names its program: the same database, claims, roles and policies,
//! and the same number of connections.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use super::{POOL, Series, alice};
use crate::database::{AUDIENCE, SECRET};
use crate::load;

pub(super) fn program() -> Option<PathBuf> {
    std::env::var_os("ROLESCOPE_BENCH_POSTGREST").map(PathBuf::from)
}

/// Runs the program until its standard input ends, which it does however we end.
const SUPERVISOR: &str = r#"
exec 3<&0 </dev/null
"$1" 3<&- &
program=$!
read -r end <&3
kill "$program" 2>/dev/null
wait "$program" 2>/dev/null
"#;

/// A running PostgREST, which ends when this is dropped.
pub(super) struct Postgrest {
    port: u16,
    supervisor: Child,
    lifeline: Option<ChildStdin>,
}

impl Postgrest {
    pub(super) async fn start(program: &Path, url: &str) -> Result<Self, String> {
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.local_addr())
            .map_err(|e| format!("no port is free: {e}"))?
            .port();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SUPERVISOR, "rolescope-postgrest"]);
        command.arg(program);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("PGRST_") || name.starts_with("PG") {
                command.env_remove(&*name);
            }
        }
        for (option, value) in [
            ("DB_URI", url),
            ("DB_SCHEMAS", "public"),
            ("DB_ANON_ROLE", "anon"),
            ("DB_POOL", &POOL.to_string()),
            ("JWT_SECRET", SECRET),
            ("JWT_AUD", AUDIENCE),
            ("SERVER_HOST", "127.0.0.1"),
            ("SERVER_PORT", &port.to_string()),
            ("LOG_LEVEL", "crit"),
        ] {
            command.env(format!("PGRST_{option}"), value);
        }
        let mut supervisor = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|e| format!("cannot run /bin/sh: {e}"))?;
        let lifeline = supervisor.stdin.take();
        let this = Self {
            port,
            supervisor,
            lifeline,
        };
        this.wait().await?;
        Ok(this)
    }

    /// Waits until it serves, for which it must have read the schema.
    async fn wait(&self) -> Result<(), String> {
        let request = Series::Postgrest.request(&alice(0)?, 0, 0);
        let begun = Instant::now();
        loop {
            let answer = match load::once(self.port, &request).await {
                Ok((200, _)) => return Ok(()),
                Ok((status, body)) => format!("{status} {}", String::from_utf8_lossy(&body)),
                Err(error) => error,
            };
            if begun.elapsed() > Duration::from_secs(20) {
                return Err(format!("PostgREST does not serve: {answer}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Postgrest {
    fn drop(&mut self) {
        self.lifeline = None;
        let _ = self.supervisor.wait();
    }
}
