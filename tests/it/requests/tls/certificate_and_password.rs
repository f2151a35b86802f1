//! A login role that needs both, its certificate and its password: `scram-sha-256 clientcert=verify-full`.

use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use rolescope::{RoleName, RoleScope};

use super::certificates::{Certificate, params};
use super::server::{Files, HOST, Server, Url, authorities};
use crate::support::proxy::within;

/// A connection string for a user, with a certificate.
fn url(server: &Server, files: &Files, user: &str, shown: &Certificate) -> Url {
    let (certificate, key) = files.client("client", shown);
    without_certificate(server, files, user)
        .file("sslcert", &certificate)
        .file("sslkey", &key)
}

fn without_certificate(server: &Server, files: &Files, user: &str) -> Url {
    let url = server.url(user).with("host", HOST);
    url.with("sslmode", "verify-full")
        .with("channel_binding", "require")
        .file("sslrootcert", &files.ours())
}

/// Logs in, and tells whose certificate the server has seen.
async fn shown(url: &Url) -> Option<String> {
    let pool = url.pool().await.unwrap_or_else(|e| panic!("{url}: {e}"));
    let anon = RoleScope::for_role(RoleName::parse("anon").expect("a name"));
    let db = pool.begin(&anon);
    let shown = within(db.query_one_scalar("SELECT shown()", &[])).await;
    within(db.rollback()).await.expect("it ends");
    shown.expect("it can be asked")
}

#[tokio::test]
async fn both_log_in_and_neither_does_alone() {
    let (server, files) = (Server::with_tls().await, Files::new());
    let own = authorities().ours.sign("doubly", &[]);
    let both = url(server, &files, "doubly", &own);
    assert_eq!(shown(&both).await.as_deref(), Some("/CN=doubly"));

    let error = without_certificate(server, &files, "doubly")
        .refused()
        .await;
    assert!(
        error.contains("requires a valid client certificate"),
        "{error}"
    );
    let error = both.clone().with("password", "another").refused().await;
    assert!(error.contains("password authentication failed"), "{error}");
    let error = both.with("password", "").refused().await;
    assert!(error.contains("password"), "{error}");
}

#[tokio::test]
async fn the_certificate_must_be_the_roles_own() {
    let (server, files) = (Server::with_tls().await, Files::new());
    let others = authorities().ours.sign("certified", &[]);
    let error = url(server, &files, "doubly", &others).refused().await;
    assert!(error.contains("authentication failed"), "{error}");
    // What `verify-full` is for: `verify-ca` takes anybody's.
    let loose = url(server, &files, "loose", &others);
    assert_eq!(shown(&loose).await.as_deref(), Some("/CN=certified"));
}

#[tokio::test]
async fn the_certificate_must_be_good_and_for_clients() {
    let (server, files) = (Server::with_tls().await, Files::new());
    let stranger = authorities().others.sign("doubly", &[]);
    let mut old = params("doubly", &[]);
    (old.not_before, old.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    let mut of_a_server = params("doubly", &[]);
    of_a_server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let ours = &authorities().ours;
    for bad in [
        stranger,
        ours.sign_params(&old),
        ours.sign_params(&of_a_server),
    ] {
        let error = url(server, &files, "doubly", &bad).refused().await;
        assert!(
            error.contains("refuses the client's certificate"),
            "{error}"
        );
    }
    let mut of_a_client = params("doubly", &[]);
    of_a_client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let good = url(server, &files, "doubly", &ours.sign_params(&of_a_client));
    assert_eq!(shown(&good).await.as_deref(), Some("/CN=doubly"));
}
