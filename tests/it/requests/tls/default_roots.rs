//! Who may vouch for the server where the URL does not say: it depends on the home directory and the system.

use std::path::Path;

use super::own_process::in_a_process_of_its_own;
use super::server::{Files, authorities};
use crate::support::files::TemporaryDirectory;

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
    let test = "default_roots::without_a_root_file_the_systems_roots_count_for_verify_full_alone";
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
    let test = "default_roots::without_any_roots_there_is_no_verify_full";
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
    let test = "default_roots::a_root_file_in_the_home_counts_before_the_systems_roots";
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
    let test = "default_roots::a_list_of_revoked_certificates_in_the_home_is_not_passed_over";
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
