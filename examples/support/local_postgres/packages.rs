//! Fetches packages from a registry, through its own client and the user's own configuration of it.
//!
//! What is fetched is pinned by its hash, no script of a package is run, and several processes may fetch at once.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use super::server::is_root;

/// Where fetched packages are kept.
pub(crate) fn cache_directory() -> Option<PathBuf> {
    // The server does not run as root, so what root fetches must not lie in root's home.
    if is_root() {
        return Some("/var/cache/rolescope".into());
    }
    path_from_env("XDG_CACHE_HOME")
        .or_else(|| Some(path_from_env("HOME")?.join(".cache")))
        .map(|cache| cache.join("rolescope"))
}

pub(super) fn path_from_env(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

/// Makes a directory of the cache: `fetch` fills another one, which is renamed when it is complete.
pub(crate) fn fetch_into<T>(
    home: &Path,
    is_there: impl Fn() -> bool,
    fetch: impl FnOnce(&Path) -> Result<T, String>,
) -> Result<T, String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let cache = home.parent().unwrap_or(home);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let work = cache.join(format!("fetching-{}-{count}", process::id()));
    remove_abandoned(cache);
    run(Path::new("/"), &["mkdir", "-p"], &[&work.to_string_lossy()])?;
    let fetched = fetch(&work);
    // Where another process was faster, its directory stays.
    if fetched.is_ok() && fs::rename(&work, home).is_err() && !is_there() {
        let _ = fs::remove_dir_all(home);
        let _ = fs::rename(&work, home);
    }
    let _ = fs::remove_dir_all(&work);
    fetched
}

/// Removes what a killed process left in the cache.
fn remove_abandoned(cache: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let old = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|at| at < SystemTime::now() - Duration::from_secs(3600));
        if old && entry.file_name().to_string_lossy().starts_with("fetching-") {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Has npm install what a lock file says. One without `resolved` leaves the registry to the user's own configuration, and its
/// `integrity` is checked by npm whatever the registry.
pub(crate) fn npm_ci(work: &Path, package: &str, lock: &str) -> Result<(), String> {
    fs::write(work.join("package.json"), package)
        .and_then(|()| fs::write(work.join("package-lock.json"), lock))
        .map_err(|e| format!("cannot write to {}: {e}", work.display()))?;
    let args = [
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--no-update-notifier",
        "--loglevel=error",
        "--fetch-retries=1",
    ];
    run(work, &["npm"], &args)
}

/// Runs a command so that the server's user can read what it makes.
pub(crate) fn run(work: &Path, client: &[&str], args: &[&str]) -> Result<(), String> {
    let output = Command::new("sh")
        .args(["-c", r#"umask 022; exec "$@""#, "sh"])
        .args(client)
        .args(args)
        .current_dir(work)
        .output()
        .map_err(|e| format!("cannot run sh: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let errors = text
        .lines()
        .filter(|line| line.to_lowercase().contains("error"));
    let errors: Vec<_> = errors.take(3).collect();
    let last = text.lines().next_back().unwrap_or("it failed");
    Err(if errors.is_empty() {
        last.into()
    } else {
        errors.join("; ")
    })
}
