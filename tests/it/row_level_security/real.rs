//! What policies let through, and what they cannot hide.

use axum::Router;
use axum::routing::post;
use rolescope::{Error, RoleScopedConnection};

use super::{ALICE, ANONYMOUS, AUDITOR, BOB, EVE, NOBODY, PROJECTS, REAL, SIMULATED, Tenants};
use crate::support::service::{self, service};

const SLUGS: &str = "SELECT slug FROM projects ORDER BY slug";

#[tokio::test]
async fn everybody_sees_and_changes_what_is_theirs_or_shared_in_one_tenant() {
    let tenants = Tenants::new(&[REAL, PROJECTS]).await;
    tenants
        .check(&[
            (ALICE, SLUGS, "a1, a2, b2"),
            (BOB, SLUGS, "a2, b1, b2"),
            (EVE, SLUGS, "e1, e2"),
            (NOBODY, SLUGS, ""),
            (AUDITOR, SLUGS, "a1, a2, b1, b2"),
            (
                ANONYMOUS,
                SLUGS,
                "42501 permission denied for table projects",
            ),
            (ALICE, "SELECT project_count()::text", "4"),
            (EVE, "SELECT project_count()::text", "2"),
            (NOBODY, "SELECT project_count()::text", "0"),
            (
                ALICE,
                "SELECT slug FROM shared_projects() ORDER BY slug",
                "a2, b2",
            ),
            // What is written gets its tenant and its owner from the token.
            (
                ALICE,
                "INSERT INTO projects (slug) VALUES ('a3') RETURNING tenant || ' ' || owner",
                "acme alice",
            ),
            (
                NOBODY,
                "INSERT INTO projects (slug) VALUES ('a3')",
                "42501 new row violates",
            ),
            (
                AUDITOR,
                "UPDATE projects SET slug = 'x'",
                "42501 permission denied",
            ),
            // What is hidden is not found, what is shared can be edited and not deleted.
            (
                ALICE,
                "UPDATE projects SET slug = 'x' WHERE slug = 'b1' RETURNING slug",
                "",
            ),
            (
                ALICE,
                "UPDATE projects SET slug = 'x' WHERE slug = 'b2' RETURNING slug",
                "x",
            ),
            (
                ALICE,
                "DELETE FROM projects WHERE slug = 'b2' RETURNING slug",
                "",
            ),
            (ALICE, "DELETE FROM projects RETURNING slug", "a1, a2"),
            (
                ALICE,
                "INSERT INTO tasks (project, title) VALUES (4, 'help bob') RETURNING title",
                "help bob",
            ),
            (
                ALICE,
                "TRUNCATE projects CASCADE",
                "42501 permission denied for table projects",
            ),
        ])
        .await;
    let merge = "MERGE INTO projects USING (SELECT 1) s ON true WHEN MATCHED THEN UPDATE SET slug = slug || '!'";
    let merged = format!("{merge};; {SLUGS}");
    let outcome = match tenants.version().await {
        ..=14 => "42601",
        _ => "a1!, a2!, b2!",
    };
    tenants.check(&[(ALICE, &merged, outcome)]).await;
}

#[tokio::test]
async fn a_statement_that_reads_asks_the_policies_for_select_too() {
    let unchecked = super::without(
        REAL,
        1,
        "ON projects AS RESTRICTIVE\n    USING (tenant = (SELECT jwt_claim('tenant')))\n    \
         WITH CHECK (tenant = (SELECT jwt_claim('tenant')));",
        "ON projects AS RESTRICTIVE\n    USING (tenant = (SELECT jwt_claim('tenant')))\n    WITH CHECK (true);",
    );
    let tenants = Tenants::new(&[&unchecked, PROJECTS]).await;
    let refused = "42501 new row violates row-level security policy \"tenant\"";
    tenants
        .check(&[
            (
                ALICE,
                "DELETE FROM tasks;; UPDATE projects SET tenant = 'umbrella'",
                "",
            ),
            (
                ALICE,
                "DELETE FROM tasks;; UPDATE projects SET tenant = 'umbrella' WHERE slug = 'a1'",
                refused,
            ),
            (
                ALICE,
                "INSERT INTO projects (tenant, slug) VALUES ('umbrella', 'x')",
                "",
            ),
            (
                ALICE,
                "INSERT INTO projects (tenant, slug) VALUES ('umbrella', 'x') RETURNING slug",
                refused,
            ),
        ])
        .await;
}

#[tokio::test]
async fn an_upsert_of_a_hidden_row_is_refused_and_says_so() {
    let tenants = Tenants::new(&[REAL, PROJECTS]).await;
    let up = "ON CONFLICT (tenant, slug) DO UPDATE SET shared = true RETURNING slug";
    let insert =
        |slug: &str, rest: &str| format!("INSERT INTO projects (slug) VALUES ('{slug}') {rest}");
    let hidden = "42501 new row violates row-level security policy (USING expression)";
    tenants
        .check(&[
            (ALICE, &insert("a1", up), "a1"),
            (ALICE, &insert("b1", up), hidden),
            (ALICE, &insert("e1", up), "e1"),
            (
                ALICE,
                &insert("b1", "ON CONFLICT DO NOTHING RETURNING slug"),
                "",
            ),
        ])
        .await;
}

#[tokio::test]
async fn policies_do_not_hide_that_there_is_something() {
    let tenants = Tenants::new(&[REAL, PROJECTS, "ANALYZE"]).await;
    tenants
        .check(&[
            // A constraint: bob has a project of that name.
            (
                ALICE,
                "INSERT INTO projects (slug) VALUES ('b1')",
                "23505 duplicate key value violates unique constraint",
            ),
            // How many rows all tenants have.
            (
                ALICE,
                "SELECT reltuples::text FROM pg_class WHERE oid = 'projects'::regclass",
                "6",
            ),
            // How many rows all tenants have made since.
            (
                ALICE,
                "INSERT INTO projects (slug) VALUES ('a3') RETURNING id::text",
                "8",
            ),
            (EVE, "INSERT INTO projects (slug) VALUES ('e3')", ""),
            (EVE, "INSERT INTO projects (slug) VALUES ('e4')", ""),
            (
                ALICE,
                "INSERT INTO projects (slug) VALUES ('a3') RETURNING id::text",
                "11",
            ),
        ])
        .await;
    // What a foreign key does, it does past all policies: here to tasks that nobody may see.
    let sql = r#"DROP POLICY of_projects ON tasks; BEGIN; SET LOCAL ROLE web_user;
                 SET LOCAL request.jwt.claims = '{"tenant":"acme","sub":"alice"}';
                 DELETE FROM projects WHERE slug = 'a1'; RESET ROLE"#;
    let admin = tenants.database.admin().await;
    admin.batch_execute(sql).await.expect("it may");
    let left = "SELECT count(*) FROM tasks WHERE title = 'a1-task'";
    let left: i64 = admin.query_one_scalar(left, &[]).await.expect("it may");
    assert_eq!(left, 0);
}

#[tokio::test]
async fn rows_are_copied_out_by_the_policies_and_not_in() {
    let tenants = Tenants::new(&[REAL, PROJECTS]).await;
    let pool = tenants.database.pool().await;
    let copy_out = async |db: RoleScopedConnection| -> Result<String, Error> {
        let mut copy = db.copy_out("COPY projects (slug) TO STDOUT").await?;
        let mut text = String::new();
        while let Some(chunk) = copy.next().await {
            text.push_str(&String::from_utf8_lossy(&chunk?));
        }
        Ok(text)
    };
    let copy_in = async |db: RoleScopedConnection| -> Result<String, Error> {
        let mut copy = db.copy_in("COPY projects (slug) FROM STDIN").await?;
        copy.send("a3\n").await?;
        Ok(copy.finish().await?.to_string())
    };
    let routes = Router::new()
        .route("/out", post(copy_out))
        .route("/in", post(copy_in));
    let app = service(&pool, routes);
    assert_eq!(
        service::post(&app, "/out", ALICE).await.ok(),
        "a1\na2\nb2\n"
    );
    let refused = service::post(&app, "/in", ALICE).await;
    let error = refused.error.expect("it is refused");
    let error = error.as_db_error().expect("PostgreSQL refuses it");
    assert_eq!(error.code().code(), "0A000");
    assert!(error.message().contains("row-level security"), "{error}");
}

#[tokio::test]
async fn the_owner_is_bound_by_force_and_can_undo_it() {
    let tenants = Tenants::new(&[REAL, PROJECTS]).await;
    let admin = tenants.database.admin().await;
    let owner = super::named(":\"owner\"", &tenants.database);
    let count = async |sql: &str| -> i64 {
        let begin = format!("BEGIN; SET LOCAL ROLE {owner}; {sql}");
        admin.batch_execute(&begin).await.expect("it may");
        let count = "SELECT count(*) FROM projects";
        let count = admin.query_one_scalar(count, &[]).await.expect("it may");
        admin.batch_execute("ROLLBACK").await.expect("it ends");
        count
    };
    assert_eq!(count("").await, 0);
    let claims = r#"SET LOCAL request.jwt.claims = '{"tenant":"acme"}'"#;
    assert_eq!(count(claims).await, 4);
    let undone = "ALTER TABLE projects NO FORCE ROW LEVEL SECURITY";
    assert_eq!(count(undone).await, 6);
    assert_eq!(count("TRUNCATE projects CASCADE").await, 0);
}

#[tokio::test]
async fn the_look_at_the_tables_finds_nothing_in_either_form() {
    for sql in [REAL, SIMULATED] {
        let tenants = Tenants::new(&[sql]).await;
        let pool = tenants.database.pool_builder().check_tables(true);
        pool.build().await.expect("nothing is found");
    }
}

#[tokio::test]
async fn whoever_has_bypassrls_sees_all_and_no_pool_runs_with_it() {
    let tenants = Tenants::new(&[REAL, PROJECTS]).await;
    let name = tenants.database.name();
    let sql = format!(
        "CREATE ROLE reader_of_{name} BYPASSRLS; GRANT USAGE ON SCHEMA public TO reader_of_{name};
         GRANT SELECT ON projects TO reader_of_{name};
         CREATE ROLE login_of_{name} LOGIN NOINHERIT IN ROLE anon, reader_of_{name};"
    );
    tenants.database.execute(&sql).await;
    let login = tenants.database.connect(&format!("login_of_{name}")).await;
    let become_it = format!("SET ROLE reader_of_{name}");
    login.batch_execute(&become_it).await.expect("it may");
    let count = "SELECT count(*) FROM projects";
    let count: i64 = login.query_one_scalar(count, &[]).await.expect("it may");
    assert_eq!(count, 6);
    let pool = tenants
        .database
        .pool_builder_for(&format!("login_of_{name}"));
    let error = pool
        .anonymous_role("anon")
        .build()
        .await
        .expect_err("it is refused");
    assert!(error.to_string().contains("BYPASSRLS"), "{error}");
}

/// A role's name has another collation than a text has by default.
#[tokio::test]
async fn a_policy_for_current_user_needs_an_index_of_its_collation() {
    const OTHERS: &str = include_str!("../../../examples/sql/other_policies.sql");
    let jdoe = Some(r#"{"role":"jdoe123"}"#);
    let plan = "SET LOCAL enable_seqscan = off;; EXPLAIN (COSTS OFF) SELECT title FROM articles";
    let with = Tenants::new(&[OTHERS]).await.ask(jdoe, plan).await;
    assert!(with.contains("Index Cond"), "{with}");
    let mutated = super::without(OTHERS, 1, " COLLATE \"C\"", "");
    let mutated = Tenants::new(&[&mutated]).await.ask(jdoe, plan).await;
    assert!(!mutated.contains("Index Cond"), "{mutated}");
}
