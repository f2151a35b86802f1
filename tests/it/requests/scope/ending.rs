//! How a response ends its transaction: the rows of the contract, each against a real server.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::{get, post};
use rolescope::{AccessMode, Error, ErrorKind, RoleScopedConnection, RoleScopedPool};

use crate::support::service::{self, Reply, service};
use crate::support::{Database, database};

const USER: Option<&str> = Some(r#"{"role":"web_user","sub":"alice"}"#);

/// A database with a table that `web_user` may write, and whose deferred constraint refuses `duplicate` twice.
async fn notes() -> Database {
    let database = database().await;
    database
        .execute(
            "CREATE TABLE notes (note text CONSTRAINT once UNIQUE DEFERRABLE INITIALLY DEFERRED);
             GRANT SELECT, INSERT ON notes TO web_user, anon",
        )
        .await;
    database
}

async fn stored(database: &Database) -> Vec<String> {
    database
        .admin()
        .await
        .query_scalar("SELECT note FROM notes ORDER BY note", &[])
        .await
        .expect("the notes can be read")
}

async fn add(db: &RoleScopedConnection, note: &str) -> Result<u64, Error> {
    db.execute("INSERT INTO notes VALUES ($1)", &[&note]).await
}

/// Calls a handler that gets the connection, by POST.
async fn post_to<H, F, R>(pool: &RoleScopedPool, handler: H) -> Reply
where
    H: Fn(RoleScopedConnection) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = R> + Send + 'static,
    R: axum::response::IntoResponse + 'static,
{
    let app = Router::new().route("/", post(move |db: RoleScopedConnection| handler(db)));
    service::post(&service(pool, app), "/", USER).await
}

#[tokio::test]
async fn success_and_redirection_are_committed_before_the_answer() {
    let database = notes().await;
    let pool = database.pool().await;
    let created = post_to(&pool, async |db: RoleScopedConnection| {
        add(&db, "created").await?;
        Ok::<_, Error>(StatusCode::CREATED)
    });
    assert_eq!(created.await.status, StatusCode::CREATED);
    assert_eq!(stored(&database).await, ["created"]);
    let redirected = post_to(&pool, async |db: RoleScopedConnection| {
        add(&db, "redirected").await?;
        Ok::<_, Error>(Redirect::to("/"))
    });
    assert_eq!(redirected.await.status, StatusCode::SEE_OTHER);
    assert_eq!(stored(&database).await, ["created", "redirected"]);
}

#[tokio::test]
async fn failures_are_rolled_back_whatever_their_status() {
    let database = notes().await;
    let pool = database.pool().await;
    for status in [
        StatusCode::SWITCHING_PROTOCOLS,
        StatusCode::BAD_REQUEST,
        StatusCode::NOT_FOUND,
        StatusCode::INTERNAL_SERVER_ERROR,
    ] {
        let reply = post_to(&pool, move |db: RoleScopedConnection| async move {
            add(&db, "never").await?;
            Ok::<_, Error>(status)
        })
        .await;
        assert_eq!(reply.status, status);
        assert_eq!(stored(&database).await, [""; 0], "{status}");
    }
}

#[tokio::test]
async fn what_the_handler_ends_itself_stays_ended_whatever_the_status() {
    let database = notes().await;
    let pool = database.pool().await;
    let reply = post_to(&pool, async |db: RoleScopedConnection| {
        add(&db, "kept").await?;
        db.commit().await?;
        let later = add(&db, "late").await.expect_err("it has ended");
        assert_eq!(later.kind(), ErrorKind::Finished);
        Ok::<_, Error>(StatusCode::IM_A_TEAPOT)
    })
    .await;
    assert_eq!(reply.status, StatusCode::IM_A_TEAPOT);
    let reply = post_to(&pool, async |db: RoleScopedConnection| {
        add(&db, "dropped").await?;
        db.rollback().await?;
        let later = db.commit().await.expect_err("it has ended");
        assert_eq!(later.kind(), ErrorKind::Finished);
        Ok::<_, Error>(StatusCode::OK)
    })
    .await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(stored(&database).await, ["kept"]);
}

#[tokio::test]
async fn a_commit_that_the_handler_did_not_wait_for_is_never_a_success() {
    let database = notes().await;
    let pool = database.pool().await;
    let reply = post_to(&pool, async |db: RoleScopedConnection| {
        add(&db, "who knows").await?;
        assert!(futures_util::poll!(Box::pin(db.commit())).is_pending());
        Ok::<_, Error>(StatusCode::OK)
    })
    .await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(reply.kind(), ErrorKind::CommitUnknown);
}

#[tokio::test]
async fn a_refused_role_is_the_answer_even_if_the_handler_ignores_it() {
    let database = notes().await;
    let resting = database.pool().await;
    let restless = database.pool_builder_for("authenticator").build().await;
    for pool in [resting, restless.expect("the set-up is good")] {
        let app = Router::new().route(
            "/",
            get(async |db: RoleScopedConnection| {
                assert!(db.query("SELECT 1", &[]).await.is_err());
                StatusCode::OK
            }),
        );
        let app = service(&pool, app);
        let reply = service::get(&app, "/", Some(r#"{"role":"not_granted"}"#)).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN);
        assert_eq!(reply.kind(), ErrorKind::RoleRefused);
    }
}

#[tokio::test]
async fn a_refused_commit_is_never_a_success() {
    let database = notes().await;
    let pool = database.pool_of_one().await;
    let by_layer = post_to(&pool, async |db: RoleScopedConnection| {
        add(&db, "duplicate").await?;
        add(&db, "duplicate").await?;
        Ok::<_, Error>(StatusCode::OK)
    })
    .await;
    assert_eq!(by_layer.status, StatusCode::CONFLICT);
    assert_eq!(by_layer.json()["code"], "23505");
    let ignored = post_to(&pool, async |db: RoleScopedConnection| {
        add(&db, "duplicate").await?;
        add(&db, "duplicate").await?;
        let error = db.commit().await.expect_err("the constraint is checked");
        assert_eq!(error.status(), StatusCode::CONFLICT);
        Ok::<_, Error>(StatusCode::OK)
    })
    .await;
    assert_eq!(ignored.status, StatusCode::CONFLICT);
    assert_eq!(stored(&database).await, [""; 0]);
    // It is the transaction that failed, not the session.
    assert_eq!(pool.status().connections_created, 1);
}

#[tokio::test]
async fn a_swallowed_error_is_never_a_success() {
    let database = notes().await;
    let pool = database.pool_of_one().await;
    let swallow = async |db: RoleScopedConnection| {
        let _ = add(&db, "lost").await;
        assert!(db.query("SELECT 1 / 0", &[]).await.is_err());
        StatusCode::OK
    };
    let reply = post_to(&pool, swallow).await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(reply.kind(), ErrorKind::TransactionAborted);
    // Also where nothing could have been stored.
    let app = Router::new().route(
        "/",
        get(async |db: RoleScopedConnection| {
            assert!(db.query("SELECT 1 / 0", &[]).await.is_err());
            StatusCode::OK
        }),
    );
    let reply = service::get(&service(&pool, app), "/", USER).await;
    assert_eq!(reply.kind(), ErrorKind::TransactionAborted);
    assert_eq!(stored(&database).await, [""; 0]);
    assert_eq!(pool.status().connections_created, 1);
}

#[tokio::test]
async fn a_savepoint_saves_the_transaction_from_an_error() {
    let database = notes().await;
    let pool = database.pool().await;
    let reply = post_to(&pool, async |db: RoleScopedConnection| {
        add(&db, "before").await?;
        let outer = db.savepoint().await?;
        add(&db, "undone").await?;
        let inner = db.savepoint().await?;
        assert!(db.query("SELECT 1 / 0", &[]).await.is_err());
        inner.rollback().await?;
        add(&db, "undone too").await?;
        outer.rollback().await?;
        let kept = db.savepoint().await?;
        add(&db, "kept").await?;
        kept.release().await?;
        add(&db, "after").await?;
        Ok::<_, Error>(StatusCode::OK)
    })
    .await;
    reply.ok();
    assert_eq!(stored(&database).await, ["after", "before", "kept"]);
}

#[tokio::test]
async fn handles_are_revoked_when_the_response_is_ready() {
    let database = notes().await;
    let pool = database.pool().await;
    let kept: Arc<Mutex<Option<RoleScopedConnection>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let reply = post_to(&pool, move |db: RoleScopedConnection| {
        let keep = Arc::clone(&keep);
        async move {
            add(&db, "in time").await?;
            *keep.lock().expect("no panic") = Some(db);
            Ok::<_, Error>(StatusCode::OK)
        }
    })
    .await;
    reply.ok();
    let db = kept.lock().expect("no panic").take().expect("it was kept");
    let error = add(&db, "late").await.expect_err("it is revoked");
    assert_eq!(error.kind(), ErrorKind::Finished);
    assert_eq!(stored(&database).await, ["in time"]);
    // The handle that is still held keeps no session from the pool.
    assert_eq!(pool.status().in_use, 0);
}

#[tokio::test]
async fn statements_already_sent_are_waited_for_by_the_commit() {
    let database = notes().await;
    let pool = database.pool().await;
    let reply = post_to(&pool, async |db: RoleScopedConnection| {
        add(&db, "first").await?;
        // Polled once and dropped: sent, and nobody waits for it.
        let sleeping = db.execute_typed("INSERT INTO notes SELECT 'slow' FROM pg_sleep(0.2)", &[]);
        assert!(futures_util::poll!(Box::pin(sleeping)).is_pending());
        Ok::<_, Error>(StatusCode::OK)
    })
    .await;
    reply.ok();
    assert_eq!(stored(&database).await, ["first", "slow"]);
}

#[tokio::test]
async fn two_first_statements_at_once_open_one_transaction() {
    let database = notes().await;
    let pool = database.pool().await;
    let reply = post_to(&pool, async |db: RoleScopedConnection| {
        let other = db.clone();
        let xid = "SELECT pg_current_xact_id()::text";
        let (one, two) = tokio::join!(
            db.query_one_scalar::<String>(xid, &[]),
            other.query_one_scalar::<String>(xid, &[])
        );
        Ok::<_, Error>((one? == two?).to_string())
    })
    .await;
    assert_eq!(reply.ok(), "true");
    assert_eq!(pool.status().connections_created, 1);
}

#[tokio::test]
async fn reading_methods_cannot_write_unless_the_route_says_so() {
    let database = notes().await;
    let pool = database.pool().await;
    let write = async |db: RoleScopedConnection| {
        add(&db, "written").await?;
        Ok::<_, Error>("stored")
    };
    let write_anyway = async |db: RoleScopedConnection| {
        db.read_write()?;
        add(&db, "said by the handler").await?;
        let late = db.read_only().expect_err("the transaction has begun");
        assert_eq!(late.kind(), ErrorKind::Statement);
        Ok::<_, Error>("stored")
    };
    let app = service(
        &pool,
        Router::new()
            .route("/", get(write))
            .route("/said", get(write).layer(AccessMode::ReadWrite))
            .route("/handler", get(write_anyway))
            .route("/search", post(write).layer(AccessMode::ReadOnly)),
    );
    let refused = service::get(&app, "/", USER).await;
    assert_eq!(refused.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        refused
            .error
            .as_ref()
            .and_then(Error::code)
            .map(|code| code.code()),
        Some("25006")
    );
    assert_eq!(service::post(&app, "/search", USER).await.status, 500);
    service::get(&app, "/said", USER).await.ok();
    service::get(&app, "/handler", USER).await.ok();
    assert_eq!(stored(&database).await, ["said by the handler", "written"]);
}

#[tokio::test]
async fn outside_of_http_only_a_commit_stores() {
    let database = notes().await;
    let pool = database.pool_of_one().await;
    let scope = rolescope::RoleScope::for_role(
        rolescope::RoleName::parse("web_user").expect("a good name"),
    );
    let db = pool.begin(&scope);
    add(&db, "dropped").await.expect("it is inserted");
    drop(db);
    let db = pool.begin(&scope);
    add(&db, "committed").await.expect("it is inserted");
    db.commit().await.expect("it is committed");
    assert_eq!(stored(&database).await, ["committed"]);
    assert_eq!(pool.status().connections_created, 1);
}

#[tokio::test]
async fn a_panicking_handler_rolls_back_and_its_session_serves_the_next() {
    let database = notes().await;
    let pool = database.pool_of_one().await;
    let app = service(
        &pool,
        Router::new()
            .route(
                "/panic",
                post(async |db: RoleScopedConnection| -> StatusCode {
                    add(&db, "lost").await.expect("it is inserted");
                    panic!("on purpose")
                }),
            )
            .route(
                "/",
                post(async |db: RoleScopedConnection| {
                    add(&db, "kept").await.map(|_| StatusCode::OK)
                }),
            ),
    );
    let panicking = app.clone();
    tokio::spawn(async move { service::post(&panicking, "/panic", USER).await })
        .await
        .expect_err("the handler panics");
    service::post(&app, "/", USER).await.ok();
    assert_eq!(stored(&database).await, ["kept"]);
    assert_eq!(pool.status().connections_created, 1);
}

#[tokio::test]
async fn a_statement_that_was_only_prepared_by_the_end_is_not_executed_after_it() {
    let database = notes().await;
    let pool = database.pool_of_one().await;
    let scope = rolescope::RoleScope::for_role(
        rolescope::RoleName::parse("web_user").expect("a good name"),
    );
    let db = pool.begin(&scope);
    add(&db, "in time").await.expect("it is inserted");
    let late = db.clone();
    let mut late =
        Box::pin(async move { late.execute("INSERT INTO notes VALUES ('late')", &[]).await });
    // Sends the preparation; the execution would follow its answer.
    assert!(futures_util::poll!(&mut late).is_pending());
    db.commit().await.expect("it is committed");
    let error = late.await.expect_err("it has ended");
    assert_eq!(error.kind(), ErrorKind::Finished);
    let db = pool.begin(&scope);
    db.query("SELECT 1", &[]).await.expect("the pool serves on");
    assert_eq!(stored(&database).await, ["in time"]);
    assert_eq!(
        pool.status().connections_created,
        2,
        "a session with a statement that nobody can close is closed"
    );
}

#[tokio::test]
async fn of_two_commits_at_once_one_commits_and_the_other_is_told_so() {
    let database = notes().await;
    let pool = database.pool_of_one().await;
    let reply = post_to(&pool, async |db: RoleScopedConnection| {
        add(&db, "once more").await?;
        let other = db.clone();
        let (one, two) = tokio::join!(db.commit(), other.commit());
        one?;
        assert_eq!(two.expect_err("too late").kind(), ErrorKind::Finished);
        Ok::<_, Error>(StatusCode::OK)
    })
    .await;
    reply.ok();
    assert_eq!(stored(&database).await, ["once more"]);
}
