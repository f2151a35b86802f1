//! Reads a map from key ids to certificates: what Google publishes for Firebase's tokens.

use super::super::json;
use super::Key;
use super::error::{KeyError, KeyErrorKind};

pub(super) fn x509_map(text: &str) -> Result<Vec<Key>, KeyError> {
    let members = json::object(text).map_err(|_| {
        KeyError::malformed("the document is not a JSON object, or has the same member twice")
    })?;
    let mut keys = Vec::with_capacity(members.len());
    for (index, member) in members.iter().enumerate() {
        let key = json::string(member.value)
            .ok_or_else(|| KeyError::malformed("the certificate is not a string"))
            .and_then(|pem| Key::from_pem(&*pem));
        match key {
            Ok(key) => keys.push(key.with_id(&*member.name)),
            Err(error) => tracing::warn!(index, "skipped a key of a map of certificates: {error}"),
        }
    }
    if keys.is_empty() {
        return Err(KeyError::new(
            KeyErrorKind::NoKey,
            "the map of certificates has no usable key: a JWKS is loaded with `jwks`",
        ));
    }
    Ok(keys)
}
