//! Where in the claims the role stands.

mod error;
mod member;
mod query;
mod steps;

use std::fmt;

use serde_json::Value;
use serde_json_path::JsonPath;

use self::steps::Steps;

pub use self::error::{RoleClaimError, RolePathError};

const MAX_BYTES: usize = 1024;

/// Says where in a token's claims the role stands.
///
/// The first character decides which of three languages a text is read as:
///
/// | first character | language | for example |
/// |---|---|---|
/// | any other | the plain name of a top-level claim, taken literally | `role`, `https://example.com/role` |
/// | `.` | PostgREST's older path language, the table below | `.realm_access.roles[0]` |
/// | `$` | an [RFC 9535] JSONPath query | `$.realm_access.roles[?search(@, '^app_')]` |
///
/// Mind the first `.`: `realm_access.roles[0]` is the plain name of one oddly named claim.
///
/// A plain name has no space at either end; a claim whose name has, or whose name begins with `.`, `$` or `[`, is
/// reached by the other two languages. Claims are an object, so a path that begins with `[` would never lead anywhere
/// and is refused.
///
/// PostgREST's language is a sequence of these steps:
///
/// | step | leads to |
/// |---|---|
/// | `.name` | that member of an object; letters, digits, `_`, `$` and `@` |
/// | `."any name"` | that member of an object; there is no way to write a `"` in it |
/// | `[0]` | that element of an array |
/// | `[?(@ == "text")]` | the first string of an array that equals `text`; only as the last step |
/// | `[?(@ != "text")]` | the first string that differs |
/// | `[?(@ ^== "text")]` | the first string that begins with `text` |
/// | `[?(@ ==^ "text")]` | the first string that ends with `text` |
/// | `[?(@ *== "text")]` | the first string that contains `text` |
///
/// A filter and a JSONPath query may find several nodes: the first one is taken, unless the policy says
/// [`prefer`](super::RolePolicy::prefer) or [`map`](super::RolePolicy::map), which look at all. Its filters may nest up to eight brackets deep.
///
/// [RFC 9535]: https://www.rfc-editor.org/rfc/rfc9535.html
///
/// # Examples
///
/// ```
/// use rolescope::role::RolePath;
///
/// let claims = r#"{
///     "https://example.com/role": "web_user",
///     "realm_access": { "roles": ["offline_access", "app_editor"] }
/// }"#;
/// for (path, role) in [
///     ("https://example.com/role", Some("web_user")),
///     (r#"."https://example.com/role""#, Some("web_user")),
///     ("$['https://example.com/role']", Some("web_user")),
///     (".realm_access.roles[1]", Some("app_editor")),
///     (r#".realm_access.roles[?(@ ^== "app_")]"#, Some("app_editor")),
///     ("$.realm_access.roles[?search(@, '^app_')]", Some("app_editor")),
///     ("role", None),
/// ] {
///     assert_eq!(RolePath::parse(path)?.select(claims)?.as_deref(), role);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RolePath {
    text: Box<str>,
    way: Way,
}

#[derive(Clone)]
enum Way {
    Member(Box<str>),
    Steps(Steps),
    Query(JsonPath),
}

impl RolePath {
    /// Reads a path.
    ///
    /// # Errors
    ///
    /// [`RolePathError`] for the empty text, for more than 1024 bytes, and for a text that is not of the language that
    /// its first character says.
    pub fn parse(text: &str) -> Result<Self, RolePathError> {
        if text.len() > MAX_BYTES {
            return Err(RolePathError::new(
                MAX_BYTES,
                "the end: a path has at most 1024 bytes",
            ));
        }
        let way = match text.as_bytes().first() {
            None => return Err(RolePathError::new(0, "the name of a claim, or a path")),
            Some(b'$') => {
                let query = query::parse(text)?;
                match query::as_member(text) {
                    Some(name) => Way::Member(name.into()),
                    None => Way::Query(query),
                }
            }
            Some(b'.') => {
                let steps = Steps::parse(text)?;
                match steps.as_member() {
                    Some(name) => Way::Member(name.into()),
                    None => Way::Steps(steps),
                }
            }
            Some(b'[') => {
                return Err(RolePathError::new(
                    0,
                    "the name of a claim, or a path that begins with `.` or `$`: claims are an object, not an array",
                ));
            }
            Some(_) => {
                member::check_name(text)?;
                Way::Member(text.into())
            }
        };
        Ok(Self {
            text: text.into(),
            way,
        })
    }

    /// Returns the text that the claims, a JSON object, have at this path, or `None` where they have nothing there.
    ///
    /// A path that asks a member of something that is no object, or an element of what is no array, leads to nothing.
    /// Unlike PostgREST, which encodes any other value as JSON and takes that for a role, this is an error where the
    /// value is not a string; `null` is not one either.
    ///
    /// # Errors
    ///
    /// [`RoleClaimError`] where the value is not a string, and where the claims cannot be read.
    ///
    /// # Examples
    ///
    /// ```
    /// use rolescope::role::{RoleClaimError, RolePath, RolePathError};
    ///
    /// let path = RolePath::parse("role")?;
    /// assert_eq!(path.select(r#"{"role":"web_user"}"#), Ok(Some("web_user".to_owned())));
    /// assert_eq!(path.select(r#"{"sub":"1"}"#), Ok(None));
    /// assert_eq!(path.select(r#"{"role":7}"#), Err(RoleClaimError::NotAString { found: "a number" }));
    /// # Ok::<(), RolePathError>(())
    /// ```
    pub fn select(&self, claims: &str) -> Result<Option<String>, RoleClaimError> {
        match &self.way {
            Way::Member(name) => member::select(name, claims),
            Way::Steps(steps) => text_of(steps.walk(&tree(claims)?)),
            Way::Query(query) => text_of(query.query(&tree(claims)?).first()),
        }
    }
}

impl RolePath {
    /// Returns all texts that the claims have at this path: the strings of arrays as well.
    pub(super) fn select_all(&self, claims: &str) -> Result<Vec<String>, RoleClaimError> {
        match &self.way {
            Way::Member(name) => member::select_all(name, claims),
            Way::Steps(steps) => texts_of(steps.walk_all(&tree(claims)?)),
            Way::Query(query) => texts_of(query.query(&tree(claims)?).all()),
        }
    }

    /// Whether another path leads to the same place because it is written the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

fn tree(claims: &str) -> Result<Value, RoleClaimError> {
    match serde_json::from_str(claims) {
        Ok(tree @ Value::Object(_)) => Ok(tree),
        _ => Err(RoleClaimError::Malformed),
    }
}

/// The strings that nodes are, and the strings of the arrays that they are.
fn texts_of<'v>(nodes: impl IntoIterator<Item = &'v Value>) -> Result<Vec<String>, RoleClaimError> {
    let mut texts = Vec::new();
    for node in nodes {
        match node {
            Value::Array(elements) => {
                for element in elements {
                    texts.extend(text_of(Some(element))?);
                }
            }
            other => texts.extend(text_of(Some(other))?),
        }
    }
    Ok(texts)
}

fn text_of(node: Option<&Value>) -> Result<Option<String>, RoleClaimError> {
    let found = match node {
        None => return Ok(None),
        Some(Value::String(text)) => return Ok(Some(text.clone())),
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "a boolean",
        Some(Value::Number(_)) => "a number",
        Some(Value::Array(_)) => "an array",
        Some(Value::Object(_)) => "an object",
    };
    Err(RoleClaimError::NotAString { found })
}

impl Default for RolePath {
    /// Returns the path to the top-level claim `role`.
    fn default() -> Self {
        Self {
            text: "role".into(),
            way: Way::Member("role".into()),
        }
    }
}

impl fmt::Display for RolePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RolePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RolePath").field(&self.text).finish()
    }
}

#[cfg(test)]
mod tests;
