//! Reads the one public key in a PEM text: RFC 7468.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::der::{self, PublicKey};
use super::error::{KeyError, KeyErrorKind};

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// Returns whether the text has a PEM in it, also where that is base64 once more, as it is in environment variables.
pub(super) fn is_pem(text: &[u8]) -> bool {
    let holds = |needle: &[u8]| text.windows(needle.len()).any(|window| window == needle);
    holds(BEGIN.as_bytes()) || text.trim_ascii().starts_with(b"LS0tLS1CRUdJTi")
}

/// A PEM's label, and its bytes.
pub(super) fn block(text: &[u8]) -> Result<(&str, Vec<u8>), KeyError> {
    let malformed = || {
        KeyError::malformed(
            "the key is not a PEM: it must have one `-----BEGIN ..-----` block with base64 in it",
        )
    };
    let text = std::str::from_utf8(text).map_err(|_| malformed())?;
    let (_, rest) = text.split_once(BEGIN).ok_or_else(malformed)?;
    let (label, rest) = rest.split_once(DASHES).ok_or_else(malformed)?;
    let (body, rest) = rest.split_once("-----END ").ok_or_else(malformed)?;
    let rest = rest
        .strip_prefix(label)
        .and_then(|rest| rest.strip_prefix(DASHES))
        .ok_or_else(malformed)?;
    if rest.contains(BEGIN) {
        return Err(KeyError::malformed(
            "the PEM has more than one block: give each key by itself, and of a certificate chain the first only",
        ));
    }
    let body: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(body).map_err(|_| malformed())?;
    Ok((label, der))
}

/// Reads the key out of a [`block`].
pub(super) fn key<'a>(label: &str, der: &'a [u8]) -> Result<PublicKey<'a>, KeyError> {
    match label {
        "PUBLIC KEY" => der::spki(der),
        "RSA PUBLIC KEY" => der::pkcs1(der),
        "CERTIFICATE" => der::certificate(der),
        label if label.ends_with("PRIVATE KEY") => Err(KeyError::new(
            KeyErrorKind::PrivateKey,
            "this is a private key, and verifying needs the public one only: `openssl pkey -pubout` writes it",
        )),
        _ => Err(KeyError::unsupported(
            "the PEM is none of PUBLIC KEY, RSA PUBLIC KEY, CERTIFICATE",
        )),
    }
}
