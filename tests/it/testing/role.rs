//! Statements as a role: what is expected of them is checked, and nothing stays.

use rolescope::testing::as_role;
use serde_json::json;

use crate::support::database;

const TABLE: &str = "CREATE TABLE notes (owner text, text text);
    INSERT INTO notes VALUES ('alice', 'one'), ('bob', 'two');
    ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON notes TO web_user
        USING (owner = current_setting('request.jwt.claims')::json ->> 'sub');
    GRANT SELECT, INSERT, DELETE ON notes TO web_user;";

#[tokio::test]
async fn statements_run_as_the_role_and_are_rolled_back() {
    let database = database().await;
    database.execute(TABLE).await;
    let pool = database.pool().await;
    let alice = as_role(&pool, "web_user").claims(json!({ "sub": "alice" }));
    let mine = async || alice.sees::<String>("SELECT text FROM notes", &[]).await;
    assert_eq!(mine().await, ["one"]);
    let insert = "INSERT INTO notes VALUES ($1, 'three')";
    assert_eq!(alice.changes(insert, &[&"alice"]).await, 1);
    assert_eq!(mine().await, ["one"]);
    alice.is_denied(insert, &[&"bob"]).await;
    alice.is_denied("UPDATE notes SET text = 'x'", &[]).await;
    as_role(&pool, "anon")
        .is_denied("SELECT FROM notes", &[])
        .await;

    let seen = alice.rolled_back(async |db| {
        db.execute(insert, &[&"alice"]).await?;
        db.query_scalar::<String>("SELECT text FROM notes ORDER BY 1", &[])
            .await
    });
    assert_eq!(seen.await.unwrap(), ["one", "three"]);
    assert_eq!(
        alice.query("SELECT FROM notes", &[]).await.unwrap().len(),
        1
    );

    let role = "SELECT current_setting('request.jwt.claims')::json ->> 'role'";
    assert_eq!(alice.sees::<String>(role, &[]).await, ["web_user"]);
}

#[tokio::test]
async fn what_is_not_as_expected_fails_the_test_with_role_and_statement() {
    let database = database().await;
    database.execute(TABLE).await;
    let pool = database.pool().await;
    let alice = || as_role(&pool, "web_user").claims(json!({ "sub": "alice" }));
    let fails = async |test: tokio::task::JoinHandle<()>| {
        let panic = test.await.expect_err("it fails").into_panic();
        *panic.downcast::<String>().expect("it is text")
    };
    let test = alice();
    let allowed = tokio::spawn(async move { test.is_denied("DELETE FROM notes", &[]).await });
    let text = fails(allowed).await;
    assert_eq!(text, "web_user may do this, to 1 rows: DELETE FROM notes");

    let test = alice();
    let wrong = tokio::spawn(async move { test.is_denied("DELETE FROM nothing", &[]).await });
    let text = fails(wrong).await;
    assert!(
        text.starts_with("as web_user: ") && text.contains("does not exist"),
        "{text}"
    );

    let test = as_role(&pool, "anon");
    let denied =
        tokio::spawn(async move { assert_eq!(test.changes("DELETE FROM notes", &[]).await, 1) });
    let text = fails(denied).await;
    assert!(
        text.starts_with("as anon: ") && text.contains("permission denied"),
        "{text}"
    );
}
