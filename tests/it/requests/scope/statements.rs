//! The statement cache: each role its own, bounded, and never wrong for long.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use rolescope::tokio_postgres::types::{IsNull, ToSql, Type};
use rolescope::{Error, RoleName, RoleScope};

use crate::support::database;
use crate::support::proxy::{Proxy, within};

fn scope(role: &str) -> RoleScope {
    RoleScope::for_role(RoleName::parse(role).expect("a good name"))
}

fn code(error: &Error) -> &str {
    error.code().expect("an error of the database").code()
}

#[tokio::test]
async fn a_schema_is_not_reached_through_another_roles_cached_statement() {
    let database = database().await;
    database
        .execute(
            "CREATE SCHEMA private; CREATE TABLE private.t AS SELECT 1 AS x;
             GRANT USAGE ON SCHEMA private TO author;
             GRANT SELECT ON private.t TO author, web_user",
        )
        .await;
    let pool = database.pool_of_one().await;
    let sql = "SELECT x FROM private.t";
    for _ in 0..3 {
        let author = pool.begin(&scope("author"));
        assert_eq!(
            author
                .query_one_scalar::<i32>(sql, &[])
                .await
                .expect("granted"),
            1
        );
        drop(author);
        let error = pool
            .begin(&scope("web_user"))
            .query(sql, &[])
            .await
            .expect_err("USAGE is missing");
        assert_eq!(code(&error), "42501");
    }
    assert_eq!(pool.status().connections_created, 1);
}

#[tokio::test]
async fn a_statement_is_prepared_once_for_each_role() {
    let database = database().await;
    let pool = database.pool_of_one().await;
    let count = "SELECT count(*) FROM pg_prepared_statements WHERE statement = 'SELECT 1'";
    for _ in 0..3 {
        for role in ["author", "web_user"] {
            let db = pool.begin(&scope(role));
            db.query("SELECT 1", &[]).await.expect("it runs");
        }
    }
    let db = pool.begin(&scope("anon"));
    assert_eq!(
        db.query_one_scalar::<i64>(count, &[])
            .await
            .expect("it runs"),
        2
    );
}

#[tokio::test]
async fn the_cache_is_bounded_and_can_be_switched_off() {
    let database = database().await;
    for (capacity, most) in [(0, 1), (8, 9)] {
        let pool = database
            .pool_builder()
            .max_size(1)
            .statement_cache(capacity)
            .build()
            .await
            .expect("the pool is built");
        for number in 0..40 {
            let db = pool.begin(&scope("web_user"));
            let sql = format!("SELECT {number} AS counted");
            db.query(&sql, &[]).await.expect("it runs");
        }
        let db = pool.begin(&scope("anon"));
        let kept: i64 = db
            .query_one_scalar(
                "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%AS counted'",
                &[],
            )
            .await
            .expect("it runs");
        assert!((0..=most).contains(&kept), "{kept} of {capacity}");
    }
}

#[tokio::test]
async fn a_statement_that_no_longer_fits_is_prepared_anew_unseen() {
    let database = database().await;
    database
        .execute("CREATE TABLE t AS SELECT 1 AS x; GRANT SELECT ON t TO web_user")
        .await;
    let pool = database.pool_of_one().await;
    let sql = "SELECT * FROM t";
    let columns = async || {
        let db = pool.begin(&scope("web_user"));
        db.query_one(sql, &[]).await.expect("it runs").len()
    };
    assert_eq!(columns().await, 1);
    database.execute("ALTER TABLE t ADD COLUMN y int").await;
    assert_eq!(columns().await, 2);
    assert_eq!(pool.status().connections_created, 1);
}

#[tokio::test]
async fn a_statement_that_no_longer_fits_is_not_run_again_where_that_would_lose_another() {
    let database = database().await;
    database
        .execute(
            "CREATE TABLE t AS SELECT 1 AS x; GRANT SELECT ON t TO web_user;
             CREATE TABLE log (x int); GRANT INSERT ON log TO web_user",
        )
        .await;
    let pool = database.pool_of_one().await;
    let sql = "SELECT * FROM t";
    let db = pool.begin(&scope("web_user"));
    db.query(sql, &[]).await.expect("it runs");
    drop(db);
    database.execute("ALTER TABLE t ADD COLUMN y int").await;
    let db = pool.begin(&scope("web_user"));
    db.execute("INSERT INTO log VALUES (1)", &[])
        .await
        .expect("it is inserted");
    let error = db.query(sql, &[]).await.expect_err("it no longer fits");
    assert_eq!(code(&error), "0A000");
    assert!(
        db.commit().await.is_err(),
        "the insert is not half of a success"
    );
}

#[tokio::test]
async fn a_cached_statement_that_is_gone_is_prepared_anew_on_another_session() {
    let database = database().await;
    database
        .execute(
            "CREATE FUNCTION forget() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$",
        )
        .await;
    let pool = database.pool_of_one().await;
    let run = async |sql| {
        let db = pool.begin(&scope("web_user"));
        db.query(sql, &[]).await
    };
    run("SELECT 1").await.expect("it runs");
    run("SELECT forget()").await.expect("it runs");
    // The switch is gone too: that request learns that its session is of no use, and the next has another.
    let _ = run("SELECT 1").await;
    run("SELECT 1").await.expect("it runs");
    run("SELECT 1").await.expect("it runs");
    assert_eq!(pool.status().connections_created, 2);
}

#[tokio::test]
async fn parameters_are_bound_as_their_types() {
    let database = database().await;
    let pool = database.pool().await;
    let db = pool.begin(&scope("web_user"));
    let row = db
        .query_one(
            "SELECT $1::int + 1, $2::text, $3::bool",
            &[&1, &"it's", &true],
        )
        .await
        .expect("it runs");
    assert_eq!(row.get::<_, i32>(0), 2);
    assert_eq!(row.get::<_, &str>(1), "it's");
    assert!(row.get::<_, bool>(2));
    let row = db
        .query_typed_one("SELECT $1", &[(&"typed", Type::TEXT)])
        .await
        .expect("it runs");
    assert_eq!(row.get::<_, &str>(0), "typed");
    assert_eq!(
        db.query_typed_opt("SELECT 1 WHERE $1", &[(&false, Type::BOOL)])
            .await
            .expect("it runs")
            .map(|row| row.len()),
        None
    );
    assert_eq!(db.execute("SELECT 1", &[]).await.expect("it runs"), 1);
    assert_eq!(
        db.query_scalar::<i32>("SELECT generate_series(1, 3)", &[])
            .await
            .expect("it runs"),
        [1, 2, 3]
    );
    assert_eq!(
        db.query_opt_scalar::<i32>("SELECT 1 WHERE false", &[])
            .await
            .expect("it runs"),
        None
    );
}

#[tokio::test]
async fn a_wrong_number_of_rows_or_columns_is_an_error_and_harms_nothing() {
    let database = database().await;
    let pool = database.pool_of_one().await;
    let db = pool.begin(&scope("web_user"));
    for (sql, message) in [
        (
            "SELECT 1 WHERE false",
            "a statement returned no row where one was expected",
        ),
        (
            "SELECT generate_series(1, 2)",
            "a statement returned several rows where one was expected",
        ),
    ] {
        let error = db.query_one(sql, &[]).await.expect_err(sql);
        assert_eq!(error.to_string(), message);
        assert_eq!(error.status(), 500);
    }
    let error = db
        .query_one_scalar::<i32>("SELECT 1, 2", &[])
        .await
        .expect_err("two columns");
    assert_eq!(error.kind(), rolescope::ErrorKind::Statement);
    let error = db
        .query_one_scalar::<String>("SELECT 1", &[])
        .await
        .expect_err("not a text");
    assert_eq!(error.kind(), rolescope::ErrorKind::Statement);
    db.commit().await.expect("nothing failed in the database");
    assert_eq!(pool.status().connections_created, 1);
}

#[tokio::test]
async fn a_parameter_that_does_not_fit_is_not_sent_and_harms_nothing() {
    let database = database().await;
    let pool = database.pool_of_one().await;
    let db = pool.begin(&scope("web_user"));
    for params in [&[&"text" as &(dyn ToSql + Sync)][..], &[], &[&1, &2]] {
        let error = db.query("SELECT $1::int", params).await;
        let error = error.expect_err("it does not fit");
        assert_eq!(error.kind(), rolescope::ErrorKind::Statement);
    }
    db.commit().await.expect("nothing failed in the database");
    let db = pool.begin(&scope("web_user"));
    db.query("SELECT 1", &[]).await.expect("it runs");
    assert_eq!(pool.status().connections_created, 1);
}

#[tokio::test]
async fn copy_is_refused_before_it_is_sent() {
    let database = database().await;
    let pool = database.pool_of_one().await;
    let db = pool.begin(&scope("web_user"));
    let error = db
        .query("COPY (SELECT 1) TO STDOUT", &[])
        .await
        .expect_err("not as a query");
    assert_eq!(error.kind(), rolescope::ErrorKind::Statement);
    // Among several statements it is seen only when the server asks for data: that session is closed.
    let error = db
        .batch_execute("SELECT 1; COPY (SELECT 1) TO STDOUT")
        .await
        .expect_err("not in a batch");
    assert_eq!(error.kind(), rolescope::ErrorKind::Statement);
    drop(db);
    let db = pool.begin(&scope("web_user"));
    db.query("SELECT 1", &[]).await.expect("the pool serves on");
}

#[tokio::test]
async fn a_later_statement_that_no_longer_fits_fails_once_and_not_for_ever() {
    let database = database().await;
    database
        .execute("CREATE TABLE t AS SELECT 1 AS x; GRANT SELECT ON t TO web_user")
        .await;
    let pool = database.pool_of_one().await;
    let columns = async || {
        let db = pool.begin(&scope("web_user"));
        db.query("SELECT 'first'", &[]).await?;
        Ok::<_, Error>(db.query_one("SELECT * FROM t", &[]).await?.len())
    };
    assert_eq!(columns().await.expect("it runs"), 1);
    database.execute("ALTER TABLE t ADD COLUMN y int").await;
    let error = columns().await.expect_err("something else ran before");
    assert_eq!(code(&error), "0A000");
    assert_eq!(columns().await.expect("it runs"), 2);
    assert_eq!(pool.status().connections_created, 1);
}

#[tokio::test]
async fn a_typed_statement_asks_for_no_types_after_the_end() {
    let database = database().await;
    database.execute("CREATE TYPE mood AS ENUM ('good')").await;
    let proxy = Proxy::start(&database);
    let pool = within(proxy.pool_builder().build())
        .await
        .expect("it is built");
    let db = pool.begin(&scope("web_user"));
    within(db.query("SELECT 1", &[])).await.expect("it runs");
    proxy.hold();
    let late = db.clone();
    let late = tokio::spawn(async move { late.query_typed("SELECT 'good'::mood", &[]).await });
    proxy.sees(&["PD"]).await;
    let commit = tokio::spawn(async move { db.commit().await });
    proxy.sees(&["BE", "Q", "Q"]).await;
    let sent = proxy.requests().len();
    proxy.pass();
    within(commit).await.expect("no panic").expect("it commits");
    let error = within(late).await.expect("no panic").expect_err("too late");
    assert_eq!(error.kind(), rolescope::ErrorKind::Finished);
    proxy.rests().await;
    // The session may serve somebody else by now.
    let asked: Vec<_> = proxy.requests().split_off(sent);
    assert!(
        asked.iter().all(|request| !request.sql.contains("pg_type")),
        "{asked:?}"
    );
}

/// Writes half of its value.
#[derive(Debug)]
struct Panics;

impl ToSql for Panics {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(b"half");
        panic!("on purpose")
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    rolescope::tokio_postgres::types::to_sql_checked!();
}

#[tokio::test]
async fn a_parameter_that_panics_is_sent_to_nobody() {
    let database = database().await;
    database
        .execute("CREATE TABLE t (x text); GRANT SELECT, INSERT ON t TO web_user")
        .await;
    let pool = database.pool_of_one().await;
    for goes_on in [false, true] {
        let db = pool.begin(&scope("web_user"));
        db.execute("INSERT INTO t VALUES ('x')", &[])
            .await
            .expect("it runs");
        let panics = db.query("SELECT $1::text", &[&Panics]);
        let caught = AssertUnwindSafe(panics).catch_unwind().await;
        assert!(caught.is_err());
        if goes_on {
            // What is left of the message stands before the next one.
            assert!(db.query("SELECT 1", &[]).await.is_err());
            assert!(db.commit().await.is_err());
        }
        drop(db);
        let db = pool.begin(&scope("web_user"));
        let rows: i64 = within(db.query_one_scalar("SELECT count(*) FROM t", &[]))
            .await
            .expect("the pool serves on");
        assert_eq!(rows, 0);
    }
}
