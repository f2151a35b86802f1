//! Who may vouch for the server where the URL does not say: it depends on the home directory and the system.

use std::path::Path;
use std::process::Command;

use super::server::{Files, HOST, Server, Url, authorities};
use crate::support::files::TemporaryDirectory;

/// In the environment, it has a test act on the server there. A home belongs to the whole process.
const PORT_OF_CHILD: &str = "ROLESCOPE_TEST_DEFAULT_ROOTS_OF_PORT";

/// Runs a test of this file as a process with a home and root certificates of its own, and says whether this is that.
async fn in_a_process_of_its_own(test: &str, home: &Path, system: &Path) -> Option<Url> {
    if let Ok(port) = std::env::var(PORT_OF_CHILD) {
        let port = port.parse().expect("it is a number");
        return Some(Url::to_port(port, "either").with("host", HOST));
    }
    let server = Server::with_tls().await;
    let child = Command::new(std::env::current_exe().expect("this program is somewhere"))
        .args(["--exact", &format!("requests::tls::default_roots::{test}")])
        .args(["--nocapture", "--test-threads=1"])
        .env(PORT_OF_CHILD, server.port().to_string())
        .env("HOME", home)
        .env("SSL_CERT_FILE", system)
        .env_remove("SSL_CERT_DIR")
        .output()
        .expect("this program can be run");
    let lines = [child.stdout, child.stderr].concat();
    let lines = String::from_utf8_lossy(&lines);
    assert!(
        child.status.success() && lines.contains("1 passed"),
        "{lines}"
    );
    None
}

fn home(files: &[(&str, &str)]) -> TemporaryDirectory {
    let home = TemporaryDirectory::new("home");
    let directory = home.path().join(".postgresql");
    std::fs::create_dir(&directory).expect("it can be made");
    for (name, text) in files {
        std::fs::write(directory.join(name), text).expect("it can be written");
    }
    home
}

#[tokio::test]
async fn without_a_root_file_the_systems_roots_count_for_verify_full_alone() {
    let files = Files::new();
    let (home, system) = (home(&[]), files.ours());
    let test = "without_a_root_file_the_systems_roots_count_for_verify_full_alone";
    let Some(url) = in_a_process_of_its_own(test, home.path(), &system).await else {
        return;
    };
    let full = url.clone().with("sslmode", "verify-full");
    assert_eq!(full.speaks_tls().await, Ok(true));
    assert!(
        full.with("host", "other.test")
            .refused()
            .await
            .contains("subjectAltName")
    );
    assert_eq!(
        url.clone().with("sslrootcert", "system").speaks_tls().await,
        Ok(true)
    );
    // Nothing is verified.
    let other_name = url.clone().with("host", "other.test");
    assert_eq!(
        other_name.with("sslmode", "require").speaks_tls().await,
        Ok(true)
    );
    let error = url
        .with("sslmode", "verify-ca")
        .builder()
        .expect_err("it is refused");
    assert!(
        error
            .to_string()
            .contains("give sslrootcert=FILE, or say verify-full"),
        "{error}"
    );
}

#[tokio::test]
async fn without_any_roots_there_is_no_verify_full() {
    let files = Files::new();
    let (home, system) = (home(&[]), files.write("no_roots.pem", ""));
    let test = "without_any_roots_there_is_no_verify_full";
    let Some(url) = in_a_process_of_its_own(test, home.path(), &system).await else {
        return;
    };
    for url in [
        url.clone().with("sslmode", "verify-full"),
        url.with("sslrootcert", "system"),
    ] {
        let error = url.builder().expect_err("it is refused");
        assert!(
            error
                .to_string()
                .contains("system has no root certificates"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_root_file_in_the_home_counts_before_the_systems_roots() {
    let files = Files::new();
    let home = home(&[("root.crt", &authorities().others.certificate)]);
    let test = "a_root_file_in_the_home_counts_before_the_systems_roots";
    let system = files.ours();
    let Some(url) = in_a_process_of_its_own(test, home.path(), &system).await else {
        return;
    };
    for mode in ["require", "verify-ca", "verify-full"] {
        let error = url.clone().with("sslmode", mode).refused().await;
        assert!(error.contains("UnknownIssuer"), "{mode}: {error}");
    }
    assert_eq!(
        url.clone().with("sslmode", "prefer").speaks_tls().await,
        Ok(true)
    );
    assert_eq!(
        url.with("sslrootcert", "system").speaks_tls().await,
        Ok(true)
    );
}

#[tokio::test]
async fn a_list_of_revoked_certificates_in_the_home_is_not_passed_over() {
    let files = Files::new();
    let ours = &*authorities().ours.certificate;
    let home = home(&[("root.crt", ours), ("root.crl", "")]);
    let test = "a_list_of_revoked_certificates_in_the_home_is_not_passed_over";
    let system = files.ours();
    let Some(url) = in_a_process_of_its_own(test, home.path(), &system).await else {
        return;
    };
    let url = url.with("sslmode", "verify-full");
    let error = url.builder().expect_err("it is refused").to_string();
    assert!(
        error.contains("/.postgresql/root.crl is not obeyed"),
        "{error}"
    );
    let (_, cure) = error
        .split_once("give sslrootcert=")
        .expect("it names the cure");
    let (file, _) = cure
        .split_once(" to go without")
        .expect("it names the file");
    assert_eq!(
        url.file("sslrootcert", Path::new(file)).speaks_tls().await,
        Ok(true)
    );
}
