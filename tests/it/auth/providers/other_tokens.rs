//! Tokens that are no access tokens by name, and those that are nearly as good.

use super::set_up::{self, SetUp};
use super::*;
use Outcome::{Refused, Token};
use TokenError as E;

#[tokio::test]
async fn google() {
    let provider = Provider::new(set_up::google(&jwks(RSA)), Some("JWT"));
    let id = json!({
        "iss": "https://accounts.google.com", "azp": "1234987819200.apps.googleusercontent.com",
        "aud": "1234987819200.apps.googleusercontent.com", "sub": "10769150350006150715113082367",
        "at_hash": "HK6E_P6Dh8Y93mRNtsDB1Q", "hd": "example.com", "email": "ann@example.com", "email_verified": true,
        "nonce": "0394852-3190485-2490358"
    });
    provider
        .check(vec![
            ("ID token", id.clone(), role("member")),
            (
                "the older issuer",
                but(&id, json!({ "iss": "accounts.google.com" })),
                role("member"),
            ),
            (
                "of another domain",
                but(&id, json!({ "hd": "example.org" })),
                Token(E::WrongClaimValue),
            ),
            (
                "of no domain, whatever the address",
                but(&id, json!({ "hd": null })),
                Token(E::MissingClaim),
            ),
            (
                "of another app",
                but(
                    &id,
                    json!({ "aud": "407408718192.apps.googleusercontent.com" }),
                ),
                Token(E::WrongAudience),
            ),
        ])
        .await;
}

#[tokio::test]
async fn github_actions() {
    let provider = Provider::new(set_up::github_actions(&jwks(RSA)), Some("JWT"));
    let main = json!({
        "iss": "https://token.actions.githubusercontent.com", "aud": "https://todos.example.com",
        "sub": "repo:octo-org/todos:ref:refs/heads/main", "jti": "example-id", "ref": "refs/heads/main",
        "ref_type": "branch", "sha": "c040cae0f0dc81641728557b80f09cfa23b83fe5", "repository": "octo-org/todos",
        "repository_id": "74", "repository_owner": "octo-org", "repository_owner_id": "65",
        "repository_visibility": "private", "run_id": "3", "run_number": "10", "run_attempt": "2", "actor": "octocat",
        "actor_id": "12", "workflow": "deploy", "head_ref": "", "base_ref": "", "event_name": "push",
        "job_workflow_ref": "octo-org/todos/.github/workflows/deploy.yml@refs/heads/main",
        "runner_environment": "github-hosted"
    });
    let pull = json!({ "sub": "repo:octo-org/todos:pull_request", "ref": "refs/pull/7/merge", "event_name": "pull_request" });
    let fork =
        json!({ "sub": "repo:mallory/todos:ref:refs/heads/main", "repository": "mallory/todos" });
    let longer = json!({ "sub": "repo:octo-org/todos-x:ref:refs/heads/main", "repository": "octo-org/todos-x" });
    provider
        .check(vec![
            ("push to main", main.clone(), role("deployer")),
            ("pull request", but(&main, pull), role("ci")),
            ("of a fork", but(&main, fork), Refused(ErrorKind::NoRole)),
            (
                "of a repository with a longer name",
                but(&main, longer),
                Refused(ErrorKind::NoRole),
            ),
            (
                "with the default audience",
                but(&main, json!({ "aud": "https://github.com/octo-org" })),
                Token(E::WrongAudience),
            ),
            (
                "of an enterprise's own issuer",
                but(
                    &main,
                    json!({ "iss": "https://token.actions.githubusercontent.com/octo" }),
                ),
                Token(E::WrongIssuer),
            ),
            (
                "with a repository that is no text",
                but(&main, json!({ "repository": 74 })),
                Refused(ErrorKind::RoleRefused),
            ),
        ])
        .await;
}

#[tokio::test]
async fn supabase() {
    let es256 = |set_up: SetUp| Provider {
        pair: P256,
        ..Provider::new(set_up, Some("JWT"))
    };
    let plain = es256(set_up::supabase(&jwks(P256)));
    let by_metadata = es256(set_up::supabase_app_metadata(&jwks(P256)));
    let user = json!({
        "iss": "https://abcdefghijklmnopqrst.supabase.co/auth/v1", "aud": "authenticated", "role": "authenticated",
        "sub": "6c2b2a57-3e6e-4d7f-9f6c-0f6e1f1f4c11", "email": "ann@example.com", "phone": "", "aal": "aal1",
        "amr": [{ "method": "password", "timestamp": 1700000000 }], "is_anonymous": false,
        "session_id": "f36e7d0c-8d7c-4a35-95a2-04d43b1ab0d7",
        "app_metadata": { "provider": "email", "providers": ["email"] }, "user_metadata": { "role": "app_admin" }
    });
    let keys =
        |name: &str| json!({ "iss": "supabase", "ref": "abcdefghijklmnopqrst", "role": name });
    let editor = json!({ "provider": "email", "role": "app_editor" });
    let service = json!({ "provider": "email", "role": "service_role" });
    plain
        .check(vec![
            ("user", user.clone(), role("authenticated")),
            (
                "the project's anon key",
                keys("anon"),
                Token(E::MissingAudience),
            ),
            (
                "the project's service key",
                keys("service_role"),
                Token(E::MissingAudience),
            ),
            (
                "a user with another role",
                but(&user, json!({ "role": "service_role" })),
                Refused(ErrorKind::RoleRefused),
            ),
            (
                "of another project",
                but(
                    &user,
                    json!({ "iss": "https://tsrqponmlkjihgfedcba.supabase.co/auth/v1" }),
                ),
                Token(E::WrongIssuer),
            ),
            (
                "for another audience",
                but(&user, json!({ "aud": "anon" })),
                Token(E::WrongAudience),
            ),
        ])
        .await;
    by_metadata
        .check(vec![
            // What users write themselves is in `user_metadata`.
            ("user", user.clone(), role("authenticated")),
            (
                "editor",
                but(&user, json!({ "app_metadata": editor })),
                role("app_editor"),
            ),
            (
                "a role that is not ours",
                but(&user, json!({ "app_metadata": service })),
                Refused(ErrorKind::RoleRefused),
            ),
        ])
        .await;
}

#[tokio::test]
async fn firebase() {
    let certificate = include_str!("../../keys/rsa2048.certificate.pem");
    let certificates = json!({ "key-1": certificate }).to_string();
    let provider = Provider::new(set_up::firebase(&certificates), Some("JWT"));
    let user = json!({
        "iss": "https://securetoken.google.com/todos-12345", "aud": "todos-12345", "auth_time": 1700000000,
        "user_id": "iZ0vUGfXuQVfy1y9yYqZpHkKx6s1", "sub": "iZ0vUGfXuQVfy1y9yYqZpHkKx6s1", "email": "ann@example.com",
        "email_verified": true, "role": "app_editor",
        "firebase": { "identities": { "email": ["ann@example.com"] }, "sign_in_provider": "password" }
    });
    let session = json!({ "iss": "https://session.firebase.google.com/todos-12345" });
    provider
        .check(vec![
            ("user with a custom claim", user.clone(), role("app_editor")),
            (
                "user without",
                but(&user, json!({ "role": null })),
                role("member"),
            ),
            (
                "another role",
                but(&user, json!({ "role": "postgres" })),
                Refused(ErrorKind::RoleRefused),
            ),
            (
                "of another project",
                but(&user, json!({ "aud": "other-12345" })),
                Token(E::WrongAudience),
            ),
            (
                "of another project's issuer",
                but(
                    &user,
                    json!({ "iss": "https://securetoken.google.com/other-12345" }),
                ),
                Token(E::WrongIssuer),
            ),
            ("session cookie", but(&user, session), Token(E::WrongIssuer)),
        ])
        .await;
}

#[tokio::test]
async fn several_issuers_have_a_policy_each() {
    let (verifier, policy) = set_up::several(&jwks(RSA), &jwks(P256)).unwrap();
    let staff = json!({
        "iss": "https://login.example.com/realms/app", "aud": "todos", "typ": "Bearer",
        "realm_access": { "roles": ["app_admin"] }, "sub": "ann"
    });
    let github = json!({
        "iss": "https://token.actions.githubusercontent.com", "aud": "https://todos.example.com",
        "sub": "repo:octo-org/todos:ref:refs/heads/main", "repository": "octo-org/todos",
        "realm_access": { "roles": ["app_admin"] }
    });
    let stranger =
        json!({ "sub": "repo:mallory/x:ref:refs/heads/main", "repository": "mallory/x" });
    for (pair, claims, expected) in [
        (RSA, staff.clone(), role("app_admin")),
        (P256, github.clone(), role("deployer")),
        // Nothing of the outer policy applies: not its claim, nor its anonymous role.
        (P256, but(&github, stranger), Refused(ErrorKind::NoRole)),
        (P256, staff, Token(E::AlgorithmNotAllowed)),
        (RSA, github.clone(), Token(E::AlgorithmNotAllowed)),
    ] {
        let token = signed(pair, Some("JWT"), &claims);
        for _ in 0..2 {
            assert_eq!(
                outcome(&verifier, &policy, &token).await,
                expected,
                "{claims}"
            );
        }
    }
    // Where nobody checks `iss`, whoever signs could choose the policy.
    let open = JwtVerifier::builder().jwks(&jwks(P256)).unwrap();
    let open = open.audience("https://todos.example.com").build().unwrap();
    let token = signed(P256, None, &github);
    assert_eq!(
        outcome(&open, &policy, &token).await,
        Refused(ErrorKind::RoleRefused)
    );
    let plain = RolePolicy::new();
    assert_eq!(outcome(&open, &plain, &token).await, role("anon"));
}
