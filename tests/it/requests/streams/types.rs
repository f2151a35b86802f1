//! Types that the driver has to ask the server for, behind the rows that they are needed for.

use rolescope::{ErrorKind, RoleScopedConnection};

use super::anon;
use crate::support::database;
use crate::support::proxy::within;

/// More than the driver reads ahead: the answer to its own question about a type stands behind all of it.
#[tokio::test]
async fn a_type_that_the_session_has_not_met_does_not_stop_a_large_result() {
    let database = database().await;
    database
        .execute("CREATE TYPE mood AS ENUM ('sad', 'ok')")
        .await;
    let pool = database
        .pool_builder()
        .max_size(2)
        .build()
        .await
        .expect("it is built");
    let sql = "SELECT 'ok'::mood, repeat('x', 1000) FROM generate_series(1, $1)";
    // The second session knows the statement from the first, and the type from nowhere.
    let (one, two) = (anon(&pool), anon(&pool));
    for db in [&one, &two] {
        let rows = within(db.query(sql, &[&20_000_i32]))
            .await
            .expect("it runs");
        assert_eq!(rows.len(), 20_000);
    }
    let typed = [(&20_000_i32 as _, tokio_postgres::types::Type::INT4)];
    let pool = database.pool_of_one().await;
    let rows = within(anon(&pool).query_typed(sql, &typed))
        .await
        .expect("it runs");
    assert_eq!(rows.len(), 20_000);
}

#[tokio::test]
async fn a_column_that_gets_another_type_stops_no_later_statement() {
    let database = database().await;
    database
        .execute(
            "CREATE TYPE mood AS ENUM ('ok'); CREATE TABLE moods (mood text, x text);
             INSERT INTO moods SELECT 'ok', repeat('x', 1000) FROM generate_series(1, 20000);
             GRANT SELECT ON moods TO anon",
        )
        .await;
    let patience = std::time::Duration::from_millis(300);
    let pool = database
        .pool_builder()
        .begin_timeout(patience)
        .max_size(3)
        .build()
        .await
        .expect("it is built");
    let sql = "SELECT mood, x FROM moods";
    let ask =
        async |db: &RoleScopedConnection| db.query_typed(sql, &[]).await.map(|rows| rows.len());
    assert_eq!(within(ask(&anon(&pool))).await.expect("it runs"), 20_000);
    database
        .execute("ALTER TABLE moods ALTER COLUMN mood TYPE mood USING mood::mood")
        .await;
    // The driver asks for the type behind the rows, and nobody reads these meanwhile.
    for stale in [true, false] {
        let db = anon(&pool);
        let answer = within(ask(&db)).await;
        if stale {
            let error = answer.expect_err("the driver has learned it");
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
            let error = db.commit().await.expect_err("it is given up");
            assert_eq!(error.kind(), ErrorKind::Finished);
        } else {
            assert_eq!(answer.expect("it asks anew"), 20_000);
        }
    }
}

/// PostgreSQL sends a long description of columns in parts, and holds the last one back until there are rows: nothing is
/// wrong with such a statement, however long it takes.
#[tokio::test]
async fn a_slow_statement_of_many_columns_is_waited_for() {
    let database = database().await;
    let pool = database
        .pool_builder()
        .begin_timeout(std::time::Duration::from_millis(200))
        .max_size(1)
        .build()
        .await
        .expect("it is built");
    let columns: Vec<String> = (0..400).map(|n| format!("{n} AS column_{n}")).collect();
    let sql = format!("SELECT {}, pg_sleep(0.5)::text", columns.join(", "));
    for _ in 0..2 {
        let rows = within(anon(&pool).query_typed(&sql, &[])).await;
        assert_eq!(rows.expect("it runs").len(), 1);
    }
}
