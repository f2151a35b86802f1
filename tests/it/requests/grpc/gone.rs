//! Clients that go away in the middle of a call.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use rolescope::{RoleScopeLayer, RoleScopedConnection};
use tokio::runtime::Runtime;
use tower::ServiceBuilder;
use tower_http::timeout::RequestBodyTimeoutLayer;

use super::streaming::{Service, add, methods};
use super::{layers, run};
use crate::support::grpc::{Caller, Methods};
use crate::support::proxy::within;
use crate::support::service::auth;

#[tokio::test]
async fn a_client_that_goes_away_rolls_back_and_frees_the_session() {
    let service = Service::start().await;
    let endless = || stream::iter(["one".to_owned()]).chain(stream::pending());

    // Within a runtime of its own, which ends as a process does: with all sockets.
    let address = service.address;
    let begin = move || {
        let elsewhere = Runtime::new().expect("a runtime can be built");
        let begun = elsewhere.block_on(async {
            let caller = Caller::connect(address).await;
            let answers = caller.streaming("/t.T/Both", endless()).await;
            let mut answers = answers.expect("it begins");
            (answers.message().await.expect("a message"), answers)
        });
        (elsewhere, begun)
    };
    let begun = tokio::task::spawn_blocking(begin).await;
    let (elsewhere, (first, _answers)) = begun.expect("no panic");
    assert_eq!(first.as_deref(), Some("one"));
    elsewhere.shutdown_background();
    let after = service.caller.unary("/t.T/Run", "SELECT 'free'").await;
    assert_eq!(after.expect("it is free"), "free", "after Both");

    let gone = service.caller.client_streaming("/t.T/Client", endless());
    let inserted = service.until("state = 'idle in transaction' AND query LIKE 'INSERT%'");
    tokio::select! {
        answer = gone => panic!("{answer:?}"),
        () = inserted => {}
    }
    let after = service.caller.unary("/t.T/Run", "SELECT 'free'").await;
    assert_eq!(after.expect("it is free"), "free", "after Client");

    let sleep = "INSERT INTO notes VALUES ('asleep');;SELECT pg_sleep(600)::text";
    let asleep = service.caller.unary("/t.T/Run", sleep);
    tokio::select! {
        answer = asleep => panic!("{answer:?}"),
        () = service.until("wait_event = 'PgSleep'") => {}
    }
    let after = service.caller.unary("/t.T/Run", "SELECT 'free'").await;
    assert_eq!(after.expect("it is free"), "free", "after Unary");
    assert_eq!(service.notes().await, Vec::<String>::new());
}

/// As HTTP/2 sees it, such a call goes on.
#[tokio::test]
async fn a_client_that_drops_only_the_response_loses_its_transaction_by_the_idle_timeout() {
    let service = Service::start().await;
    let pool = service.database.pool_builder().max_size(1);
    let pool = pool.idle_in_transaction_timeout(Duration::from_secs(3));
    let pool = pool.build().await.expect("the pool is built");
    let caller = Caller::connect(methods().serve(layers(&pool)).await).await;
    drop_the_response(&caller).await;
    service.until("state = 'idle in transaction'").await;
    let idle = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND state = 'idle in transaction'";
    within(async {
        while service
            .admin
            .query_one_scalar::<i64, _>(idle, &[])
            .await
            .expect("it runs")
            > 0
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(service.notes().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_limit_on_the_request_stream_ends_the_call_of_a_client_that_drops_only_the_response() {
    let service = Service::start().await;
    let limit = RequestBodyTimeoutLayer::new(Duration::from_secs(2));
    let stack = ServiceBuilder::new().layer(limit).layer(auth());
    let stack = stack.layer(RoleScopeLayer::new(service.pool.clone()));
    let caller = Caller::connect(methods().serve(stack).await).await;
    drop_the_response(&caller).await;
    let after = caller.unary("/t.T/Run", "SELECT 'free'").await;
    assert_eq!(after.expect("it is free"), "free");
    assert_eq!(service.notes().await, Vec::<String>::new());
}

/// Leaves a call that has stored a note, and keeps its request stream open.
async fn drop_the_response(caller: &Caller) {
    let endless = stream::iter(["one".to_owned()]).chain(stream::pending());
    let answers = caller.streaming("/t.T/Both", endless).await;
    let mut answers = answers.expect("it begins");
    let first = answers.message().await.expect("a message");
    assert_eq!(first.as_deref(), Some("one"));
}

/// The client takes part in the messages only, and then leaves while a statement for the next one runs.
#[tokio::test]
async fn a_client_that_leaves_a_running_statement_of_a_stream_cancels_it() {
    let service = Service::start().await;
    let methods = Methods::default()
        .server_streaming("/t.T/Sleep", async |db: RoleScopedConnection, _: String| {
            add(db.clone(), "one".to_owned()).await?;
            let first = stream::iter([Ok("one".to_owned())]);
            let second = stream::once(async move {
                let sleep = db.query_one_scalar("SELECT pg_sleep(600)::text", &[]);
                Ok(sleep.await?)
            });
            Ok(first.chain(second).boxed())
        })
        .unary("/t.T/Run", run);
    let caller = Caller::connect(methods.serve(layers(&service.pool)).await).await;
    let answers = caller.streaming("/t.T/Sleep", stream::iter([String::new()]));
    let mut answers = answers.await.expect("it begins");
    let first = answers.message().await.expect("it is a message");
    assert_eq!(first.as_deref(), Some("one"));
    service.until("wait_event = 'PgSleep'").await;
    drop(answers);
    let after = caller.unary("/t.T/Run", "SELECT 'free'").await;
    assert_eq!(after.expect("it is free"), "free");
    assert_eq!(service.notes().await, Vec::<String>::new());
}
