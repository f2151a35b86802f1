//! Each `sslmode` against each server.

use std::path::Path;

use super::server::{Files, HOST, PASSWORD, Server, Url};
use crate::support::events::Recorder;

const UNKNOWN_ISSUER: &str = "give sslrootcert=FILE";
const NOT_ITS_NAME: &str = "subjectAltName";
const WITHOUT_TLS: &str = "server does not support TLS";

/// What becomes of a connection: TLS is spoken, or not, or this is said.
type Outcome = Result<bool, &'static str>;

async fn assert_outcome(url: Url, outcome: Outcome, what: &str) {
    match (url.speaks_tls().await, outcome) {
        (Ok(speaks), Ok(expected)) if speaks == expected => {}
        (Err(error), Err(expected)) if error.contains(expected) => {}
        (got, _) => panic!("{what}: expected {outcome:?}, got {got:?}"),
    }
}

#[tokio::test]
async fn each_sslmode_verifies_what_it_promises() {
    let files = Files::new();
    let (ours, others) = (files.ours(), files.others());
    let (tls, plain) = (Server::with_tls().await, Server::without_tls().await);
    let no_roots: Option<&Path> = None;
    let (ours, others) = (Some(&*ours), Some(&*others));
    let other_name = "other.test";
    for (mode, server, name, roots, outcome) in [
        ("disable", tls, HOST, no_roots, Ok(false)),
        ("disable", tls, HOST, others, Ok(false)),
        ("disable", plain, HOST, no_roots, Ok(false)),
        ("prefer", tls, HOST, no_roots, Ok(true)),
        ("prefer", tls, other_name, no_roots, Ok(true)),
        ("prefer", tls, other_name, ours, Ok(true)),
        ("prefer", tls, HOST, others, Err(UNKNOWN_ISSUER)),
        ("prefer", plain, HOST, no_roots, Ok(false)),
        ("prefer", plain, HOST, ours, Ok(false)),
        // Without roots: in default_roots.rs.
        ("require", tls, HOST, ours, Ok(true)),
        ("require", tls, other_name, ours, Ok(true)),
        ("require", tls, HOST, others, Err(UNKNOWN_ISSUER)),
        ("require", plain, HOST, ours, Err(WITHOUT_TLS)),
        ("verify-ca", tls, HOST, ours, Ok(true)),
        ("verify-ca", tls, other_name, ours, Ok(true)),
        ("verify-ca", tls, HOST, others, Err(UNKNOWN_ISSUER)),
        ("verify-ca", plain, HOST, ours, Err(WITHOUT_TLS)),
        ("verify-full", tls, HOST, ours, Ok(true)),
        ("verify-full", tls, other_name, ours, Err(NOT_ITS_NAME)),
        ("verify-full", tls, HOST, others, Err(UNKNOWN_ISSUER)),
        ("verify-full", plain, HOST, ours, Err(WITHOUT_TLS)),
        ("not said", tls, HOST, no_roots, Ok(false)),
        ("not said", tls, HOST, ours, Ok(true)),
        ("not said", tls, other_name, ours, Err(NOT_ITS_NAME)),
        ("not said", tls, HOST, others, Err(UNKNOWN_ISSUER)),
        ("not said", plain, HOST, ours, Err(WITHOUT_TLS)),
    ] {
        let mut url = server.url("either").with("host", name);
        if mode != "not said" {
            url = url.with("sslmode", mode);
        }
        if let Some(roots) = roots {
            url = url.file("sslrootcert", roots);
        }
        let what = format!("{mode}, {}", url);
        assert_outcome(url, outcome, &what).await;
    }
}

#[tokio::test]
async fn a_url_says_the_same_and_an_address_may_be_the_name() {
    let server = Server::with_tls().await;
    let files = Files::new();
    let roots = files.ours();
    let url = |host: &str| {
        format!(
            "postgres://authenticator:{}@{host}:{}/postgres?sslmode=verify-full&channel_binding=require&sslrootcert={}",
            PASSWORD.replace(' ', "%20"),
            server.port(),
            roots.display().to_string().replace('/', "%2F"),
        )
    };
    let build = async |url: &str| {
        let builder = rolescope::RoleScopedPool::builder(url).expect("it can be read");
        builder.anonymous_role("anon").build().await
    };
    build(&url("127.0.0.1")).await.expect("it is built");
    let error = build(&url("localhost"))
        .await
        .expect_err("it is another name");
    assert!(error.to_string().contains(NOT_ITS_NAME), "{error}");

    // Without a host, the address is the name.
    let url = server.url("either").with("sslmode", "verify-full");
    assert_eq!(url.file("sslrootcert", &roots).speaks_tls().await, Ok(true));
}

#[tokio::test]
async fn with_channel_binding_the_password_is_bound_to_the_servers_certificate() {
    let files = Files::new();
    let server = Server::with_tls().await;
    let url = |user| {
        let url = server
            .url(user)
            .with("host", HOST)
            .with("channel_binding", "require");
        url.file("sslrootcert", &files.ours())
    };
    assert_eq!(url("authenticator").speaks_tls().await, Ok(true));
    // Where the server asks for no password nothing can be bound.
    let error = url("either").refused().await;
    for part in [
        "did not use channel binding",
        "scram-sha-256 in pg_hba.conf",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_handshake_without_the_question_works_with_servers_that_know_it() {
    let files = Files::new();
    let server = Server::with_tls().await;
    let url = server
        .url("either")
        .with("host", HOST)
        .with("sslnegotiation", "direct");
    let url = url.file("sslrootcert", &files.ours());
    let version = server
        .admin()
        .await
        .query_one_scalar("SHOW server_version_num", &[])
        .await;
    let version: String = version.expect("it can be asked");
    match version.parse::<u32>().expect("a number") >= 170_000 {
        true => assert_eq!(url.speaks_tls().await, Ok(true)),
        false => {
            let error = url.refused().await;
            assert!(error.contains("cannot use the database at"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_verified_is_warned_of() {
    let files = Files::new();
    let recorder = Recorder::start();
    let server = Server::with_tls().await;
    let url = server.url("either").with("sslmode", "prefer");
    recorder.take();
    drop(url.builder().expect("it can be read"));
    let warnings = recorder.warnings();
    assert!(
        matches!(&warnings[..], [one] if one.contains("not verified") && one.contains("sslmode=verify-full")),
        "{warnings:?}"
    );
    let url = url.file("sslrootcert", &files.ours());
    drop(url.builder().expect("it can be read"));
    assert_eq!(recorder.warnings(), [""; 0]);
}
