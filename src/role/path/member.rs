//! The plain name of a top-level claim, found without building a tree of the claims.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::{RoleClaimError, RolePathError};

pub(super) fn check_name(text: &str) -> Result<(), RolePathError> {
    let expected = "the name of a claim without space around it";
    if text.starts_with(char::is_whitespace) {
        return Err(RolePathError::new(0, expected));
    }
    let trimmed = text.trim_end();
    if trimmed.len() < text.len() {
        return Err(RolePathError::new(trimmed.len(), expected));
    }
    Ok(())
}

pub(super) fn select(name: &str, claims: &str) -> Result<Option<String>, RoleClaimError> {
    find(name, claims)?.map(text).transpose()
}

pub(super) fn select_all(name: &str, claims: &str) -> Result<Vec<String>, RoleClaimError> {
    let Some(member) = find(name, claims)? else {
        return Ok(Vec::new());
    };
    if !member.get().starts_with('[') {
        return Ok(vec![text(member)?]);
    }
    let elements: Vec<&RawValue> =
        serde_json::from_str(member.get()).map_err(|_| RoleClaimError::Malformed)?;
    elements.into_iter().map(text).collect()
}

fn find<'c>(name: &str, claims: &'c str) -> Result<Option<&'c RawValue>, RoleClaimError> {
    let mut json = serde_json::Deserializer::from_str(claims);
    let member = json
        .deserialize_map(Member(name))
        .map_err(|_| RoleClaimError::Malformed)?;
    json.end().map_err(|_| RoleClaimError::Malformed)?;
    Ok(member)
}

fn text(value: &RawValue) -> Result<String, RoleClaimError> {
    let found = match value.get().as_bytes().first() {
        Some(b'"') => {
            return serde_json::from_str(value.get()).map_err(|_| RoleClaimError::Malformed);
        }
        Some(b'n') => "null",
        Some(b't' | b'f') => "a boolean",
        Some(b'[') => "an array",
        Some(b'{') => "an object",
        _ => "a number",
    };
    Err(RoleClaimError::NotAString { found })
}

/// Takes one member out of an object and skips the others.
struct Member<'n>(&'n str);

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(IsKey(self.0))? {
            if !is_it {
                map.next_value::<IgnoredAny>()?;
            } else if found.replace(map.next_value()?).is_some() {
                return Err(serde::de::Error::custom("two members of one name"));
            }
        }
        Ok(found)
    }
}

/// Compares a key without keeping it.
struct IsKey<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for IsKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}
