//! A login role that is known by its certificate.

use super::server::{Files, HOST, Server, authorities};
use crate::support::files::set_mode;

#[tokio::test]
async fn a_client_certificate_logs_in() {
    let files = Files::new();
    let server = Server::with_tls().await;
    let certificate = authorities().ours.sign("certified", &[]);
    let (certificate, key) = files.client("certified", &certificate);
    let url = server.url("certified").with("host", HOST);
    let url = url.file("sslrootcert", &files.ours());
    let url = url.file("sslcert", &certificate).file("sslkey", &key);
    // As root's, a key may be its group's too; these files are the test's own user's.
    for mode in ["verify-full", "verify-ca", "require", "prefer"] {
        for permissions in [0o600, 0o400] {
            set_mode(&key, permissions);
            assert_eq!(
                url.clone().with("sslmode", mode).speaks_tls().await,
                Ok(true),
                "{mode}"
            );
        }
    }
}
