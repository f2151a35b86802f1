//! Somebody who shows the server's certificate and does not have its key.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};

use super::server::{Files, HOST, Url, authorities};

/// Answers one connection and returns the port.
fn impersonate(version: &'static SupportedProtocolVersion) -> u16 {
    let shown = authorities().ours.sign(HOST, &[HOST]).certificate;
    let own = authorities().others.sign(HOST, &[HOST]).key;
    let shown = CertificateDer::from_pem_slice(shown.as_bytes()).expect("it is PEM");
    let own = PrivateKeyDer::from_pem_slice(own.as_bytes()).expect("it is PEM");
    let own = any_supported_type(&own).expect("it is a key");
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .expect("they are supported")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(
            vec![shown],
            own,
        ))));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody comes");
        let mut question = [0; 8];
        stream.read_exact(&mut question).expect("it asks for TLS");
        stream.write_all(b"S").expect("it can be answered");
        let mut tls = ServerConnection::new(Arc::new(config)).expect("it can be used");
        // It fails where the client goes away.
        let _ = tls.complete_io(&mut stream);
    });
    port
}

#[tokio::test]
async fn the_servers_certificate_without_its_key_is_refused_in_every_mode() {
    let files = Files::new();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for mode in ["prefer", "require", "verify-ca", "verify-full"] {
            let url = Url::to_port(impersonate(version), "either").with("host", HOST);
            let url = url.file("sslrootcert", &files.ours());
            let error = url.with("sslmode", mode).refused().await;
            assert!(
                error.contains("BadSignature"),
                "{mode}, {version:?}: {error}"
            );
        }
    }
}
