//! The rules that make a role out of a request's claims.

use std::collections::HashSet;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use super::name::{RoleName, RoleNameError};
use super::named::{NoName, named};
use super::path::{RoleClaimError, RolePath, RolePathError};
use super::scope::RoleScope;
use crate::auth::Access;
use crate::auth::jwt::Claims;
use crate::error::{Error, ErrorKind};

/// All that a client learns, so that it cannot find out which roles exist.
const REFUSED: &str = "the token's role is not accepted here";

type BoxError = Box<dyn StdError + Send + Sync>;
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
/// otherwise. What it names must be a string and a good [`RoleName`], it must not be the role that the service logs in
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
    claim: Claim,
    allowed: Option<Arc<HashSet<RoleName>>>,
    missing: Missing,
}

#[derive(Clone)]
enum Claim {
    Path(Arc<RolePath>),
    Fn(Arc<ClaimFn>),
}

#[derive(Clone, Debug)]
enum Missing {
    Anonymous,
    Role(RoleName),
    Refuse,
}

/// Why a role was refused: for the operator only.
#[derive(Debug, PartialEq)]
enum Refusal {
    NotAName(RoleNameError),
    LoginRole(RoleName),
    NotAllowed(RoleName),
}

/// Why there is no role to run as: for the operator only.
#[derive(Debug, PartialEq)]
enum NoRole {
    Anonymous,
    InToken,
}

impl RolePolicy {
    /// Makes the policy of the table above: the claim `role`, every role that the database grants, and the anonymous
    /// role for tokens that name none.
    pub fn new() -> Self {
        Self {
            claim: Claim::Path(Arc::default()),
            allowed: None,
            missing: Missing::Anonymous,
        }
    }

    /// Makes a policy that asks a function for the role that a token names.
    ///
    /// `Ok(None)` says that the token names no role. An error refuses the token; its text reaches the operator as the
    /// source of the [`Error`], never the client. The role is checked like one from a claim. The function runs for
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
            claim: Claim::Fn(Arc::new(role)),
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
        self.claim = Claim::Path(Arc::new(RolePath::parse(path)?));
        Ok(self)
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

    /// Refuses callers whose token is valid but names no role, with [`ErrorKind::NoRole`].
    ///
    /// Replaces [`authenticated_role`](Self::authenticated_role). Callers without a token are not concerned.
    #[must_use]
    pub fn refuse_missing_role(mut self) -> Self {
        self.missing = Missing::Refuse;
        self
    }

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
                let role = self.role(self.named(claims), anonymous, login)?;
                Ok(RoleScope::for_token(role, claims))
            }
        }
    }

    fn named(&self, claims: &Claims) -> Result<Option<RoleName>, BoxError> {
        match &self.claim {
            Claim::Path(path) => named(path, claims).map_err(not_a_role),
            Claim::Fn(role) => {
                let name = role(claims)?.map(|name| RoleName::parse(&name));
                Ok(name.transpose().map_err(Refusal::NotAName)?)
            }
        }
    }

    /// The decision about a token, given what it names.
    fn role(
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

fn not_a_role(reason: NoName) -> BoxError {
    match reason {
        NoName::Claim(reason) => reason.into(),
        NoName::Name(reason) => Refusal::NotAName(reason).into(),
    }
}

/// The one error for every role that is not accepted, so that no answer differs from another by its reason.
pub(crate) fn role_refused(source: impl Into<BoxError>) -> Error {
    let source = source.into();
    Error::with_reason(
        ErrorKind::RoleRefused,
        REFUSED,
        refusal_reason(&*source),
        source,
    )
}

/// As [`role_refused`], where the database says why.
#[cfg(feature = "postgres")]
pub(crate) fn role_refused_by_database(
    reason: &'static str,
    source: tokio_postgres::Error,
) -> Error {
    Error::with_reason(ErrorKind::RoleRefused, REFUSED, reason, source)
}

/// Why a role was refused, for the log: without the role's name, which is a claim.
fn refusal_reason(source: &(dyn StdError + 'static)) -> &'static str {
    if let Some(refusal) = source.downcast_ref::<Refusal>() {
        return match refusal {
            Refusal::NotAName(_) => "what the token names cannot be a role",
            Refusal::LoginRole(_) => {
                "it is the role that the service logs in as: no request runs as it"
            }
            Refusal::NotAllowed(_) => {
                "it is not in the policy's allow-list: add it to RolePolicy::allow if tokens may name it"
            }
        };
    }
    if source.is::<RoleClaimError>() {
        return "the token's role claim is not a string";
    }
    "the policy's function refused"
}

/// Lets no role pass that is the one that the service logs in as.
pub(crate) fn not_login(role: RoleName, login: Option<&str>) -> Result<RoleName, Error> {
    if login == Some(role.as_str()) {
        Err(role_refused(Refusal::LoginRole(role)))
    } else {
        Ok(role)
    }
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

fn no_role(reason: NoRole) -> Error {
    let text = reason.as_str();
    Error::with_reason(ErrorKind::NoRole, "the token names no role", text, reason)
}

impl Default for RolePolicy {
    /// Returns the same as [`new`](Self::new).
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RolePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RolePolicy")
            .field("claim", &self.claim)
            .field("allowed", &self.allowed)
            .field("missing", &self.missing)
            .finish()
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{:?}", path.to_string()),
            Self::Fn(_) => f.write_str("a function"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAName(_) => f.write_str("what the token names cannot be a role"),
            Self::LoginRole(role) => write!(
                f,
                "{:?} is the role that the service logs in as, no request runs as it: name another one",
                role.as_str()
            ),
            Self::NotAllowed(role) => write!(
                f,
                "{:?} is not in the policy's allow-list: add it to RolePolicy::allow if tokens may name it",
                role.as_str()
            ),
        }
    }
}

impl StdError for Refusal {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::NotAName(reason) => Some(reason),
            Self::LoginRole(_) | Self::NotAllowed(_) => None,
        }
    }
}

impl NoRole {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Anonymous => {
                "there is no anonymous role: set one on the pool if requests without a token are to be served"
            }
            Self::InToken => {
                "there is nothing at the policy's claim: let the issuer write it, correct RolePolicy::claim, or set RolePolicy::authenticated_role or an anonymous role"
            }
        }
    }
}

impl fmt::Display for NoRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl StdError for NoRole {}

#[cfg(test)]
mod tests {
    use super::super::named::find;
    use super::*;
    use crate::error::chain;

    fn name(role: &str) -> RoleName {
        RoleName::parse(role).expect("a role name")
    }

    /// What `decide` does with a verified token whose claims are `json`.
    fn role(
        policy: &RolePolicy,
        json: &str,
        anonymous: Option<&str>,
        login: Option<&str>,
    ) -> Result<RoleName, Error> {
        let Claim::Path(path) = &policy.claim else {
            panic!("these tests cannot make the claims that a function wants");
        };
        let anonymous = anonymous.map(name);
        policy.role(
            find(path, json).map_err(not_a_role),
            anonymous.as_ref(),
            login,
        )
    }

    #[track_caller]
    fn assert_role(policy: &RolePolicy, json: &str, expected: &str) {
        match role(policy, json, Some("anon"), Some("authenticator")) {
            Ok(role) => assert_eq!(role.as_str(), expected, "{json}"),
            Err(error) => panic!("{json}: {}", chain(&error)),
        }
    }

    #[track_caller]
    fn assert_refused(policy: &RolePolicy, json: &str) -> Error {
        let error = role(policy, json, Some("anon"), Some("authenticator")).expect_err(json);
        assert_eq!(error.kind(), ErrorKind::RoleRefused, "{json}");
        error
    }

    #[test]
    fn the_claimed_role_is_taken() {
        let policy = RolePolicy::new();
        assert_role(&policy, r#"{"role":"web_user"}"#, "web_user");
        assert_role(&policy, r#"{"role":"anon"}"#, "anon");
        assert_role(&policy, r#"{"sub":"1","role":"o'neill"}"#, "o'neill");
    }

    #[test]
    fn a_token_without_role_runs_as_the_anonymous_role_unless_said_otherwise() {
        let token = r#"{"sub":"1"}"#;
        assert_role(&RolePolicy::new(), token, "anon");
        let policy = RolePolicy::new()
            .authenticated_role("member")
            .expect("a name");
        assert_role(&policy, token, "member");
        assert_role(&policy, r#"{"role":"web_user"}"#, "web_user");
        let policy = policy.refuse_missing_role();
        let error = role(&policy, token, Some("anon"), None).expect_err("no role");
        assert_eq!(error.kind(), ErrorKind::NoRole);
        assert_role(&policy, r#"{"role":"web_user"}"#, "web_user");
    }

    #[test]
    fn a_token_without_role_is_refused_where_there_is_no_anonymous_role() {
        let token = r#"{"sub":"1"}"#;
        let error = role(&RolePolicy::new(), token, None, None).expect_err("no role");
        assert_eq!(error.kind(), ErrorKind::NoRole);
        let policy = RolePolicy::new()
            .authenticated_role("member")
            .expect("a name");
        assert_eq!(
            role(&policy, token, None, None).expect("a role"),
            name("member")
        );
    }

    #[test]
    fn every_refusal_looks_the_same_to_the_client() {
        let policy = RolePolicy::new().allow(["web_user"]).expect("names");
        let long = format!(r#"{{"role":"{}"}}"#, "r".repeat(64));
        let mut reasons = HashSet::new();
        for json in [
            r#"{"role":""}"#,
            r#"{"role":"None"}"#,
            r#"{"role":"web\u0000user"}"#,
            long.as_str(),
            r#"{"role":"admin"}"#,
            r#"{"role":null}"#,
            r#"{"role":7}"#,
            r#"{"role":["web_user"]}"#,
            r#"{"role":{"web_user":true}}"#,
            r#"{"role":true}"#,
            r#"{"role":"web_user","role":"web_user"}"#,
        ] {
            let error = assert_refused(&policy, json);
            assert_eq!(error.to_string(), REFUSED);
            let body = serde_json::to_string(&error.answer().body).expect("a body");
            assert_eq!(
                body,
                format!(
                    r#"{{"code":"role_refused","message":"{REFUSED}","details":null,"hint":null}}"#
                )
            );
            reasons.insert(chain(&error));
        }
        assert_eq!(
            reasons.len(),
            11,
            "the operator can tell them apart: {reasons:#?}"
        );
    }

    #[test]
    fn nobody_becomes_the_login_role() {
        let authenticator = r#"{"role":"authenticator"}"#;
        let error = assert_refused(&RolePolicy::new(), authenticator);
        assert!(chain(&error).contains("logs in as"), "{}", chain(&error));
        let allowing = RolePolicy::new().allow(["authenticator"]).expect("names");
        assert_refused(&allowing, authenticator);
        let default = RolePolicy::new().authenticated_role("authenticator");
        assert_refused(&default.expect("a name"), "{}");

        let anonymous = name("authenticator");
        for token_sent in [false, true] {
            let error = RolePolicy::new()
                .decide(
                    &Access::anonymous(token_sent),
                    Some(&anonymous),
                    Some("authenticator"),
                )
                .expect_err("the login role");
            assert_eq!(error.kind(), ErrorKind::RoleRefused);
        }
    }

    #[test]
    fn the_allow_list_is_for_roles_from_tokens_only() {
        let policy = RolePolicy::new()
            .allow(["web_user"])
            .and_then(|policy| policy.allow([name("editor")]))
            .expect("names");
        assert_role(&policy, r#"{"role":"web_user"}"#, "web_user");
        assert_role(&policy, r#"{"role":"editor"}"#, "editor");
        assert_role(&policy, "{}", "anon");
        let member = policy.clone().authenticated_role("member").expect("a name");
        assert_role(&member, "{}", "member");
        for json in [
            r#"{"role":"Web_User"}"#,
            r#"{"role":"anon"}"#,
            r#"{"role":"member"}"#,
        ] {
            assert_refused(&policy, json);
            assert_refused(&member, json);
        }
        let scope = policy.decide(&Access::anonymous(false), Some(&name("anon")), None);
        assert_eq!(scope.expect("a scope").role(), &name("anon"));
    }

    #[test]
    fn an_empty_allow_list_accepts_no_role() {
        let policy = RolePolicy::new().allow([""; 0]).expect("names");
        assert_refused(&policy, r#"{"role":"web_user"}"#);
    }

    #[test]
    fn an_allow_list_with_a_bad_name_is_not_built() {
        let error = RolePolicy::new().allow(["web_user", "none"]).err();
        assert_eq!(error, Some(RoleNameError::MeansLoginRole));
    }

    #[test]
    fn the_role_may_stand_deep_in_the_claims() {
        let policy = RolePolicy::new()
            .claim(".realm_access.roles[0]")
            .expect("a path");
        assert_role(
            &policy,
            r#"{"realm_access":{"roles":["editor"]}}"#,
            "editor",
        );
        assert_role(&policy, r#"{"role":"editor"}"#, "anon");
        assert_refused(&policy, r#"{"realm_access":{"roles":[["editor"]]}}"#);
    }

    #[test]
    fn an_error_of_the_users_function_reaches_the_operator_only() {
        let error = RolePolicy::new()
            .role(
                Err("tenant 17 is suspended".into()),
                Some(&name("anon")),
                None,
            )
            .expect_err("an error");
        assert_eq!(error.kind(), ErrorKind::RoleRefused);
        assert_eq!(error.to_string(), REFUSED);
        assert!(chain(&error).ends_with("tenant 17 is suspended"));
    }

    #[test]
    fn a_request_without_token_runs_as_the_anonymous_role() {
        for policy in [
            RolePolicy::new(),
            RolePolicy::new().refuse_missing_role(),
            RolePolicy::new()
                .authenticated_role("member")
                .expect("a name"),
        ] {
            for token_sent in [false, true] {
                let scope = policy
                    .decide(
                        &Access::anonymous(token_sent),
                        Some(&name("anon")),
                        Some("authenticator"),
                    )
                    .expect("a scope");
                assert_eq!(scope.role(), &name("anon"));
                assert_eq!(scope.claims_json(), r#"{"role":"anon"}"#);
                assert_eq!(scope.token_sent(), token_sent);
                assert!(scope.claims().is_none());
            }
        }
    }

    #[test]
    fn a_request_without_token_is_refused_where_there_is_no_anonymous_role() {
        let policy = RolePolicy::new()
            .authenticated_role("member")
            .expect("a name");
        let error = policy
            .decide(&Access::anonymous(false), None, Some("authenticator"))
            .expect_err("no role");
        assert_eq!(error.kind(), ErrorKind::MissingToken);
        assert_eq!(error.to_string(), "a valid token is needed here");
    }

    #[test]
    fn debug_shows_the_rules() {
        let policy = RolePolicy::new().allow(["web_user"]).expect("names");
        assert_eq!(
            format!("{policy:?}"),
            r#"RolePolicy { claim: "role", allowed: Some({RoleName("web_user")}), missing: Anonymous }"#
        );
        let policy = RolePolicy::from_fn(|_| Ok(None));
        assert!(format!("{policy:?}").starts_with("RolePolicy { claim: a function,"));
    }

    #[cfg(any(feature = "aws-lc-rs", feature = "rust-crypto"))]
    #[test]
    fn a_verified_token_runs_as_its_role_with_its_claims_as_signed() {
        let json = r#"{"role":"web_user", "n":18446744073709551617}"#;
        let access = Access::verified(crate::auth::jwt::testing::claims(json));
        let scope = RolePolicy::new().decide(&access, None, Some("authenticator"));
        let scope = scope.expect("the role is accepted");
        assert_eq!(scope.role().as_str(), "web_user");
        assert_eq!(scope.claims_json(), json);
        assert!(scope.claims().is_some() && scope.token_sent());

        let asked = RolePolicy::from_fn(|claims| Ok(claims.raw("n").map(|n| format!("n_{n}"))));
        let scope = asked.decide(&access, None, None).expect("it is accepted");
        assert_eq!(scope.role().as_str(), "n_18446744073709551617");
    }
}
