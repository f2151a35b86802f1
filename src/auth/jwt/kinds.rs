//! Which kinds of tokens a verifier accepts, of all that its issuers sign with the same keys.

use super::build_error::BuildError;
use super::builder::JwtVerifierBuilder;
use super::claims::text;
use super::error::TokenError;
use super::json::{self, Member};
use super::rules::Rules;

/// What a token's `typ` and claims must say of its kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Kinds {
    /// In lower case, without `application/`. Where there is none, what a plain JWT and an access token say.
    types: Vec<String>,
    access_tokens_only: bool,
    /// Names, and the values of which one must be there.
    values: Vec<(String, Vec<String>)>,
}

/// What no other kind of token than a plain JWT says (RFC 7519 section 5.1, RFC 7515 section 4.1.9), and what an access
/// token does (RFC 9068 section 2.1). All others are of another kind by their own word: RFC 8725 section 3.11.
const PLAIN: [&str; 3] = ["jwt", "jose", ACCESS_TOKEN];
const ACCESS_TOKEN: &str = "at+jwt";

/// What an access token has besides `iss`, `aud` and `exp`, which are checked by themselves: RFC 9068 section 2.2.
const OF_ACCESS_TOKENS: [&str; 3] = ["sub", "client_id", "jti"];

/// Which kinds of tokens are accepted. An issuer signs several with the same keys: ID tokens, access tokens, logout tokens.
impl<State> JwtVerifierBuilder<State> {
    /// Accepts tokens whose header has this `typ`, and no others.
    ///
    /// Said several times, any of them will do. Letters may be in any case, and `application/` may stand before it or not
    /// (RFC 7515 section 4.1.9). Defaults to what is no other kind's: no `typ`, `JWT`, `JOSE` or `at+jwt`. So a
    /// `logout+jwt`, a `secevent+jwt` or a `dpop+jwt` is refused unless it is asked for.
    pub fn token_type(mut self, typ: impl AsRef<str>) -> Self {
        self.rules.kinds.types.push(kind(typ.as_ref()));
        self
    }

    /// Accepts access tokens as RFC 9068 has them, and nothing else that the issuer signs: no ID token above all.
    ///
    /// Their `typ` is `at+jwt`, and `iss`, `exp`, `aud`, `sub`, `client_id`, `iat` and `jti` are there. `issuer` and
    /// `audience` must be said, since section 4 has both checked. Many providers do not write such tokens, or only by
    /// choice; for them [`require_claim_value`](Self::require_claim_value) tells the kinds apart. Defaults to no.
    pub fn access_tokens_only(mut self) -> Self {
        self.rules.kinds.access_tokens_only = true;
        self
    }

    /// Refuses tokens that do not have this claim with this value: the string itself, or an array that holds it.
    ///
    /// Said several times of the same claim, any of the values will do; of several claims each must be right. It is for
    /// what providers write in place of `aud` and `typ`: Cognito's `client_id` and `token_use`, Keycloak's `typ`, the `tid`
    /// of Entra ID. Defaults to none.
    pub fn require_claim_value(
        mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        let (name, value) = (name.into(), value.into());
        let values = &mut self.rules.kinds.values;
        match values.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => known.push(value),
            None => values.push((name, vec![value])),
        }
        self
    }
}

impl Kinds {
    /// Access tokens as RFC 9068 has them.
    #[cfg(feature = "issuer")]
    pub(super) fn of_access_tokens() -> Self {
        Self {
            access_tokens_only: true,
            ..Self::default()
        }
    }

    /// Checks that the rules make sense together with all others.
    pub(super) fn check_rules(rules: &Rules) -> Result<(), BuildError> {
        let Self {
            types,
            access_tokens_only,
            values,
        } = &rules.kinds;
        let is_empty = |(name, values): &(String, Vec<String>)| {
            name.is_empty() || values.iter().any(String::is_empty)
        };
        if types.iter().any(String::is_empty) || values.iter().any(is_empty) {
            return Err(BuildError::EmptyName);
        }
        if *access_tokens_only && (rules.issuers.is_empty() || rules.audiences.is_empty()) {
            return Err(BuildError::UncheckedAccessTokens);
        }
        Ok(())
    }

    /// Checks what the header says.
    pub(super) fn check_type(&self, typ: Option<&str>) -> Result<(), TokenError> {
        let typ = typ.map(kind);
        let is = |known: &str| typ.as_deref() == Some(known);
        if self.access_tokens_only && !is(ACCESS_TOKEN) {
            return Err(TokenError::NotAnAccessToken);
        }
        let accepted = match &*self.types {
            [] => typ.is_none() || PLAIN.into_iter().any(is),
            types => types.iter().any(|known| is(known)),
        };
        if accepted {
            Ok(())
        } else {
            Err(TokenError::WrongType)
        }
    }

    /// Checks what the claims say. `iss`, `aud` and `exp` were checked before.
    pub(super) fn check_claims(&self, members: &[Member<'_>]) -> Result<(), TokenError> {
        if self.access_tokens_only {
            let strings = OF_ACCESS_TOKENS.into_iter();
            let has = strings.map(|name| text(members, name).is_some_and(|text| !text.is_empty()));
            let times = ["exp", "iat"].map(|name| json::find(members, name).is_some());
            if !has.chain(times).all(|has| has) {
                return Err(TokenError::MissingClaim);
            }
        }
        for (name, values) in &self.values {
            let value = match json::find(members, name) {
                None | Some("null") => return Err(TokenError::MissingClaim),
                Some(value) => value,
            };
            let is_right = |text: &str| values.iter().any(|known| known == text);
            let accepted = match json::string(value) {
                Some(one) => is_right(&one),
                None => {
                    json::strings(value).is_some_and(|many| many.iter().any(|text| is_right(text)))
                }
            };
            if !accepted {
                return Err(TokenError::WrongClaimValue);
            }
        }
        Ok(())
    }
}

/// A media type is the same in any case, and `application/` is left out where there is no other `/`.
fn kind(typ: &str) -> String {
    let typ = typ.to_ascii_lowercase();
    match typ.strip_prefix("application/") {
        Some(rest) if !rest.contains('/') => rest.to_owned(),
        _ => typ,
    }
}
