//! What a policy makes of one request.

use super::super::name::RoleName;
use super::super::named::named;
use super::super::scope::RoleScope;
use super::refusal::{BoxError, NoRole, Refusal, no_role, not_a_role, not_login, role_refused};
use super::{Missing, RolePolicy};
use crate::auth::Access;
use crate::auth::jwt::Claims;
use crate::error::{Error, ErrorKind};

impl RolePolicy {
    /// Decides which role a request runs as.
    ///
    /// `RoleScopeLayer` does this; call it where the database is reached by other means. `anonymous` is the role of
    /// requests without one, `login` the role that the service logs in as, which no request ever runs as.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::MissingToken`]: no accepted token, and no anonymous role
    /// - [`ErrorKind::NoRole`]: the token names no role, and there is none for such tokens
    /// - [`ErrorKind::RoleRefused`]: what the token names is not acceptable. To the client all of these look the same;
    ///   the reason is the error's source
    pub fn decide(
        &self,
        access: &Access,
        anonymous: Option<&RoleName>,
        login: Option<&str>,
    ) -> Result<RoleScope, Error> {
        match access.claims() {
            None => {
                let role = anonymous_role(anonymous, login)?;
                Ok(RoleScope::without_token(role, access.token_sent()))
            }
            Some(claims) => {
                let policy = self.about(claims)?;
                let role = policy.role(policy.named(claims), anonymous, login)?;
                Ok(RoleScope::for_token(role, claims))
            }
        }
    }

    /// The policy that decides about these claims.
    fn about(&self, claims: &Claims) -> Result<&Self, Error> {
        let Some(issuers) = &self.issuers else {
            return Ok(self);
        };
        match claims.checked_issuer() {
            Some(issuer) => Ok(issuers.get(issuer).unwrap_or(self)),
            None => Err(role_refused(Refusal::UncheckedIssuer)),
        }
    }

    fn named(&self, claims: &Claims) -> Result<Option<RoleName>, BoxError> {
        let named = match &self.function {
            None => named(&self.finder, claims),
            Some(name) => self.finder.pick.role(name(claims)?),
        };
        named.map_err(not_a_role)
    }

    /// The decision about a token, given what it names.
    pub(super) fn role(
        &self,
        named: Result<Option<RoleName>, BoxError>,
        anonymous: Option<&RoleName>,
        login: Option<&str>,
    ) -> Result<RoleName, Error> {
        let role = match (named.map_err(role_refused)?, &self.missing) {
            (Some(role), _) => self.accepted(role).map_err(role_refused)?,
            (None, Missing::Role(role)) => role.clone(),
            (None, Missing::Anonymous) => {
                anonymous.ok_or_else(|| no_role(NoRole::InToken))?.clone()
            }
            (None, Missing::Refuse) => return Err(no_role(NoRole::InToken)),
        };
        not_login(role, login)
    }

    fn accepted(&self, role: RoleName) -> Result<RoleName, Refusal> {
        match &self.allowed {
            Some(allowed) if !allowed.contains(&role) => Err(Refusal::NotAllowed(role)),
            _ => Ok(role),
        }
    }
}

fn anonymous_role(anonymous: Option<&RoleName>, login: Option<&str>) -> Result<RoleName, Error> {
    let role = anonymous.ok_or_else(|| {
        Error::with_source(
            ErrorKind::MissingToken,
            "a valid token is needed here",
            NoRole::Anonymous,
        )
    })?;
    not_login(role.clone(), login)
}

/// The scope of a request with these claims, whatever role they name.
#[cfg(any(
    fuzzing,
    all(
        test,
        feature = "postgres",
        any(feature = "aws-lc-rs", feature = "rust-crypto")
    )
))]
pub(crate) fn of_token(claims: &Claims) -> RoleScope {
    let role = RoleName::parse("web_user");
    RoleScope::for_token(role.unwrap_or_else(|error| unreachable!("{error}")), claims)
}
