//! TLS to PostgreSQL, by rustls.

mod cure;
mod files;
mod lax;

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_postgres_rustls::MakeRustlsConnect;

use self::lax::LaxVerifier;
use super::setup_error::SetupError;
use super::url::{Mode, TlsOptions};

pub(super) use self::cure::cure;

pub(super) type MakeTls = MakeRustlsConnect;

/// Makes what speaks TLS as the URL says, and reads the files that it names.
pub(super) fn make(mode: Mode, options: &TlsOptions) -> Result<MakeTls, SetupError> {
    let provider = CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
    let roots = files::roots(mode, options.roots.as_ref())?.map(Arc::new);
    if roots.is_none() {
        tracing::warn!(
            sslmode = mode.as_str(),
            "the database's server is not verified, so that whoever stands between can pose as it: say \
             sslmode=verify-full"
        );
    }
    let verifier: Arc<dyn ServerCertVerifier> = match roots {
        Some(roots) if mode == Mode::VerifyFull => {
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .map_err(|e| SetupError::tls("the roots cannot be used", e))?
        }
        roots => Arc::new(LaxVerifier::new(roots, &provider)),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| SetupError::tls("the process's crypto provider cannot be used", e))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match (&options.certificate, &options.key) {
        (Some(certificate), Some(key)) => {
            let (chain, secret) = (
                files::certificates("sslcert", certificate)?,
                files::key(key)?,
            );
            config.with_client_auth_cert(chain, secret).map_err(|e| {
                let files = format!(
                    "sslcert={} and sslkey={}",
                    certificate.display(),
                    key.display()
                );
                SetupError::tls(format!("{files} cannot be used together"), e)
            })?
        }
        _ => config.with_no_client_auth(),
    };
    // As libpq from 17 on. `sslnegotiation=direct` needs it.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(MakeRustlsConnect::new(config))
}
