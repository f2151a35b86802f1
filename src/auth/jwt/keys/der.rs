//! Reads a public key out of DER: a SubjectPublicKeyInfo, a PKCS#1 key, or the one in an X.509 certificate.
//!
//! Only what these three need, and strictly: every length in its shortest form, nothing left over.

use super::error::{KeyError, KeyErrorKind};

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
#[cfg(feature = "issuer")]
const OCTET_STRING: u8 = 0x04;
const NULL: u8 = 0x05;
const OBJECT_ID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// The explicitly tagged version of a certificate.
const VERSION: u8 = 0xa0;

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];

/// A public key's numbers, as far as they have been told apart.
pub(super) enum PublicKey<'a> {
    Rsa { n: &'a [u8], e: &'a [u8] },
    P256(&'a [u8]),
    P384(&'a [u8]),
    Ed25519(&'a [u8]),
}

/// Reads a SubjectPublicKeyInfo: RFC 5280 section 4.1, RFC 5480, RFC 8410.
pub(super) fn spki(der: &[u8]) -> Result<PublicKey<'_>, KeyError> {
    parse_spki(der)?.ok_or_else(|| {
        KeyError::unsupported(
            "the key is none of RSA, EC over P-256 or P-384, Ed25519: no other kind is supported",
        )
    })
}

/// Reads an `RSAPublicKey`: RFC 8017 appendix A.1.1.
pub(super) fn pkcs1(der: &[u8]) -> Result<PublicKey<'_>, KeyError> {
    parse_pkcs1(der).ok_or_else(malformed)
}

/// Reads the key out of a certificate, and nothing else: neither its dates nor its signature.
pub(super) fn certificate(der: &[u8]) -> Result<PublicKey<'_>, KeyError> {
    let spki_der = parse_certificate(der).ok_or_else(malformed)?;
    spki(spki_der)
}

fn malformed() -> KeyError {
    KeyError::malformed(
        "the key is not well-formed DER: write it anew with `openssl pkey -pubin -outform DER` or `-outform PEM`",
    )
}

#[cfg(feature = "issuer")]
pub(super) use private::{Curve, PrivateKey, is_private_key, pkcs1_private, pkcs8, sec1};

/// Private keys, which only an issuer reads.
#[cfg(feature = "issuer")]
#[path = "private_der.rs"]
mod private;

fn parse_spki(der: &[u8]) -> Result<Option<PublicKey<'_>>, KeyError> {
    let Spki { kind, curve, key } = split_spki(der).ok_or_else(malformed)?;
    let key = match (kind, curve) {
        (RSA, None) => return parse_pkcs1(key).map(Some).ok_or_else(malformed),
        (ED25519, None) => PublicKey::Ed25519(key),
        (EC, Some(P256)) => PublicKey::P256(key),
        (EC, Some(P384)) => PublicKey::P384(key),
        _ => return Ok(None),
    };
    Ok(Some(key))
}

/// A SubjectPublicKeyInfo's parts, each of which may still be anything.
struct Spki<'a> {
    kind: &'a [u8],
    curve: Option<&'a [u8]>,
    key: &'a [u8],
}

fn split_spki(der: &[u8]) -> Option<Spki<'_>> {
    let mut info = Reader::only(der, SEQUENCE)?;
    let algorithm = info.take(SEQUENCE)?;
    let key = info.bits()?;
    info.end()?;
    let (kind, curve) = split_algorithm(algorithm)?;
    Some(Spki { kind, curve, key })
}

/// An AlgorithmIdentifier's kind and curve. The kind is empty where it has other parameters: those of kinds that are not
/// supported anyway, RSASSA-PSS for one.
fn split_algorithm(content: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let mut algorithm = Reader(content);
    let kind = algorithm.take(OBJECT_ID)?;
    let curve = match algorithm.0.first() {
        None => None,
        Some(&NULL) => {
            algorithm.take(NULL)?.is_empty().then_some(())?;
            None
        }
        Some(&OBJECT_ID) => Some(algorithm.take(OBJECT_ID)?),
        Some(_) => return Some((&[], None)),
    };
    algorithm.end()?;
    Some((kind, curve))
}

fn parse_pkcs1(der: &[u8]) -> Option<PublicKey<'_>> {
    let mut key = Reader::only(der, SEQUENCE)?;
    let n = key.unsigned()?;
    let e = key.unsigned()?;
    key.end()?;
    Some(PublicKey::Rsa { n, e })
}

/// Finds the SubjectPublicKeyInfo of a certificate: RFC 5280 section 4.1.
fn parse_certificate(der: &[u8]) -> Option<&[u8]> {
    let mut certificate = Reader::only(der, SEQUENCE)?;
    let mut body = Reader(certificate.take(SEQUENCE)?);
    if body.0.first() == Some(&VERSION) {
        body.take(VERSION)?;
    }
    body.take(INTEGER)?;
    // Signature algorithm, issuer, validity, subject.
    for _ in 0..4 {
        body.take(SEQUENCE)?;
    }
    body.element(SEQUENCE)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Opens the one element that `der` is.
    fn only(der: &'a [u8], tag: u8) -> Option<Self> {
        let mut reader = Reader(der);
        let content = reader.take(tag)?;
        reader.end()?;
        Some(Reader(content))
    }

    /// Takes the content of the next element, which must have this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&found, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        if found != tag {
            return None;
        }
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81 => {
                let (bytes, rest) = rest.split_at_checked(1)?;
                (usize::from(bytes[0]), rest)
            }
            0x82 => {
                let (bytes, rest) = rest.split_at_checked(2)?;
                (usize::from(bytes[0]) << 8 | usize::from(bytes[1]), rest)
            }
            // Nothing of interest is longer than 64 KiB.
            _ => return None,
        };
        let shortest = match first {
            0x81 => length >= 0x80,
            0x82 => length >= 0x100,
            _ => true,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        shortest.then_some(content)
    }

    /// Takes the next element with its tag and length.
    fn element(&mut self, tag: u8) -> Option<&'a [u8]> {
        let before = self.0;
        self.take(tag)?;
        before.get(..before.len() - self.0.len())
    }

    /// Takes a BIT STRING of whole bytes.
    fn bits(&mut self) -> Option<&'a [u8]> {
        match self.take(BIT_STRING)?.split_first()? {
            (0, bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Takes an INTEGER that is not negative, without the byte that only carries its sign.
    fn unsigned(&mut self) -> Option<&'a [u8]> {
        match self.take(INTEGER)? {
            [0, rest @ ..] if rest.first().is_some_and(|&first| first >= 0x80) => Some(rest),
            [0, ..] => None,
            bytes @ [first, ..] if *first < 0x80 => Some(bytes),
            _ => None,
        }
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// Returns whether the bytes are a public key, whatever they are handed in as.
pub(super) fn is_public_key(bytes: &[u8]) -> bool {
    split_spki(bytes).is_some()
        || parse_pkcs1(bytes).is_some()
        || parse_certificate(bytes).is_some()
}

impl PublicKey<'_> {
    /// Checks a point's form. Whether it is on its curve is for the backend to say.
    pub(super) fn check_point(point: &[u8], coordinate: usize) -> Result<(), KeyError> {
        match point {
            [0x04, rest @ ..] if rest.len() == 2 * coordinate => Ok(()),
            [0x02 | 0x03, rest @ ..] if rest.len() == coordinate => Err(KeyError::new(
                KeyErrorKind::Unsupported,
                "the EC point is compressed: write it anew with `openssl ec -pubin -conv_form uncompressed`",
            )),
            _ => Err(KeyError::malformed(
                "the EC key's point does not have the length that its curve asks for",
            )),
        }
    }
}
