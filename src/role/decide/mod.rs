//! The rules that make a role out of a request's claims.

mod decision;
mod refusal;

use std::collections::{HashMap, HashSet};
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use self::refusal::BoxError;
use super::name::{RoleName, RoleNameError};
use super::named::Finder;
use super::path::{RolePath, RolePathError};
use crate::auth::jwt::Claims;

#[cfg(any(
    fuzzing,
    all(
        test,
        feature = "postgres",
        any(feature = "aws-lc-rs", feature = "rust-crypto")
    )
))]
pub(crate) use self::decision::of_token;
#[cfg(feature = "postgres")]
pub(crate) use self::refusal::{not_login, role_refused_by_database};

type ClaimFn = dyn Fn(&Claims) -> Result<Option<String>, BoxError> + Send + Sync;

/// Decides which role a request runs as.
///
/// | request | role |
/// |---|---|
/// | without token | the anonymous role |
/// | with a token that names a role | that role |
/// | with a token that names none | the anonymous role, with the token's claims; [`authenticated_role`](Self::authenticated_role) and [`refuse_missing_role`](Self::refuse_missing_role) say otherwise |
///
/// The token names its role in the top-level claim `role`; [`claim`](Self::claim) and [`from_fn`](Self::from_fn) say
/// otherwise. Where the claim is a list of names, [`prefer`](Self::prefer) says which of them goes first; where the names
/// are not those of roles, [`map`](Self::map) says what they stand for. What a token names must be a string and a good [`RoleName`], it must not be the role that the service logs in
/// as, and where there is an allow-list ([`allow`](Self::allow)) it must be in it. Whether the role exists, and whether
/// the service may act as it, is for the database to say: grant the login role only what tokens may ask for.
///
/// A policy is cheap to clone.
///
/// # Examples
///
/// ```
/// use rolescope::RolePolicy;
///
/// let policy = RolePolicy::new()
///     .claim(r#".realm_access.roles[?(@ ^== "app_")]"#)?
///     .allow(["app_reader", "app_editor"])?
///     .authenticated_role("app_reader")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RolePolicy {
    /// Where it is there, it is asked in place of the claim.
    function: Option<Arc<ClaimFn>>,
    finder: Arc<Finder>,
    allowed: Option<Arc<HashSet<RoleName>>>,
    missing: Missing,
    issuers: Option<Arc<HashMap<Box<str>, Self>>>,
}

#[derive(Clone, Debug)]
enum Missing {
    Anonymous,
    Role(RoleName),
    Refuse,
}

impl RolePolicy {
    /// Makes the policy of the table above: the claim `role`, every role that the database grants, and the anonymous
    /// role for tokens that name none.
    pub fn new() -> Self {
        Self {
            function: None,
            finder: Arc::default(),
            allowed: None,
            missing: Missing::Anonymous,
            issuers: None,
        }
    }

    /// Makes a policy that asks a function for the role that a token names.
    ///
    /// `Ok(None)` says that the token names no role. An error refuses the token; its text reaches the operator as the
    /// source of the [`Error`](crate::Error), never the client. The role is checked like one from a claim. The function runs for
    /// every request with a token, so it should not block.
    ///
    /// # Examples
    ///
    /// ```
    /// use rolescope::RolePolicy;
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Tenancy {
    ///     tenant: Option<u32>,
    /// }
    ///
    /// let policy = RolePolicy::from_fn(|claims| {
    ///     let claims: Tenancy = serde_json::from_str(claims.as_json())?;
    ///     Ok(claims.tenant.map(|tenant| format!("tenant_{tenant}")))
    /// });
    /// ```
    pub fn from_fn<F>(role: F) -> Self
    where
        F: Fn(&Claims) -> Result<Option<String>, Box<dyn StdError + Send + Sync>>
            + Send
            + Sync
            + 'static,
    {
        Self {
            function: Some(Arc::new(role)),
            ..Self::new()
        }
    }

    /// Sets where in the claims the role stands: a plain name or a path, as [`RolePath`] describes them.
    ///
    /// Defaults to `role`.
    ///
    /// # Errors
    ///
    /// [`RolePathError`] where the text is not a path.
    pub fn claim(mut self, path: &str) -> Result<Self, RolePathError> {
        self.function = None;
        Arc::make_mut(&mut self.finder).path = RolePath::parse(path)?;
        Ok(self)
    }

    /// Takes of several names the one that stands first here.
    ///
    /// The claim may then be a list of strings, and a path or a filter may lead to several: the first of these roles that
    /// the token names is its role. All other names are ignored; a token that has none of these names no role. Said
    /// twice, the second list goes behind the first.
    ///
    /// With [`map`](Self::map) these are the roles that names stand for, and not the names. Defaults to none: the claim
    /// must be one string, and a list is refused.
    ///
    /// # Errors
    ///
    /// [`RoleNameError`] for the first text that cannot be the name of a role.
    ///
    /// # Examples
    ///
    /// ```
    /// use rolescope::RolePolicy;
    ///
    /// // Keycloak: {"realm_access": {"roles": ["offline_access", "app_editor", "app_admin"]}}
    /// let policy = RolePolicy::new().claim(".realm_access.roles")?.prefer(["app_admin", "app_editor"])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn prefer<I>(mut self, roles: I) -> Result<Self, RoleNameError>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        Arc::make_mut(&mut self.finder).pick.prefer(roles)?;
        Ok(self)
    }

    /// Takes the names in tokens for those of a table, which says the role that each stands for.
    ///
    /// A name that is not in the table names no role, whatever roles there are. The claim may be a list of strings. Where
    /// it has several names that stand for different roles, [`prefer`](Self::prefer) must say which goes first, or the
    /// token is refused. Said twice, the tables add up, and of the same name in both the second counts.
    ///
    /// Defaults to none: what a token names is the role.
    ///
    /// # Errors
    ///
    /// [`RoleNameError`] for the first role that cannot be the name of one.
    ///
    /// # Examples
    ///
    /// ```
    /// use rolescope::RolePolicy;
    ///
    /// // Cognito: {"cognito:groups": ["Editors"]}
    /// let policy = RolePolicy::new()
    ///     .claim("cognito:groups")?
    ///     .map([("Admins", "app_admin"), ("Editors", "app_editor")])?
    ///     .prefer(["app_admin", "app_editor"])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map<I, N, R>(mut self, table: I) -> Result<Self, RoleNameError>
    where
        I: IntoIterator<Item = (N, R)>,
        N: Into<Box<str>>,
        R: AsRef<str>,
    {
        Arc::make_mut(&mut self.finder).pick.map(table)?;
        Ok(self)
    }

    /// As [`map`](Self::map), with a function for the table, which it replaces.
    ///
    /// `None` says that the name stands for no role. What it returns is kept with the token, so it must depend on the name
    /// alone. [`from_fn`](Self::from_fn) is asked for every request, and sees all claims.
    ///
    /// # Examples
    ///
    /// ```
    /// use rolescope::RolePolicy;
    ///
    /// // {"groups": ["team:editors"]} → the role editors
    /// let policy = RolePolicy::new()
    ///     .claim("groups")?
    ///     .map_with(|name| name.strip_prefix("team:").map(str::to_owned));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn map_with(
        mut self,
        role: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Arc::make_mut(&mut self.finder).pick.map_with(role);
        self
    }

    /// Decides by another policy about the tokens of one issuer: those whose verified `iss` is this, to the letter.
    ///
    /// That policy decides alone: nothing of this one applies to them, and what it says of issuers is not looked at. Said
    /// twice of the same issuer, the second counts.
    ///
    /// The verifier must check who issued a token ([`issuer`](crate::auth::jwt::JwtVerifierBuilder::issuer)), as
    /// [`of_issuers`](crate::JwtVerifier::of_issuers) demands: otherwise `iss` is what its signer says, and a policy that
    /// goes by it refuses every token.
    ///
    /// # Examples
    ///
    /// ```
    /// use rolescope::RolePolicy;
    ///
    /// let staff = RolePolicy::new().claim("groups")?.prefer(["app_admin", "app_editor"])?;
    /// let policy = RolePolicy::new()
    ///     .allow(["app_reader"])?
    ///     .for_issuer("https://login.example.com/staff", staff);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn for_issuer(mut self, issuer: impl Into<Box<str>>, policy: Self) -> Self {
        let issuers = Arc::make_mut(self.issuers.get_or_insert_default());
        issuers.insert(issuer.into(), policy);
        self
    }

    /// Accepts from tokens the given roles only.
    ///
    /// Said twice, it accepts both lists; an empty list accepts no role. It does not apply to the anonymous role of a
    /// request without role, nor to the [`authenticated_role`](Self::authenticated_role). Where a token is to name the
    /// anonymous role itself, that has to be in the list.
    ///
    /// Defaults to every role that the database grants to the login role.
    ///
    /// # Errors
    ///
    /// [`RoleNameError`] for the first text that cannot be the name of a role.
    pub fn allow<I>(mut self, roles: I) -> Result<Self, RoleNameError>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let allowed = Arc::make_mut(self.allowed.get_or_insert_default());
        for role in roles {
            allowed.insert(RoleName::parse(role.as_ref())?);
        }
        Ok(self)
    }

    /// Sets the role of callers whose token is valid but names no role.
    ///
    /// Replaces [`refuse_missing_role`](Self::refuse_missing_role). Defaults to the anonymous role.
    ///
    /// # Errors
    ///
    /// [`RoleNameError`] where the text cannot be the name of a role.
    pub fn authenticated_role(mut self, role: &str) -> Result<Self, RoleNameError> {
        self.missing = Missing::Role(RoleName::parse(role)?);
        Ok(self)
    }

    /// Refuses callers whose token is valid but names no role, with [`NoRole`](crate::ErrorKind::NoRole).
    ///
    /// Replaces [`authenticated_role`](Self::authenticated_role). Callers without a token are not concerned.
    #[must_use]
    pub fn refuse_missing_role(mut self) -> Self {
        self.missing = Missing::Refuse;
        self
    }
}

impl Default for RolePolicy {
    /// Returns the same as [`new`](Self::new).
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RolePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut policy = f.debug_struct("RolePolicy");
        match &self.function {
            None => policy.field("claim", &self.finder.path.to_string()),
            Some(_) => policy.field("claim", &format_args!("a function")),
        };
        if !self.finder.pick.is_plain() {
            policy.field("pick", &self.finder.pick);
        }
        policy
            .field("allowed", &self.allowed)
            .field("missing", &self.missing);
        if let Some(issuers) = &self.issuers {
            policy.field("issuers", issuers);
        }
        policy.finish()
    }
}

#[cfg(test)]
mod tests;
