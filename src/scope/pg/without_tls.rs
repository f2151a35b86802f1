//! What stands in for [`tls`](super) where the feature is off.

use std::error::Error as StdError;

use tokio_postgres::NoTls;

use super::setup_error::SetupError;
use super::url::{Mode, TlsOptions};

pub(super) type MakeTls = NoTls;

pub(super) fn make(mode: Mode, options: &TlsOptions) -> Result<MakeTls, SetupError> {
    if mode == Mode::Prefer && options.roots.is_none() && options.certificate.is_none() {
        return Ok(NoTls);
    }
    let mode = match options.mode {
        Some(mode) => format!("sslmode={} asks for TLS", mode.as_str()),
        None => "the URL asks for TLS, as the default is off loopback".to_owned(),
    };
    Err(SetupError::options(format!(
        "{mode}: build with the feature `tls` of rolescope, or say sslmode=disable where the way to the database is safe"
    )))
}

pub(super) fn cure(_: &(dyn StdError + 'static)) -> Option<&'static str> {
    None
}
