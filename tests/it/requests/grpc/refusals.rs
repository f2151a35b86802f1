//! Requests that the layers refuse, as a client of gRPC sees them.

use futures_util::stream::{self, StreamExt};
use rolescope::{RoleScopeLayer, RoleScopedPool};
use tonic::service::LayerExt;
use tonic::transport::Server;
use tonic::{Code, Request, Status};
use tower::ServiceBuilder;

use super::{layers, run};
use crate::support::database;
use crate::support::events::Recorder;
use crate::support::grpc::{Caller, Methods, listen};
use crate::support::service::{auth, sign};

const WHO: &str = "SELECT current_user::text";

fn methods() -> Methods {
    Methods::default()
        .unary("/t.T/Run", run)
        .server_streaming("/t.T/Rows", async |db, sql| {
            let rows = run(db, sql).await?;
            Ok(stream::iter([Ok(rows)]).boxed())
        })
}

/// A pool whose database nobody can reach: whatever is answered but `Unavailable` was answered without it.
fn unreachable_pool() -> RoleScopedPool {
    RoleScopedPool::builder("postgres://authenticator@127.0.0.1:1/app")
        .expect("the URL can be read")
        .build_lazy()
        .expect("the options are good")
}

/// How methods that answer with a message and with a stream refuse: in the same words.
async fn refusal(caller: &Caller, sql: &str) -> Status {
    let unary = caller.unary("/t.T/Run", sql).await;
    let unary = unary.expect_err("it is refused");
    let messages = stream::iter([sql.to_owned()]);
    let stream = caller.streaming("/t.T/Rows", messages).await;
    let stream = stream.expect_err("it is refused before the first message");
    assert_eq!(unary.code(), stream.code());
    assert_eq!(unary.message(), stream.message());
    unary
}

#[tokio::test]
async fn a_token_that_is_not_acceptable_is_unauthenticated() {
    let pool = unreachable_pool();
    let caller = Caller::connect(methods().serve(layers(&pool)).await).await;
    let recorder = Recorder::start();
    for (authorization, message) in [
        ("Bearer garbage", "the token is not a signed JSON Web Token"),
        (
            &*format!("Bearer {}", sign(r#"{"exp":1}"#)),
            "the token has expired",
        ),
        ("Bearer", "the token is empty"),
    ] {
        let status = refusal(&caller.saying(authorization), WHO).await;
        assert_eq!(status.code(), Code::Unauthenticated, "{authorization}");
        assert_eq!(status.message(), message, "{authorization}");
    }
    let mut twice = Request::new(WHO.to_owned());
    for _ in 0..2 {
        let value = "Basic a".parse().expect("a value");
        twice.metadata_mut().append("authorization", value);
    }
    let status = caller.send("/t.T/Run", twice).await.expect_err("refused");
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");

    // Where the path leads to nothing, a bad token is refused all the same, and no token is no hindrance.
    let bad = caller.saying("Bearer garbage");
    let status = bad.unary("/t.T/Nothing", "").await.expect_err("refused");
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    let status = caller.unary("/t.T/Nothing", "").await.expect_err("nothing");
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    assert_eq!(recorder.errors().len(), 0);
}

#[tokio::test]
async fn no_token_is_unauthenticated_where_one_is_needed() {
    let pool = unreachable_pool();
    let required = ServiceBuilder::new()
        .layer(auth().require_token())
        .layer(RoleScopeLayer::new(pool.clone()));
    let required = Caller::connect(methods().serve(required).await).await;
    // This pool has no anonymous role: the handler is told, and passes it on.
    let asked_for = Caller::connect(methods().serve(layers(&pool)).await).await;
    for caller in [required, asked_for] {
        for caller in [caller.clone(), caller.saying("Basic YTpi")] {
            let status = refusal(&caller, WHO).await;
            assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
        }
        let status = refusal(&caller.claiming(r#"{"sub":"a"}"#), WHO).await;
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
        assert_eq!(status.message(), "the token names no role");
    }
}

#[tokio::test]
async fn a_role_that_is_not_accepted_is_permission_denied() {
    let database = database().await;
    let pool = database.pool().await;
    let caller = Caller::connect(methods().serve(layers(&pool)).await).await;
    for role in [
        "",
        "none",
        "authenticator",
        "not_granted",
        "no_such_role",
        "postgres",
    ] {
        let claims = serde_json::json!({ "role": role }).to_string();
        let status = refusal(&caller.claiming(&claims), WHO).await;
        assert_eq!(status.code(), Code::PermissionDenied, "{role}");
        assert_eq!(
            status.message(),
            "the token's role is not accepted here",
            "{role}"
        );
    }
}

/// What is not granted is 16 to a caller whom a token could help, and 7 to one who sent it.
#[tokio::test]
async fn a_missing_privilege_asks_for_a_token_only_where_none_was_sent() {
    let database = database().await;
    database.execute("CREATE TABLE closed (id int)").await;
    let pool = database.pool().await;
    let caller = Caller::connect(methods().serve(layers(&pool)).await).await;
    let sql = "SELECT id::text FROM closed";
    let status = refusal(&caller, sql).await;
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    let status = refusal(&caller.claiming(r#"{"role":"web_user"}"#), sql).await;
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    assert_eq!(status.message(), "permission denied for table closed");
}

#[tokio::test]
async fn a_missing_layer_is_internal_and_the_log_names_the_cure() {
    let recorder = Recorder::start();
    let wrong = ServiceBuilder::new()
        .layer(RoleScopeLayer::new(unreachable_pool()))
        .layer(auth());
    let wrong = Caller::connect(methods().serve(wrong).await).await;
    let without = Caller::connect(methods().serve(auth()).await).await;
    for (caller, cure) in [
        (wrong, "no JwtAuthLayer has seen this request"),
        (without, "no RoleScopeLayer has seen this request"),
    ] {
        let status = caller.unary("/t.T/Run", WHO).await.expect_err("refused");
        assert_eq!(status.code(), Code::Internal);
        assert_eq!(status.message(), "internal server error");
        let errors = recorder.errors();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].message().starts_with(cure), "{errors:?}");
    }
}

/// Around one service of a server: what else it has is open to anybody.
#[tokio::test]
async fn the_layers_can_stand_around_one_service() {
    let database = database().await;
    let pool = database.pool().await;
    let (incoming, address) = listen().await;
    let server = Server::builder().add_service(layers(&pool).named_layer(methods()));
    tokio::spawn(server.serve_with_incoming(incoming));
    let caller = Caller::connect(address).await;
    let who = caller
        .claiming(r#"{"role":"web_user"}"#)
        .unary("/t.T/Run", WHO)
        .await;
    assert_eq!(who.expect("it is accepted"), "web_user");
    let bad = caller.saying("Bearer garbage");
    for (path, code) in [
        ("/t.T/Run", Code::Unauthenticated),
        ("/t.Other/Run", Code::Unimplemented),
    ] {
        let status = bad.unary(path, WHO).await.expect_err("refused");
        assert_eq!(status.code(), code, "{path}");
    }
}
