//! What the policies decide.

use super::refusal::{REFUSED, not_a_role};
use super::*;
use crate::auth::Access;
use crate::error::chain;
use crate::error::{Error, ErrorKind};

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
    assert!(
        policy.function.is_none(),
        "these tests cannot make the claims that it wants"
    );
    let anonymous = anonymous.map(name);
    let named = policy.finder.find(json).map_err(not_a_role);
    policy.role(named, anonymous.as_ref(), login)
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
fn of_a_list_the_first_preferred_role_is_taken() {
    let policy = |path: &str| {
        let policy = RolePolicy::new().claim(path).expect("a path");
        let policy = policy.prefer(["app_admin", "app_editor"]).expect("names");
        policy.authenticated_role("member").expect("a name")
    };
    for path in [
        "roles",
        ".roles",
        "$.roles",
        "$['roles']",
        "$.roles[*]",
        "$..roles",
    ] {
        let policy = policy(path);
        for (roles, expected) in [
            (r#"["app_editor","app_admin"]"#, "app_admin"),
            (r#"["offline_access","app_editor"]"#, "app_editor"),
            (r#"["app_editor","app_editor"]"#, "app_editor"),
            (r#"["app\u005feditor"]"#, "app_editor"),
            (r#"["App_Admin","app_admin "]"#, "member"),
            // What no role can be called is ignored like any other name.
            (r#"["","none","app_editor"]"#, "app_editor"),
            (r#"["offline_access"]"#, "member"),
            ("[]", "member"),
        ] {
            assert_role(&policy, &format!(r#"{{"roles":{roles}}}"#), expected);
        }
        assert_role(&policy, "{}", "member");
        for roles in [
            r#"["app_admin",7]"#,
            r#"[["app_admin"]]"#,
            r#"[null]"#,
            r#"[{"app_admin":1}]"#,
        ] {
            if path != "$.roles[*]" || roles != r#"[["app_admin"]]"# {
                assert_refused(&policy, &format!(r#"{{"roles":{roles}}}"#));
            }
        }
        for roles in ["null", "7", "true", "{}"] {
            if path != "$.roles[*]" {
                assert_refused(&policy, &format!(r#"{{"roles":{roles}}}"#));
            }
        }
    }
    assert_role(&policy("roles"), r#"{"roles":"app_editor"}"#, "app_editor");
    let filtered = policy(r#".roles[?(@ ^== "app_")]"#);
    assert_role(
        &filtered,
        r#"{"roles":["app_editor","app_admin"]}"#,
        "app_admin",
    );
    let clients = policy("$.resource_access.*.roles");
    let json = r#"{"resource_access":{"a":{"roles":["app_editor"]},"b":{"roles":["app_admin"]}}}"#;
    assert_role(&clients, json, "app_admin");
}

#[test]
fn several_roles_without_an_order_are_refused() {
    let list = r#"{"role":["web_user"]}"#;
    assert_refused(&RolePolicy::new(), list);
    let policy = RolePolicy::new();
    let policy = policy.map([
        ("Admins", "app_admin"),
        ("Root", "app_admin"),
        ("Editors", "app_editor"),
    ]);
    let policy = policy.expect("names");
    assert_role(
        &policy,
        r#"{"role":["Admins","Root","Staff"]}"#,
        "app_admin",
    );
    let error = assert_refused(&policy, r#"{"role":["Admins","Editors"]}"#);
    assert!(chain(&error).contains("several roles"), "{}", chain(&error));
}

#[test]
fn a_table_says_what_names_stand_for() {
    let policy = RolePolicy::new();
    let policy = policy.map([("Admins", "app_admin"), ("Editors", "app_editor")]);
    let policy = policy.expect("names");
    assert_role(&policy, r#"{"role":"Admins"}"#, "app_admin");
    // Not even a role that there is.
    for json in [
        r#"{"role":"app_admin"}"#,
        r#"{"role":"admins"}"#,
        r#"{"role":""}"#,
        "{}",
    ] {
        assert_role(&policy, json, "anon");
    }
    let ordered = policy
        .clone()
        .prefer(["app_editor", "app_admin"])
        .expect("names");
    assert_role(&ordered, r#"{"role":["Admins","Editors"]}"#, "app_editor");
    let later = policy.map([("Admins", "app_owner")]).expect("names");
    assert_role(&later, r#"{"role":"Admins"}"#, "app_owner");
    assert_role(&later, r#"{"role":"Editors"}"#, "app_editor");
    let bad = RolePolicy::new().map([("Admins", "none")]).err();
    assert_eq!(bad, Some(RoleNameError::MeansLoginRole));
    let bad = RolePolicy::new().prefer(["app_admin", ""]).err();
    assert_eq!(bad, Some(RoleNameError::Empty));
}

#[test]
fn a_function_says_what_names_stand_for() {
    let policy = RolePolicy::new();
    let policy = policy.map_with(|name| name.strip_prefix("team:").map(str::to_owned));
    assert_role(&policy, r#"{"role":["staff","team:editors"]}"#, "editors");
    assert_role(&policy, r#"{"role":"editors"}"#, "anon");
    assert_refused(&policy, r#"{"role":"team:none"}"#);
    assert_refused(&policy, r#"{"role":"team:authenticator"}"#);
    assert_refused(&policy, r#"{"role":["team:a","team:b"]}"#);
}

#[test]
fn what_was_picked_is_checked_like_any_role() {
    let policy = RolePolicy::new().prefer(["authenticator", "app_admin", "app_editor"]);
    let policy = policy
        .expect("names")
        .allow(["app_editor", "authenticator"]);
    let policy = policy.expect("names");
    assert_role(&policy, r#"{"role":["app_editor"]}"#, "app_editor");
    assert_refused(&policy, r#"{"role":["app_editor","app_admin"]}"#);
    assert_refused(&policy, r#"{"role":["app_editor","authenticator"]}"#);
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
    let policy = RolePolicy::new()
        .map([("A", "a")])
        .and_then(|policy| policy.prefer(["a"]));
    let policy = RolePolicy::new().for_issuer("x", policy.expect("names"));
    let shown = format!("{policy:?}");
    let picks = r#"pick: Pick { map: {"A": RoleName("a")}, preferred: [RoleName("a")] }"#;
    assert!(
        shown.contains(picks) && shown.contains(r#"issuers: {"x": "#),
        "{shown}"
    );
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
