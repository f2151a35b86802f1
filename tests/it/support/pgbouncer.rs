//! A PgBouncer in transaction mode before the tests' PostgreSQL. It ends when we end, however that happens.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::Database;
use super::local_postgres::{LocalPostgres, ServerUser};

/// A running PgBouncer, whose socket lies in the server's directory.
#[derive(Debug)]
pub(crate) struct PgBouncer {
    port: u32,
    supervisor: Child,
    lifeline: Option<ChildStdin>,
}

impl PgBouncer {
    /// Starts one with settings of its own, as lines of its configuration.
    #[track_caller]
    pub(crate) fn start(server: &LocalPostgres, settings: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(7000);
        let port = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut supervisor = ServerUser::current()
            .and_then(|user| {
                user.command("/bin/sh")
                    .args(["-c", SUPERVISOR, "rolescope-pgbouncer"])
                    .arg(program())
                    .arg(server.directory())
                    .arg(port.to_string())
                    .arg(settings)
                    .process_group(0)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::null())
                    .spawn()
                    .map_err(|e| e.to_string())
            })
            .unwrap_or_else(|e| panic!("cannot start the supervisor of PgBouncer: {e}"));
        let output = supervisor.stdout.take().expect("its output is piped");
        let report: Vec<_> = BufReader::new(output)
            .lines()
            .map_while(Result::ok)
            .take_while(|line| line != "ready")
            .collect();
        assert_eq!(report, [""; 0], "PgBouncer did not start");
        Self {
            port,
            lifeline: supervisor.stdin.take(),
            supervisor,
        }
    }

    /// Returns the name of its socket.
    pub(crate) fn socket(&self) -> String {
        format!(".s.PGSQL.{}", self.port)
    }

    /// Turns a URL of the server into one of this PgBouncer.
    pub(crate) fn url(&self, server: &str) -> String {
        server.replace(":5432/", &format!(":{}/", self.port))
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        self.lifeline = None;
        let _ = self.supervisor.wait();
    }
}

impl Database {
    /// The PgBouncer that the pools of this database connect to, where `ROLESCOPE_TEST_POOLER` says so.
    ///
    /// Each test has its own: version 1.18 comes to its end where a cancel request is cut off, as one is that still waits
    /// when its test's runtime ends.
    pub(crate) fn pgbouncer(&self) -> Option<&PgBouncer> {
        let start = || match std::env::var("ROLESCOPE_TEST_POOLER").as_deref() {
            Err(_) | Ok("") => None,
            Ok("pgbouncer") => Some(PgBouncer::start(self.server, "default_pool_size = 50")),
            Ok(other) => panic!("ROLESCOPE_TEST_POOLER: there is no {other:?}, but pgbouncer"),
        };
        self.pgbouncer.get_or_init(start).as_ref()
    }
}

#[track_caller]
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.extend(["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"].map(PathBuf::from));
    places
        .into_iter()
        .map(|place| place.join("pgbouncer"))
        .find(|program| Path::exists(program))
        .expect("this needs PgBouncer: apt-get install pgbouncer, or brew install pgbouncer")
}

/// Arguments: the program, the server's directory, the port, more settings.
///
/// It prints `ready`, or else what went wrong. TERM is repeated, since newer versions wait for their clients at the first.
const SUPERVISOR: &str = r#"
umask 077
trap '' PIPE
trap 'exit 1' HUP INT TERM
exec 3<&0 </dev/null
name=$2/pgbouncer-$3 pgbouncer=

stop() {
    trap '' HUP INT TERM
    [ -z "$pgbouncer" ] || while kill -TERM "$pgbouncer"; do sleep 0.02; done
}
trap stop EXIT

printf '"postgres" ""\n"authenticator" ""\n' >"$name.users"
cat >"$name.ini" <<END
[databases]
* = host=$2 port=5432 auth_user=postgres
[pgbouncer]
listen_addr =
listen_port = $3
unix_socket_dir = $2
auth_type = trust
auth_file = $name.users
auth_query = SELECT rolname, '' FROM pg_roles WHERE rolname = \$1
pool_mode = transaction
max_client_conn = 1000
server_idle_timeout = 2
$4
END
"$1" "$name.ini" >"$name.log" 2>&1 3<&- &
pgbouncer=$!
# The socket is there a moment before anybody listens to it.
until grep -q 'process up' "$name.log"; do
    if ! kill -0 "$pgbouncer"; then
        pgbouncer=
        tail -c 4000 "$name.log"
        exit 1
    fi
    sleep 0.01
done
echo ready
read -r end <&3
"#;
