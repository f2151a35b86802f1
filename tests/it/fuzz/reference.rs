//! Tokens read and signed another way than the crate does it, so that the two can be held against each other.

use std::collections::BTreeSet;
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use sha2::Sha256;

pub(crate) const SECRET: &[u8] = b"a secret of the fuzz targets, which everybody may know";
/// The time by the verifiers' clocks, and their leeway, in seconds.
pub(crate) const NOW: u64 = 1_700_000_000;
pub(crate) const LEEWAY: u64 = 30;

/// Signs a header and a payload with HS256, whatever they are.
pub(crate) fn token(header: &[u8], payload: &[u8]) -> String {
    let signed = format!("{}.{}", base64url(header), base64url(payload));
    let signature = signature(&signed);
    format!("{signed}.{signature}")
}

/// The signature that belongs to a text, in base64url.
pub(crate) fn signature(signed: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).expect("HMAC takes keys of any length");
    mac.update(signed.as_bytes());
    base64url(&mac.finalize().into_bytes())
}

/// RFC 4648 section 5, without padding.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .chain([&0; 3])
            .take(3)
            .fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        for position in 0..=chunk.len() {
            text.push(char::from(ALPHABET[group >> (18 - 6 * position) & 63]));
        }
    }
    text
}

/// JSON in which every object's members stay as they were written.
#[derive(Debug, PartialEq)]
pub(crate) enum Json {
    Text(String),
    Number(f64),
    Other,
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Json {
    pub(crate) fn read(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        self.members()?
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    pub(crate) fn members(&self) -> Option<&[(String, Self)]> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether no object in it has a member twice, and no name or text a NUL.
    pub(crate) fn has_one_meaning(&self) -> bool {
        match self {
            Self::Text(text) => !text.contains('\0'),
            Self::Number(_) | Self::Other => true,
            Self::Array(items) => items.iter().all(Self::has_one_meaning),
            Self::Object(members) => {
                let names: BTreeSet<&str> = members.iter().map(|(name, _)| &**name).collect();
                names.len() == members.len()
                    && members
                        .iter()
                        .all(|(name, value)| !name.contains('\0') && value.has_one_meaning())
            }
        }
    }

    /// Whether a text is somewhere in it.
    pub(crate) fn has_text(&self, wanted: &str) -> bool {
        match self {
            Self::Text(text) => text == wanted,
            Self::Number(_) | Self::Other => false,
            Self::Array(items) => items.iter().any(|item| item.has_text(wanted)),
            Self::Object(members) => members.iter().any(|(_, value)| value.has_text(wanted)),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct JsonVisitor;

        impl<'de> Visitor<'de> for JsonVisitor {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Json, E> {
                Ok(Json::Other)
            }

            fn visit_unit<E: Error>(self) -> Result<Json, E> {
                Ok(Json::Other)
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Json, E> {
                Ok(Json::Number(number as f64))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Json, E> {
                Ok(Json::Number(number as f64))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Json, E> {
                Ok(Json::Number(number))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
                Ok(Json::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
                let mut array = Vec::new();
                while let Some(item) = items.next_element()? {
                    array.push(item);
                }
                Ok(Json::Array(array))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
                let mut object = Vec::new();
                while let Some(member) = members.next_entry()? {
                    object.push(member);
                }
                Ok(Json::Object(object))
            }
        }

        deserializer.deserialize_any(JsonVisitor)
    }
}
