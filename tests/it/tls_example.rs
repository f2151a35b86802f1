//! `examples/tls.rs`: what it prints, over TLS on both sides, and who is refused on either. How a connection string is obeyed
//! and which certificates of a database are refused: `requests/tls`.

use std::io::{Read, Write};
use std::net::TcpStream as PlainStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rolescope::RoleScopedPool;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, Error, RootCertStore, SupportedProtocolVersion};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::connect;
use crate::support::example::{Example, Response};
use crate::support::files::TemporaryDirectory;
use crate::support::processes::{assert_gone, processes_that_name};
use crate::support::proxy::within;
use crate::support::todos_guide::each_command_shows_its_point;

/// The example with what it printed, and the server that it started.
struct Running {
    example: Example,
    directory: TemporaryDirectory,
    lines: Vec<String>,
}

impl Running {
    fn start() -> Self {
        let directory = TemporaryDirectory::new("tls");
        let mut command = Example::command("tls");
        command
            .args(["--port", "0"])
            .env("ROLESCOPE_PG_DIR", directory.path());
        let mut example = Example::start(&mut command);
        let mut lines = each_command_shows_its_point(&mut example);
        lines.extend(example.lines_until("The certificates are good"));
        Self {
            example,
            directory,
            lines,
        }
    }

    fn port(&self) -> u16 {
        let port = self.example.url().rsplit(':').next();
        port.and_then(|port| port.parse().ok()).expect("a port")
    }

    /// The directory of the example's PostgreSQL.
    fn server(&self) -> PathBuf {
        self.directory.entries().pop().expect("it runs")
    }

    fn authority(&self) -> Vec<u8> {
        std::fs::read(self.server().join("tls/ca.crt")).expect("it is there")
    }

    /// The port of the example's PostgreSQL, which is in the name of its socket.
    fn database_port(&self) -> String {
        let entries = std::fs::read_dir(self.server()).expect("it can be read");
        let names = entries.flatten().map(|entry| entry.file_name());
        let ports = names.filter_map(|name| {
            let name = name.to_str()?.strip_prefix(".s.PGSQL.")?;
            name.parse::<u16>().ok()
        });
        ports.last().expect("it has a socket").to_string()
    }

    async fn admin(&self, database: &str) -> tokio_postgres::Client {
        let host = self.server().to_string_lossy().replace('/', "%2F");
        let port = self.database_port();
        connect(&format!("postgres://postgres@{host}:{port}/{database}")).await
    }

    /// Runs a command that it printed below this line.
    fn run(&self, below: &str, number: usize) -> std::process::Output {
        let mut lines = self.lines.iter().skip_while(|line| *line != below);
        let command = lines.nth(number).expect("it is printed");
        let output = Command::new("sh").args(["-c", command]).output();
        output.expect("sh runs")
    }
}

const WHOLE_WAY: &str = "# What is spoken on the whole way, by HTTP/2 and by HTTP/1.1.";
const NO_ANSWER: &str = "# Without TLS, and without trust in the authority: no answer.";

#[test]
fn tls_is_spoken_on_the_whole_way_and_nothing_is_left() {
    let mut running = Running::start();
    for (number, http) in [(1, "HTTP/2.0"), (2, "HTTP/1.1")] {
        let output = running.run(WHOLE_WAY, number);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            Response::parse(&text).body,
            json!({
                "client": { "http": http, "tls": "TLSv1_3" },
                "database": { "tls": "TLSv1.3", "certificate": "/CN=authenticator" },
            })
        );
    }
    for number in [1, 2] {
        let output = running.run(NO_ANSWER, number);
        assert!(!output.status.success(), "{output:?}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("todos"));
    }
    assert_ne!(processes_that_name(running.directory.path()), "");
    assert!(running.example.end_with("TERM").success());
    assert_gone(running.directory.path());
    assert_eq!(running.directory.entries(), Vec::<PathBuf>::new());
}

#[test]
fn tls_leaves_no_certificate_when_killed() {
    let mut running = Running::start();
    assert!(!running.example.end_with("KILL").success());
    assert_gone(running.directory.path());
    assert_eq!(running.directory.entries(), Vec::<PathBuf>::new());
}

/// Shakes hands with the service, and returns the protocol that was agreed upon.
async fn shake_hands(
    port: u16,
    authority: &[u8],
    name: &'static str,
    version: &'static SupportedProtocolVersion,
    protocols: &[&str],
) -> Result<Option<Vec<u8>>, Error> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(authority).expect("it is PEM");
    roots.add(authority).expect("it is a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("it is there")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    let stream = within(TcpStream::connect(("127.0.0.1", port))).await;
    let name = ServerName::try_from(name).expect("a name");
    let connector = TlsConnector::from(Arc::new(config));
    let shaken = within(connector.connect(name, stream.expect("it listens"))).await;
    let shaken = shaken.map_err(|error| {
        let error = error.into_inner().expect("TLS refuses it");
        *error.downcast::<Error>().expect("TLS refuses it")
    })?;
    Ok(shaken.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
}

/// Sends this without TLS, and returns how the answer begins: as long as an alert is.
fn say(port: u16, text: &[u8]) -> Vec<u8> {
    let mut stream = PlainStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.write_all(text).expect("it can be sent");
    let mut answer = Vec::new();
    // The service may close while there is something to read, which resets the connection.
    let _ = stream.take(7).read_to_end(&mut answer);
    answer
}

/// The hello of a client that knows TLS 1.0, 1.1 or 1.2, which is 1, 2 or 3, and no other.
fn hello(minor: u8) -> Vec<u8> {
    let suites = [0xc0, 0x2b, 0xc0, 0x09];
    let extensions = [
        [0, 13, 0, 4, 0, 2, 4, 3],  // ECDSA with P-256 and SHA-256
        [0, 10, 0, 4, 0, 2, 0, 23], // P-256
    ];
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    body.extend([0, 0, suites.len() as u8]);
    body.extend(suites);
    body.extend([1, 0, 0, extensions.as_flattened().len() as u8]);
    body.extend(extensions.as_flattened());
    let length = body.len() as u8;
    let mut hello = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    hello.extend(body);
    hello
}

#[tokio::test]
async fn the_service_speaks_tls_alone_and_shows_who_it_is() {
    use rustls::version::{TLS12, TLS13};
    let running = tokio::task::spawn_blocking(Running::start);
    let running = running.await.expect("it starts");
    let (port, authority) = (running.port(), running.authority());

    for version in [&TLS12, &TLS13] {
        for (protocols, agreed) in [
            (&["h2", "http/1.1"][..], Some("h2")),
            (&["http/1.1"], Some("http/1.1")),
            (&[], None),
        ] {
            let found = shake_hands(port, &authority, "localhost", version, protocols).await;
            let agreed = agreed.map(|protocol| protocol.as_bytes().to_vec());
            assert_eq!(found.expect("it speaks TLS"), agreed);
        }
    }
    let unknown = shake_hands(port, &authority, "localhost", &TLS13, &["spdy/1"]).await;
    assert!(
        matches!(unknown, Err(Error::AlertReceived(_))),
        "{unknown:?}"
    );

    // The client's part: whom it trusts, and whom it calls.
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let stranger = stranger.expect("it can be signed").cert.pem();
    let found = shake_hands(port, stranger.as_bytes(), "localhost", &TLS13, &["h2"]).await;
    let unknown = Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
    assert_eq!(found, unknown);
    let found = shake_hands(port, &authority, "todos.example.com", &TLS13, &["h2"]).await;
    let name = matches!(
        found,
        Err(Error::InvalidCertificate(
            CertificateError::NotValidForNameContext { .. }
        ))
    );
    assert!(name, "{found:?}");

    // A TLS alert, 21, in place of an answer.
    for plain in [
        &b"GET /todos HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        assert_eq!(say(port, plain).first(), Some(&21));
    }
    // Of TLS 1.2 its own hello, 22, comes back; of older ones the alert protocol_version, 70.
    assert_eq!(say(port, &hello(3)).first(), Some(&22));
    for minor in [1, 2] {
        let answer = say(port, &hello(minor));
        assert_eq!((answer.first(), answer.last()), (Some(&21), Some(&70)));
    }
}

/// How the service logs in, in words that can be changed.
fn login(running: &Running, words: &[(&str, &str)]) -> String {
    let file = |name| running.server().join("tls").join(name);
    let (ca, certificate, key) = (file("ca.crt"), file("client.crt"), file("client.key"));
    let text = |path: &Path| path.to_str().expect("it is text").to_owned();
    let mut all = vec![
        ("host", "localhost".to_owned()),
        ("hostaddr", "127.0.0.1".to_owned()),
        ("port", running.database_port()),
        ("dbname", "todos".to_owned()),
        ("user", "authenticator".to_owned()),
        ("password", "known".to_owned()),
        ("sslmode", "verify-full".to_owned()),
        ("channel_binding", "require".to_owned()),
        ("sslrootcert", text(&ca)),
        ("sslcert", text(&certificate)),
        ("sslkey", text(&key)),
    ];
    for (name, value) in words {
        all.retain(|(other, _)| other != name);
        if !value.is_empty() {
            all.push((name, (*value).to_owned()));
        }
    }
    let words = all.iter().map(|(name, value)| format!("{name}='{value}' "));
    words.collect()
}

#[tokio::test]
async fn the_database_takes_the_service_alone_and_no_word_less() {
    let running = tokio::task::spawn_blocking(Running::start);
    let running = running.await.expect("it starts");
    let admin = running.admin("todos").await;
    // What the server sees of the service's sessions.
    let seen = "SELECT DISTINCT a.usename || ' ' || s.version || ' ' || s.client_dn
                FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.usename = 'authenticator'";
    let seen: String = admin.query_one_scalar(seen, &[]).await.expect("one row");
    assert_eq!(seen, "authenticator TLSv1.3 /CN=authenticator");

    let known = "ALTER ROLE authenticator PASSWORD 'known'";
    admin.batch_execute(known).await.expect("it may");
    let build = async |words: &[(&str, &str)]| {
        let builder = RoleScopedPool::builder(&login(&running, words));
        let builder = builder.expect("it can be read").anonymous_role("anon");
        within(builder.build()).await.map_err(|e| e.to_string())
    };
    build(&[]).await.expect("it is the service").close().await;
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let stranger = stranger.expect("it can be signed").cert.pem();
    let files = TemporaryDirectory::new("stranger");
    let file = files.path().join("ca.crt");
    std::fs::write(&file, stranger).expect("it can be written");
    let file = file.to_str().expect("it is text");
    for (words, refusal) in [
        (
            &[("sslcert", ""), ("sslkey", "")][..],
            "requires a valid client certificate",
        ),
        (&[("password", "guessed")], "password authentication failed"),
        (
            &[("sslmode", "disable"), ("channel_binding", "")],
            "no encryption",
        ),
        // Nobody else has a line in pg_hba.conf, not even with that certificate.
        (&[("user", "postgres")], "no pg_hba.conf entry"),
        (&[("dbname", "postgres")], "no pg_hba.conf entry"),
        // The service's part: whom it trusts, and whom it calls.
        (&[("sslrootcert", file)], "no root that is trusted here"),
        (&[("host", "db.example.com")], "subjectAltName"),
    ] {
        let error = build(words).await.expect_err("it is refused");
        assert!(error.contains(refusal), "{words:?}: {error}");
    }
}

/// Has the example's server show another certificate, from the next session on.
async fn present(admin: &tokio_postgres::Client, certificate: &str, key: &str) {
    for (name, text) in [("server.crt", certificate), ("server.key", key)] {
        let lines: Vec<String> = text.lines().map(|line| format!("('{line}')")).collect();
        let lines = lines.join(", ");
        let sql = format!(
            "COPY (VALUES {lines}) TO PROGRAM 'umask 077; cat > {name}.new; mv {name}.new {name}'"
        );
        admin.batch_execute(&sql).await.expect("it can be written");
    }
    let reload = "SELECT pg_reload_conf()";
    admin.batch_execute(reload).await.expect("it may");
}

#[tokio::test]
async fn the_service_gives_nothing_to_a_database_that_it_cannot_verify() {
    let running = tokio::task::spawn_blocking(Running::start);
    let running = running.await.expect("it starts");
    let admin = running.admin("todos").await;
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let stranger = stranger.expect("it can be signed");
    let key = stranger.signing_key.serialize_pem();
    present(&admin, &stranger.cert.pem(), &key).await;
    // The sessions that were verified go on until they end. The server may take a moment to read its files.
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'authenticator'";
    let status = async || {
        admin.batch_execute(end).await.expect("it may");
        let output = running.run(WHOLE_WAY, 1);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Response::parse(&text).status
    };
    within(async { while status().await != 503 {} }).await;
    for _ in 0..3 {
        assert_eq!(status().await, 503);
    }
}

/// The chapter of the guide shows what runs.
#[test]
fn the_chapter_shows_the_example() {
    let chapter = include_str!("../../src/guide/tls.md");
    let example = include_str!("../../examples/tls.rs");
    let database = include_str!("../../examples/support/tls_database.rs");
    let mut blocks = chapter.split("```rust\n").skip(1);
    let (code, _) = blocks
        .next()
        .and_then(|block| block.split_once("```"))
        .expect("one");
    assert!(blocks.next().is_none());
    let shown: Vec<&str> = code
        .lines()
        .filter(|line| !line.starts_with("# "))
        .collect();
    assert!(example.contains(&shown.join("\n")), "{code}");
    let access = "hostssl todos authenticator 127.0.0.1/32 scram-sha-256 clientcert=verify-full\n";
    assert!(chapter.contains(access) && database.contains(access));
}
