//! Every future of a handler, dropped after its first poll, its second one, and so on until it completes.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::post;
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use rolescope::{Error, RoleScopedConnection, RoleScopedPool};
use tokio_postgres::types::Type;
use tower::ServiceExt;

use super::{LEAVE_TRACES, begin, grant_temporary, next_is_clean};
use crate::support::proxy::within;
use crate::support::{Database, database, service};

const INSERT: &str = "INSERT INTO t (x) VALUES ($1)";

/// Polls a future as often as it is woken, but so many times at most, and drops it.
async fn dropped_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut polled = 0;
    poll_fn(|cx| {
        polled += 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polled == polls => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// What of an operation that inserts 2 may be stored in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stores {
    /// Nothing, however far it came.
    Never,
    /// What was there before it, and its own row, from the first poll on: it is not taken back.
    OnceSent,
    /// All or nothing; all of it where it has completed.
    Perhaps,
}

/// One operation on a connection that may have run a statement before.
struct Operation {
    name: &'static str,
    /// Whether it is the first of its transaction.
    first: bool,
    run: fn(RoleScopedConnection) -> BoxFuture<'static, Result<(), Error>>,
    stores: Stores,
}

const fn operation(
    name: &'static str,
    first: bool,
    stores: Stores,
    run: fn(RoleScopedConnection) -> BoxFuture<'static, Result<(), Error>>,
) -> Operation {
    Operation {
        name,
        first,
        run,
        stores,
    }
}

const ROWS: &str = "SELECT repeat('x', 1000) FROM generate_series(1, 300)";

const OPERATIONS: &[Operation] = &[
    operation("open, and a statement", true, Stores::Never, |db| {
        Box::pin(async move { db.execute(INSERT, &[&2]).await.map(|_| ()) })
    }),
    operation("open, and several statements", true, Stores::Never, |db| {
        Box::pin(async move { db.batch_execute("INSERT INTO t VALUES (2); SELECT 1").await })
    }),
    operation("statement", false, Stores::Never, |db| {
        Box::pin(async move { db.execute(INSERT, &[&2]).await.map(|_| ()) })
    }),
    operation("typed statement", false, Stores::Never, |db| {
        Box::pin(async move {
            let rows = db.query_typed("SELECT $1 + 1", &[(&1, Type::INT4)]).await;
            rows.map(|_| ())
        })
    }),
    operation(
        "statement with a type of the database's own",
        false,
        Stores::Never,
        |db| Box::pin(async move { db.query("SELECT 'good'::mood", &[]).await.map(|_| ()) }),
    ),
    operation("several statements", false, Stores::Never, |db| {
        Box::pin(async move { db.batch_execute("INSERT INTO t VALUES (2); SELECT 1").await })
    }),
    operation("commit", false, Stores::OnceSent, |db| {
        Box::pin(async move { db.commit().await })
    }),
    operation("rollback", false, Stores::Never, |db| {
        Box::pin(async move { db.rollback().await })
    }),
    operation("savepoint", false, Stores::Never, |db| {
        Box::pin(async move { db.savepoint().await.map(|_| ()) })
    }),
    operation("savepoint and its rollback", false, Stores::Never, |db| {
        Box::pin(async move {
            let savepoint = db.savepoint().await?;
            db.execute(INSERT, &[&2]).await?;
            savepoint.rollback().await
        })
    }),
    operation("savepoint and its release", false, Stores::Never, |db| {
        Box::pin(async move {
            let savepoint = db.savepoint().await?;
            db.execute(INSERT, &[&2]).await?;
            savepoint.release().await
        })
    }),
    operation("stream of rows", false, Stores::Never, |db| {
        Box::pin(async move {
            let mut rows = db.query_stream(ROWS, &[]).await?;
            while rows.next().await.transpose()?.is_some() {}
            Ok(())
        })
    }),
    operation("open, and a stream of rows", true, Stores::Never, |db| {
        Box::pin(async move {
            let mut rows = db.query_stream(ROWS, &[]).await?;
            while rows.next().await.transpose()?.is_some() {}
            Ok(())
        })
    }),
    operation("COPY to the client", false, Stores::Never, |db| {
        Box::pin(async move {
            let copy = format!("COPY ({ROWS}) TO STDOUT");
            let mut data = db.copy_out(&copy).await?;
            while data.next().await.transpose()?.is_some() {}
            Ok(())
        })
    }),
    operation("COPY from the client", false, Stores::Never, |db| {
        Box::pin(async move {
            let mut copy = db.copy_in("COPY t (x) FROM STDIN").await?;
            copy.send("2\n").await?;
            copy.finish().await.map(|_| ())
        })
    }),
    operation(
        "open, and COPY from the client",
        true,
        Stores::Never,
        |db| {
            Box::pin(async move {
                let mut copy = db.copy_in("COPY t (x) FROM STDIN").await?;
                copy.send("2\n").await?;
                copy.finish().await.map(|_| ())
            })
        },
    ),
    operation("last statement", false, Stores::Perhaps, |db| {
        Box::pin(async move { db.execute_and_commit(INSERT, &[&2]).await.map(|_| ()) })
    }),
    operation("open, and a last statement", true, Stores::Perhaps, |db| {
        Box::pin(async move { db.execute_and_commit(INSERT, &[&2]).await.map(|_| ()) })
    }),
];

async fn prepared() -> (Database, RoleScopedPool) {
    let database = database().await;
    database
        .execute(
            "CREATE TYPE mood AS ENUM ('good'); CREATE TABLE t (x int); GRANT ALL ON t TO web_user",
        )
        .await;
    grant_temporary(&database).await;
    let pool = database.pool_of_one().await;
    (database, pool)
}

/// The stored numbers, which then are deleted.
async fn take_stored(admin: &tokio_postgres::Client) -> Vec<i32> {
    let taken = "WITH taken AS (DELETE FROM t RETURNING x) SELECT x FROM taken ORDER BY x";
    admin.query_scalar(taken, &[]).await.expect("they are read")
}

/// Runs each operation until it has completed twice, each time with a poll more, on a session whose last reset is not
/// answered yet. `then` is what the request does afterwards.
/// It returns whether it got to its end, and was committed.
async fn each_dropped<F: Future<Output = bool>>(
    then: impl Fn(RoleScopedConnection) -> F,
    check: impl Fn(&Operation, bool, bool, &[i32], &str),
) {
    let (database, pool) = prepared().await;
    let admin = database.admin().await;
    for operation in OPERATIONS {
        let (mut polls, mut completed, mut last) = (0, 0, 0);
        while completed < 2 {
            polls += 1;
            assert!(polls < 1000, "{} never completes", operation.name);
            let after = format!("{} after {polls} polls", operation.name);
            // Its reset is what the next one begins behind.
            let before = begin(&pool, "author");
            let left = within(before.batch_execute(LEAVE_TRACES)).await;
            left.unwrap_or_else(|error| panic!("{after}: {error:?}"));
            drop(before);
            let db = begin(&pool, "web_user");
            if !operation.first {
                within(db.execute(INSERT, &[&1]))
                    .await
                    .expect("it is inserted");
            }
            let result = within(dropped_after(polls, (operation.run)(db.clone()))).await;
            let done = result.is_some();
            if let Some(result) = result {
                result.unwrap_or_else(|error| panic!("{after}: {error:?}"));
                completed += 1;
            } else {
                last = polls;
            }
            let went_on = within(then(db)).await;
            within(next_is_clean(&pool, &after)).await;
            let status = pool.status();
            assert!(status.connections <= 1, "{after}: {status:?}");
            let stored = take_stored(&admin).await;
            check(operation, done, went_on, &stored, &after);
        }
        assert!(last > 0, "{} was never dropped", operation.name);
        println!("{}: dropped after each of {last} polls", operation.name);
    }
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in tr%'";
    within(async {
        while admin
            .query_one_scalar::<i64, _>(open, &[])
            .await
            .expect("it is counted")
            > 0
        {}
    })
    .await;
}

#[tokio::test]
async fn a_request_that_ends_there_leaves_a_clean_session_and_stores_what_was_asked_for() {
    each_dropped(
        async |db| {
            drop(db);
            false
        },
        |operation, done, _, stored, after| {
            let all: &[i32] = match (operation.name, operation.first) {
                ("commit", _) => &[1],
                (_, true) => &[2],
                (_, false) => &[1, 2],
            };
            match operation.stores {
                Stores::Never => assert_eq!(stored, [0; 0], "{after}"),
                Stores::OnceSent => assert_eq!(stored, all, "{after}"),
                Stores::Perhaps if done => assert_eq!(stored, all, "{after}"),
                Stores::Perhaps => {
                    assert!(stored.is_empty() || stored == all, "{after}: {stored:?}")
                }
            }
        },
    )
    .await;
}

/// The handler gives up on one future, and goes on with its transaction.
#[tokio::test]
async fn a_request_that_goes_on_reads_its_own_answers() {
    each_dropped(
        async |db| {
            // Each may fail since the transaction has ended, or was given up. None may get another's answer.
            if let Ok(answer) = db.query_one_scalar::<i32>("SELECT $1 + 40", &[&2]).await {
                assert_eq!(answer, 42);
            }
            let inserted = db.execute(INSERT, &[&3]).await;
            let committed = db.commit().await;
            if inserted.is_err() {
                committed.expect_err("what failed is not committed");
                return false;
            }
            committed.is_ok()
        },
        |operation, done, went_on, stored, after| {
            let mut rest = stored.to_vec();
            rest.retain(|x| *x != 2);
            let all: &[i32] = if operation.first { &[3] } else { &[1, 3] };
            let before: &[i32] = if operation.first { &[] } else { &[1] };
            let ended = operation.stores != Stores::Never;
            if went_on {
                assert_eq!(rest, all, "{after}");
            } else {
                assert!(
                    rest.is_empty() || (!done && rest == all) || (ended && rest == before),
                    "{after}: {stored:?}"
                );
            }
            let goes_on = operation.stores == Stores::Never && operation.name != "rollback";
            assert!(went_on || !(done && goes_on), "{after}");
            assert!(stored.len() - rest.len() <= 1, "{after}: {stored:?}");
        },
    )
    .await;
}

/// What the layer does for a request, dropped after each poll: the handler, the end of its transaction, the response's body.
#[tokio::test]
async fn a_request_that_is_dropped_with_its_end_is_stored_wholly_or_not_at_all() {
    async fn insert(db: RoleScopedConnection) -> Result<(), Error> {
        db.execute(INSERT, &[&1]).await?;
        db.execute(INSERT, &[&2]).await.map(|_| ())
    }
    async fn made(db: RoleScopedConnection) -> Result<StatusCode, Error> {
        insert(db).await.map(|()| StatusCode::CREATED)
    }
    async fn refused(db: RoleScopedConnection) -> Result<StatusCode, Error> {
        insert(db).await.map(|()| StatusCode::CONFLICT)
    }
    async fn streamed(db: RoleScopedConnection) -> Result<Body, Error> {
        insert(db.clone()).await?;
        db.commit_at_end_of_body()?;
        let rows = db.query_stream(ROWS, &[]).await?;
        Ok(Body::from_stream(
            rows.map_ok(|row| row.get::<_, String>(0)),
        ))
    }
    let (database, pool) = prepared().await;
    let admin = database.admin().await;
    let routes = Router::new()
        .route("/made", post(made))
        .route("/refused", post(refused))
        .route("/streamed", post(streamed));
    let app = service::service(&pool, routes);
    let token = service::token(r#"{"role":"web_user"}"#);
    for (path, stores) in [("/made", true), ("/refused", false), ("/streamed", true)] {
        let (mut polls, mut completed, mut last) = (0, 0, 0);
        while completed < 2 {
            polls += 1;
            assert!(polls < 2000, "{path} never completes");
            let after = format!("{path} after {polls} polls");
            let request = Request::post(path)
                .header("authorization", format!("Bearer {token}"))
                .body(Body::empty())
                .expect("it is well formed");
            let answered = async {
                let response = app.clone().oneshot(request).await.expect("it never fails");
                let status = response.status();
                let body = response.into_body().collect().await;
                body.map(|_| status)
            };
            let done = within(dropped_after(polls, answered)).await;
            within(next_is_clean(&pool, &after)).await;
            let status = pool.status();
            assert!(status.connections <= 1, "{after}: {status:?}");
            let stored = take_stored(&admin).await;
            if let Some(done) = done {
                let status = done.unwrap_or_else(|error| panic!("{after}: {error:?}"));
                assert_eq!(status.is_success(), stores, "{after}");
                assert_eq!(stored == [1, 2], stores, "{after}: {stored:?}");
                completed += 1;
            } else {
                last = polls;
                let whole = stores && stored == [1, 2];
                assert!(stored.is_empty() || whole, "{after}: {stored:?}");
            }
        }
        assert!(last > 0, "{path} was never dropped");
        println!("{path}: dropped after each of {last} polls");
    }
}
