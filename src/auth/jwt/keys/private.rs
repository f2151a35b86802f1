//! Private keys, for issuing: PKCS#8 (RFC 5208, RFC 5958), PKCS#1 (RFC 8017), SEC 1 (RFC 5915), and HMAC secrets.
//!
//! What the backend is handed is written anew from a key's numbers where that is one form for all: both backends then take the
//! same files. Whatever a file says of its public key must be true.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::crypto::KeyUtils;
use jsonwebtoken::jwk::EllipticCurve;
use serde_json::{Value, json};

use super::super::signature;
use super::algorithm::Algorithm;
use super::der::{self, Curve, PrivateKey};
use super::error::{KeyError, KeyErrorKind};
use super::{Key, Parts, pem, secret};

/// What stands before the numbers of a private key in PKCS#8 (RFC 5915, RFC 8410).
const P256: &[u8] = b"\x30\x41\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\
    \x04\x27\x30\x25\x02\x01\x01\x04\x20";
const P384: &[u8] =
    b"\x30\x4e\x02\x01\x00\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\
    \x04\x37\x30\x35\x02\x01\x01\x04\x30";
const ED25519: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";

/// A key that signs, and what verifies its signatures.
pub(crate) struct SigningParts {
    pub(crate) algorithm: Algorithm,
    pub(crate) encoding: EncodingKey,
    pub(crate) verifying: Key,
    /// What of a JWK tells the public key: `kty` and the numbers. None of a secret.
    pub(crate) jwk: Option<Value>,
}

/// Takes an HMAC secret of at least the length of its hash.
pub(crate) fn hmac(algorithm: Algorithm, bytes: &[u8]) -> Result<SigningParts, KeyError> {
    secret::check(bytes)?;
    if der::is_private_key(bytes) {
        return Err(KeyError::new(
            KeyErrorKind::NotASecret,
            "the HMAC secret is a private key in DER: load it with `der`",
        ));
    }
    let verifying = Key::secret(algorithm, bytes)?;
    verifying.check_length()?;
    Ok(SigningParts {
        algorithm,
        encoding: EncodingKey::from_secret(bytes),
        verifying,
        jwk: None,
    })
}

/// Reads the private key of a PEM.
pub(crate) fn from_pem(text: &[u8]) -> Result<SigningParts, KeyError> {
    let text = without_parameters(text);
    if text.windows(9).any(|window| window == b"ENCRYPTED") {
        return Err(KeyError::unsupported(
            "the private key is encrypted: `openssl pkey -in FILE` writes it without a passphrase",
        ));
    }
    let (label, der) = pem::block(text)?;
    match label {
        "PRIVATE KEY" => load(&der::pkcs8(&der)?),
        "RSA PRIVATE KEY" => load(&der::pkcs1_private(&der)?),
        "EC PRIVATE KEY" => load(&der::sec1(&der)?),
        "PUBLIC KEY" | "RSA PUBLIC KEY" | "CERTIFICATE" => Err(not_private()),
        _ => Err(KeyError::unsupported(
            "the PEM is none of PRIVATE KEY, RSA PRIVATE KEY, EC PRIVATE KEY",
        )),
    }
}

/// Reads a private key in DER, whichever of the three forms it has.
pub(crate) fn from_der(der: &[u8]) -> Result<SigningParts, KeyError> {
    if der::is_public_key(der) {
        return Err(not_private());
    }
    let forms = [der::pkcs1_private, der::sec1];
    let found = forms.iter().find_map(|form| form(der).ok());
    load(&found.map_or_else(|| der::pkcs8(der), Ok)?)
}

/// Makes a key pair out of 32 random bytes. One of a great many is none: its caller tries again.
pub(crate) fn of_random(algorithm: Algorithm, random: &[u8; 32]) -> Result<SigningParts, KeyError> {
    load(&match algorithm {
        Algorithm::EdDSA => PrivateKey::Ed25519 {
            seed: random,
            public: None,
        },
        _ => PrivateKey::Ec {
            curve: Curve::P256,
            secret: random,
            public: None,
        },
    })
}

/// `openssl ecparam -genkey` writes the name of the curve before the key.
fn without_parameters(text: &[u8]) -> &[u8] {
    let end = b"-----END EC PARAMETERS-----";
    let found = text.windows(end.len()).position(|window| window == end);
    found.map_or(text, |at| &text[at + end.len()..])
}

fn not_private() -> KeyError {
    KeyError::new(
        KeyErrorKind::PublicKey,
        "this is a public key or a certificate, and signing needs the private key",
    )
}

fn load(key: &PrivateKey<'_>) -> Result<SigningParts, KeyError> {
    let backend = signature::backend().ok_or_else(|| {
        KeyError::new(
            KeyErrorKind::NoBackend,
            "rolescope was compiled without a signature backend: enable its feature `aws-lc-rs` or `rust-crypto`",
        )
    })?;
    let parts = match key {
        PrivateKey::Rsa { n, e, der } => rsa(n, e, der, &backend.key_utils),
        PrivateKey::Ec {
            curve: Curve::P256,
            secret,
            public,
        } => ec(
            Algorithm::ES256,
            &[P256, secret].concat(),
            *public,
            &backend.key_utils,
        ),
        PrivateKey::Ec {
            curve: Curve::P384,
            secret,
            public,
        } => ec(
            Algorithm::ES384,
            &[P384, secret].concat(),
            *public,
            &backend.key_utils,
        ),
        PrivateKey::Ed25519 { seed, public } => ed25519(seed, *public, &backend.key_utils),
    }?;
    // What it signs it must verify, too: a key whose numbers are not of one key does not.
    let message = b"rolescope";
    let signer = (backend.signer_factory)(&parts.algorithm.backend(), &parts.encoding);
    let signed = signer.ok().and_then(|signer| signer.try_sign(message).ok());
    let is_good = signed.is_some_and(|signed| {
        let key = parts.verifying.decoding();
        signature::verifies(backend, parts.algorithm, key, message, &signed)
    });
    is_good.then_some(parts).ok_or_else(broken)
}

fn rsa(n: &[u8], e: &[u8], der: &[u8], utils: &KeyUtils) -> Result<SigningParts, KeyError> {
    // Its size is looked at first: a backend's own error would not tell that.
    let verifying = Key::new(Parts::rsa(n, e)?)?;
    let computed = (utils.rsa_pub_components_from_private_key)(der).map_err(|_| broken())?;
    if (&*computed.0, &*computed.1) != (n, e) {
        return Err(broken());
    }
    Ok(SigningParts {
        algorithm: Algorithm::RS256,
        encoding: EncodingKey::from_rsa_der(der),
        verifying,
        jwk: Some(json!({ "kty": "RSA", "n": base64(n), "e": base64(e) })),
    })
}

fn ec(
    algorithm: Algorithm,
    der: &[u8],
    public: Option<&[u8]>,
    utils: &KeyUtils,
) -> Result<SigningParts, KeyError> {
    let components = (utils.ec_pub_components_from_private_key)(der, algorithm.backend());
    let (_, x, y) = components.map_err(|_| broken())?;
    let point = [&[0x04], &*x, &*y].concat();
    // The key in the file may be compressed: x, and whether y is odd.
    let is_same = public.is_none_or(|public| match public.split_first() {
        Some((&sign @ (0x02 | 0x03), compressed)) => {
            compressed == &*x && y.last().is_some_and(|last| sign == 0x02 + (last & 1))
        }
        _ => public == point,
    });
    if !is_same {
        return Err(broken());
    }
    let (parts, curve) = match algorithm {
        Algorithm::ES256 => (Parts::p256(&point)?, "P-256"),
        _ => (Parts::p384(&point)?, "P-384"),
    };
    Ok(SigningParts {
        algorithm,
        encoding: EncodingKey::from_ec_der(der),
        verifying: Key::new(parts)?,
        jwk: Some(json!({ "kty": "EC", "crv": curve, "x": base64(&x), "y": base64(&y) })),
    })
}

fn ed25519(seed: &[u8], public: Option<&[u8]>, utils: &KeyUtils) -> Result<SigningParts, KeyError> {
    let der = [ED25519, seed].concat();
    let x = (utils.ed_pub_components_from_private_key)(&der, &EllipticCurve::Ed25519);
    let x = x.map_err(|_| broken())?;
    if public.is_some_and(|public| public != x) {
        return Err(broken());
    }
    Ok(SigningParts {
        algorithm: Algorithm::EdDSA,
        encoding: EncodingKey::from_ed_der(&der),
        verifying: Key::new(Parts::ed25519(&x)?)?,
        jwk: Some(json!({ "kty": "OKP", "crv": "Ed25519", "x": base64(&x) })),
    })
}

fn broken() -> KeyError {
    KeyError::malformed(
        "the private key's numbers are not those of one key: `openssl pkey -check` tells more, and a new one cures it",
    )
}

fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
