//! What a token says about its own signature.
//!
//! `alg` and `kid` only choose among the verifier's own keys, and `typ` says of which kind the token is. `jwk`, `jku`, `x5c` and `x5u`
//! would bring a key of the token's choice along: they are not looked at.

use std::borrow::Cow;

use super::error::TokenError;
use super::json;

#[derive(Debug, PartialEq)]
pub(super) struct Header<'a> {
    pub(super) algorithm: Cow<'a, str>,
    pub(super) key_id: Option<Cow<'a, str>>,
    pub(super) typ: Option<Cow<'a, str>>,
}

impl<'a> Header<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, TokenError> {
        let members = json::object(text).map_err(|_| TokenError::MalformedHeader)?;
        // RFC 7515 section 4.1.11: "If any of the listed extension Header Parameters are not understood and supported by
        // the recipient, then the JWS is invalid." None are.
        if ["crit", "b64", "zip", "enc"]
            .iter()
            .any(|name| json::find(&members, name).is_some())
        {
            return Err(TokenError::UnsupportedHeader);
        }
        let string = |name| match json::find(&members, name) {
            None => Ok(None),
            Some(value) => json::string(value)
                .map(Some)
                .ok_or(TokenError::MalformedHeader),
        };
        let typ = string("typ")?;
        let algorithm = string("alg")?.ok_or(TokenError::MalformedHeader)?;
        if algorithm.eq_ignore_ascii_case("none") {
            return Err(TokenError::Unsigned);
        }
        Ok(Self {
            algorithm,
            key_id: string("kid")?,
            typ,
        })
    }
}
