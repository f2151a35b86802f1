//! Root certificates, the client's certificate and its key, from files.

use std::env;
use std::fmt::Display;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::super::setup_error::SetupError;
use super::super::url::{Mode, Roots};

/// Loads those who may vouch for the server; nobody where the server is not verified.
pub(super) fn roots(mode: Mode, said: Option<&Roots>) -> Result<Option<RootCertStore>, SetupError> {
    match said {
        Some(Roots::File(file)) => roots_from(file).map(Some),
        Some(Roots::System) => roots_of_the_system().map(Some),
        None if mode == Mode::Prefer => Ok(None),
        None => match (default_roots()?, mode) {
            (Some(file), _) => roots_from(&file).map(Some),
            (None, Mode::VerifyFull) => roots_of_the_system().map(Some),
            (None, Mode::VerifyCa) => Err(SetupError::options(
                "sslmode=verify-ca needs the certificate of the CA: give sslrootcert=FILE, or say verify-full \
                 where the system's roots are meant (any name may get a certificate of those)"
                    .to_owned(),
            )),
            (None, _) => Ok(None),
        },
    }
}

/// libpq's place for root certificates, where there are any.
fn default_roots() -> Result<Option<PathBuf>, SetupError> {
    let home = if cfg!(windows) {
        env::var_os("APPDATA").map(|directory| PathBuf::from(directory).join("postgresql"))
    } else {
        env::home_dir().map(|directory| directory.join(".postgresql"))
    };
    let Some(file) = home.map(|home| home.join("root.crt")) else {
        return Ok(None);
    };
    // A home that cannot be looked into has none, as with libpq.
    if !file.exists() {
        return Ok(None);
    }
    // libpq would obey it.
    let revoked = file.with_file_name("root.crl");
    if revoked.exists() {
        return Err(SetupError::options(format!(
            "{} is not obeyed, since revoked certificates are not looked for: give sslrootcert={} to go without",
            revoked.display(),
            file.display()
        )));
    }
    Ok(Some(file))
}

fn roots_from(file: &Path) -> Result<RootCertStore, SetupError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("sslrootcert", file)? {
        roots
            .add(certificate)
            .map_err(|e| unreadable("sslrootcert", file, e))?;
    }
    Ok(roots)
}

fn roots_of_the_system() -> Result<RootCertStore, SetupError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Stores of systems have odd ones among them.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reasons = found.errors.iter().map(|error| format!(": {error}"));
        return Err(SetupError::options(format!(
            "the system has no root certificates: install them (ca-certificates), or give sslrootcert=FILE{}",
            reasons.collect::<String>()
        )));
    }
    Ok(roots)
}

/// Reads all certificates of a PEM file.
pub(super) fn certificates(
    option: &str,
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|e| not_pem(option, file, e))?;
    if certificates.is_empty() {
        return Err(unreadable(
            option,
            file,
            "there is no `BEGIN CERTIFICATE` in it",
        ));
    }
    Ok(certificates)
}

/// Reads a private key that nobody else can read.
pub(super) fn key(file: &Path) -> Result<PrivateKeyDer<'static>, SetupError> {
    let opened = File::open(file).map_err(|e| unreadable("sslkey", file, e))?;
    let metadata = opened
        .metadata()
        .map_err(|e| unreadable("sslkey", file, e))?;
    if is_open_to_others(&metadata) {
        return Err(SetupError::options(format!(
            "sslkey={}: others can read this file (chmod 600; 640 where it is root's)",
            file.display()
        )));
    }
    PrivateKeyDer::from_pem_reader(opened).map_err(|error| match error {
        pem::Error::NoItemsFound => unreadable(
            "sslkey",
            file,
            "there is no private key without a passphrase in it, as PKCS#8, PKCS#1 or SEC1",
        ),
        error => not_pem("sslkey", file, error),
    })
}

/// libpq's rule: the owner's alone, or root's and its group's.
#[cfg(unix)]
fn is_open_to_others(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    let allowed = if metadata.uid() == 0 { 0o740 } else { 0o700 };
    metadata.mode() & 0o777 & !allowed != 0
}

#[cfg(not(unix))]
fn is_open_to_others(_: &fs::Metadata) -> bool {
    false
}

fn not_pem(option: &str, file: &Path, error: pem::Error) -> SetupError {
    match error {
        pem::Error::Io(error) => unreadable(option, file, error),
        error => unreadable(option, file, format!("it is not PEM: {error}")),
    }
}

fn unreadable(option: &str, file: &Path, reason: impl Display) -> SetupError {
    SetupError::options(format!(
        "{option}={} cannot be used: {reason} (it has to be a PEM file that this process can read)",
        file.display()
    ))
}
