//! What becomes of claims on their way to the settings that policies read: `request.jwt.claim.NAME`.
//!
//! How settings are made is not public, so that whoever can call it hands them in.

use std::collections::BTreeSet;

/// Checks the settings that were made of `claims`, which are one JSON object.
pub(crate) fn check(claims: &str, settings: &[(String, String)]) {
    assert!(!has_escaped_nul(claims), "{claims}");
    let members = members(claims);
    let mut seen = BTreeSet::new();
    for (name, value) in settings {
        assert!(!name.contains('\0') && !value.contains('\0'), "{name:?}");
        // PostgreSQL folds a setting's name: none can stand for another one, and none for a setting of the session.
        assert!(seen.insert(name.to_ascii_lowercase()), "{name:?}");
        let claim = name
            .strip_prefix("request.jwt.claim.")
            .expect("it is a claim's");
        let mut characters = claim.bytes();
        let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80;
        assert!(characters.next().is_some_and(is_letter), "{name:?}");
        let goes_on = |byte: u8| is_letter(byte) || byte.is_ascii_digit() || byte == b'$';
        assert!(characters.all(goes_on), "{name:?}");
        let same: Vec<_> = members
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(claim))
            .collect();
        let [(exact, signed)] = *same else {
            panic!("{name:?} is made of {} claims", same.len())
        };
        assert_eq!(exact, claim);
        match serde_json::from_str::<String>(signed.get()) {
            Ok(text) => assert_eq!(*value, text),
            // Anything but a text is what was signed, to the letter.
            Err(_) => assert_eq!(value, signed.get()),
        }
    }
}

/// Whether a text in the JSON has U+0000 in it, which would make every `::json ->>` of a policy fail.
fn has_escaped_nul(json: &str) -> bool {
    let mut rest = json;
    while let Some((_, escape)) = rest.split_once('\\') {
        if escape.starts_with("u0000") {
            return true;
        }
        rest = escape.get(1..).unwrap_or_default();
    }
    false
}

fn members(claims: &str) -> Vec<(String, &serde_json::value::RawValue)> {
    use serde::de::{Deserializer, MapAccess, Visitor};

    struct Members;

    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(String, &'de serde_json::value::RawValue)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("claims")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }

    let mut json = serde_json::Deserializer::from_str(claims);
    json.deserialize_map(Members).expect("claims are an object")
}
