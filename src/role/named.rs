//! The role that a token's claims name, found once for each token.

use std::sync::Arc;

use super::name::{RoleName, RoleNameError};
use super::path::{RoleClaimError, RolePath};
use super::pick::Pick;
use crate::auth::jwt::Claims;

/// What the claims name: a role, none, or something that cannot be one.
pub(super) type Named = Result<Option<RoleName>, NoName>;

/// Why what the claims have there is not the name of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoName {
    Claim(RoleClaimError),
    Name(RoleNameError),
    Several,
}

/// How a policy finds the role in the claims.
#[derive(Clone, Default)]
pub(super) struct Finder {
    pub(super) path: RolePath,
    pub(super) pick: Pick,
}

/// What is kept with the claims. It belongs to one finder; another one's policy finds its role by itself.
struct Kept {
    finder: Arc<Finder>,
    named: Named,
}

// The cache of tokens has counted it in.
const _: () = assert!(size_of::<Kept>() + 16 + 63 <= Claims::PREPARED);

/// Returns the role that the claims name.
///
/// The same claims have the same role for ever, so that it is found once. What a policy makes of it is asked each time.
pub(super) fn named(finder: &Arc<Finder>, claims: &Claims) -> Named {
    let kept = claims.prepared(|| Kept {
        finder: finder.clone(),
        named: finder.find(claims.as_json()),
    });
    match kept {
        Some(Kept {
            finder: known,
            named,
        }) if known.is_same(finder) => named.clone(),
        _ => finder.find(claims.as_json()),
    }
}

impl Finder {
    pub(super) fn find(&self, claims: &str) -> Named {
        if self.pick.is_plain() {
            let name = self.path.select(claims).map_err(NoName::Claim)?;
            return self.pick.role(name);
        }
        let names = self.path.select_all(claims).map_err(NoName::Claim)?;
        self.pick.role(names)
    }

    /// Whether another one finds the same: it is this one, or nothing but a path that is written the same.
    fn is_same(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        let plain = || self.pick.is_plain() && other.pick.is_plain();
        Arc::ptr_eq(self, other) || (plain() && self.path.is_same(&other.path))
    }
}

#[cfg(all(test, any(feature = "aws-lc-rs", feature = "rust-crypto")))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::auth::Access;
    use crate::auth::jwt::testing::claims;
    use crate::error::chain;
    use crate::role::RolePolicy;

    fn path(text: &str) -> Arc<Finder> {
        Arc::new(Finder {
            path: RolePath::parse(text).unwrap(),
            pick: Pick::default(),
        })
    }

    #[test]
    fn the_role_is_found_once_for_each_token() {
        let claims = claims(r#"{"role":"web_user"}"#);
        let first = named(&path("role"), &claims).unwrap().unwrap();
        // Another policy with the same path, and a clone of the claims, as the cache returns it.
        let again = named(&Arc::default(), &claims.clone()).unwrap().unwrap();
        assert!(std::ptr::eq(first.as_str(), again.as_str()));
    }

    #[test]
    fn each_path_finds_its_own_role() {
        let json = r#"{"role":"web_user","app":{"role":"editor"},"n":7,"long":"NONE"}"#;
        let paths = ["role", ".app.role", "$['role']", "n", "long", "nothing"].map(path);
        for first in &paths {
            let claims = claims(json);
            assert_eq!(named(first, &claims), first.find(json));
            for path in &paths {
                assert_eq!(
                    named(path, &claims),
                    path.find(json),
                    "{} {}",
                    first.path,
                    path.path
                );
            }
            assert_eq!(named(first, &claims), first.find(json));
        }
    }

    #[test]
    fn what_is_kept_is_one_policys_own() {
        let json = r#"{"groups":["Admins","Editors"],"role":"web_user"}"#;
        let access = Access::verified(claims(json));
        let groups = || RolePolicy::new().claim("groups").unwrap();
        let by_table = |role: &str| groups().map([("Admins", role)]).unwrap();
        let first = by_table("app_admin");
        let policies = [
            (first.clone(), "app_admin"),
            (by_table("app_owner"), "app_owner"),
            (groups().prefer(["Editors", "Admins"]).unwrap(), "Editors"),
            // What is added to a policy after it was asked is another one.
            (first.prefer(["nobody"]).unwrap(), "anon"),
            (RolePolicy::new(), "web_user"),
            (
                groups().map_with(|name| Some(format!("app_{}", name.len() / 6))),
                "app_1",
            ),
        ];
        let anonymous = RoleName::parse("anon").unwrap();
        for _ in 0..2 {
            for (policy, role) in &policies {
                let scope = policy.decide(&access, Some(&anonymous), None).unwrap();
                assert_eq!(scope.role().as_str(), *role, "{policy:?}");
            }
        }
    }

    #[test]
    fn what_a_policy_makes_of_the_role_is_asked_each_time() {
        let claims = claims(r#"{"role":"web_user"}"#);
        let access = Access::verified(claims);
        let decide = |policy: &RolePolicy, login| policy.decide(&access, None, login);
        let open = RolePolicy::new();
        let closed = RolePolicy::new().allow(["editor"]).unwrap();
        for _ in 0..2 {
            assert_eq!(decide(&open, None).unwrap().role().as_str(), "web_user");
            let refused = chain(&decide(&closed, None).unwrap_err());
            assert!(refused.contains("allow-list"), "{refused}");
            let refused = chain(&decide(&open, Some("web_user")).unwrap_err());
            assert!(refused.contains("logs in as"), "{refused}");
        }
    }

    #[test]
    fn a_policys_function_is_asked_for_every_request() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let access = Access::verified(claims(r#"{"role":"web_user"}"#));
        assert!(RolePolicy::new().decide(&access, None, None).is_ok());
        let asked = Arc::new(AtomicU32::new(0));
        let count = asked.clone();
        let policy = RolePolicy::from_fn(move |_| {
            let times = count.fetch_add(1, Ordering::Relaxed);
            Ok(Some(format!("role_{times}")))
        });
        for times in 0..3 {
            let scope = policy.decide(&access, None, None).unwrap();
            assert_eq!(scope.role().as_str(), format!("role_{times}"));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }
}
