//! JSON with one meaning: text in, the same text out, and nothing in it that two readers could understand differently.
//!
//! Values stay the text that they were written as. `serde_json::Value` would round large integers, and its
//! `arbitrary_precision` feature changes what a visitor sees in every crate of the user's build; `RawValue` does neither.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::TokenError;

const MAX_DEPTH: usize = 32;

/// A member of a JSON object: its name, unescaped, and its value's text.
#[derive(Clone)]
pub(crate) struct Member<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) value: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonError {
    Malformed,
    Duplicate,
    Nul,
}

impl From<JsonError> for TokenError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Malformed => Self::MalformedPayload,
            JsonError::Duplicate => Self::DuplicateMember,
            JsonError::Nul => Self::NulCharacter,
        }
    }
}

/// Returns the members of the object that `text` is, in their order. Their values are well-formed, and not looked into.
pub(crate) fn object(text: &str) -> Result<Vec<Member<'_>>, JsonError> {
    let Members(members) = serde_json::from_str(text).map_err(|_| JsonError::Malformed)?;
    let mut names: Vec<&str> = members.iter().map(|member| &*member.name).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(JsonError::Duplicate);
    }
    Ok(members)
}

/// Returns the members of the object that `text` is, once nothing at any depth of it is ambiguous or has a NUL in it.
pub(super) fn unambiguous_object(text: &str) -> Result<Vec<Member<'_>>, JsonError> {
    let members = object(text)?;
    check_members(&members, 1)?;
    Ok(members)
}

/// Checks the same of a text whose members nobody wants.
pub(crate) fn check_object(text: &str) -> Result<(), JsonError> {
    unambiguous_object(text).map(drop)
}

fn check_members(members: &[Member<'_>], depth: usize) -> Result<(), JsonError> {
    for member in members {
        if member.name.contains('\0') {
            return Err(JsonError::Nul);
        }
        check(member.value, depth)?;
    }
    Ok(())
}

fn check(value: &str, depth: usize) -> Result<(), JsonError> {
    match value.as_bytes().first() {
        Some(b'{' | b'[') if depth == MAX_DEPTH => Err(JsonError::Malformed),
        Some(b'{') => check_members(&object(value)?, depth + 1),
        Some(b'[') => array(value)
            .ok_or(JsonError::Malformed)?
            .into_iter()
            .try_for_each(|element| check(element, depth + 1)),
        Some(b'"') => match string(value) {
            None => Err(JsonError::Malformed),
            Some(text) if text.contains('\0') => Err(JsonError::Nul),
            Some(_) => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Returns the texts of the elements of the array that `value` is.
pub(super) fn array(value: &str) -> Option<Vec<&str>> {
    let elements: Vec<&RawValue> = serde_json::from_str(value).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

/// Returns the string that `value` is, unescaped.
pub(crate) fn string(value: &str) -> Option<Cow<'_, str>> {
    let Text(text) = serde_json::from_str(value).ok()?;
    Some(text)
}

/// Returns the strings of the array of strings that `value` is.
pub(super) fn strings(value: &str) -> Option<Vec<Cow<'_, str>>> {
    array(value)?.into_iter().map(string).collect()
}

/// Finds a member by its name.
pub(crate) fn find<'a>(members: &[Member<'a>], name: &str) -> Option<&'a str> {
    let member = members.iter().find(|member| member.name == name)?;
    Some(member.value)
}

struct Members<'a>(Vec<Member<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some((Text(name), value)) = map.next_entry::<_, &RawValue>()? {
                    members.push(Member {
                        name,
                        value: value.get(),
                    });
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

/// A string that borrows where nothing in it is escaped, which `Cow<str>` by itself does not.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: serde::de::Error>(
                self,
                text: &'de str,
            ) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn only_unambiguous_objects_pass() {
        use JsonError as E;
        let deep = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        let rows: &[(&str, Result<(), E>)] = &[
            ("{}", Ok(())),
            (" {\n\"a\" : [1, {\"b\":null}, \"x\"] } ", Ok(())),
            (r#"{"a":1,"A":2}"#, Ok(())),
            (r#"{"":1}"#, Ok(())),
            (r#"{"a":{"b":1},"c":{"b":1}}"#, Ok(())),
            (r#"{"a":"\ud83d\ude00"}"#, Ok(())),
            (r#"{"a":1e999}"#, Ok(())),
            (r#"{"a":"\\u0000"}"#, Ok(())),
            ("", Err(E::Malformed)),
            ("[]", Err(E::Malformed)),
            ("null", Err(E::Malformed)),
            ("\"a\"", Err(E::Malformed)),
            ("{} {}", Err(E::Malformed)),
            ("{\"a\":1,}", Err(E::Malformed)),
            ("{'a':1}", Err(E::Malformed)),
            ("{\"a\":01}", Err(E::Malformed)),
            ("{\"a\":NaN}", Err(E::Malformed)),
            ("{\"a\":\"\u{1}\"}", Err(E::Malformed)),
            ("\u{feff}{}", Err(E::Malformed)),
            (r#"{"a":"\ud83d"}"#, Err(E::Malformed)),
            (r#"{"a":["\ude00"]}"#, Err(E::Malformed)),
            (r#"{"\ud83d":1}"#, Err(E::Malformed)),
            (r#"{"a":1,"a":1}"#, Err(E::Duplicate)),
            (r#"{"a":1,"\u0061":2}"#, Err(E::Duplicate)),
            (r#"{"a":[{"b":{"c":1,"d":2,"c":3}}]}"#, Err(E::Duplicate)),
            (r#"{"a":"x\u0000"}"#, Err(E::Nul)),
            (r#"{"a\u0000":1}"#, Err(E::Nul)),
            (r#"{"a":[[{"b":["\u0000"]}]]}"#, Err(E::Nul)),
            (r#"{"a":{"\u0000":1}}"#, Err(E::Nul)),
        ];
        for (text, expected) in rows {
            assert_eq!(check_object(text), *expected, "{text}");
        }
        assert_eq!(check_object(&deep(MAX_DEPTH)), Ok(()));
        assert_eq!(check_object(&deep(MAX_DEPTH + 1)), Err(E::Malformed));
        assert_eq!(check_object(&deep(5_000)), Err(E::Malformed));
    }

    #[test]
    fn values_keep_their_text() {
        let members = object(r#"{ "n" : 18446744073709551617 , "f":1.50 }"#).unwrap();
        assert_eq!(find(&members, "n"), Some("18446744073709551617"));
        assert_eq!(find(&members, "f"), Some("1.50"));
        assert_eq!(find(&members, "N"), None);
    }
}
