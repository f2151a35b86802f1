//! Over sockets, with the client that comes with the crate: what can go wrong there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rcgen::generate_simple_self_signed;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::server::{Server, Then, answer, ok};
use super::*;

async fn load(url: &str) -> Result<JwtVerifier, BuildError> {
    JwtVerifier::builder().jwks_url(url).unwrap().build().await
}

async fn failure(then: Then) -> FetchErrorKind {
    let server = Server::start(move |_| then.clone()).await;
    kind(load(&server.url("/")).await.expect_err("it has no keys"))
}

#[tokio::test]
async fn keys_are_fetched_by_http_from_this_machine() {
    let signer = Signer::new("1");
    let keys = jwks([&signer]);
    let server = Server::start(move |path| match path {
        "/keys?a=b" => ok(&keys),
        "/moved" => answer("308 Permanent Redirect", "location: /keys?a=b\r\n", b""),
        _ => answer("404 Not Found", "", b""),
    })
    .await;
    for path in ["/keys?a=b", "/moved"] {
        let verifier = load(&server.url(path)).await.unwrap();
        assert_eq!(outcome(&verifier, &signer.token()), Ok(()));
    }
    let by_name = format!("http://localhost:{}/keys?a=b", server.port());
    load(&by_name).await.unwrap();
    let error = load(&server.url("/nothing")).await.unwrap_err();
    assert_eq!(kind(error), FetchErrorKind::Status);
}

#[tokio::test]
async fn an_issuer_is_discovered() {
    let signer = Signer::new("1");
    let keys = jwks([&signer]);
    let issuer = Arc::new(std::sync::OnceLock::<String>::new());
    let told = issuer.clone();
    let server = Server::start(move |path| match path {
        "/a/.well-known/openid-configuration" => {
            let issuer = told.get().unwrap();
            ok(&format!(
                r#"{{"issuer":"{issuer}","jwks_uri":"{issuer}/keys"}}"#
            ))
        }
        "/a/keys" => ok(&keys),
        path => panic!("{path}"),
    })
    .await;
    let issuer = issuer.get_or_init(|| server.url("/a"));
    let builder = JwtVerifier::builder().oidc_issuer(issuer).unwrap();
    let verifier = builder.build().await.unwrap();
    let token = signer.token_with(&format!(r#","iss":"{issuer}""#));
    assert_eq!(outcome(&verifier, &token), Ok(()));
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn broken_answers_are_told_apart() {
    use FetchErrorKind as E;
    let gzip = |body: &[u8]| answer("200 OK", "content-encoding: gzip\r\n", body);
    let bomb = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &[0; 1000]].concat();
    let large = || b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n".to_vec();
    for (then, expected) in [
        (Then::Close, E::Transport),
        (Then::Answer(b"SSH-2.0-x\r\n".to_vec()), E::Transport),
        (
            Then::Answer(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec()),
            E::Transport,
        ),
        (gzip(&bomb), E::Encoding),
        (Then::Endless { head: large() }, E::TooLarge),
        (
            Then::Endless {
                head: b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
            },
            E::TooLarge,
        ),
        (
            answer("200 OK", "content-type: text/html\r\n", b"<html>"),
            E::Malformed,
        ),
        (
            answer("302 Found", "location: https://login.example/\r\n", b""),
            E::Redirect,
        ),
        (answer("302 Found", "", b""), E::Redirect),
        (answer("503 Service Unavailable", "", b""), E::Status),
    ] {
        assert_eq!(failure(then).await, expected);
    }
}

#[tokio::test]
async fn a_slow_issuer_is_given_up() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_vec();
    let slow = Then::Trickle {
        head,
        body: vec![b' '; 1000],
    };
    let both = tokio::join!(failure(slow), failure(Then::Nothing));
    assert_eq!(both, (FetchErrorKind::Timeout, FetchErrorKind::Timeout));
}

#[tokio::test]
async fn nobody_is_asked_whom_a_redirect_names() {
    let other = Server::start(|_| ok("{}")).await;
    let location = format!("location: {}\r\n", other.url("/"));
    let server = Server::start(move |_| answer("302 Found", &location, b"")).await;
    let error = load(&server.url("/")).await.unwrap_err();
    assert_eq!(kind(error), FetchErrorKind::Redirect);
    assert_eq!((server.connections(), other.connections()), (1, 0));
}

#[tokio::test]
async fn nobody_listening_is_said() {
    let server = Server::start(|_| Then::Close).await;
    let url = server.url("/keys");
    drop(server);
    // The port is free once the task is gone.
    let error = loop {
        match kind_and_text(load(&url).await.unwrap_err()) {
            (FetchErrorKind::Transport, text) if text.contains("refused") => break text,
            _ => tokio::task::yield_now().await,
        }
    };
    assert!(error.contains(&url), "{error}");
}

fn kind_and_text(error: BuildError) -> (FetchErrorKind, String) {
    let text = error.to_string();
    (kind(error), text)
}

#[tokio::test]
async fn an_issuer_that_goes_down_and_comes_back_is_forgiven() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let after = jwks([&old, &new]);
    let is_down = Arc::new(AtomicBool::new(true));
    let switch = is_down.clone();
    let server = Server::start(move |_| match switch.load(Ordering::SeqCst) {
        true => Then::Close,
        false => ok(&after),
    })
    .await;
    let verifier = JwtVerifier::builder()
        .jwks_url(&server.url("/"))
        .unwrap()
        .jwk(&old.jwk())
        .unwrap();
    let verifier = verifier.build_lazy().unwrap();
    assert_eq!(
        fresh(&verifier, &new.token()).await,
        Err(TokenError::KeysUnavailable)
    );
    assert_eq!(fresh(&verifier, &old.token()).await, Ok(()));
    is_down.store(false, Ordering::SeqCst);
    // The next attempt is 2 seconds after the first.
    while !verifier.is_ready() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(fresh(&verifier, &new.token()).await, Ok(()));
}

/// A server with a certificate of its own for `localhost`, and who trusts it.
async fn tls_server(keys: String) -> (Server, RootCertStore) {
    let certified = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let certificate = certified.cert.der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(config));
    (Server::with(Some(tls), move |_| ok(&keys)).await, roots)
}

#[tokio::test]
async fn a_certificate_of_nobodys_is_refused() {
    let signer = Signer::new("1");
    let (server, roots) = tls_server(jwks([&signer])).await;
    let url = format!("https://localhost:{}/keys", server.port());
    let (kind, said) = kind_and_text(load(&url).await.unwrap_err());
    assert_eq!(kind, FetchErrorKind::Transport);
    assert!(said.contains("certificate"), "{said}");

    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .enable_http1();
    let client = Client::builder(TokioExecutor::new()).build(connector.build());
    let fetch = |url: &str| {
        let builder = JwtVerifier::builder().jwks_url(url).unwrap();
        builder.fetch_with(client.clone()).build()
    };
    let verifier = fetch(&url).await.unwrap();
    assert_eq!(outcome(&verifier, &signer.token()), Ok(()));
    // Another name than the certificate's.
    let url = format!("https://127.0.0.1:{}/keys", server.port());
    let (kind, said) = kind_and_text(fetch(&url).await.unwrap_err());
    assert_eq!(kind, FetchErrorKind::Transport);
    assert!(said.contains("certificate"), "{said}");
}
