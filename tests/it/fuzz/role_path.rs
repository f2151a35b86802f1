//! Any text as a path, and any claims for it to lead through.

use rolescope::role::{RoleClaimError, RoleName, RolePath};
use serde_json::Value;

use super::reference::Json;

/// The claims for a path that brings none along.
const CLAIMS: &str = r#"{"role":"web_user","a":{"b":["x","y"],"":"z"},"n":1,"realm_access":{"roles":["app_a","app_b"]}}"#;

/// Takes the path from the first line, and the claims from what follows.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (path, claims) = text.split_once('\n').unwrap_or((text, CLAIMS));
    check_name(path);
    let parsed = match RolePath::parse(path) {
        Ok(parsed) => parsed,
        Err(error) => {
            assert!(
                path.is_char_boundary(error.position().min(path.len())),
                "{error}"
            );
            assert!(error.position() <= path.len(), "{error}");
            return;
        }
    };
    assert_eq!(parsed.to_string(), path);
    let again = RolePath::parse(&parsed.to_string()).expect("what is displayed is a path");
    let found = parsed.select(claims);
    assert_eq!(again.select(claims), found);
    let Ok(json) = Json::read(claims.as_bytes()) else {
        // What is not read need not be well-formed.
        return;
    };
    if json.members().is_none() {
        assert_eq!(found, Err(RoleClaimError::Malformed));
    }
    // A verifier lets nothing else through.
    if json.members().is_none() || !json.has_one_meaning() {
        return;
    }
    if let Ok(Some(role)) = &found {
        assert!(json.has_text(role), "{role} is not in the claims");
    }
    if path.starts_with(['.', '$']) {
        return;
    }
    // A plain name is the name of a member, in whichever language it is written.
    let expected = match json.get(path) {
        None => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text.clone())),
        Some(_) => Err(()),
    };
    let same = |found: &Result<Option<String>, RoleClaimError>| found.clone().map_err(|_| ());
    assert_eq!(same(&found), expected);
    if !path.contains('"') && path.len() < 1000 {
        let quoted = RolePath::parse(&format!(".\"{path}\"")).expect("a quoted name is a path");
        assert_eq!(same(&quoted.select(claims)), expected);
    }
    if let Ok(query) = RolePath::parse(&format!("$[{}]", Value::from(path))) {
        assert_eq!(same(&query.select(claims)), expected, "{query}");
    }
}

fn check_name(text: &str) {
    match RoleName::parse(text) {
        Ok(name) => {
            assert_eq!(name.as_str(), text);
            assert!(!text.is_empty() && text.len() <= 63 && !text.contains('\0'));
            assert_ne!(text.to_lowercase(), "none");
        }
        Err(_) => assert!(
            text.is_empty()
                || text.len() > 63
                || text.contains('\0')
                || text.to_lowercase() == "none"
        ),
    }
}
