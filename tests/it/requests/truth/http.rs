//! What a client of HTTP is told.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use rolescope::{Error, ErrorKind, RoleScopedConnection, RoleScopedPool};
use tower::ServiceExt;

use super::lies::{INSERT, LIES, prepared, settled, take_stored};
use crate::support::Database;
use crate::support::proxy::{Cut, Proxy, within};
use crate::support::service::{self, request, service};

const USER: Option<&str> = Some(r#"{"role":"web_user"}"#);

#[tokio::test]
async fn no_success_without_a_commit() {
    let database = prepared().await;
    let pool = database.pool_of_one().await;
    let other = Arc::new(database.admin().await);
    for lie in LIES {
        let name = lie.name;
        let client = Arc::clone(&other);
        let told = move |db: RoleScopedConnection| {
            let lying = (lie.tell)(db, Arc::clone(&client));
            async move {
                lying.await;
                "stored"
            }
        };
        let app = service(&pool, Router::new().route("/", post(told)));
        // On a session that knows none of the statements, and on one that does.
        for round in 0..2 {
            let reply = within(service::post(&app, "/", USER)).await;
            assert_eq!(reply.status.as_u16(), lie.status, "{name}: {reply:?}");
            assert_eq!(reply.json()["code"], lie.code, "{name}: {reply:?}");
            within(settled(&pool)).await;
            let stored = take_stored(&other).await;
            assert!(stored == 0 || lie.unknown, "{name}, {round}: {stored}");
        }
        within(async {
            while pool.status().in_use > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn an_error_that_a_read_swallows_is_told_as_well() {
    let database = prepared().await;
    let pool = database.pool_of_one().await;
    let swallow = async |db: RoleScopedConnection| {
        db.read_only().expect("nothing has run");
        db.query("SELECT 1 / 0", &[]).await.expect_err("it fails");
        "read"
    };
    let app = service(&pool, Router::new().route("/", post(swallow)));
    let reply = within(service::post(&app, "/", USER)).await;
    assert_eq!(reply.kind(), ErrorKind::TransactionAborted);
}

/// Whoever keeps a handle keeps no transaction, and what it does later is an error to it, not to the client.
#[tokio::test]
async fn a_connection_that_is_still_held_delays_no_commit() {
    let database = prepared().await;
    let admin = database.admin().await;
    let pool = database.pool_of_one().await;
    let late: Arc<Mutex<Vec<ErrorKind>>> = Arc::default();
    let (go, gone) = tokio::sync::watch::channel(false);
    let held = {
        let late = Arc::clone(&late);
        move |db: RoleScopedConnection| {
            let (late, mut gone) = (Arc::clone(&late), gone.clone());
            async move {
                db.execute(INSERT, &[]).await?;
                let in_task = db.clone();
                let task_late = Arc::clone(&late);
                tokio::spawn(async move {
                    let _ = gone.wait_for(|gone| *gone).await;
                    let error = in_task.execute(INSERT, &[]).await.expect_err("too late");
                    task_late.lock().expect("no panic").push(error.kind());
                });
                let in_body = db.clone();
                let body = stream::once(async move {
                    let error = in_body.execute(INSERT, &[]).await.expect_err("too late");
                    late.lock().expect("no panic").push(error.kind());
                    Ok::<_, Error>("stored")
                });
                let mut response = Body::from_stream(body).into_response();
                response.extensions_mut().insert(db);
                Ok::<_, Error>(response)
            }
        }
    };
    let app = service(&pool, Router::new().route("/", post(held)));
    let response = within(app.oneshot(request(Method::POST, "/", &[]))).await;
    let response = response.expect("infallible");
    assert_eq!(response.status(), 200);
    assert_eq!(take_stored(&admin).await, 1, "before the body is read");
    assert_eq!(pool.status().in_use, 0);
    let db = response.extensions().get::<RoleScopedConnection>();
    let db = db.expect("it is there").clone();
    let error = db.execute(INSERT, &[]).await.expect_err("too late");
    assert_eq!(error.kind(), ErrorKind::Finished);
    let body = response.into_body().collect().await.expect("it is whole");
    assert_eq!(body.to_bytes(), "stored");
    go.send_replace(true);
    within(async {
        while late.lock().expect("no panic").len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(*late.lock().expect("no panic"), [ErrorKind::Finished; 2]);
    assert_eq!(take_stored(&admin).await, 0);
}

#[tokio::test]
async fn a_stream_of_rows_that_somebody_holds_is_no_success_of_a_write() {
    let database = prepared().await;
    let admin = database.admin().await;
    let pool = database.pool_of_one().await;
    let held = Arc::new(tokio::sync::Mutex::new(None));
    let hold = Arc::clone(&held);
    let holds = async move |db: RoleScopedConnection| {
        db.execute(INSERT, &[]).await?;
        let sql = "SELECT x FROM generate_series(1, 100000) x";
        *hold.lock().await = Some(db.query_stream(sql, &[]).await?);
        Ok::<_, Error>("stored")
    };
    let app = service(&pool, Router::new().route("/", post(holds)));
    let reply = within(service::post(&app, "/", USER)).await;
    assert_eq!(
        (reply.status.as_u16(), reply.kind()),
        (500, ErrorKind::StreamOpen)
    );
    assert_eq!(take_stored(&admin).await, 0);
    let mut rows = held.lock().await.take().expect("it is held");
    let next = rows.next().await.expect("it says so");
    assert_eq!(
        next.expect_err("it is taken away").kind(),
        ErrorKind::Finished
    );
}

#[tokio::test]
async fn a_panic_behind_commit_stores_and_one_before_does_not() {
    let database = prepared().await;
    let admin = database.admin().await;
    let pool = database.pool_of_one().await;
    for commits in [true, false] {
        let panics = async move |db: RoleScopedConnection| -> StatusCode {
            db.execute(INSERT, &[]).await.expect("it is inserted");
            if commits {
                db.commit().await.expect("it is committed");
            }
            panic!("on purpose")
        };
        let app = service(&pool, Router::new().route("/", post(panics)));
        let reply = tokio::spawn(async move { service::post(&app, "/", USER).await });
        within(reply).await.expect_err("nobody is told of success");
        within(settled(&pool)).await;
        assert_eq!(take_stored(&admin).await, i64::from(commits));
    }
}

// --- a connection that is lost during COMMIT ---

/// One that ends its transaction itself, and one that leaves it to its body; both have no doubts.
fn cut_off(pool: &RoleScopedPool) -> Router {
    let commits = async |db: RoleScopedConnection| {
        db.execute(INSERT, &[]).await.expect("it is inserted");
        let _ = db.commit().await;
        "stored"
    };
    let in_body = async |db: RoleScopedConnection| -> Response<Body> {
        db.commit_at_end_of_body().expect("nothing has ended");
        let stored = stream::once(async move { db.execute(INSERT, &[]).await.map(|_| "stored") });
        Body::from_stream(stored.boxed()).into_response()
    };
    let routes = Router::new()
        .route("/commits", post(commits))
        .route("/in_body", post(in_body));
    service(pool, routes)
}

async fn cut(database: &Database) -> (Proxy, Router) {
    let proxy = Proxy::start(database);
    let pool = within(proxy.pool_builder().build()).await;
    let app = cut_off(&pool.expect("it is built"));
    within(service::post(&app, "/commits", USER)).await.ok();
    proxy.rests().await;
    (proxy, app)
}

#[tokio::test]
async fn a_connection_lost_during_commit_is_unknown_and_never_success() {
    let database = prepared().await;
    let admin = database.admin().await;
    for (cut_at, stored) in [(Cut::Unsent, 0), (Cut::Unanswered, 1)] {
        let (proxy, app) = cut(&database).await;
        assert_eq!(take_stored(&admin).await, 1, "undisturbed");
        proxy.cut_at(cut_at, "COMMIT");
        let reply = within(service::post(&app, "/commits", USER)).await;
        assert_eq!(
            (reply.status.as_u16(), reply.kind()),
            (500, ErrorKind::CommitUnknown),
            "{cut_at:?}"
        );
        let message = reply.json()["message"].to_string();
        assert!(message.contains("unknown"), "{message}");
        assert_eq!(take_stored(&admin).await, stored, "{cut_at:?}");
    }
}

#[tokio::test]
async fn a_body_whose_commit_is_lost_never_ends_cleanly() {
    let database = prepared().await;
    let admin = database.admin().await;
    for (cut_at, stored) in [(Cut::Unsent, 0), (Cut::Unanswered, 1)] {
        let (proxy, app) = cut(&database).await;
        assert_eq!(take_stored(&admin).await, 1, "undisturbed");
        proxy.cut_at(cut_at, "COMMIT");
        let sent = request(Method::POST, "/in_body", &[]);
        let response = within(app.oneshot(sent)).await.expect("infallible");
        assert_eq!(response.status(), 200, "its head is long gone");
        let body = within(response.into_body().collect()).await;
        assert!(body.is_err(), "{cut_at:?}: {body:?}");
        assert_eq!(take_stored(&admin).await, stored, "{cut_at:?}");
    }
}
