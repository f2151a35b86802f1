//! The client that is used unless another one is given: hyper and rustls, with the roots of the system.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, RootCertStore};

use super::super::jwt::{FetchError, FetchErrorKind};
use super::client::{Client, OfService};

pub(super) fn client() -> Result<Box<dyn Client>, FetchError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Stores of systems have odd ones among them. Where there are none at all, https fails and says so.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        tracing::warn!(
            "the system has no root certificates, so that no https can be verified: install them (ca-certificates), or \
             give a client of your own"
        );
    }
    let provider = CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| {
            FetchError::new(
                FetchErrorKind::Client,
                format!("the process's crypto provider cannot be used: {error}"),
            )
        })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Http is for loopback, and which URLs are asked has been decided before.
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .build();
    // Minutes pass between two fetches: no connection is kept for so long.
    let client = legacy::Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build::<_, Empty<Bytes>>(connector);
    Ok(Box::new(OfService(client)))
}
