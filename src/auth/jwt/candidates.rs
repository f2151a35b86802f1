//! Which keys a token is tried with.

use super::error::TokenError;
use super::header::Header;
use super::keys::{Algorithm, Key, Keys};

/// The most keys that one token is tried with, so that a stranger's token costs a bounded time.
pub(super) const MAX_TRIED: usize = 16;

/// Chooses the keys that may have signed the token.
pub(super) fn candidates<'k>(
    keys: &'k [Key],
    header: &Header<'_>,
) -> Result<(Algorithm, Vec<&'k Key>), TokenError> {
    let for_algorithm = |key: &'k Key| {
        let mut algorithms = key.algorithms().iter().copied();
        let algorithm = algorithms.find(|known| known.as_str() == header.algorithm)?;
        Some((algorithm, key))
    };
    let fitting: Vec<(Algorithm, &Key)> = keys.iter().filter_map(for_algorithm).collect();
    let (algorithm, _) = *fitting.first().ok_or(TokenError::AlgorithmNotAllowed)?;
    let with_id = |id: Option<&str>| -> Vec<&Key> {
        let same = fitting.iter().filter(|(_, key)| key.id() == id);
        same.map(|(_, key)| *key).collect()
    };
    let chosen = match &header.key_id {
        None => fitting.iter().map(|(_, key)| *key).collect(),
        Some(id) => match with_id(Some(id)) {
            same if !same.is_empty() => same,
            _ => with_id(None),
        },
    };
    match chosen.len() {
        0 => Err(TokenError::UnknownKey),
        1..=MAX_TRIED => Ok((algorithm, chosen)),
        _ => Err(TokenError::AmbiguousKey),
    }
}

/// Whether the token's key may be one that was published since the keys were fetched: none has its id, or there are none.
pub(super) fn may_be_too_old(keys: &Keys, header: &Header<'_>, reason: TokenError) -> bool {
    use TokenError as E;
    keys.may_change()
        && match reason {
            E::KeysUnavailable | E::UnknownKey => true,
            // No key was for the algorithm, or the keys without an id did not fit.
            E::AlgorithmNotAllowed | E::BadSignature => header.key_id.as_deref().is_none_or(|id| {
                let known = keys.get().keys;
                !known.iter().any(|key| key.id() == Some(id))
            }),
            _ => false,
        }
}
