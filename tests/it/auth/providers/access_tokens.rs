//! Access tokens, and those that are nearly as good.

use super::set_up;
use super::*;
use Outcome::Token;
use TokenError as E;

#[tokio::test]
async fn rfc_9068() {
    let provider = Provider::new(set_up::rfc_9068(&jwks(RSA)), Some("at+jwt"));
    let access = json!({
        "iss": "https://login.example.com", "aud": "https://api.example.com/todos", "sub": "5ba552d67",
        "client_id": "s6BhdRkqt3_", "jti": "dbe39bf3a3ba4238a513f51d6e1691c4", "scope": "openid profile todos:read",
        "groups": ["everybody", "app_editor"]
    });
    let id = but(
        &access,
        json!({ "aud": "s6BhdRkqt3_", "client_id": null, "nonce": "n-0S6_WzA2Mj" }),
    );
    provider
        .check(vec![
            ("access token", access.clone(), role("app_editor")),
            (
                "of another service",
                but(&access, json!({ "aud": "https://api.example.com/notes" })),
                Token(E::WrongAudience),
            ),
            (
                "of another issuer",
                but(&access, json!({ "iss": "https://login.example.com/" })),
                Token(E::WrongIssuer),
            ),
            (
                "of no client",
                but(&access, json!({ "client_id": null })),
                Token(E::MissingClaim),
            ),
            (
                "in no group",
                but(&access, json!({ "groups": null })),
                role("anon"),
            ),
        ])
        .await;
    let typed = async |typ, what, claims: &Value| {
        provider
            .check_type(typ, what, claims, Token(E::NotAnAccessToken))
            .await;
    };
    typed(Some("JWT"), "ID token", &id).await;
    typed(None, "ID token without typ", &id).await;
    typed(Some("JWT"), "ID token for the service itself", &access).await;
    typed(Some("logout+jwt"), "logout token", &access).await;
}

#[tokio::test]
async fn keycloak() {
    let realm = Provider::new(set_up::keycloak(&jwks(RSA)), Some("JWT"));
    let client = Provider::new(set_up::keycloak_client_roles(&jwks(RSA)), Some("JWT"));
    let access = json!({
        "iss": "https://login.example.com/realms/app", "aud": ["todos", "account"],
        "sub": "1f1e4bd0-86b8-4d0e-9ed3-1c0d5ab4c9c1", "typ": "Bearer", "azp": "web",
        "sid": "f9c2b5d6-6b2f-4f6f-9d3a-0f1f9f8f7a11", "acr": "1", "jti": "onrtac:2f3d8b6c-40f0-4d92-9c5a-3b7e2c1d0a99",
        "allowed-origins": ["https://app.example.com"],
        "realm_access": { "roles": ["default-roles-app", "offline_access", "uma_authorization", "app_editor"] },
        "resource_access": {
            "todos": { "roles": ["app_admin"] },
            "account": { "roles": ["manage-account", "view-profile"] }
        },
        "scope": "openid email profile", "email_verified": true, "preferred_username": "ann"
    });
    let none = json!({ "roles": ["default-roles-app"] });
    realm
        .check(vec![
            ("access token", access.clone(), role("app_editor")),
            (
                "no role of ours",
                but(&access, json!({ "realm_access": none })),
                role("anon"),
            ),
            (
                "no roles",
                but(&access, json!({ "realm_access": null })),
                role("anon"),
            ),
            (
                "of another service",
                but(&access, json!({ "aud": "account" })),
                Token(E::WrongAudience),
            ),
            (
                "of another realm",
                but(
                    &access,
                    json!({ "iss": "https://login.example.com/realms/master" }),
                ),
                Token(E::WrongIssuer),
            ),
            (
                "ID token",
                but(&access, json!({ "typ": "ID", "aud": "web" })),
                Token(E::WrongAudience),
            ),
            (
                "ID token for the service",
                but(&access, json!({ "typ": "ID", "aud": "todos" })),
                Token(E::WrongClaimValue),
            ),
            (
                "refresh token",
                but(&access, json!({ "typ": "Refresh" })),
                Token(E::WrongClaimValue),
            ),
        ])
        .await;
    let others = json!({ "account": { "roles": ["app_admin"] } });
    client
        .check(vec![
            ("role of the client", access.clone(), role("app_admin")),
            (
                "role of another client",
                but(&access, json!({ "resource_access": others })),
                role("anon"),
            ),
        ])
        .await;
}

#[tokio::test]
async fn auth0() {
    let provider = Provider::new(set_up::auth0(&jwks(RSA)), Some("JWT"));
    let access = json!({
        "iss": "https://example.eu.auth0.com/", "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
        "aud": ["https://api.example.com/todos", "https://example.eu.auth0.com/userinfo"],
        "azp": "my_client_id", "scope": "openid profile todos:write", "permissions": ["todos:write"],
        "https://example.com/roles": ["Editors", "Admins"]
    });
    provider
        .check(vec![
            ("access token", access.clone(), role("app_admin")),
            (
                "one role",
                but(&access, json!({ "https://example.com/roles": ["Editors"] })),
                role("app_editor"),
            ),
            (
                "not the database's name",
                but(
                    &access,
                    json!({ "https://example.com/roles": ["app_admin"] }),
                ),
                role("anon"),
            ),
            (
                "roles that are not namespaced",
                but(
                    &access,
                    json!({ "https://example.com/roles": null, "roles": ["Admins"] }),
                ),
                role("anon"),
            ),
            (
                "of another API",
                but(&access, json!({ "aud": ["https://api.example.com/notes"] })),
                Token(E::WrongAudience),
            ),
            (
                "ID token",
                but(&access, json!({ "aud": "my_client_id", "nonce": "n" })),
                Token(E::WrongAudience),
            ),
            (
                "issuer without its slash",
                but(&access, json!({ "iss": "https://example.eu.auth0.com" })),
                Token(E::WrongIssuer),
            ),
            (
                "of another tenant",
                but(&access, json!({ "iss": "https://other.eu.auth0.com/" })),
                Token(E::WrongIssuer),
            ),
        ])
        .await;
    // The other of the two profiles that an API can choose.
    provider
        .check_type(
            Some("at+jwt"),
            "RFC 9068 profile",
            &access,
            role("app_admin"),
        )
        .await;
}

#[tokio::test]
async fn cognito() {
    let provider = Provider::new(set_up::cognito(&jwks(RSA)), None);
    let access = json!({
        "iss": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_EXAMPLE",
        "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "cognito:groups": ["eu-central-1_EXAMPLE_Google", "Editors"],
        "client_id": "1example23456789", "token_use": "access", "version": 2,
        "origin_jti": "aaaaaaaa-bbbb-cccc-dddd-ffffffffffff", "event_id": "64f513be-32db-42b0-b78e-b02127b4f463",
        "scope": "aws.cognito.signin.user.admin openid", "auth_time": 1676312777,
        "jti": "aaaaaaaa-bbbb-cccc-dddd-aaaaaaaaaaaa", "username": "ann"
    });
    let id = but(
        &access,
        json!({
            "client_id": null, "scope": null, "username": null, "aud": "1example23456789", "token_use": "id",
            "cognito:username": "ann", "email": "ann@example.com"
        }),
    );
    provider
        .check(vec![
            ("access token", access.clone(), role("app_editor")),
            ("in no group", but(&access, json!({ "cognito:groups": null })), role("anon")),
            ("ID token", id.clone(), Token(E::UnexpectedAudience)),
            ("token_use of an ID token", but(&access, json!({ "token_use": "id" })), Token(E::WrongClaimValue)),
            ("of another app client", but(&access, json!({ "client_id": "2example23456789" })), Token(E::WrongClaimValue)),
            ("of no app client", but(&access, json!({ "client_id": null })), Token(E::MissingClaim)),
            ("of another pool", but(&access, json!({ "iss": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_OTHER" })), Token(E::WrongIssuer)),
        ])
        .await;
}

#[tokio::test]
async fn entra_id() {
    let provider = Provider::new(set_up::entra_id(&jwks(RSA)), Some("JWT"));
    let (tenant, other) = (
        "aaaabbbb-0000-cccc-1111-dddd2222eeee",
        "bbbbcccc-1111-dddd-2222-eeee3333ffff",
    );
    let v2 = json!({
        "iss": format!("https://login.microsoftonline.com/{tenant}/v2.0"), "aud": "00001111-aaaa-2222-bbbb-3333cccc4444",
        "tid": tenant, "oid": "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb", "sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ",
        "azp": "11112222-bbbb-3333-cccc-4444dddd5555", "azpacr": "0", "name": "Ann", "preferred_username": "ann@example.com",
        "roles": ["Todos.Editor"], "scp": "todos.read todos.write", "ver": "2.0", "uti": "Fj-uLnUwTUKvdgo3WxwLAQ"
    });
    let v1 = but(
        &v2,
        json!({
            "iss": format!("https://sts.windows.net/{tenant}/"), "aud": "api://00001111-aaaa-2222-bbbb-3333cccc4444",
            "azp": null, "azpacr": null, "appid": "11112222-bbbb-3333-cccc-4444dddd5555", "appidacr": "0", "ver": "1.0",
            "roles": ["Todos.Admin", "Todos.Editor"]
        }),
    );
    let of_other = format!("https://login.microsoftonline.com/{other}/v2.0");
    provider
        .check(vec![
            ("v2 access token", v2.clone(), role("app_editor")),
            ("v1 access token", v1, role("app_admin")),
            (
                "of no app role",
                but(&v2, json!({ "roles": null })),
                role("anon"),
            ),
            (
                "of another tenant",
                but(&v2, json!({ "iss": of_other, "tid": other })),
                Token(E::WrongIssuer),
            ),
            (
                "of two tenants",
                but(&v2, json!({ "tid": other })),
                Token(E::WrongClaimValue),
            ),
            (
                "of no tenant",
                but(&v2, json!({ "tid": null })),
                Token(E::MissingClaim),
            ),
            (
                "for Microsoft Graph",
                but(
                    &v2,
                    json!({ "aud": "00000003-0000-0000-c000-000000000000" }),
                ),
                Token(E::WrongAudience),
            ),
            (
                "ID token of the client",
                but(
                    &v2,
                    json!({ "aud": "11112222-bbbb-3333-cccc-4444dddd5555", "scp": null }),
                ),
                Token(E::WrongAudience),
            ),
            (
                "issuer as the shared metadata has it",
                but(
                    &v2,
                    json!({ "iss": "https://login.microsoftonline.com/{tenantid}/v2.0" }),
                ),
                Token(E::WrongIssuer),
            ),
        ])
        .await;
}
