//! Handlers that claim success over something that was not committed.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use rolescope::{Error, Isolation, RoleName, RoleScope, RoleScopedConnection, RoleScopedPool};
use tokio_postgres::Client;

use crate::support::{Database, database};

/// One such handler. What it does not say is that it answers with success.
#[derive(Clone, Copy)]
pub(super) struct Lie {
    pub(super) name: &'static str,
    pub(super) tell: fn(RoleScopedConnection, Arc<Client>) -> BoxFuture<'static, ()>,
    /// What its client is told.
    pub(super) status: u16,
    pub(super) code: &'static str,
    #[cfg_attr(
        not(feature = "tonic"),
        expect(dead_code, reason = "there is no client of gRPC without it")
    )]
    pub(super) grpc: i32,
    /// Whether somebody may have stored something all the same: then the client is not told either way.
    pub(super) unknown: bool,
}

pub(super) const INSERT: &str = "INSERT INTO t VALUES (1)";
const TWICE: &str = "INSERT INTO late VALUES (1), (1)";
const FAILS: &str = "SELECT 1 / 0";

/// A database with a table, and one whose rows are found wrong at COMMIT only.
pub(super) async fn prepared() -> Database {
    let database = database().await;
    database
        .execute(
            "CREATE TABLE t (x int);
             CREATE TABLE late (x int UNIQUE DEFERRABLE INITIALLY DEFERRED);
             GRANT ALL ON t, late TO anon, web_user",
        )
        .await;
    database
}

/// How many rows somebody has stored, which then are deleted.
pub(super) async fn take_stored(admin: &Client) -> i64 {
    let count = "WITH t AS (DELETE FROM t WHERE x < 100 RETURNING 1), late AS (DELETE FROM late RETURNING 1)
         SELECT (SELECT count(*) FROM t) + (SELECT count(*) FROM late)";
    admin
        .query_one_scalar(count, &[])
        .await
        .expect("they are counted")
}

/// Waits until the pool's one session is free, and what was sent on it answered.
pub(super) async fn settled(pool: &RoleScopedPool) {
    let scope = RoleScope::for_role(RoleName::parse("anon").expect("a good name"));
    let free = pool.begin(&scope);
    free.query("SELECT 1", &[]).await.expect("it serves");
}

async fn insert(db: &RoleScopedConnection) {
    db.execute(INSERT, &[]).await.expect("it is inserted");
}

/// Writes what another transaction, which commits meanwhile, cannot have read.
async fn conflict(db: &RoleScopedConnection, other: &Client) -> Result<(), Error> {
    db.isolation(Isolation::Serializable)?;
    db.query("SELECT count(*) FROM t", &[]).await?;
    insert(db).await;
    let committed = other.batch_execute(
        "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM t; INSERT INTO t VALUES (100); COMMIT",
    );
    committed.await.expect("the first one commits");
    Ok(())
}

const fn lie(
    name: &'static str,
    (status, code, grpc): (u16, &'static str, i32),
    tell: fn(RoleScopedConnection, Arc<Client>) -> BoxFuture<'static, ()>,
) -> Lie {
    Lie {
        name,
        tell,
        status,
        code,
        grpc,
        unknown: false,
    }
}

const ABORTED: (u16, &str, i32) = (500, "transaction_aborted", 13);
const CONFLICT: (u16, &str, i32) = (409, "23505", 6);
const SERIALIZATION: (u16, &str, i32) = (503, "database_error", 10);
const UNKNOWN: (u16, &str, i32) = (500, "commit_unknown", 2);
const LEFT: (u16, &str, i32) = (500, "scope_left", 13);

pub(super) const LIES: &[Lie] = &[
    lie("an error is swallowed", ABORTED, |db, _| {
        Box::pin(async move {
            insert(&db).await;
            let _ = db.query(FAILS, &[]).await;
        })
    }),
    lie("one of several statements failed", ABORTED, |db, _| {
        Box::pin(async move {
            insert(&db).await;
            let _ = db.batch_execute("SELECT 1; SELECT 1 / 0").await;
        })
    }),
    lie("an error in another task is swallowed", ABORTED, |db, _| {
        Box::pin(async move {
            insert(&db).await;
            let other = tokio::spawn(async move { db.query(FAILS, &[]).await });
            let _ = other.await.expect("no panic");
        })
    }),
    lie("a failing statement is dropped", ABORTED, |db, _| {
        Box::pin(async move {
            insert(&db).await;
            let mut sent = Box::pin(db.execute_typed("SELECT 1 / 0", &[]));
            assert!(futures_util::poll!(&mut sent).is_pending());
        })
    }),
    lie("a savepoint is not rolled back to", ABORTED, |db, _| {
        Box::pin(async move {
            insert(&db).await;
            let savepoint = db.savepoint().await.expect("it is set");
            let _ = db.query(FAILS, &[]).await;
            let _ = savepoint.release().await;
        })
    }),
    lie("an error in mid-stream is swallowed", ABORTED, |db, _| {
        Box::pin(async move {
            insert(&db).await;
            let sql = "SELECT 1 / (3 - x) FROM generate_series(1, 3) x";
            let mut rows = db.query_stream(sql, &[]).await.expect("it begins");
            while let Some(Ok(_)) = rows.next().await {}
        })
    }),
    lie("a failing stream is left half-read", ABORTED, |db, _| {
        Box::pin(async move {
            insert(&db).await;
            let sql = "SELECT 1 / (3000 - x) FROM generate_series(1, 3000) x";
            let mut rows = db.query_stream(sql, &[]).await.expect("it begins");
            let _ = rows.next().await;
        })
    }),
    lie("a COPY is not finished", ABORTED, |db, _| {
        Box::pin(async move {
            insert(&db).await;
            let copy = db.copy_in("COPY t FROM STDIN").await;
            let mut copy = copy.expect("it begins");
            copy.send("2\n").await.expect("it is sent");
        })
    }),
    lie("bad data of a COPY is swallowed", ABORTED, |db, _| {
        Box::pin(async move {
            insert(&db).await;
            let copy = db.copy_in("COPY t FROM STDIN").await;
            let mut copy = copy.expect("it begins");
            copy.send("no number\n").await.expect("it is sent");
            let _ = copy.finish().await;
        })
    }),
    lie("a deferred constraint is broken", CONFLICT, |db, _| {
        Box::pin(async move {
            insert(&db).await;
            db.execute(TWICE, &[]).await.expect("not yet");
        })
    }),
    lie("the error of commit is swallowed", CONFLICT, |db, _| {
        Box::pin(async move {
            insert(&db).await;
            db.execute(TWICE, &[]).await.expect("not yet");
            db.commit().await.expect_err("it is refused");
        })
    }),
    lie("commit is said behind an error", ABORTED, |db, _| {
        Box::pin(async move {
            insert(&db).await;
            let _ = db.query(FAILS, &[]).await;
            db.commit().await.expect_err("it has failed");
        })
    }),
    lie(
        "the last statement's COMMIT is refused",
        CONFLICT,
        |db, _| {
            Box::pin(async move {
                insert(&db).await;
                let last = db.execute_and_commit(TWICE, &[]).await;
                last.expect_err("it is refused");
            })
        },
    ),
    lie("the last statement fails", (400, "22012", 3), |db, _| {
        Box::pin(async move {
            insert(&db).await;
            let last = db.query_and_commit(FAILS, &[]).await;
            last.expect_err("it fails");
        })
    }),
    lie("the last statement is not sent", UNKNOWN, |db, _| {
        Box::pin(async move {
            insert(&db).await;
            // It is being prepared.
            let mut last = Box::pin(db.execute_and_commit("INSERT INTO t VALUES (2)", &[]));
            assert!(futures_util::poll!(&mut last).is_pending());
        })
    }),
    Lie {
        unknown: true,
        ..lie("commit is not waited for", UNKNOWN, |db, _| {
            Box::pin(async move {
                insert(&db).await;
                assert!(futures_util::poll!(Box::pin(db.commit())).is_pending());
            })
        })
    },
    lie(
        "COMMIT meets a serialization failure",
        SERIALIZATION,
        |db, other| {
            Box::pin(async move {
                conflict(&db, &other).await.expect("not yet");
            })
        },
    ),
    lie(
        "a serialization failure of commit is swallowed",
        SERIALIZATION,
        |db, other| {
            Box::pin(async move {
                conflict(&db, &other).await.expect("not yet");
                db.commit().await.expect_err("it is refused");
            })
        },
    ),
    Lie {
        unknown: true,
        ..lie("the handler's SQL commits", LEFT, |db, _| {
            Box::pin(async move {
                insert(&db).await;
                db.batch_execute("COMMIT").await.expect("it may");
            })
        })
    },
    lie("the handler's SQL rolls back", LEFT, |db, _| {
        Box::pin(async move {
            insert(&db).await;
            db.batch_execute("ROLLBACK").await.expect("it may");
        })
    }),
    lie(
        "the handler's SQL goes on in another transaction",
        LEFT,
        |db, _| {
            Box::pin(async move {
                insert(&db).await;
                let _ = db.batch_execute("ROLLBACK; BEGIN; SELECT 1").await;
            })
        },
    ),
    lie("the handler's SQL leaves the role", LEFT, |db, _| {
        Box::pin(async move {
            insert(&db).await;
            db.batch_execute("SET ROLE anon").await.expect("it may");
        })
    }),
];
