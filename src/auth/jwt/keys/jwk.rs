//! Reads a JWK, or the JWKs of a JWKS: RFC 7517, RFC 7518 section 6, RFC 8037 section 2.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::super::json::{self, Member};
use super::algorithm::Algorithm;
use super::error::{KeyError, KeyErrorKind};
use super::{Key, Parts, secret};

/// Reads one JWK.
pub(super) fn jwk(text: &str) -> Result<Key, KeyError> {
    let members = json::object(text).map_err(|_| {
        KeyError::malformed("the JWK is not a JSON object, or has the same member twice")
    })?;
    if json::find(&members, "keys").is_some() && json::find(&members, "kty").is_none() {
        return Err(KeyError::malformed(
            "this is a JWK set and not one JWK: load it with `jwks`",
        ));
    }
    let get = |name| string(&members, name);
    let kty = get("kty")?.ok_or_else(|| KeyError::malformed("the JWK has no `kty`"))?;
    check_purpose(&members)?;
    let parts = match kty.as_str() {
        "oct" => {
            let secret = bytes(&members, "k")?;
            secret::check_not_a_key_file(&secret)?;
            Parts::secret(&secret)
        }
        "RSA" | "EC" | "OKP" if json::find(&members, "d").is_some() => {
            return Err(KeyError::new(
                KeyErrorKind::PrivateKey,
                "this JWK is a private key, and verifying needs the public one only: remove `d` and what follows from it",
            ));
        }
        "RSA" => Parts::rsa(&bytes(&members, "n")?, &bytes(&members, "e")?)?,
        "EC" => match get("crv")?.as_deref() {
            Some("P-256") => Parts::p256(&point(&members, 32)?)?,
            Some("P-384") => Parts::p384(&point(&members, 48)?)?,
            _ => {
                return Err(KeyError::unsupported(
                    "the JWK's `crv` is none of P-256, P-384: no other curve is supported",
                ));
            }
        },
        "OKP" if get("crv")?.as_deref() == Some("Ed25519") => {
            Parts::ed25519(&bytes(&members, "x")?)?
        }
        "OKP" => {
            return Err(KeyError::unsupported(
                "the JWK's `crv` is not Ed25519: no other curve is supported",
            ));
        }
        _ => {
            return Err(KeyError::unsupported(
                "the JWK's `kty` is none of oct, RSA, EC, OKP",
            ));
        }
    };
    let mut key = Key::new(parts)?;
    if let Some(name) = get("alg")? {
        key = narrow(key, &name)?;
    }
    match get("kid")? {
        Some(id) => Ok(key.with_id(id)),
        None => Ok(key),
    }
}

/// Reads the usable keys of a JWKS. What is not usable is skipped, since such documents list keys for other purposes, too.
pub(super) fn jwks(text: &str) -> Result<Vec<Key>, KeyError> {
    let malformed = || {
        KeyError::malformed(
            "the JWKS is not a JSON object with an array of `keys` in it: one key by itself is loaded with `jwk`",
        )
    };
    let members = json::object(text).map_err(|_| malformed())?;
    let entries = json::find(&members, "keys")
        .and_then(json::array)
        .ok_or_else(malformed)?;
    let mut keys = Vec::with_capacity(entries.len());
    for (index, entry) in entries.into_iter().enumerate() {
        match jwk(entry) {
            Ok(key) => keys.push(key),
            Err(error) => tracing::warn!(index, "skipped a key of a JWKS: {error}"),
        }
    }
    if keys.is_empty() {
        return Err(KeyError::new(
            KeyErrorKind::NoKey,
            "the JWKS has no usable key: load one of its keys by itself with `jwk` to see why",
        ));
    }
    Ok(keys)
}

/// RFC 7517 sections 4.2 and 4.3.
fn check_purpose(members: &[Member<'_>]) -> Result<(), KeyError> {
    let usage = string(members, "use")?;
    if usage.is_some_and(|usage| usage != "sig") {
        return Err(KeyError::new(
            KeyErrorKind::NotForVerifying,
            "the JWK's `use` is not `sig`: it is not a key for signatures",
        ));
    }
    let Some(operations) = json::find(members, "key_ops") else {
        return Ok(());
    };
    let operations = json::strings(operations)
        .ok_or_else(|| KeyError::malformed("the JWK's `key_ops` is not an array of strings"))?;
    if operations.iter().any(|operation| operation == "verify") {
        Ok(())
    } else {
        Err(KeyError::new(
            KeyErrorKind::NotForVerifying,
            "the JWK's `key_ops` does not have `verify` in it: it is not a key for verifying",
        ))
    }
}

fn narrow(key: Key, name: &str) -> Result<Key, KeyError> {
    let mismatch = || {
        KeyError::new(
            KeyErrorKind::AlgorithmMismatch,
            "the JWK's `alg` does not fit its `kty` and `crv`, or is not supported",
        )
    };
    let algorithm = key
        .family()
        .iter()
        .copied()
        .find(|algorithm: &Algorithm| algorithm.as_str() == name)
        .ok_or_else(mismatch)?;
    key.with_algorithms([algorithm])
}

fn point(members: &[Member<'_>], coordinate: usize) -> Result<Vec<u8>, KeyError> {
    let (x, y) = (bytes(members, "x")?, bytes(members, "y")?);
    // RFC 7518 section 6.2.1.2: the length "MUST be the full size of a coordinate for the curve".
    if x.len() != coordinate || y.len() != coordinate {
        return Err(KeyError::malformed(
            "the JWK's `x` or `y` does not have the length that its `crv` asks for",
        ));
    }
    Ok([&[0x04], &*x, &*y].concat())
}

fn bytes(members: &[Member<'_>], name: &'static str) -> Result<Vec<u8>, KeyError> {
    let malformed = || {
        KeyError::new(
            KeyErrorKind::Malformed,
            format!("the JWK's `{name}` is missing, or not base64url without padding"),
        )
    };
    let text = string(members, name)?.ok_or_else(malformed)?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed())
}

fn string(members: &[Member<'_>], name: &'static str) -> Result<Option<String>, KeyError> {
    match json::find(members, name) {
        None => Ok(None),
        Some(value) => match json::string(value) {
            Some(text) => Ok(Some(text.into_owned())),
            None => Err(KeyError::new(
                KeyErrorKind::Malformed,
                format!("the JWK's `{name}` is not a string"),
            )),
        },
    }
}
