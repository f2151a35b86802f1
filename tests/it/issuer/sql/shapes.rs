//! What a statement may return, and what not.

use rolescope::ErrorKind;
use serde_json::json;

use super::{begin, claims, issue, issuer, told};
use crate::support::database;

/// A type of each kind, and a function for each that returns it.
const SHAPES: &str = r#"
    CREATE SCHEMA s;
    CREATE SCHEMA "Odd schema";
    GRANT USAGE ON SCHEMA s, "Odd schema" TO anon;
    CREATE TYPE s.jwt_claims AS (role text, sub text);
    CREATE TYPE s.my_jwt_claims AS (role text);
    CREATE TYPE "Odd schema"."My jwt_claims" AS (role text);
    CREATE TYPE s.claims AS (role text, sub text);
    CREATE TYPE s.jwt_claims_2 AS (role text, sub text);
    CREATE TYPE s."JWT_CLAIMS" AS (role text, sub text);
    CREATE DOMAIN s.checked AS s.jwt_claims CHECK ((VALUE).sub <> '');
    CREATE DOMAIN s.checked_twice AS s.checked;
    CREATE DOMAIN s.named_jwt_claims AS s.claims;
    CREATE DOMAIN s.json_jwt_claims AS json;
    CREATE DOMAIN s.text_jwt_claims AS text;
    CREATE DOMAIN s.many_jwt_claims AS s.jwt_claims[];
    CREATE TYPE s.enum_jwt_claims AS ENUM ('web_user');
    CREATE TYPE s.range_jwt_claims AS RANGE (subtype = int);
    CREATE TABLE s.table_jwt_claims (role text);

    CREATE FUNCTION s.one() RETURNS s.jwt_claims LANGUAGE sql AS $$ SELECT 'web_user', 'alice' $$;
    CREATE FUNCTION s.set_of_one() RETURNS SETOF s.jwt_claims LANGUAGE sql AS $$ SELECT 'web_user', 'alice' $$;
    CREATE FUNCTION s.set_of_two() RETURNS SETOF s.jwt_claims LANGUAGE sql AS $$ VALUES ('web_user', 'a'), ('web_user', 'b') $$;
    CREATE FUNCTION s.set_of_none() RETURNS SETOF s.jwt_claims LANGUAGE sql AS $$ SELECT 'web_user', 'alice' WHERE false $$;
    CREATE FUNCTION s.none() RETURNS s.jwt_claims LANGUAGE sql AS $$ SELECT NULL::s.jwt_claims $$;
    CREATE FUNCTION s.all_null() RETURNS s.jwt_claims LANGUAGE sql AS $$ SELECT NULL::text, NULL::text $$;
    CREATE FUNCTION s.all_null_checked() RETURNS s.checked LANGUAGE sql AS $$ SELECT (NULL, NULL)::s.jwt_claims::s.checked $$;
    CREATE FUNCTION s.overloaded(int) RETURNS s.jwt_claims LANGUAGE sql AS $$ SELECT 'web_user', 'int' $$;
    CREATE FUNCTION s.overloaded(text) RETURNS text LANGUAGE sql AS $$ SELECT 'text' $$;
    CREATE FUNCTION s.out_parameters(OUT role text, OUT sub text) LANGUAGE sql AS $$ SELECT 'web_user', 'alice' $$;
    CREATE FUNCTION s.of_table() RETURNS TABLE (role text, sub text) LANGUAGE sql AS $$ SELECT 'web_user', 'alice' $$;
    CREATE FUNCTION s.record() RETURNS record LANGUAGE sql AS $$ SELECT 'web_user', 'alice' $$;
    CREATE FUNCTION s.nothing() RETURNS void LANGUAGE sql AS $$ $$;
    CREATE FUNCTION s.ten() RETURNS s.jwt_claims LANGUAGE plpgsql AS $$ BEGIN RAISE 'it is ten'; END $$;
    CREATE FUNCTION s.rows_within() RETURNS s.jwt_claims LANGUAGE plpgsql AS $$
        BEGIN PERFORM (SELECT generate_series(1, 2)); RETURN NULL; END $$;
    CREATE FUNCTION s.words_within() RETURNS s.jwt_claims LANGUAGE plpgsql AS $$
        BEGIN EXECUTE 'not a statement'; RETURN NULL; END $$;"#;

#[tokio::test]
async fn a_row_of_a_type_that_is_so_named_becomes_a_token() {
    let database = database().await;
    database.execute(SHAPES).await;
    let pool = database.pool().await;
    let both = json!({ "role": "web_user", "sub": "alice" });
    let role = json!({ "role": "web_user" });
    for (sql, expected) in [
        ("SELECT s.one()", &both),
        ("SELECT s.set_of_one()", &both),
        ("SELECT ROW('web_user', 'alice')::s.jwt_claims", &both),
        ("SELECT ROW('web_user', NULL)::s.jwt_claims", &role),
        ("SELECT ROW('web_user')::s.my_jwt_claims", &role),
        (
            r#"SELECT ROW('web_user')::"Odd schema"."My jwt_claims""#,
            &role,
        ),
        (
            "SELECT ROW('web_user', 'alice')::s.jwt_claims::s.checked",
            &both,
        ),
        (
            "SELECT ROW('web_user', 'alice')::s.jwt_claims::s.checked_twice",
            &both,
        ),
        (
            "SELECT ROW('web_user', 'alice')::s.claims::s.named_jwt_claims",
            &both,
        ),
        ("SELECT ROW('web_user')::s.table_jwt_claims", &role),
        ("SELECT c FROM s.one() c", &both),
        ("WITH c AS (SELECT s.one() AS c) SELECT c FROM c", &both),
        ("VALUES (s.one())", &both),
        ("(SELECT s.one())", &both),
        ("SELECT s.one() -- a comment at the end", &both),
        ("/* before */ SELECT s.one() /* after", &both),
        ("SELECT s.one() ORDER BY 1 LIMIT 1 OFFSET 0", &both),
        (
            "SELECT s.overloaded(1)",
            &json!({ "role": "web_user", "sub": "int" }),
        ),
    ] {
        if sql.ends_with("after") {
            let error = issue(&pool, sql)
                .await
                .expect_err("a comment without an end");
            assert_eq!(error.kind(), ErrorKind::Statement, "{error:?}");
            continue;
        }
        assert_eq!(&claims(&pool, sql).await, expected, "{sql}");
    }
}

#[tokio::test]
async fn no_row_and_a_row_of_nulls_are_a_refusal() {
    let database = database().await;
    database.execute(SHAPES).await;
    let pool = database.pool().await;
    for sql in [
        "SELECT s.set_of_none()",
        "SELECT s.none()",
        "SELECT s.all_null()",
        "SELECT s.all_null_checked()",
        "SELECT NULL::s.jwt_claims",
        "SELECT NULL::s.checked",
        "SELECT s.one() WHERE false",
        "SELECT s.one() LIMIT 0",
    ] {
        let issued = issue(&pool, sql)
            .await
            .unwrap_or_else(|e| panic!("{e:?}: {sql}"));
        assert!(issued.is_none(), "{sql}");
    }
}

#[tokio::test]
async fn a_type_of_another_name_or_kind_is_an_error_and_no_refusal() {
    let database = database().await;
    database.execute(SHAPES).await;
    let pool = database.pool().await;
    for (sql, name) in [
        ("SELECT ROW('web_user', 'alice')::s.claims", "claims"),
        (
            "SELECT ROW('web_user', 'alice')::s.jwt_claims_2",
            "jwt_claims_2",
        ),
        (
            r#"SELECT ROW('web_user', 'alice')::s."JWT_CLAIMS""#,
            "JWT_CLAIMS",
        ),
        ("SELECT ARRAY[s.one()]", "_jwt_claims"),
        (
            "SELECT ARRAY[s.one()]::s.many_jwt_claims",
            "many_jwt_claims",
        ),
        (
            r#"SELECT '{"role":"web_user"}'::s.json_jwt_claims"#,
            "json_jwt_claims",
        ),
        ("SELECT 'web_user'::s.text_jwt_claims", "text_jwt_claims"),
        ("SELECT 'web_user'::s.enum_jwt_claims", "enum_jwt_claims"),
        ("SELECT s.range_jwt_claims(1, 2)", "range_jwt_claims"),
        (r#"SELECT '{"role":"web_user"}'::json"#, "json"),
        ("SELECT s.overloaded('a'::text)", "text"),
        ("SELECT s.out_parameters()", "record"),
        ("SELECT s.of_table()", "record"),
        ("SELECT s.record()", "record"),
        ("SELECT s.nothing()", "void"),
        ("SELECT 1", "int4"),
        ("SELECT NULL", "text"),
        ("SELECT NULL::s.claims", "claims"),
        ("SELECT ROW('web_user', s.one())", "record"),
        ("SELECT (s.one()).role", "text"),
    ] {
        let told = told(issue(&pool, sql).await, sql);
        assert!(
            told.contains(&format!("returns the type `{name}`")),
            "{told}: {sql}"
        );
    }
}

#[tokio::test]
async fn several_rows_or_columns_and_what_is_no_select_are_errors_with_the_cure() {
    let database = database().await;
    database.execute(SHAPES).await;
    let pool = database.pool().await;
    for (sql, cure) in [
        ("SELECT s.set_of_two()", "several rows"),
        ("SELECT s.one() FROM generate_series(1, 2)", "several rows"),
        ("SELECT * FROM s.one()", "not `SELECT * FROM login(..)`"),
        ("SELECT s.one(), 1", "SELECT of one column"),
        ("SELECT FROM s.one()", "SELECT of one column"),
        ("SELECT s.one();", "without a semicolon"),
        (
            "SELECT s.one(); DROP TABLE s.table_jwt_claims",
            "without a semicolon",
        ),
        (
            "DELETE FROM s.table_jwt_claims RETURNING table_jwt_claims",
            "SELECT of one column",
        ),
        ("CALL p()", "SELECT of one column"),
        ("", "SELECT of one column"),
        ("-- nothing", "SELECT of one column"),
    ] {
        let told = told(issue(&pool, sql).await, sql);
        assert!(told.contains(cure), "{told}: {sql}");
    }
    // What goes wrong within the function is told as it is.
    for (sql, code) in [
        ("SELECT s.rows_within()", "21000"),
        ("SELECT s.words_within()", "42601"),
    ] {
        let error = issue(&pool, sql).await.expect_err(sql);
        assert_eq!(error.code().map(|code| code.code()), Some(code), "{sql}");
        assert!(!error.to_string().contains("issue_token"), "{error}");
    }
    // All else is what PostgreSQL says.
    for (sql, code) in [
        ("SELECT s.gone()", "42883"),
        ("SELECT s.ten()", "P0001"),
        ("SELECT 1/0", "22012"),
    ] {
        let error = issue(&pool, sql).await.expect_err(sql);
        assert_eq!(error.code().map(|code| code.code()), Some(code), "{sql}");
    }
    database.execute("REVOKE USAGE ON SCHEMA s FROM anon").await;
    let error = issue(&pool, "SELECT s.one()")
        .await
        .expect_err("it may not");
    assert_eq!(error.status(), 403);
}

/// Its name is looked up in the statement itself: nothing is known of the type that was there before.
#[tokio::test]
async fn a_type_that_is_made_anew_is_not_taken_for_the_one_before() {
    let database = database().await;
    database
        .execute("CREATE SCHEMA s; GRANT USAGE ON SCHEMA s TO anon")
        .await;
    let pool = database.pool_of_one().await;
    let make = |name: &str, fields: &str, row: &str| {
        format!(
            "DROP TYPE IF EXISTS s.{name} CASCADE; CREATE TYPE s.{name} AS ({fields});
             CREATE FUNCTION s.f() RETURNS s.{name} LANGUAGE sql AS $$ SELECT {row} $$;"
        )
    };
    let sql = "SELECT s.f()";
    for _ in 0..2 {
        database
            .execute(&make("jwt_claims", "role text", "'web_user'"))
            .await;
        assert_eq!(claims(&pool, sql).await, json!({ "role": "web_user" }));
        database
            .execute(&make("jwt_claims", "sub int, role name", "7, 'anon'::name"))
            .await;
        assert_eq!(
            claims(&pool, sql).await,
            json!({ "role": "anon", "sub": 7 })
        );
        database
            .execute("ALTER TYPE s.jwt_claims RENAME TO other")
            .await;
        assert!(told(issue(&pool, sql).await, sql).contains("`other`"));
        database.execute("ALTER TYPE s.other RENAME TO jwt_claims; ALTER TYPE s.jwt_claims ADD ATTRIBUTE a text").await;
        database.execute("CREATE OR REPLACE FUNCTION s.f() RETURNS s.jwt_claims LANGUAGE sql AS $$ SELECT 1, 'anon'::name, 'a' $$").await;
        assert_eq!(
            claims(&pool, sql).await,
            json!({ "role": "anon", "sub": 1, "a": "a" })
        );
        database.execute("DROP TYPE s.jwt_claims CASCADE").await;
        let gone = issue(&pool, sql).await.expect_err("it is gone");
        assert_eq!(gone.code().map(|code| code.code()), Some("42883"));
    }
}

/// A role cannot put its own function or type in the way of one that is named with its schema, nor of what surrounds it.
#[tokio::test]
async fn what_a_role_makes_itself_is_not_in_the_way() {
    let database = database().await;
    database.execute(SHAPES).await;
    let name = database.name().to_owned();
    database
        .execute(&format!(
            "GRANT TEMPORARY ON DATABASE {name} TO anon; GRANT CREATE, USAGE ON SCHEMA public TO anon"
        ))
        .await;
    let pool = database.pool_of_one().await;
    let db = begin(&pool, "anon");
    db.batch_execute(
        "CREATE TYPE pg_temp.jwt_claims AS (role text, sub text);
         CREATE FUNCTION pg_temp.one() RETURNS pg_temp.jwt_claims LANGUAGE sql AS $$ SELECT 'author', 'mallory' $$;
         CREATE FUNCTION public.to_json(anyelement) RETURNS json LANGUAGE sql AS $$ SELECT '{\"role\":\"author\"}'::json $$;
         CREATE FUNCTION public.pg_has_role(name, oid, text) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
         CREATE FUNCTION public.quote_ident(text) RETURNS text LANGUAGE sql AS $$ SELECT 'web_user' $$;
         CREATE TABLE pg_temp.pg_type (oid oid, typname name, typtype \"char\");
         CREATE FUNCTION public.same(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
         CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.same);
         SET LOCAL search_path = public, pg_temp, pg_catalog",
    )
    .await
    .expect("it may make these");
    let token = db
        .issue_token(&issuer(), "SELECT s.one()", &[])
        .await
        .expect("it is issued");
    let token = token.expect("it is not refused");
    let claims = super::verifier(&issuer())
        .verify(token.as_str())
        .expect("it is good");
    assert_eq!(claims.subject(), Some("alice"));
    assert_eq!(
        claims.get::<String>("role").expect("text").as_deref(),
        Some("web_user")
    );
    // Not even where it is not named with a schema: functions are not looked for among temporary objects.
    let savepoint = db.savepoint().await.expect("a savepoint");
    let error = db
        .issue_token(&issuer(), "SELECT one()", &[])
        .await
        .expect_err("there is none");
    assert_eq!(error.code().map(|code| code.code()), Some("42883"));
    savepoint.rollback().await.expect("back");
    let sql = "SELECT ROW('not_granted', '')::s.jwt_claims";
    assert!(told(db.issue_token(&issuer(), sql, &[]).await, sql).contains("was not granted"));
    db.rollback().await.expect("it is rolled back");
}
