//! What to say of each provider. The page "Connect your identity provider" shows the same lines.

use std::collections::BTreeMap;
use std::error::Error;

use rolescope::auth::jwt::{Key, KeyError};
use rolescope::{JwtVerifier, RolePolicy};

pub(super) type SetUp = Result<(JwtVerifier, RolePolicy), Box<dyn Error>>;

#[rustfmt::skip]
pub(super) fn rfc_9068(jwks: &str) -> SetUp {
    let verifier = JwtVerifier::builder().jwks(jwks)?
        .issuer("https://login.example.com").audience("https://api.example.com/todos").access_tokens_only().build()?;
    let roles = RolePolicy::new().claim("groups")?.prefer(["app_admin", "app_editor"])?;
    Ok((verifier, roles))
}

#[rustfmt::skip]
pub(super) fn keycloak(jwks: &str) -> SetUp {
    let verifier = JwtVerifier::builder().jwks(jwks)?
        .issuer("https://login.example.com/realms/app").audience("todos").require_claim_value("typ", "Bearer").build()?;
    let roles = RolePolicy::new().claim(".realm_access.roles")?.prefer(["app_admin", "app_editor"])?;
    Ok((verifier, roles))
}

#[rustfmt::skip]
pub(super) fn keycloak_client_roles(jwks: &str) -> SetUp {
    let (verifier, _) = keycloak(jwks)?;
    let roles = RolePolicy::new().claim(".resource_access.todos.roles")?.prefer(["app_admin", "app_editor"])?;
    Ok((verifier, roles))
}

#[rustfmt::skip]
pub(super) fn auth0(jwks: &str) -> SetUp {
    let verifier = JwtVerifier::builder().jwks(jwks)?
        .issuer("https://example.eu.auth0.com/").audience("https://api.example.com/todos").build()?;
    let roles = RolePolicy::new().claim("https://example.com/roles")?
        .map([("Admins", "app_admin"), ("Editors", "app_editor")])?.prefer(["app_admin", "app_editor"])?;
    Ok((verifier, roles))
}

#[rustfmt::skip]
pub(super) fn cognito(jwks: &str) -> SetUp {
    let verifier = JwtVerifier::builder().jwks(jwks)?
        .issuer("https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_EXAMPLE")
        .require_claim_value("token_use", "access").require_claim_value("client_id", "1example23456789").build()?;
    let roles = RolePolicy::new().claim("cognito:groups")?
        .map([("Admins", "app_admin"), ("Editors", "app_editor")])?.prefer(["app_admin", "app_editor"])?;
    Ok((verifier, roles))
}

#[rustfmt::skip]
pub(super) fn entra_id(jwks: &str) -> SetUp {
    let verifier = JwtVerifier::builder().jwks(jwks)?
        .issuer("https://login.microsoftonline.com/aaaabbbb-0000-cccc-1111-dddd2222eeee/v2.0")
        .issuer("https://sts.windows.net/aaaabbbb-0000-cccc-1111-dddd2222eeee/")
        .audience("00001111-aaaa-2222-bbbb-3333cccc4444").audience("api://00001111-aaaa-2222-bbbb-3333cccc4444")
        .require_claim_value("tid", "aaaabbbb-0000-cccc-1111-dddd2222eeee").build()?;
    let roles = RolePolicy::new().claim("roles")?
        .map([("Todos.Admin", "app_admin"), ("Todos.Editor", "app_editor")])?.prefer(["app_admin", "app_editor"])?;
    Ok((verifier, roles))
}

#[rustfmt::skip]
pub(super) fn google(jwks: &str) -> SetUp {
    let verifier = JwtVerifier::builder().jwks(jwks)?
        .issuer("https://accounts.google.com").issuer("accounts.google.com")
        .audience("1234987819200.apps.googleusercontent.com").require_claim_value("hd", "example.com").build()?;
    let roles = RolePolicy::new().authenticated_role("member")?;
    Ok((verifier, roles))
}

#[rustfmt::skip]
pub(super) fn github_actions(jwks: &str) -> SetUp {
    let verifier = JwtVerifier::builder().jwks(jwks)?
        .issuer("https://token.actions.githubusercontent.com").audience("https://todos.example.com").build()?;
    let roles = RolePolicy::from_fn(|claims| {
        let repository: Option<String> = claims.get("repository")?;
        Ok(match (claims.subject(), repository.as_deref()) {
            (Some("repo:octo-org/todos:ref:refs/heads/main"), _) => Some("deployer".to_owned()),
            (_, Some("octo-org/todos")) => Some("ci".to_owned()),
            _ => None,
        })
    }).refuse_missing_role();
    Ok((verifier, roles))
}

#[rustfmt::skip]
pub(super) fn supabase(jwks: &str) -> SetUp {
    let verifier = JwtVerifier::builder().jwks(jwks)?
        .issuer("https://abcdefghijklmnopqrst.supabase.co/auth/v1").audience("authenticated").build()?;
    let roles = RolePolicy::new().allow(["authenticated"])?;
    Ok((verifier, roles))
}

#[rustfmt::skip]
pub(super) fn supabase_app_metadata(jwks: &str) -> SetUp {
    let (verifier, _) = supabase(jwks)?;
    let roles = RolePolicy::new().claim(".app_metadata.role")?
        .allow(["app_admin", "app_editor"])?.authenticated_role("authenticated")?;
    Ok((verifier, roles))
}

#[rustfmt::skip]
pub(super) fn firebase(certificates: &str) -> SetUp {
    let certificates: BTreeMap<String, String> = serde_json::from_str(certificates)?;
    let keys = certificates.iter().map(|(id, pem)| Ok(Key::from_pem(pem)?.with_id(id)));
    let verifier = JwtVerifier::builder().keys(keys.collect::<Result<Vec<_>, KeyError>>()?)?
        .issuer("https://securetoken.google.com/todos-12345").audience("todos-12345").build()?;
    let roles = RolePolicy::new().allow(["app_editor"])?.authenticated_role("member")?;
    Ok((verifier, roles))
}

#[rustfmt::skip]
pub(super) fn several(staff_jwks: &str, github_jwks: &str) -> SetUp {
    let (staff, staff_roles) = keycloak(staff_jwks)?;
    let (github, github_roles) = github_actions(github_jwks)?;
    let verifier = JwtVerifier::of_issuers([staff, github])?;
    let roles = staff_roles.for_issuer("https://token.actions.githubusercontent.com", github_roles);
    Ok((verifier, roles))
}
