//! A Chromium of our own that ends when we end, however that happens.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// A running Chromium without a window. Dropping it ends it and removes its profile.
///
/// The same happens when this process ends without dropping it: a shell holds the browser and waits for the end of a pipe.
#[derive(Debug)]
pub(crate) struct Chromium {
    supervisor: Child,
    lifeline: Option<ChildStdin>,
    socket: String,
}

impl Chromium {
    pub(crate) fn start() -> Self {
        let program = find();
        let mut supervisor = Command::new("/bin/sh")
            .args(["-c", SUPERVISOR, "rolescope-chromium"])
            .arg(program)
            // Otherwise Ctrl-C in a terminal would reach the shell too, before it has cleaned up.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a shell");
        let lifeline = supervisor.stdin.take();
        let mut output = BufReader::new(supervisor.stdout.take().expect("it is piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("it is text");
        let Some(socket) = line.trim().strip_prefix("ready ") else {
            let _ = output.read_to_string(&mut line);
            panic!("Chromium does not start:\n{line}");
        };
        Self {
            socket: socket.to_owned(),
            supervisor,
            lifeline,
        }
    }

    /// Where it takes commands of the DevTools protocol.
    pub(crate) fn socket(&self) -> &str {
        &self.socket
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        self.lifeline = None;
        let _ = self.supervisor.wait();
    }
}

fn find() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "google-chrome", "chromium-browser"];
    let found = names.iter().find_map(|name| {
        let mut places = std::env::split_paths(&path).map(|directory| directory.join(name));
        places.find(|program| Path::is_file(program))
    });
    found.expect(
        "these tests need a Chromium: `apt-get install chromium`, or `brew install --cask chromium`",
    )
}

/// Argument: the program. It prints `ready SOCKET`, or else what went wrong.
///
/// Chromium is many processes, of which a crashed one can leave others: they are ended as a group, which the shell leads. Root cannot have its
/// sandbox, and only loopback pages of ours are opened in it.
const SUPERVISOR: &str = r#"
exec 3<&0 </dev/null
profile=$(mktemp -d) || exit 1
sandbox=
[ "$(id -u)" != 0 ] || sandbox=--no-sandbox
"$1" --headless=new $sandbox --user-data-dir="$profile" --remote-debugging-port=0 --no-first-run --disable-gpu \
    --disable-dev-shm-usage --disable-background-networking --disable-component-update --disable-sync --disable-extensions \
    --disable-default-apps --no-default-browser-check --password-store=basic --use-mock-keychain --metrics-recording-only \
    --disable-renderer-backgrounding --disable-background-timer-throttling \
    --disable-backgrounding-occluded-windows --force-color-profile=srgb --hide-scrollbars --lang=en-US about:blank >"$profile/output" 2>&1 3<&- &
browser=$!
stop() {
    trap '' HUP INT TERM
    kill -KILL "$browser"
    wait "$browser"
    rm -rf "$profile" || rm -rf "$profile"
    # Whatever is left of it, and this shell with it.
    kill -KILL 0
}
trap stop EXIT
trap 'exit 1' HUP INT TERM
until [ "$(wc -l <"$profile/DevToolsActivePort")" -ge 1 ] && [ -n "$(sed -n 2p "$profile/DevToolsActivePort")" ]; do
    kill -0 "$browser" || { tail -c 4000 "$profile/output"; exit 1; }
    sleep 0.05
done
{ read -r port; read -r path || [ -n "$path" ]; } <"$profile/DevToolsActivePort"
echo "ready ws://127.0.0.1:$port$path"
read -r end <&3
"#;
