//! A server of our own on a Unix socket that ends when we end, however that happens.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use super::programs::{Programs, Search};

/// A running PostgreSQL with nothing in it, reached over a Unix socket without a password.
///
/// Dropping it stops the server and removes its directory. The same happens when this process ends without dropping
/// it: a shell holds the server and waits for the end of a pipe whose other end only this process has, and the kernel
/// closes that end even on SIGKILL.
#[derive(Debug)]
pub(crate) struct LocalPostgres {
    directory: PathBuf,
    port: u16,
    major_version: u32,
    supervisor: Child,
    lifeline: Option<ChildStdin>,
}

/// What a server has beyond the usual, for tests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    /// More arguments of `postgres`: `-c` and a setting. They win over the usual ones.
    pub(crate) arguments: Vec<String>,
    /// A directory whose files are copied into the data directory before the server starts.
    pub(crate) files: Option<PathBuf>,
    /// A copy of another server's data directory, which becomes this one's.
    pub(crate) data: Option<PathBuf>,
}

impl LocalPostgres {
    /// Starts a server from the programs that [`Search::from_env`] finds.
    ///
    /// # Errors
    ///
    /// The text says what failed and how to cure it.
    pub(crate) fn start() -> Result<Self, String> {
        Self::start_with(&Search::from_env().find()?)
    }

    /// Starts a server from these programs.
    ///
    /// # Errors
    ///
    /// The text says what failed, with the end of the server's own log.
    pub(crate) fn start_with(programs: &Programs) -> Result<Self, String> {
        Self::start_with_extra(programs, &Extra::default())
    }

    /// Starts a server from these programs that differs from the usual one.
    ///
    /// # Errors
    ///
    /// As [`start_with`](Self::start_with).
    pub(crate) fn start_with_extra(programs: &Programs, extra: &Extra) -> Result<Self, String> {
        Self::start_at(programs, 5432, "", extra)
    }

    /// Starts a server that listens on a free port of 127.0.0.1 too: on Unix sockets PostgreSQL speaks no TLS.
    ///
    /// # Errors
    ///
    /// The text says what failed, with the end of the server's own log.
    pub(crate) fn start_on_loopback(programs: &Programs) -> Result<Self, String> {
        let mut tries = 0;
        loop {
            let port = TcpListener::bind(("127.0.0.1", 0))
                .and_then(|listener| listener.local_addr())
                .map_err(|e| format!("no port of 127.0.0.1 is free: {e}"))?
                .port();
            tries += 1;
            match Self::start_at(programs, port, "127.0.0.1", &Extra::default()) {
                // Somebody else was faster.
                Err(report) if report.contains("Address already in use") && tries < 5 => {}
                result => return result,
            }
        }
    }

    fn start_at(
        programs: &Programs,
        port: u16,
        address: &str,
        extra: &Extra,
    ) -> Result<Self, String> {
        let path = |path: &Option<PathBuf>| path.clone().unwrap_or_default();
        let mut supervisor = ServerUser::current()?
            .command("/bin/sh")
            .args(["-c", SUPERVISOR, "rolescope-postgres"])
            .arg(programs.bin())
            .arg(std::env::var_os("ROLESCOPE_PG_DIR").unwrap_or_default())
            .arg(std::env::temp_dir())
            .args([&port.to_string(), address])
            .args([path(&extra.data), path(&extra.files)])
            .args(&extra.arguments)
            // Otherwise Ctrl-C in a terminal would reach the supervisor too, and the server before we are done with it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("cannot start the supervisor of PostgreSQL, /bin/sh: {e}"))?;
        let lifeline = supervisor.stdin.take();
        let report = supervisor.stdout.take().map(read_report);
        let mut this = Self {
            directory: PathBuf::new(),
            port,
            major_version: programs.major_version(),
            supervisor,
            lifeline,
        };
        match report {
            Some(Ok(directory)) => this.directory = directory,
            Some(Err(report)) => {
                return Err(format!(
                    "the PostgreSQL in {} did not start:\n{report}",
                    programs.bin().display()
                ));
            }
            None => return Err("the supervisor of PostgreSQL has no standard output".into()),
        }
        Ok(this)
    }

    /// Ends the server as `pg_ctl stop` does, `fast` by the signal `INT` and `immediate` by `QUIT`, and waits for its end.
    /// Its files stay for [`start_again`](Self::start_again).
    pub(crate) fn stop(&self, signal: &str) {
        std::fs::write(self.directory.join("stopped"), "").expect("a file can be made");
        let killed = Command::new("kill")
            .args([&format!("-{signal}"), &*self.pid().to_string()])
            .status();
        assert!(killed.is_ok_and(|status| status.success()), "it runs");
        self.wait_until(|pid_file| pid_file.is_none());
    }

    /// Starts a server again that was stopped, and waits until it takes connections.
    pub(crate) fn start_again(&self) {
        let [stopped, started] = ["stopped", "started"].map(|name| self.directory.join(name));
        std::fs::rename(stopped, started).expect("it was stopped");
        self.wait_until(|pid_file| {
            pid_file.is_some_and(|text| text.lines().nth(7).is_some_and(|l| l.starts_with("ready")))
        });
    }

    /// Returns the process id of the server, the parent of those that serve its sessions.
    pub(crate) fn pid(&self) -> u32 {
        let line = self
            .pid_file()
            .and_then(|text| text.lines().next()?.parse().ok());
        line.expect("the server runs")
    }

    fn pid_file(&self) -> Option<String> {
        std::fs::read_to_string(self.directory.join("data/postmaster.pid")).ok()
    }

    fn wait_until(&self, condition: impl Fn(Option<String>) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !condition(self.pid_file()) {
            assert!(Instant::now() < deadline, "it takes longer than 30 s");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns the URL for the superuser `postgres`.
    pub(crate) fn superuser_url(&self, database: &str) -> String {
        self.url("postgres", database)
    }

    /// Returns the URL for a user, who needs no password.
    pub(crate) fn url(&self, user: &str, database: &str) -> String {
        let host = self.directory.to_string_lossy().replace('/', "%2F");
        format!("postgresql://{user}@{host}:{}/{database}", self.port)
    }

    /// Returns the port, which is the name of the socket too.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the directory that holds the socket, the log and the data.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns 17 for PostgreSQL 17.2.
    pub(crate) fn major_version(&self) -> u32 {
        self.major_version
    }
}

impl Drop for LocalPostgres {
    fn drop(&mut self) {
        self.lifeline = None;
        // The directory is gone only when the supervisor is.
        let _ = self.supervisor.wait();
    }
}

fn read_report(output: impl io::Read) -> Result<PathBuf, String> {
    let mut report = String::new();
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if let Some(directory) = line.strip_prefix("ready ") {
            return Ok(directory.into());
        }
        report.push_str(&line);
        report.push('\n');
    }
    Err(report)
}

/// Whom the server runs as: us, or for root somebody else, since PostgreSQL refuses root.
pub(crate) struct ServerUser(Option<(u32, u32)>);

impl ServerUser {
    pub(crate) fn current() -> Result<Self, String> {
        if !is_root() {
            return Ok(Self(None));
        }
        let passwd = std::fs::read_to_string("/etc/passwd")
            .map_err(|e| format!("cannot read /etc/passwd: {e}"))?;
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| ids_of(name, &passwd))
            .map(|ids| Self(Some(ids)))
            .ok_or_else(|| {
                "PostgreSQL does not run as root, and /etc/passwd has neither `postgres` nor `nobody`".into()
            })
    }

    /// Makes a command that runs as this user, in a directory and with variables that cannot trip it up.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").env("LC_ALL", "C");
        // Without a fixed zone initdb compares the system's with every zone that it knows.
        command.env("TZ", "UTC");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        if let Some((uid, gid)) = self.0 {
            command.gid(gid).uid(uid);
        }
        command
    }
}

pub(super) fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn ids_of(name: &str, passwd: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        // macOS writes nobody's as -2.
        let mut id = || fields.next()?.parse::<i64>().ok().map(|id| id as u32);
        id();
        Some((id()?, id()?))
    })
}

/// Arguments: the programs' directory, the wanted base directory or nothing, the temporary directory, the port, the
/// address to listen on or nothing, a data directory to take or nothing, a directory of files for it or nothing, and more
/// arguments of the server.
///
/// It prints `ready DIRECTORY`, or else what went wrong, of which only the end, since nobody reads the pipe while it
/// fills. QUIT is repeated because a shell starts background jobs with QUIT ignored: the server does not hear it until it
/// has set its handlers. Where there is a file `stopped`, the server is started again once that is called `started`. Socket paths are limited to 103 bytes on some systems, hence the limit on the base directory.
const SUPERVISOR: &str = r#"
umask 077
trap '' PIPE
trap 'exit 1' HUP INT TERM
exec 3<&0 </dev/null
dir= server= watch=
bin=$1 wanted=$2 tmp=$3 port=$4 address=$5 data=$6 files=$7
shift 7

stop() {
    trap '' HUP INT TERM
    if [ -n "$server" ]; then
        while kill -QUIT "$server"; do sleep 0.05; done &
        wait "$server"
    fi
    [ -z "$watch" ] || kill -KILL "$watch"
    # A server that was killed leaves its memory segment behind; line 7 is `key id`.
    set -- $(sed -n 7p "$dir/data/postmaster.pid") && [ -z "$2" ] || ipcrm -m "$2"
    [ -z "$dir" ] || rm -rf "$dir"
}
trap stop EXIT

shm=
room=$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')
[ "${room:-0}" -gt 1048576 ] && shm=/dev/shm
for base in ${wanted:+"$wanted"} $shm "$tmp" /tmp; do
    [ ${#base} -lt 70 ] && dir=$(mktemp -d "$base/rolescope-XXXXXX") && break
done
if [ -z "$dir" ]; then
    echo "no directory can be made in ${wanted:-any of $shm $tmp /tmp} by $(id -un)"
    exit 1
fi

if ! {
    if [ -n "$data" ]; then
        mv "$data" "$dir/data" && rm -f "$dir/data/postmaster.pid"
    else
        "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C --no-sync --no-instructions
    fi && { [ -z "$files" ] || cp -R "$files/." "$dir/data"; }
} >"$dir/log" 2>&1
then
    tail -c 4000 "$dir/log"
    exit 1
fi

again() {
    while [ -e "$dir/stopped" ]; do sleep 0.01; done
    [ -e "$dir/started" ]
}
: >"$dir/log"
while
    "$bin/postgres" -D "$dir/data" -p "$port" -k "$dir" -c listen_addresses="$address" -c max_connections=200 -c shared_buffers=32MB \
        -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c wal_level=minimal -c max_wal_senders=0 \
        -c dynamic_shared_memory_type=mmap -c autovacuum=off -c jit=off -c log_destination=stderr -c logging_collector=off \
        "$@" >>"$dir/log" 2>&1 3<&- &
    server=$!
    [ -n "$watch" ] || {
        (
            trap - EXIT
            while kill -0 "$server"; do
                case $(sed -n 8p "$dir/data/postmaster.pid") in ready*) echo "ready $dir" && exit ;; esac
                sleep 0.01
            done
        ) 3<&- &
        (
            trap - EXIT
            read -r end <&3
            while kill -TERM $$; do sleep 0.05; done
        ) &
        watch=$!
    }
    wait "$server"
    server=
    again
do
    sleep 0.01
done
tail -c 4000 "$dir/log"
"#;
