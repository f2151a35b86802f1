//! Fields of all types become claims, exactly.

use rolescope::ErrorKind;

use super::{begin, issue, issuer, verifier};
use crate::support::database;

#[tokio::test]
async fn values_are_signed_as_to_json_writes_them() {
    let database = database().await;
    database
        .execute(
            r#"CREATE TYPE part AS (a int, b text);
            CREATE TYPE all_jwt_claims AS (role name, num numeric, big bigint, float float8, small float4, at timestamptz,
                wall timestamp, day date, js json, jsb jsonb, texts text[], part part, parts part[], id uuid, bytes bytea,
                yes boolean, "odd ""name" text, nothing text, unicode text);
            SET timezone = 'America/New_York'"#,
        )
        .await;
    let pool = database.pool().await;
    let sql = r#"SELECT ROW('web_user', 12345678901234567890.1234567890, 9223372036854775807, 0.1, 0.1,
        '2026-11-22 12:00:00.123456+00', '2026-11-22 12:00', '2026-11-22', '{"a":  1.0, "deep": {"n": null}}', '{"a": null}',
        ARRAY['a', NULL, '"'], ROW(1, NULL), ARRAY[ROW(2, 'b')::part], 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
        '\x00ff', true, 'odd', NULL, U&'\00e9\+01F600')::all_jwt_claims"#;
    let db = begin(&pool, "anon");
    db.batch_execute("SET LOCAL timezone = 'Asia/Kathmandu'; SET LOCAL datestyle = 'SQL, DMY'")
        .await
        .expect("it may");
    let token = db
        .issue_token(&issuer(), sql, &[])
        .await
        .expect("it is issued")
        .expect("it is not refused");
    let claims = verifier(&issuer())
        .verify(token.as_str())
        .expect("it is good");
    for (name, value) in [
        ("role", Some(r#""web_user""#)),
        ("num", Some("12345678901234567890.1234567890")),
        ("big", Some("9223372036854775807")),
        ("float", Some("0.1")),
        ("small", Some("0.1")),
        // The instant is the same, whatever the offset: the time zone is the session's.
        ("at", Some(r#""2026-11-22T17:45:00.123456+05:45""#)),
        ("wall", Some(r#""2026-11-22T12:00:00""#)),
        ("day", Some(r#""2026-11-22""#)),
        ("js", Some(r#"{"a":  1.0, "deep": {"n": null}}"#)),
        ("jsb", Some(r#"{"a": null}"#)),
        ("texts", Some(r#"["a",null,"\""]"#)),
        ("part", Some(r#"{"a":1,"b":null}"#)),
        ("parts", Some(r#"[{"a":2,"b":"b"}]"#)),
        ("id", Some(r#""a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11""#)),
        ("bytes", Some(r#""\\x00ff""#)),
        ("yes", Some("true")),
        ("odd \"name", Some(r#""odd""#)),
        // Of the row alone what is NULL is left out.
        ("nothing", None),
        ("unicode", Some("\"é😀\"")),
    ] {
        assert_eq!(claims.raw(name), value, "{name}");
    }
    db.rollback().await.expect("it is rolled back");
}

#[tokio::test]
async fn what_a_field_of_json_brings_is_looked_through() {
    let database = database().await;
    database
        .execute("CREATE TYPE js_jwt_claims AS (role text, js json); CREATE TYPE exp_jwt_claims AS (role text, exp numeric, iat bigint)")
        .await;
    let pool = database.pool().await;
    for value in [
        r#"ROW('web_user', '{"a":1,"a":2}')::js_jwt_claims"#,
        r#"ROW('web_user', '"\u0000"')::js_jwt_claims"#,
        "ROW('web_user', (repeat('[', 40) || repeat(']', 40))::json)::js_jwt_claims",
        "ROW('web_user', to_json(repeat('x', 20000)))::js_jwt_claims",
        "ROW('web_user', 0, NULL)::exp_jwt_claims",
        "ROW('web_user', 'NaN', NULL)::exp_jwt_claims",
        "ROW('web_user', extract(epoch FROM now() + interval '2 hours'), NULL)::exp_jwt_claims",
        "ROW('web_user', NULL, extract(epoch FROM now() + interval '2 hours'))::exp_jwt_claims",
    ] {
        let sql = format!("SELECT {value}");
        let error = issue(&pool, &sql).await.expect_err(&sql);
        assert_eq!(error.kind(), ErrorKind::Statement, "{error:?}: {sql}");
        assert!(
            error.to_string().starts_with("no token was issued"),
            "{error}: {sql}"
        );
    }
    // How long the token is good, the function says.
    let sql = "SELECT ROW('web_user', extract(epoch FROM now() + interval '90 seconds'), extract(epoch FROM now()))::exp_jwt_claims";
    let token = issue(&pool, sql)
        .await
        .expect("it is issued")
        .expect("it is not refused");
    let seconds = token.expires_in().as_secs();
    assert!((1..=90).contains(&seconds), "{seconds}");
}
