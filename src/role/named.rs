//! The role that a token's claims name, found once for each token.

use std::sync::Arc;

use super::name::{RoleName, RoleNameError};
use super::path::{RoleClaimError, RolePath};
use crate::auth::jwt::Claims;

/// What a path leads to: a role, none, or something that cannot be one.
pub(super) type Named = Result<Option<RoleName>, NoName>;

/// Why what the claims have there is not the name of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoName {
    Claim(RoleClaimError),
    Name(RoleNameError),
}

/// What is kept with the claims. It belongs to one path; another one's policy finds its role by itself.
struct Kept {
    path: Arc<RolePath>,
    named: Named,
}

// The cache of tokens has counted it in.
const _: () = assert!(size_of::<Kept>() + 16 + 63 <= Claims::PREPARED);

/// Returns the role that the claims have at a path.
///
/// The same claims have the same role for ever, so that it is found once. What a policy makes of it is asked each time.
pub(super) fn named(path: &Arc<RolePath>, claims: &Claims) -> Named {
    let kept = claims.prepared(|| Kept {
        path: path.clone(),
        named: find(path, claims.as_json()),
    });
    match kept {
        Some(Kept { path: known, named }) if known.is_same(path) => named.clone(),
        _ => find(path, claims.as_json()),
    }
}

pub(super) fn find(path: &RolePath, claims: &str) -> Named {
    let name = path.select(claims).map_err(NoName::Claim)?;
    let name = name.map(|name| RoleName::parse(&name));
    name.transpose().map_err(NoName::Name)
}

#[cfg(all(test, any(feature = "aws-lc-rs", feature = "rust-crypto")))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::auth::Access;
    use crate::auth::jwt::testing::claims;
    use crate::error::chain;
    use crate::role::RolePolicy;

    fn path(text: &str) -> Arc<RolePath> {
        Arc::new(RolePath::parse(text).unwrap())
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
            assert_eq!(named(first, &claims), find(first, json));
            for path in &paths {
                assert_eq!(named(path, &claims), find(path, json), "{first} {path}");
            }
            assert_eq!(named(first, &claims), find(first, json));
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
