//! Role names of every odd kind, where the database has the last word.

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use rolescope::{Error, RoleScopedConnection};

use crate::support;
use crate::support::service;

/// Roles belong to the whole server: these are of this test alone.
const ROLES: &str = r#"
    CREATE ROLE "abuse_é"; CREATE ROLE "abuse Ünï cödé 役割"; CREATE ROLE "abuse""quoted""";
    CREATE ROLE "abuse'; DROP ROLE anon --"; CREATE ROLE "Abuse_Case"; CREATE ROLE "abuse_none ";
    CREATE ROLE "abuse_63_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"; CREATE ROLE "abuse\u0000";
    CREATE ROLE "abuse_not_granted"; CREATE ROLE abuse_super SUPERUSER;
    GRANT "abuse_é", "abuse Ünï cödé 役割", "abuse""quoted""", "abuse'; DROP ROLE anon --", "Abuse_Case", "abuse_none ",
        "abuse_63_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "abuse\u0000" TO authenticator;
"#;

#[tokio::test]
async fn a_role_is_the_one_of_exactly_that_name_or_none() {
    let database = support::database().await;
    database.execute(ROLES).await;
    let pool = database.pool().await;
    let handler = async |db: RoleScopedConnection| -> Result<String, Error> {
        db.query_one_scalar("SELECT current_user::text", &[]).await
    };
    let app = service::service(&pool, Router::new().route("/", get(handler)));
    let longest = format!("abuse_63_{}", "a".repeat(54));
    assert_eq!(longest.len(), 63);
    let quoted = |name: &str| serde_json::Value::from(name).to_string();

    // What a role may be called, and is.
    for name in [
        "web_user",
        "abuse_é",
        "abuse Ünï cödé 役割",
        "abuse\"quoted\"",
        "abuse'; DROP ROLE anon --",
        "Abuse_Case",
        "abuse_none ",
        "abuse\\u0000",
        &longest,
    ] {
        let reply = service::get(&app, "/", Some(&format!(r#"{{"role":{}}}"#, quoted(name)))).await;
        assert_eq!(reply.ok(), name);
    }
    let escaped = r#"{"role":"\u0077eb_user"}"#;
    assert_eq!(
        service::get(&app, "/", Some(escaped)).await.ok(),
        "web_user"
    );

    let mut refusals = Vec::new();
    let names = [
        // Not the same text as a role's name: the other Unicode form, case, space, quotes, more or less of it.
        "abuse_e\u{301}",
        "ABUSE_É",
        "abuse_case",
        "ABUSE_CASE",
        "Web_User",
        "web_user ",
        " web_user",
        "\tweb_user",
        "web_user\n",
        "web_user\u{200b}",
        "\u{feff}web_user",
        "ｗeb_user",
        "wеb_user",
        "\"web_user\"",
        "'web_user'",
        "web_user;",
        "web_user--",
        "web_user, anon",
        "public.web_user",
        "web_use",
        "web_users",
        &format!("{longest}a"),
        &format!("{longest}aaaaaaaaaaaaaaaa"),
        &longest[..62],
        &"r".repeat(16 * 100),
        // What the switch or PostgreSQL gives a meaning of its own to.
        "",
        "none",
        "NONE",
        "None",
        "nOnE",
        "\"none\"",
        "default",
        "DEFAULT",
        "reset",
        "current_user",
        "session_user",
        "current_role",
        "user",
        "public",
        "PUBLIC",
        "0",
        "10",
        "-1",
        "%",
        "_",
        "*",
        ".",
        "$user",
        "\\",
        "\"",
        "'",
        "--",
        "; RESET ROLE",
        // Whom the service is, or must never be.
        "authenticator",
        "postgres",
        "abuse_super",
        "abuse_not_granted",
        "not_granted",
        "pg_read_all_data",
        "pg_write_all_data",
        "pg_signal_backend",
        "pg_database_owner",
        "pg_execute_server_program",
    ];
    for name in names {
        let claims = format!(r#"{{"role":{}}}"#, quoted(name));
        refusals.push((claims.clone(), service::get(&app, "/", Some(&claims)).await));
    }
    for value in [
        "null",
        "true",
        "false",
        "0",
        "1.5",
        "18446744073709551617",
        "[]",
        r#"["web_user"]"#,
        "{}",
        r#"{"name":"web_user"}"#,
    ] {
        let claims = format!(r#"{{"role":{value}}}"#);
        refusals.push((claims.clone(), service::get(&app, "/", Some(&claims)).await));
    }
    for (claims, reply) in &refusals {
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{claims}: {reply:?}");
        // None of the answers tells which roles there are.
        assert_eq!(reply.body, refusals[0].1.body, "{claims}");
        assert!(!reply.headers.contains_key("www-authenticate"), "{claims}");
    }
    // A NUL is the token's fault, and so is a text that is none.
    for value in [
        r#""web_user\u0000""#,
        r#""\u0000""#,
        r#""none\u0000""#,
        r#""\ud800""#,
    ] {
        let reply = service::get(&app, "/", Some(&format!(r#"{{"role":{value}}}"#))).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{value}");
    }
    // Names that only resemble the claim's name no role: the anonymous one it is.
    for claims in [
        r#"{"Role":"web_user"}"#,
        r#"{"ROLE":"web_user"}"#,
        r#"{"role ":"web_user"}"#,
        r#"{"x":{"role":"web_user"}}"#,
    ] {
        assert_eq!(
            service::get(&app, "/", Some(claims)).await.ok(),
            "anon",
            "{claims}"
        );
    }
    // And the session serves on.
    assert_eq!(
        service::get(&app, "/", Some(r#"{"role":"web_user"}"#))
            .await
            .ok(),
        "web_user"
    );
}
