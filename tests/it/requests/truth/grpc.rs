//! What clients of gRPC and gRPC-Web are told.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use rolescope::{RoleScopeLayer, RoleScopedConnection, RoleScopedPool};
use tokio_postgres::Client;
use tonic::{Code, Status};
use tonic_web::GrpcWebLayer;
use tower::ServiceBuilder;

use super::lies::{INSERT, LIES, prepared, settled, take_stored};
use crate::support::grpc::{Caller, Methods};
use crate::support::proxy::{Cut, Proxy, within};
use crate::support::service::auth;

const METHODS: [&str; 2] = ["/t.T/Unary", "/t.T/Stream"];

async fn tell(db: RoleScopedConnection, lie: String, other: Arc<Client>) -> Result<String, Status> {
    match LIES.iter().find(|known| known.name == lie) {
        Some(lie) => (lie.tell)(db, other).await,
        None => drop(db.execute(INSERT, &[]).await?),
    }
    Ok("stored".to_owned())
}

fn methods(other: &Arc<Client>) -> Methods {
    let (unary, streaming) = (Arc::clone(other), Arc::clone(other));
    Methods::default()
        .unary(METHODS[0], move |db, lie: String| {
            tell(db, lie, Arc::clone(&unary))
        })
        .server_streaming(METHODS[1], move |db, lie: String| {
            let told = tell(db, lie, Arc::clone(&streaming));
            async move { Ok(stream::once(told).boxed()) }
        })
}

async fn callers(pool: &RoleScopedPool, other: &Arc<Client>) -> [(&'static str, Caller); 2] {
    let layers = ServiceBuilder::new()
        .layer(GrpcWebLayer::new())
        .layer(auth())
        .layer(RoleScopeLayer::new(pool.clone()));
    let address = methods(other).serve(layers).await;
    [
        ("gRPC", Caller::connect(address).await),
        ("gRPC-Web", Caller::web(address)),
    ]
    .map(|(kind, caller)| (kind, caller.claiming(r#"{"role":"web_user"}"#)))
}

/// Calls a method to its end.
async fn call(caller: &Caller, method: &'static str, lie: &'static str) -> Result<(), Status> {
    if method == METHODS[0] {
        return caller.unary(method, lie).await.map(|_| ());
    }
    let lie = stream::iter([lie.to_owned()]);
    let mut answers = caller.streaming(method, lie).await?;
    while answers.message().await?.is_some() {}
    Ok(())
}

#[tokio::test]
async fn no_status_zero_without_a_commit() {
    let database = prepared().await;
    let pool = database.pool_of_one().await;
    let other = Arc::new(database.admin().await);
    for (kind, caller) in callers(&pool, &other).await {
        for method in METHODS {
            within(call(&caller, method, "")).await.expect("no lie");
            assert_eq!(take_stored(&other).await, 1);
            for lie in LIES {
                let name = lie.name;
                let status = within(call(&caller, method, name)).await;
                let status = status.expect_err(name);
                let expected = Code::from_i32(lie.grpc);
                assert_eq!(
                    status.code(),
                    expected,
                    "{kind} {method}, {name}: {status:?}"
                );
                within(settled(&pool)).await;
                let stored = take_stored(&other).await;
                assert!(
                    stored == 0 || lie.unknown,
                    "{kind} {method}, {name}: {stored}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_connection_lost_during_commit_is_unknown() {
    let database = prepared().await;
    let other = Arc::new(database.admin().await);
    let proxy = Proxy::start(&database);
    let pool = within(proxy.pool_builder().build())
        .await
        .expect("it is built");
    for (kind, caller) in callers(&pool, &other).await {
        for method in METHODS {
            for (cut, stored) in [(Cut::Unsent, 0), (Cut::Unanswered, 1)] {
                within(call(&caller, method, "")).await.expect("no lie");
                assert_eq!(take_stored(&other).await, 1);
                proxy.rests().await;
                proxy.cut_at(cut, "COMMIT");
                let status = within(call(&caller, method, "")).await;
                let status = status.expect_err("nobody knows");
                assert_eq!(
                    status.code(),
                    Code::Unknown,
                    "{kind} {method}, {cut:?}: {status:?}"
                );
                assert!(status.message().contains("unknown"), "{status:?}");
                assert_eq!(
                    take_stored(&other).await,
                    stored,
                    "{kind} {method}, {cut:?}"
                );
            }
        }
    }
}
