//! Reads a private key out of DER: PKCS#8, PKCS#1 or SEC 1.

use super::super::error::KeyError;
use super::{
    EC, ED25519, INTEGER, OBJECT_ID, OCTET_STRING, P256, P384, RSA, Reader, SEQUENCE,
    split_algorithm,
};

/// Parts of a private key's forms that are tagged by their place.
const FIRST: u8 = 0xa0;
const SECOND: u8 = 0xa1;
const SECOND_BITS: u8 = 0x81;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::auth::jwt::keys) enum Curve {
    P256,
    P384,
}

/// A private key's numbers. The public key stands there where its file has it, too.
pub(in crate::auth::jwt::keys) enum PrivateKey<'a> {
    Rsa {
        n: &'a [u8],
        e: &'a [u8],
        /// All of it, as PKCS#1.
        der: &'a [u8],
    },
    Ec {
        curve: Curve,
        secret: &'a [u8],
        public: Option<&'a [u8]>,
    },
    Ed25519 {
        seed: &'a [u8],
        public: Option<&'a [u8]>,
    },
}

/// Reads a `PrivateKeyInfo` or a `OneAsymmetricKey`.
pub(in crate::auth::jwt::keys) fn pkcs8(der: &[u8]) -> Result<PrivateKey<'_>, KeyError> {
    let Info {
        kind,
        curve,
        key,
        public,
    } = split_pkcs8(der).ok_or_else(malformed)?;
    match (kind, curve) {
        (RSA, None) => pkcs1_private(key),
        (EC, Some(named)) => {
            let curve = named_curve(named).ok_or_else(unsupported)?;
            parse_sec1(key, Some(curve)).ok_or_else(malformed)
        }
        (ED25519, None) => parse_ed25519(key, public).ok_or_else(malformed),
        _ => Err(unsupported()),
    }
}

/// Reads an `RSAPrivateKey` of two primes: RFC 8017 appendix A.1.2.
pub(in crate::auth::jwt::keys) fn pkcs1_private(der: &[u8]) -> Result<PrivateKey<'_>, KeyError> {
    parse_pkcs1(der).ok_or_else(malformed)
}

/// Reads an `ECPrivateKey`, which must name its curve: RFC 5915 section 3.
pub(in crate::auth::jwt::keys) fn sec1(der: &[u8]) -> Result<PrivateKey<'_>, KeyError> {
    parse_sec1(der, None).ok_or_else(|| {
        KeyError::malformed(
            "the EC key is not well-formed, or not of P-256 or P-384: write it anew with `openssl pkey`",
        )
    })
}

/// Returns whether the bytes are a private key, whatever they are handed in as.
pub(in crate::auth::jwt::keys) fn is_private_key(bytes: &[u8]) -> bool {
    split_pkcs8(bytes).is_some()
        || parse_pkcs1(bytes).is_some()
        || parse_sec1(bytes, None).is_some()
}

fn malformed() -> KeyError {
    KeyError::malformed(
        "the private key is not well-formed DER: write it anew with `openssl pkey -in FILE`",
    )
}

fn unsupported() -> KeyError {
    KeyError::unsupported(
        "the private key is none of RSA, EC over P-256 or P-384, Ed25519: no other kind is supported",
    )
}

struct Info<'a> {
    kind: &'a [u8],
    curve: Option<&'a [u8]>,
    key: &'a [u8],
    public: Option<&'a [u8]>,
}

fn split_pkcs8(der: &[u8]) -> Option<Info<'_>> {
    let mut info = Reader::only(der, SEQUENCE)?;
    matches!(info.take(INTEGER)?, [0 | 1]).then_some(())?;
    let algorithm = info.take(SEQUENCE)?;
    let key = info.take(OCTET_STRING)?;
    // Attributes, which say nothing of interest.
    if info.0.first() == Some(&FIRST) {
        info.take(FIRST)?;
    }
    let public = match info.0.first() {
        Some(&SECOND_BITS) => match info.take(SECOND_BITS)?.split_first()? {
            (0, public) => Some(public),
            _ => return None,
        },
        _ => None,
    };
    info.end()?;
    let (kind, curve) = split_algorithm(algorithm)?;
    Some(Info {
        kind,
        curve,
        key,
        public,
    })
}

fn parse_pkcs1(der: &[u8]) -> Option<PrivateKey<'_>> {
    let mut key = Reader::only(der, SEQUENCE)?;
    matches!(key.take(INTEGER)?, [0]).then_some(())?;
    let n = key.unsigned()?;
    let e = key.unsigned()?;
    // d, two primes, two exponents, a coefficient.
    for _ in 0..6 {
        key.unsigned()?;
    }
    key.end()?;
    Some(PrivateKey::Rsa { n, e, der })
}

fn parse_sec1(der: &[u8], outer: Option<Curve>) -> Option<PrivateKey<'_>> {
    let mut key = Reader::only(der, SEQUENCE)?;
    matches!(key.take(INTEGER)?, [1]).then_some(())?;
    let secret = key.take(OCTET_STRING)?;
    let inner = match key.0.first() {
        Some(&FIRST) => {
            let named = Reader::only(key.take(FIRST)?, OBJECT_ID)?;
            Some(named_curve(named.0)?)
        }
        _ => None,
    };
    let public = match key.0.first() {
        Some(&SECOND) => {
            let mut public = Reader(key.take(SECOND)?);
            let bits = public.bits()?;
            public.end()?;
            Some(bits)
        }
        _ => None,
    };
    key.end()?;
    let curve = match (outer, inner) {
        (Some(outer), Some(inner)) if outer != inner => return None,
        (Some(curve), _) | (None, Some(curve)) => curve,
        (None, None) => return None,
    };
    let length = match curve {
        Curve::P256 => 32,
        Curve::P384 => 48,
    };
    (secret.len() == length).then_some(PrivateKey::Ec {
        curve,
        secret,
        public,
    })
}

fn parse_ed25519<'a>(key: &'a [u8], public: Option<&'a [u8]>) -> Option<PrivateKey<'a>> {
    let seed = Reader::only(key, OCTET_STRING)?.0;
    (seed.len() == 32).then_some(PrivateKey::Ed25519 { seed, public })
}

fn named_curve(named: &[u8]) -> Option<Curve> {
    match named {
        P256 => Some(Curve::P256),
        P384 => Some(Curve::P384),
        _ => None,
    }
}
