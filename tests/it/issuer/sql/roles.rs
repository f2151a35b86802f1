//! The role in the claims: one that requests can run as.

use rolescope::RoleScopedPool;
use rolescope::issuer::IssuedToken;

use super::{begin, issuer, told};
use crate::support::{Database, connect, database};

const TYPE: &str = "CREATE TYPE public.jwt_claims AS (role text, sub text)";

async fn issue(
    pool: &RoleScopedPool,
    role: Option<&str>,
) -> Result<Option<IssuedToken>, rolescope::Error> {
    let db = begin(pool, "anon");
    let sql = "SELECT ROW($1::text, 'alice')::public.jwt_claims";
    let issued = db.issue_token(&issuer(), sql, &[&role]).await;
    db.rollback().await.expect("it is rolled back");
    issued
}

#[tokio::test]
async fn a_role_that_no_request_can_run_as_is_an_error() {
    let database = database().await;
    database.execute(TYPE).await;
    let pool = database.pool().await;
    let long = "x".repeat(64);
    // PostgreSQL would cut it to the name of a role that is there.
    let cut = format!("{:_<64}", "web_user");
    for (role, why) in [
        (None, "no `role`"),
        (Some(""), "the role name is empty"),
        (Some("none"), "names no role"),
        (Some("NONE"), "names no role"),
        (Some(&*long), "names no role"),
        (Some(&*cut), "names no role"),
        (Some("authenticator"), "logs in as"),
        (Some("not_granted"), "was not granted"),
        (Some("postgres"), "was not granted"),
        (Some("pg_read_all_data"), "was not granted"),
        (Some("gone"), "does not exist"),
        (Some("Web_User"), "does not exist"),
        (Some("web_user "), "does not exist"),
        (Some("\"web_user\""), "does not exist"),
        (Some("public"), "does not exist"),
        (Some("-"), "does not exist"),
        (Some("10"), "does not exist"),
        (Some("current_user"), "does not exist"),
        (Some("web_user,author"), "does not exist"),
        (Some("a\"; DROP ROLE x; --"), "does not exist"),
    ] {
        let told = told(issue(&pool, role).await, why);
        assert!(told.contains(why), "{told}: {role:?}");
    }
    for role in ["web_user", "author", "anon", "resting"] {
        let token = issue(&pool, Some(role)).await.expect(role);
        assert!(token.is_some(), "{role}");
    }
}

#[tokio::test]
async fn a_role_of_another_type_or_none_at_all_is_an_error() {
    let database = database().await;
    database
        .execute(
            "CREATE TYPE number_jwt_claims AS (role int, sub text); CREATE TYPE list_jwt_claims AS (role text[], sub text);
             CREATE TYPE object_jwt_claims AS (role json, sub text); CREATE TYPE sub_jwt_claims AS (sub text);
             CREATE TYPE upper_jwt_claims AS (\"Role\" text, sub text)",
        )
        .await;
    let pool = database.pool().await;
    for value in [
        "ROW(1, 'a')::number_jwt_claims",
        "ROW(ARRAY['web_user'], 'a')::list_jwt_claims",
        r#"ROW('{"a":"web_user"}', 'a')::object_jwt_claims"#,
        "ROW('null', 'a')::object_jwt_claims",
        "ROW('a')::sub_jwt_claims",
        "ROW('web_user', 'a')::upper_jwt_claims",
        "ROW(NULL, '')::object_jwt_claims",
    ] {
        let sql = format!("SELECT {value}");
        let told = told(super::issue(&pool, &sql).await, &sql);
        assert!(told.contains("no `role`"), "{told}: {sql}");
    }
    let sql = r#"SELECT ROW('"web_user"', 'a')::object_jwt_claims"#;
    assert_eq!(super::claims(&pool, sql).await["role"], "web_user");
}

/// PostgreSQL's operator for a field of JSON cannot read every text that `to_json` writes: then the role is asked for by itself.
#[tokio::test]
async fn a_role_beside_a_text_with_escapes_is_checked_too() {
    let database = database().await;
    database
        .execute("CREATE TYPE jwt_claims AS (role text, sub text, js json)")
        .await;
    let pool = database.pool().await;
    for (sub, js) in [
        (r"E'\x1f'", r#"'"\u00e9"'"#),
        ("'a'", r#"'"\ud83d\ude00"'"#),
        (r"'\u0000'", "'1'"),
        (r"E'\x01\\u0000'", "NULL"),
    ] {
        for (role, why) in [
            ("web_user", ""),
            ("not_granted", "was not granted"),
            ("gone", "does not exist"),
            ("authenticator", "logs in as"),
        ] {
            let sql = format!("SELECT ROW('{role}', {sub}, {js})::jwt_claims");
            let issued = super::issue(&pool, &sql).await;
            if why.is_empty() {
                assert!(issued.unwrap_or_else(|e| panic!("{e:?}: {sql}")).is_some());
            } else {
                assert!(told(issued, &sql).contains(why), "{sql}");
            }
        }
    }
    // What no verifier would read is not signed.
    for js in [r#"'"\u0000"'"#, r#"'"\ud800"'"#, r#"'{"\u0061":1,"a":2}'"#] {
        let sql = format!("SELECT ROW('web_user', 'a', {js})::jwt_claims");
        assert!(
            told(super::issue(&pool, &sql).await, &sql).contains("no token was issued"),
            "{sql}"
        );
    }
}

/// A login role of a test's own, whose name needs quotes.
async fn pool_of_own_login(database: &Database) -> (String, RoleScopedPool) {
    let login = format!("{}_Login", database.name());
    database
        .execute(&format!(
            "CREATE ROLE \"{login}\" LOGIN NOINHERIT; GRANT anon TO \"{login}\""
        ))
        .await;
    let pool = database
        .pool_builder_for(&login)
        .anonymous_role("anon")
        .build()
        .await;
    (login, pool.expect("the set-up is good"))
}

#[tokio::test]
async fn the_login_role_is_known_whatever_its_name() {
    let database = database().await;
    database.execute(TYPE).await;
    let (login, pool) = pool_of_own_login(&database).await;
    assert!(told(issue(&pool, Some(&login)).await, &login).contains("logs in as"));
    assert!(told(issue(&pool, Some("web_user")).await, "web_user").contains("was not granted"));
    assert!(
        issue(&pool, Some("anon"))
            .await
            .expect("it is granted")
            .is_some()
    );
    // A grant and a revoke count at once: nothing is kept of them.
    database
        .execute(&format!("GRANT web_user TO \"{login}\""))
        .await;
    assert!(
        issue(&pool, Some("web_user"))
            .await
            .expect("it is granted now")
            .is_some()
    );
    database
        .execute(&format!("REVOKE web_user FROM \"{login}\""))
        .await;
    assert!(told(issue(&pool, Some("web_user")).await, "web_user").contains("was not granted"));
}

/// From 16 on a membership may be one that is no way to become the role.
#[tokio::test]
async fn a_membership_without_set_is_none() {
    let database = database().await;
    database.execute(TYPE).await;
    let (login, pool) = pool_of_own_login(&database).await;
    let admin = connect(&database.url("postgres")).await;
    let version = admin
        .query_one("SELECT current_setting('server_version_num')::int", &[])
        .await;
    let version: i32 = version.expect("a version").get(0);
    let how = if version >= 160_000 {
        "WITH INHERIT FALSE, SET FALSE"
    } else {
        ""
    };
    database
        .execute(&format!("GRANT web_user TO \"{login}\" {how}"))
        .await;
    let issued = issue(&pool, Some("web_user")).await;
    if version >= 160_000 {
        assert!(told(issued, "web_user").contains("was not granted"));
    } else {
        assert!(issued.expect("it is granted").is_some());
    }
}
