//! Who a transaction runs as.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::name::RoleName;
use crate::auth::jwt::Claims;
use crate::auth::jwt::json::{self, JsonError};

/// Says who a transaction runs as: a role, and the claims that row-level security policies read.
///
/// Inside a request a [`RolePolicy`](super::RolePolicy) makes one. Jobs and tests, which have no request, make one with
/// [`for_role`](Self::for_role). It is cheap to clone, and its `Debug` does not show the claims.
#[derive(Clone)]
pub struct RoleScope {
    role: RoleName,
    claims: ScopeClaims,
    token_sent: bool,
}

#[derive(Clone)]
enum ScopeClaims {
    Token(Claims),
    Text(Arc<str>),
}

/// Says why a text cannot be the claims of a [`RoleScope`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ScopeClaimsError {
    /// The text is not one JSON object, or is nested too deeply.
    NotAnObject,
    /// An object has the same member twice, so that two policies could understand it differently.
    Duplicate,
    /// A name or a string in the object contains U+0000: reading it in a policy would fail.
    Nul,
}

impl RoleScope {
    /// Makes a scope for work that no request asked for.
    ///
    /// Its claims are `{"role":".."}` with the name of the role, as for an anonymous request. To set others say
    /// [`with_claims`](Self::with_claims). No allow-list applies: the program itself says which role it wants.
    ///
    /// # Examples
    ///
    /// ```
    /// use rolescope::{RoleName, RoleScope};
    ///
    /// let scope = RoleScope::for_role(RoleName::parse("nightly_job")?);
    /// assert_eq!(scope.claims_json(), r#"{"role":"nightly_job"}"#);
    /// # Ok::<(), rolescope::role::RoleNameError>(())
    /// ```
    pub fn for_role(role: RoleName) -> Self {
        Self::without_token(role, true)
    }

    /// Sets the claims, as the text of a JSON object.
    ///
    /// The policies read the text as it is. In particular nothing adds the role to it.
    ///
    /// # Errors
    ///
    /// [`ScopeClaimsError`] where the text is not one JSON object, is nested more than 32 deep, has a member twice, or
    /// contains the character U+0000.
    ///
    /// # Examples
    ///
    /// ```
    /// use rolescope::{RoleName, RoleScope};
    ///
    /// let scope = RoleScope::for_role(RoleName::parse("web_user")?)
    ///     .with_claims(r#"{"role":"web_user","sub":"17"}"#)?;
    /// assert_eq!(scope.claims_json(), r#"{"role":"web_user","sub":"17"}"#);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_claims(mut self, claims: &str) -> Result<Self, ScopeClaimsError> {
        json::check_object(claims).map_err(|error| match error {
            JsonError::Malformed => ScopeClaimsError::NotAnObject,
            JsonError::Duplicate => ScopeClaimsError::Duplicate,
            JsonError::Nul => ScopeClaimsError::Nul,
        })?;
        self.claims = ScopeClaims::Text(claims.into());
        Ok(self)
    }

    pub(super) fn for_token(role: RoleName, claims: &Claims) -> Self {
        Self {
            role,
            claims: ScopeClaims::Token(claims.clone()),
            token_sent: true,
        }
    }

    pub(super) fn without_token(role: RoleName, token_sent: bool) -> Self {
        let name = Value::from(role.as_str());
        Self {
            role,
            claims: ScopeClaims::Text(format!("{{\"role\":{name}}}").into()),
            token_sent,
        }
    }

    /// Returns the role.
    pub fn role(&self) -> &RoleName {
        &self.role
    }

    /// Returns the text that policies read as `request.jwt.claims`: a token's claims as they were signed, else those
    /// that the program set, else `{"role":".."}`.
    pub fn claims_json(&self) -> &str {
        match &self.claims {
            ScopeClaims::Token(claims) => claims.as_json(),
            ScopeClaims::Text(text) => text,
        }
    }

    /// Returns the verified claims of the token, where there is one.
    pub fn claims(&self) -> Option<&Claims> {
        match &self.claims {
            ScopeClaims::Token(claims) => Some(claims),
            ScopeClaims::Text(_) => None,
        }
    }

    /// Returns whether the request carried a token, also one that was not accepted. Where it did not, a missing privilege is
    /// answered by asking for one (401); `true` where there was no request, and so nobody to ask.
    pub fn token_sent(&self) -> bool {
        self.token_sent
    }
}

impl fmt::Debug for RoleScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleScope")
            .field("role", &self.role.as_str())
            .field("token_sent", &self.token_sent)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ScopeClaimsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAnObject => {
                "the claims of a scope are not a JSON object: give a text such as {\"sub\":\"17\"}"
            }
            Self::Duplicate => {
                "the claims of a scope have the same member twice: leave one of them out"
            }
            Self::Nul => {
                "the claims of a scope contain U+0000, which PostgreSQL cannot read: remove it"
            }
        })
    }
}

impl StdError for ScopeClaimsError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(role: &str) -> RoleScope {
        RoleScope::for_role(RoleName::parse(role).expect("a role name"))
    }

    #[test]
    fn a_scope_without_token_claims_its_role_and_nothing_else() {
        for role in [
            "anon",
            "o'neill",
            "say \"hi\"",
            "back\\slash",
            "new\nline",
            "роль",
        ] {
            let scope = scope(role);
            let claims: Value = serde_json::from_str(scope.claims_json()).expect("JSON");
            assert_eq!(claims, serde_json::json!({ "role": role }));
            assert!(scope.claims().is_none());
            assert!(scope.token_sent());
        }
    }

    #[test]
    fn claims_are_kept_to_the_letter() {
        let text = r#" {"big": 18446744073709551617, "a":1.10, "A":"\u0041"}"#;
        let scope = scope("job").with_claims(text).expect("claims");
        assert_eq!(scope.claims_json(), text);
        assert_eq!(scope.role().as_str(), "job");
    }

    #[test]
    fn claims_that_policies_cannot_read_are_refused() {
        use ScopeClaimsError as E;
        for (text, reason) in [
            ("", E::NotAnObject),
            ("null", E::NotAnObject),
            ("[]", E::NotAnObject),
            ("\"role\"", E::NotAnObject),
            ("{", E::NotAnObject),
            ("{} {}", E::NotAnObject),
            ("{'a':1}", E::NotAnObject),
            (r#"{"a":"\u0000"}"#, E::Nul),
            (r#"{"a":["x",{"b":"y\u0000"}]}"#, E::Nul),
            (r#"{"\u0000":1}"#, E::Nul),
            (r#"{"a":{"b\u0000":1}}"#, E::Nul),
            (r#"{"a":"\\\u0000"}"#, E::Nul),
            (r#"{"a":"\u0000","a":""}"#, E::Duplicate),
            (r#"{"role":"a","r\u006fle":"b"}"#, E::Duplicate),
            (r#"{"a":[{"b":1,"b":1}]}"#, E::Duplicate),
        ] {
            assert_eq!(scope("job").with_claims(text).err(), Some(reason), "{text}");
        }
        // An escaped backslash before `u0000` is six harmless characters.
        assert!(scope("job").with_claims(r#"{"a":"\\u0000"}"#).is_ok());
    }

    #[test]
    fn debug_hides_the_claims() {
        let scope = scope("job").with_claims(r#"{"email":"secret@example.com"}"#);
        assert_eq!(
            format!("{:?}", scope.expect("claims")),
            r#"RoleScope { role: "job", token_sent: true, .. }"#
        );
    }
}
