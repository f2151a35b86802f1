//! What requests may reach in spite of row-level security is found, and gone once the printed cure is applied.
//!
//! Roles belong to the whole server: each test makes its own, named after the test.

use rolescope::RoleScopedPool;
use rolescope::scope::{RoleScopedPoolBuilder, SetupProblem, SetupProblemKind as Kind};

use crate::support::proxy::within;
use crate::support::{Database, database};

fn builder(database: &Database, login: &str) -> RoleScopedPoolBuilder {
    let builder = RoleScopedPool::builder(&database.url(login));
    builder.expect("the URL can be read").anonymous_role("anon")
}

async fn problems(database: &Database, login: &str) -> Vec<SetupProblem> {
    let pool = builder(database, login).build_lazy().expect("it is built");
    within(pool.setup_problems())
        .await
        .expect("the database can be asked")
}

fn named(problems: &[SetupProblem]) -> Vec<(Kind, &str)> {
    let named = problems.iter();
    named.map(|p| (p.kind(), p.subject())).collect()
}

async fn version(database: &Database) -> i32 {
    let version = "SELECT current_setting('server_version_num')::int";
    let admin = database.admin().await;
    admin
        .query_one_scalar(version, &[])
        .await
        .expect("a number")
}

#[tokio::test]
async fn each_flaw_is_found_and_cured_by_what_is_printed() {
    let database = database().await;
    database
        .execute(
            r#"CREATE ROLE tables_owner; CREATE ROLE tables_caller IN ROLE tables_owner; CREATE ROLE "tables ""odd""";
             CREATE ROLE tables_login LOGIN NOINHERIT IN ROLE anon, tables_caller, "tables ""odd""";
             CREATE TABLE good (x int); ALTER TABLE good ENABLE ROW LEVEL SECURITY;
             CREATE POLICY p ON good USING (true); GRANT SELECT, INSERT, UPDATE, DELETE ON good TO anon, tables_caller, PUBLIC;
             CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
             CREATE SCHEMA "s p"; GRANT USAGE ON SCHEMA "s p" TO "tables ""odd""""#,
        )
        .await;
    let has_invoker = version(&database).await >= 150_000;
    let view = |invoker: &'static str, revoke: &'static str| match has_invoker {
        true => invoker,
        false => revoke,
    };
    for (flaw, kind, subject, cure) in [
        (
            "CREATE TABLE a (x int); ALTER TABLE a ENABLE ROW LEVEL SECURITY; GRANT SELECT ON a TO anon",
            Kind::RlsWithoutPolicies,
            "public.a",
            "REVOKE ALL ON public.a FROM anon;",
        ),
        (
            "CREATE TABLE b (x int); CREATE POLICY p ON b USING (true)",
            Kind::PoliciesWithoutRls,
            "public.b",
            "ALTER TABLE public.b ENABLE ROW LEVEL SECURITY;",
        ),
        (
            "CREATE TABLE c (x int); ALTER TABLE c ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON c USING (true);
             ALTER TABLE c OWNER TO tables_caller",
            Kind::OwnerNotForced,
            "public.c",
            "ALTER TABLE public.c FORCE ROW LEVEL SECURITY;",
        ),
        // By inheritance.
        (
            "CREATE TABLE d (x int) PARTITION BY LIST (x); ALTER TABLE d ENABLE ROW LEVEL SECURITY;
             CREATE POLICY p ON d USING (true); ALTER TABLE d OWNER TO tables_owner",
            Kind::OwnerNotForced,
            "public.d",
            "ALTER TABLE public.d FORCE ROW LEVEL SECURITY;",
        ),
        (
            "CREATE TABLE e (x int, y int); GRANT SELECT (x) ON e TO tables_owner; GRANT INSERT ON e TO PUBLIC;
             GRANT DELETE ON e TO anon, not_granted",
            Kind::TableWithoutRls,
            "public.e",
            "REVOKE ALL ON public.e FROM PUBLIC, anon, tables_owner;",
        ),
        // Policies of the parent do not bind whoever asks the partition.
        (
            "CREATE TABLE d1 PARTITION OF d FOR VALUES IN (1); GRANT UPDATE ON d1 TO anon",
            Kind::TableWithoutRls,
            "public.d1",
            "REVOKE ALL ON public.d1 FROM anon;",
        ),
        (
            "CREATE FOREIGN TABLE f (x int) SERVER nowhere; GRANT SELECT ON f TO anon",
            Kind::TableWithoutRls,
            "public.f",
            "REVOKE ALL ON public.f FROM anon;",
        ),
        (
            r#"CREATE TABLE "s p"."a""b" (x int); GRANT SELECT ON "s p"."a""b" TO "tables ""odd""""#,
            Kind::TableWithoutRls,
            r#""s p"."a""b""#,
            r#"REVOKE ALL ON "s p"."a""b" FROM "tables ""odd""";"#,
        ),
        (
            "CREATE VIEW g AS SELECT * FROM good; GRANT SELECT ON g TO tables_owner",
            Kind::ViewBypassesRls,
            "public.g",
            view(
                "ALTER VIEW public.g SET (security_invoker = true);",
                "REVOKE ALL ON public.g FROM tables_owner;",
            ),
        ),
        // A view of a view.
        (
            "CREATE VIEW h AS SELECT * FROM g; GRANT SELECT ON h TO anon",
            Kind::ViewBypassesRls,
            "public.h",
            "REVOKE ALL ON public.h FROM anon;",
        ),
        (
            "CREATE MATERIALIZED VIEW i AS SELECT * FROM good; GRANT SELECT ON i TO anon",
            Kind::ViewBypassesRls,
            "public.i",
            "REVOKE ALL ON public.i FROM anon;",
        ),
        (
            "CREATE TABLE l (x int); ALTER TABLE l ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON l USING (true);
             GRANT ALL ON l TO anon; GRANT TRUNCATE ON l TO tables_owner",
            Kind::TruncateGranted,
            "public.l",
            "REVOKE TRUNCATE ON public.l FROM anon, tables_owner;",
        ),
        (
            "CREATE FUNCTION j(a int, VARIADIC b text[]) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT ''x'''",
            Kind::DefinerWithoutSearchPath,
            "public.j(a integer, VARIADIC b text[])",
            "ALTER ROUTINE public.j(a integer, VARIADIC b text[]) SET search_path = public, pg_temp;",
        ),
        (
            "CREATE PROCEDURE k(a text) LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
            Kind::DefinerWithoutSearchPath,
            "public.k(IN a text)",
            "ALTER ROUTINE public.k(IN a text) SET search_path = public, pg_temp;",
        ),
    ] {
        database.execute(flaw).await;
        let found = problems(&database, "tables_login").await;
        assert_eq!(named(&found), [(kind, subject)], "{flaw}");
        let text = found[0].to_string();
        assert!(text.contains(subject) && text.contains(cure), "{text}");
        let accept = format!("accept_setup_problem(SetupProblemKind::{kind:?})");
        assert!(text.contains(&accept), "{text}");
        database.execute(cure).await;
        let left = problems(&database, "tables_login").await;
        assert_eq!(left, [], "{cure}");
    }
}

#[tokio::test]
async fn what_requests_cannot_reach_or_others_brought_along_is_none_of_it() {
    let database = database().await;
    database
        .execute(
            "CREATE TABLE private (x int);
             CREATE TABLE locked (x int); ALTER TABLE locked ENABLE ROW LEVEL SECURITY;
             CREATE TABLE of_others (x int); GRANT SELECT ON of_others TO not_granted;
             CREATE SCHEMA closed; CREATE TABLE closed.t (x int); GRANT SELECT ON closed.t TO anon, PUBLIC;
             CREATE FUNCTION closed.f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
             CREATE TABLE brought (x int); GRANT SELECT ON brought TO anon;
             CREATE FUNCTION brought() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
             ALTER EXTENSION plpgsql ADD TABLE brought; ALTER EXTENSION plpgsql ADD FUNCTION brought();
             CREATE FUNCTION revoked() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
             REVOKE ALL ON FUNCTION revoked() FROM PUBLIC;
             CREATE FUNCTION invoker() RETURNS int LANGUAGE sql AS 'SELECT 1';
             CREATE FUNCTION with_path() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
                 AS 'SELECT 1';
             CREATE VIEW plain AS SELECT 1 AS x; GRANT SELECT ON plain TO anon;
             CREATE VIEW ungranted AS SELECT * FROM locked",
        )
        .await;
    assert_eq!(problems(&database, "authenticator").await, []);
}

#[tokio::test]
async fn the_sql_of_the_examples_has_none_of_it() {
    let todos = include_str!("../../../../examples/sql/todos.sql");
    let tables = todos
        .find("CREATE TABLE todos")
        .expect("it makes the table");
    let todos = todos[tables..]
        .replace(":\"anon\"", "anon")
        .replace(":\"web_user\"", "web_user");
    let policies = include_str!("../../../../examples/sql/policies.sql");
    let database = database().await;
    database.execute(&todos).await;
    database.execute(policies).await;
    assert_eq!(problems(&database, "authenticator").await, []);
}

#[tokio::test]
async fn by_choice_a_pool_is_refused_for_it() {
    let database = database().await;
    database
        .execute(
            "CREATE TABLE a (x int); GRANT SELECT ON a TO anon;
             CREATE TABLE b (x int); CREATE POLICY p ON b USING (true)",
        )
        .await;
    let builder = builder(&database, "authenticator");
    within(builder.clone().build()).await.expect("it is built");

    let strict = builder.check_tables(true);
    let error = within(strict.clone().build()).await;
    let error = error.expect_err("it is refused");
    let both = [
        (Kind::PoliciesWithoutRls, "public.b"),
        (Kind::TableWithoutRls, "public.a"),
    ];
    assert_eq!(named(error.problems()), both, "{error}");
    assert_eq!(error.to_string().lines().count(), 3, "{error}");

    let lenient = strict.accept_setup_problem(Kind::TableWithoutRls);
    let error = within(lenient.clone().build()).await;
    let error = error.expect_err("it is refused");
    assert_eq!(named(error.problems()), both[..1], "{error}");
    let lenient = lenient.accept_setup_problem(Kind::PoliciesWithoutRls);
    let pool = within(lenient.build()).await.expect("it is built");
    // What is accepted is told all the same.
    let told = within(pool.setup_problems()).await;
    assert_eq!(named(&told.expect("it answers")), both);
}

#[tokio::test]
async fn what_is_wrong_with_the_authenticator_is_told_as_well() {
    let database = database().await;
    database
        .execute(
            "CREATE ROLE told_boss BYPASSRLS; CREATE ROLE told_super SUPERUSER;
             CREATE ROLE told_login LOGIN NOINHERIT IN ROLE anon, told_boss, told_super;
             CREATE TABLE a (x int); CREATE TABLE b (x int); GRANT SELECT ON b TO told_boss",
        )
        .await;
    let found = problems(&database, "told_login").await;
    // A superuser reaches every table, which is said once.
    let expected = [
        (Kind::ReachesBypassRls, "told_boss"),
        (Kind::ReachesSuperuser, "told_super"),
        (Kind::TableWithoutRls, "public.b"),
    ];
    assert_eq!(named(&found), expected);
    assert!(problems(&database, "postgres").await.len() >= 2);

    let pool = builder(&database, "nobody_at_all").build_lazy();
    let error = within(pool.expect("it is built").setup_problems()).await;
    let error = error.expect_err("nobody can log in").to_string();
    assert!(
        error.contains(r#"role "nobody_at_all" does not exist"#),
        "{error}"
    );
}
