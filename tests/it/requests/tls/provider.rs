//! Whose cryptography it is.

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;

use super::own_process::in_a_process_of_its_own;
use super::server::Files;

#[tokio::test]
async fn the_processes_own_crypto_provider_is_used_where_there_is_one() {
    let files = Files::new();
    let (test, roots) = (
        "provider::the_processes_own_crypto_provider_is_used_where_there_is_one",
        files.ours(),
    );
    // A home that is no directory is no harm.
    let Some(url) = in_a_process_of_its_own(test, &roots, &roots).await else {
        return;
    };
    let url = url.with("sslmode", "require");
    assert_eq!(url.speaks_tls().await, Ok(true));
    // One that can do nothing, so that it shows.
    let provider = CryptoProvider {
        cipher_suites: Vec::new(),
        ..default_provider()
    };
    provider.install_default().expect("there was none");
    let error = url.builder().expect_err("it is refused").to_string();
    assert!(
        error.contains("the process's crypto provider cannot be used"),
        "{error}"
    );
}
