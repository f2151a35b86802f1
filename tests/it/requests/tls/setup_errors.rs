//! What cannot be used is said with its cause and its cure when the pool is built.

use std::path::Path;

use axum::Router;
use axum::routing::get;
use rcgen::{BasicConstraints, IsCa, date_time_ymd};
use rolescope::{Error, ErrorKind, RoleScopedConnection};

use super::certificates::{Certificate, params};
use super::server::{Files, HOST, Server, Url, authorities};
use crate::support::events::Recorder;
use crate::support::files::set_mode;
use crate::support::proxy::within;
use crate::support::service::{self, service};

#[track_caller]
fn says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
}

fn verified(files: &Files, server: &Server, user: &str) -> Url {
    let url = server.url(user).with("host", HOST);
    url.file("sslrootcert", &files.ours())
}

// --- the server ---

#[tokio::test]
async fn a_server_that_is_not_the_one_is_said_with_its_cure() {
    let files = Files::new();
    let server = Server::with_tls().await;
    let stranger = server.url("either").with("host", HOST);
    let stranger = stranger.file("sslrootcert", &files.others());
    says(
        &stranger.refused().await,
        &[
            "cannot use the database at db.test:",
            "UnknownIssuer",
            "give sslrootcert=FILE",
        ],
    );
    let other_name = verified(&files, server, "either").with("host", "other.test");
    says(
        &other_name.refused().await,
        &[
            "not valid for name \"other.test\"",
            HOST,
            "subjectAltName",
            "sslmode=verify-ca",
        ],
    );
    let url = Server::without_tls()
        .await
        .url("either")
        .with("sslmode", "require");
    says(
        &url.refused().await,
        &["server does not support TLS", "ssl=on", "sslmode=disable"],
    );
}

#[tokio::test]
async fn a_certificate_that_is_none_for_a_server_is_said_with_its_cure() {
    let files = Files::new();
    let ours = &authorities().ours;
    let mut old = params(HOST, &[HOST]);
    (old.not_before, old.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    let mut young = params(HOST, &[HOST]);
    young.not_before = date_time_ymd(4000, 1, 1);
    let mut authority = params(HOST, &[HOST]);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);

    let server = Server::start_with_tls(&ours.sign_params(&old)).await;
    let ca_only = verified(&files, &server, "either").with("sslmode", "verify-ca");
    for url in [verified(&files, &server, "either"), ca_only.clone()] {
        says(
            &url.refused().await,
            &["expired", "renew the server's certificate"],
        );
    }
    server.present(&ours.sign_params(&young)).await;
    says(
        &ca_only.refused().await,
        &["not valid yet", "set the clock"],
    );
    server.present(&ours.sign_params(&authority)).await;
    says(
        &ca_only.refused().await,
        &["CaUsedAsEndEntity", "signed by a CA and not itself one"],
    );
    // A common name alone is no name.
    server.present(&ours.sign(HOST, &[])).await;
    let parts = [
        "not valid for name \"db.test\"",
        "its common name does not count",
    ];
    says(&verified(&files, &server, "either").refused().await, &parts);
    assert_eq!(ca_only.speaks_tls().await, Ok(true));
}

#[tokio::test]
async fn a_server_that_wants_tls_or_a_certificate_is_said_with_its_cure() {
    let files = Files::new();
    let server = Server::with_tls().await;
    let plain = server.url("authenticator").with("sslmode", "disable");
    says(
        &plain.refused().await,
        &["no encryption", "say sslmode=verify-full"],
    );
    says(
        &verified(&files, server, "certified").refused().await,
        &[
            "requires a valid client certificate",
            "give sslcert and sslkey",
        ],
    );
    let certificate = authorities().ours.sign("somebody_else", &[]);
    let (certificate, key) = files.client("somebody_else", &certificate);
    let other_user = verified(&files, server, "certified").file("sslcert", &certificate);
    says(
        &other_user.file("sslkey", &key).refused().await,
        &[
            "certificate authentication failed",
            "common name",
            "pg_ident.conf",
        ],
    );
    let certificate = authorities().others.sign("certified", &[]);
    let (certificate, key) = files.client("stranger", &certificate);
    let stranger = verified(&files, server, "certified").file("sslcert", &certificate);
    says(
        &stranger.file("sslkey", &key).refused().await,
        &[
            "fatal alert",
            "refuses the client's certificate",
            "ssl_ca_file",
        ],
    );
}

#[tokio::test]
async fn a_server_that_is_not_the_one_later_is_a_503_with_the_cause_in_the_log() {
    let files = Files::new();
    let server = Server::with_tls().await;
    let url = server.url("either").with("host", HOST);
    let url = url.file("sslrootcert", &files.others());
    let builder = url.builder().expect("it can be read");
    let pool = builder.build_lazy().expect("it is built");
    let read = async |db: RoleScopedConnection| -> Result<String, Error> {
        db.query_one_scalar("SELECT 'read'", &[]).await
    };
    let app = service(&pool, Router::new().route("/read", get(read)));
    let recorder = Recorder::start();
    let reply = within(service::get(&app, "/read", None)).await;
    assert_eq!(
        (reply.status.as_u16(), reply.kind()),
        (503, ErrorKind::Unavailable)
    );
    assert_eq!(reply.headers["retry-after"], "1");
    for told in ["certificate", "TLS", "Issuer"] {
        assert!(!reply.body.contains(told), "{reply:?}");
    }
    let errors = recorder.errors();
    let [error] = &errors[..] else {
        panic!("{errors:?}")
    };
    says(error.get("cause").unwrap_or_default(), &["UnknownIssuer"]);
}

// --- the files ---

/// Nobody is asked.
fn nowhere_at_all() -> Url {
    Url::to_port(1, "nobody").with("sslmode", "verify-full")
}

#[tokio::test]
async fn files_are_read_when_the_url_is_and_said_by_name() {
    let files = Files::new();
    let certificate = authorities().ours.sign("certified", &[]);
    let (cert, key) = files.client("files", &certificate);
    let (_, other_key) = files.client("files_other", &authorities().ours.sign("x", &[]));
    let roots = files.ours();
    let nowhere = Path::new("/nowhere/at all.pem");
    let empty = files.write("empty.pem", "");
    let torn = files.write("torn.pem", &certificate.certificate[..80]);
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let garbage = files.write("garbage.pem", garbage);
    let locked = certificate
        .key
        .replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let (_, locked) = files.client(
        "locked",
        &Certificate {
            key: locked,
            ..certificate.clone()
        },
    );
    let no_key = Certificate {
        key: certificate.certificate.clone(),
        ..certificate.clone()
    };
    let (_, no_key) = files.client("no_key", &no_key);
    let (_, open) = files.client("open", &certificate);
    set_mode(&open, 0o644);

    let url = || nowhere_at_all().file("sslrootcert", &roots);
    let client = |cert: &Path, key: &Path| url().file("sslcert", cert).file("sslkey", key);
    drop(client(&cert, &key).builder().expect("all is well"));
    for (url, parts) in [
        (
            nowhere_at_all().file("sslrootcert", nowhere),
            &[
                "sslrootcert=/nowhere/at all.pem",
                "No such file",
                "a PEM file that this process can read",
            ][..],
        ),
        (
            nowhere_at_all().file("sslrootcert", &empty),
            &["sslrootcert=", "/empty.pem", "no `BEGIN CERTIFICATE`"],
        ),
        (
            nowhere_at_all().file("sslrootcert", &torn),
            &["sslrootcert=", "/torn.pem", "it is not PEM"],
        ),
        (
            nowhere_at_all().file("sslrootcert", &garbage),
            &["sslrootcert=", "/garbage.pem", "BadEncoding"],
        ),
        (
            client(nowhere, &key),
            &["sslcert=/nowhere/at all.pem", "No such file"],
        ),
        (client(&key, &key), &["sslcert=", "no `BEGIN CERTIFICATE`"]),
        (
            client(&cert, nowhere),
            &["sslkey=/nowhere/at all.pem", "No such file"],
        ),
        (
            client(&cert, &no_key),
            &["sslkey=", "no private key without a passphrase"],
        ),
        (
            client(&cert, &locked),
            &[
                "sslkey=",
                "/locked.key",
                "no private key without a passphrase",
            ],
        ),
        (
            client(&cert, &open),
            &[
                "sslkey=",
                "/open.key",
                "others can read this file",
                "chmod 600",
            ],
        ),
        (
            client(&cert, &other_key),
            &[
                "sslcert=",
                "sslkey=",
                "/files_other.key",
                "cannot be used together",
                "KeyMismatch",
            ],
        ),
    ] {
        let error = url.builder().expect_err("it is refused").to_string();
        says(&error, parts);
        assert!(!error.contains("PRIVATE"), "{error}");
    }
}
