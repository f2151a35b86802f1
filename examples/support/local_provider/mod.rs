//! A real OpenID provider without set-up, for the examples and the tests: fetched, started, and gone with us.
//!
//! It is the `oidc-provider` that `package-lock.json` pins, and wants Node and npm. `provider.mjs` says how it is configured
//! and what it can be told.
#![allow(
    dead_code,
    reason = "the examples and the tests each use a part of this"
)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use serde_json::{Value, json};

use super::local_postgres::packages::{cache_directory, fetch_into, npm_ci};

const SCRIPT: &str = include_str!("provider.mjs");
const PACKAGE: &str = include_str!("package.json");
const LOCK: &str = include_str!("package-lock.json");

/// A running provider on a free port of 127.0.0.1.
///
/// Dropping it stops it. The same happens when this process ends without dropping it: it waits for the end of a pipe whose
/// other end only this process has, and the kernel closes that end even on SIGKILL.
#[derive(Debug)]
pub(crate) struct LocalProvider {
    issuer: String,
    child: Child,
    talk: Mutex<Option<(ChildStdin, BufReader<ChildStdout>)>>,
}

/// What a provider says of itself.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) issuer: String,
    /// How often its keys were asked for.
    pub(crate) jwks_requests: u64,
    /// How often its discovery document was asked for.
    pub(crate) discovery_requests: u64,
}

impl LocalProvider {
    /// Fetches it where it has not been fetched, and starts it. It takes a second, and blocks.
    ///
    /// # Errors
    ///
    /// The text says what failed and how to cure it.
    pub(crate) fn start(config: &Value) -> Result<Self, String> {
        Self::start_in(&home()?, config)
    }

    fn start_in(home: &Path, config: &Value) -> Result<Self, String> {
        let mut child = Command::new("node")
            .args(["--input-type=module", "--eval", SCRIPT, "--"])
            .arg(config.to_string())
            .current_dir(home)
            .env_remove("NODE_OPTIONS")
            // Otherwise Ctrl-C in a terminal would end it before we are done with it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot run `node`, which runs the OpenID provider: {e}"))?;
        let talk = child
            .stdin
            .take()
            .zip(child.stdout.take().map(BufReader::new));
        let mut this = Self {
            issuer: String::new(),
            child,
            talk: Mutex::new(talk),
        };
        this.issuer = this.answer("")?.issuer;
        Ok(this)
    }

    /// Returns the issuer: where its discovery document is, and the `iss` of its tokens.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Has the keys of the name `sign` sign from now on, and those of all names in `publish` be in the JWKS. A name that
    /// was not heard before gets new keys. It starts with `a` for both.
    pub(crate) fn use_keys(&self, sign: &str, publish: &[&str]) {
        let line = json!({ "sign": sign, "publish": publish });
        let answer = self.answer(&format!("{line}\n"));
        answer.unwrap_or_else(|e| panic!("{e}"));
    }

    /// Has its user API answer this from now on: what `github` was at the start.
    pub(crate) fn use_github(&self, github: &Value) {
        let line = json!({ "github": github });
        let answer = self.answer(&format!("{line}\n"));
        answer.unwrap_or_else(|e| panic!("{e}"));
    }

    /// Returns how often it was asked for what.
    pub(crate) fn report(&self) -> Report {
        self.answer("{}\n").unwrap_or_else(|e| panic!("{e}"))
    }

    /// Sends a line, unless there is none to send, and reads one.
    fn answer(&self, line: &str) -> Result<Report, String> {
        let gone = || "the OpenID provider has ended; standard error may say why".to_owned();
        let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        let (input, output) = talk.as_mut().ok_or_else(gone)?;
        let mut answer = String::new();
        input
            .write_all(line.as_bytes())
            .and_then(|()| output.read_line(&mut answer))
            .map_err(|_| gone())?;
        serde_json::from_str(&answer).map_err(|_| gone())
    }
}

impl Drop for LocalProvider {
    fn drop(&mut self) {
        let talk = self.talk.get_mut();
        *talk.unwrap_or_else(PoisonError::into_inner) = None;
        let _ = self.child.wait();
    }
}

/// The directory with the packages that the lock file names.
fn home() -> Result<PathBuf, String> {
    let cache = cache_directory().ok_or("neither XDG_CACHE_HOME nor HOME is set")?;
    home_in(&cache)
}

/// The same in a cache of one's own.
pub(crate) fn home_in(cache: &Path) -> Result<PathBuf, String> {
    let home = cache.join(format!("oidc-provider-{}-npm", version()?));
    let is_there = || {
        let lock = fs::read_to_string(home.join("package-lock.json"));
        lock.is_ok_and(|lock| lock == LOCK)
    };
    if !is_there() {
        eprintln!(
            "No OpenID provider here: fetching oidc-provider with npm into {}.",
            home.display()
        );
        fetch_into(&home, is_there, |work| npm_ci(work, PACKAGE, LOCK))
            .map_err(|e| format!("npm cannot fetch the OpenID provider: {e}"))?;
    }
    Ok(home)
}

fn version() -> Result<String, String> {
    let package: Value = serde_json::from_str(PACKAGE).map_err(|e| e.to_string())?;
    let version = package["dependencies"]["oidc-provider"].as_str();
    version
        .map(str::to_owned)
        .ok_or("package.json pins no oidc-provider".into())
}
