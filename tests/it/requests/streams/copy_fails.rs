//! COPY that the server refuses before it has read any data, or that nobody can end.

use rolescope::{ErrorKind, RoleScopedConnection, RoleScopedPool};

use super::{SCHEMA, anon, count, serves};
use crate::requests::scope::cancel::until;
use crate::support::proxy::within;
use crate::support::{Database, database};

/// PostgreSQL says that it takes the data, and then refuses the statement.
const REFUSED: [&str; 2] = ["COPY guarded FROM STDIN", "COPY seen FROM STDIN"];

async fn prepared() -> (Database, RoleScopedPool) {
    let database = database().await;
    database.execute(SCHEMA).await;
    database
        .execute(
            "CREATE TABLE guarded (x int);
             CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE EXCEPTION 'not now'; END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON guarded EXECUTE FUNCTION refuse();
             CREATE VIEW seen AS SELECT 1 AS x;
             GRANT ALL ON guarded, seen TO anon;",
        )
        .await;
    let pool = database.pool_of_one().await;
    (database, pool)
}

/// No statement is answered with another one's answer: there are none any more.
async fn is_given_up(db: &RoleScopedConnection) {
    for error in [
        within(db.execute_typed("ROLLBACK TO SAVEPOINT here", &[]))
            .await
            .err(),
        within(db.batch_execute("INSERT INTO t VALUES (2)"))
            .await
            .err(),
        within(db.commit()).await.err(),
    ] {
        assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Finished));
    }
}

#[tokio::test]
async fn a_copy_that_is_refused_before_its_data_ends_its_transaction() {
    let (database, pool) = prepared().await;
    for sql in REFUSED {
        let db = anon(&pool);
        db.batch_execute("INSERT INTO t VALUES (1); SAVEPOINT here")
            .await
            .expect("it runs");
        let mut copy = db.copy_in(sql).await.expect("it begins");
        let _ = copy.send("1\n").await;
        let error = within(copy.finish()).await.expect_err("it is refused");
        assert!(error.code().is_some(), "{sql}: {error:?}");
        is_given_up(&db).await;
        within(serves(&pool)).await.expect("it serves");
    }
    assert_eq!(count(&database, "t").await.expect("it is there"), 0);
}

#[tokio::test]
async fn a_copy_that_is_dropped_ends_its_transaction() {
    let (database, pool) = prepared().await;
    for sql in ["COPY t FROM STDIN", REFUSED[0], REFUSED[1]] {
        let db = anon(&pool);
        db.batch_execute("INSERT INTO t VALUES (1); SAVEPOINT here")
            .await
            .expect("it runs");
        drop(db.copy_in(sql).await.expect("it begins"));
        is_given_up(&db).await;
        within(serves(&pool)).await.expect("it serves");
    }
    assert_eq!(count(&database, "t").await.expect("it is there"), 0);
}

#[tokio::test]
async fn a_copy_that_is_open_at_the_end_is_rolled_back() {
    let (database, pool) = prepared().await;
    for sql in ["COPY t FROM STDIN", REFUSED[0], REFUSED[1]] {
        let db = anon(&pool);
        let copy = db.copy_in(sql).await.expect("it begins");
        let error = within(db.commit()).await.expect_err("it is not finished");
        assert_eq!(error.kind(), ErrorKind::TransactionAborted, "{sql}");
        drop(copy);
        let db = anon(&pool);
        let copy = db.copy_in(sql).await.expect("it begins");
        within(db.rollback()).await.expect("it is rolled back");
        drop(copy);
        within(serves(&pool)).await.expect("it serves");
    }
    assert_eq!(count(&database, "t").await.expect("it is there"), 0);
}

#[tokio::test]
async fn a_copy_the_wrong_way_round_keeps_no_backend() {
    let (database, pool) = prepared().await;
    let db = anon(&pool);
    let error = within(db.copy_out("COPY t FROM STDIN")).await;
    error.expect_err("the server waits for data");
    drop(db);
    drop(pool);
    until(&database, "query LIKE 'COPY%'", 0).await;
}
