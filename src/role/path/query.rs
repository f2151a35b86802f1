//! RFC 9535 queries.

use serde_json_path::JsonPath;

use super::error::RolePathError;

/// The parser needs about twice the time for each filter inside a filter.
const MAX_NESTING: usize = 8;

pub(super) fn parse(text: &str) -> Result<JsonPath, RolePathError> {
    check_brackets(text)?;
    if text == "$" {
        return Err(RolePathError::new(
            1,
            "the way to a claim: `$` alone is all of them",
        ));
    }
    JsonPath::parse(text).map_err(|error| {
        let position = error.position().min(text.len());
        let rest = text.get(position..).unwrap_or_default();
        let expected = match error.message() {
            _ if rest.starts_with('-') => {
                "an RFC 9535 query: write a name with `-` as `['some-name']`".into()
            }
            "parser error" => "an RFC 9535 query".into(),
            message => format!("an RFC 9535 query ({message})").into(),
        };
        RolePathError { position, expected }
    })
}

/// Returns the name in `$.name`, PostgREST's own default form.
pub(super) fn as_member(query: &str) -> Option<&str> {
    let name = query.strip_prefix("$.")?;
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        .then_some(name)
}

/// Checks what the parser does not bear: too deep a nesting, and a text that ends within a quoted one. It panics where that
/// is after `\u`.
fn check_brackets(text: &str) -> Result<(), RolePathError> {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut bytes = text.bytes().enumerate();
    while let Some((position, byte)) = bytes.next() {
        match (byte, quote) {
            (b'\\', Some(_)) => {
                bytes.next();
            }
            (byte, Some(open)) => quote = (byte != open).then_some(open),
            (b'\'' | b'"', None) => quote = Some(byte),
            (b'[' | b'(', None) if depth == MAX_NESTING => {
                return Err(RolePathError::new(
                    position,
                    "at most eight brackets inside each other",
                ));
            }
            (b'[' | b'(', None) => depth += 1,
            (b']' | b')', None) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    match quote {
        None => Ok(()),
        Some(_) => Err(RolePathError::new(
            text.len(),
            "the closing quote of a text in an RFC 9535 query",
        )),
    }
}
