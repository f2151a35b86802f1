//! The SQL that readers copy from `examples/sql` does what its comments say.

use tokio_postgres::{Client, Error, SimpleQueryMessage};

use crate::support::local_postgres::LocalPostgres;
use crate::support::{Database, connect, database};

const ROLES: &str = include_str!("../../examples/sql/roles.sql");
const POLICIES: &str = include_str!("../../examples/sql/policies.sql");
const OTHER_POLICIES: &str = include_str!("../../examples/sql/other_policies.sql");

/// Runs one statement as a request with these settings would, and returns the first column.
async fn request(
    client: &Client,
    role: &str,
    settings: &[(&str, &str)],
    sql: &str,
) -> Result<Vec<String>, Error> {
    client
        .batch_execute(&format!("BEGIN; SET LOCAL ROLE {role}"))
        .await?;
    for (name, value) in settings {
        client
            .query("SELECT set_config($1, $2, true)", &[name, value])
            .await?;
    }
    let result = client.simple_query(sql).await;
    client
        .batch_execute(if result.is_ok() { "COMMIT" } else { "ROLLBACK" })
        .await?;
    let rows = result?.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    Ok(rows.collect())
}

fn sqlstate(result: Result<Vec<String>, Error>) -> String {
    let error = result.expect_err("it is refused");
    error
        .code()
        .expect("the server refused it")
        .code()
        .to_owned()
}

async fn authenticator(database: &Database) -> Client {
    database.connect("authenticator").await
}

#[tokio::test]
async fn roles_the_authenticator_by_itself_can_do_nothing() {
    // A server of its own: what roles.sql says about the database is not copied from the tests' template.
    let server = tokio::task::spawn_blocking(LocalPostgres::start)
        .await
        .expect("no panic")
        .expect("a server starts");
    let admin = connect(&server.superuser_url("postgres")).await;
    admin.batch_execute(ROLES).await.expect("it runs");
    admin
        .batch_execute("CREATE TABLE t (id int); GRANT SELECT ON t TO author")
        .await
        .expect("it runs");

    let client = connect(&server.url("authenticator", "postgres")).await;
    client
        .batch_execute("SET ROLE NONE")
        .await
        .expect("it is itself");
    for sql in [
        "SELECT * FROM t",
        "CREATE TABLE u ()",
        "CREATE TEMP TABLE u ()",
        "CREATE ROLE u",
        "SET ROLE postgres",
    ] {
        let error = client.batch_execute(sql).await.expect_err(sql);
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{sql}");
    }
    assert!(
        request(&client, "author", &[], "SELECT * FROM t")
            .await
            .is_ok()
    );
    assert_eq!(
        sqlstate(request(&client, "anon", &[], "SELECT * FROM t").await),
        "42501"
    );
    assert_eq!(
        sqlstate(request(&client, "author", &[], "CREATE TEMP TABLE u ()").await),
        "42501"
    );
}

#[tokio::test]
async fn policies_everybody_reads_what_is_published_and_authors_their_own() {
    let database = database().await;
    database.execute(POLICIES).await;
    database
        .execute("INSERT INTO documents (owner, title, published) VALUES ('a', 'a1', true), ('a', 'a2', false), ('b', 'b1', false)")
        .await;
    let client = authenticator(&database).await;
    let titles = "SELECT title FROM documents ORDER BY title";
    let a = [("request.jwt.claims", r#"{"sub":"a"}"#)];
    let b = [("request.jwt.claims", r#"{"sub":"b"}"#)];
    let none = [("request.jwt.claims", "{}")];

    // Before and after the setting was first used in the session: NULL, then ''.
    for _ in 0..2 {
        assert_eq!(
            request(&client, "anon", &[], titles).await.expect("it may"),
            ["a1"]
        );
        assert_eq!(
            request(&client, "author", &[], titles)
                .await
                .expect("it may"),
            ["a1"]
        );
        assert_eq!(
            request(&client, "author", &a, titles)
                .await
                .expect("it may"),
            ["a1", "a2"]
        );
        assert_eq!(
            request(&client, "author", &b, titles)
                .await
                .expect("it may"),
            ["a1", "b1"]
        );
        assert_eq!(
            request(&client, "author", &none, titles)
                .await
                .expect("it may"),
            ["a1"]
        );
    }

    let own = "INSERT INTO documents (title) VALUES ('b2') RETURNING owner";
    assert_eq!(
        request(&client, "author", &b, own).await.expect("it may"),
        ["b"]
    );
    let forged = "INSERT INTO documents (owner, title) VALUES ('a', 'b3')";
    assert_eq!(
        sqlstate(request(&client, "author", &b, forged).await),
        "42501"
    );
    assert_eq!(sqlstate(request(&client, "anon", &b, own).await), "42501");
    let others = "UPDATE documents SET title = 'mine' WHERE owner = 'a' RETURNING title";
    assert!(
        request(&client, "author", &b, others)
            .await
            .expect("it sees none")
            .is_empty()
    );
}

#[tokio::test]
async fn other_policies_one_role_per_person() {
    let database = database().await;
    database.execute(OTHER_POLICIES).await;
    database.execute("INSERT INTO articles (writer, title) VALUES ('jdoe123', 'mine'), ('somebody', 'theirs')").await;
    let client = authenticator(&database).await;
    let titles = "SELECT title FROM articles";
    assert_eq!(
        request(&client, "jdoe123", &[], titles)
            .await
            .expect("it may"),
        ["mine"]
    );
    assert!(
        request(&client, "author", &[], titles)
            .await
            .expect("it may")
            .is_empty()
    );
    assert_eq!(
        sqlstate(request(&client, "anon", &[], titles).await),
        "42501"
    );
}

#[tokio::test]
async fn other_policies_one_setting_per_claim() {
    let database = database().await;
    database.execute(OTHER_POLICIES).await;
    let tables = ["my_table", "my_safe_table", "my_plain_table"];
    for table in tables {
        database
            .execute(&format!("INSERT INTO {table} VALUES (1, 123), (2, 124)"))
            .await;
    }
    let client = authenticator(&database).await;
    let claims = [
        ("request.jwt.claim.user_id", "123"),
        ("request.jwt.claims", r#"{"user_id":"123"}"#),
    ];
    let [word_for_word, safe, plain] = tables.map(|table| format!("SELECT id FROM {table}"));
    assert_eq!(
        sqlstate(request(&client, "author", &[], &word_for_word).await),
        "42704"
    );
    for sql in [&word_for_word, &safe, &plain] {
        assert_eq!(
            request(&client, "author", &claims, sql)
                .await
                .expect("it may"),
            ["1"]
        );
    }
    assert_eq!(
        sqlstate(request(&client, "author", &[], &word_for_word).await),
        "22P02"
    );
    for sql in [&safe, &plain] {
        assert!(
            request(&client, "author", &[], sql)
                .await
                .expect("it may")
                .is_empty()
        );
    }
}
