//! The refusals of roles and tokens: without the database, and without telling one from another.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request};
use axum::routing::any;
use rolescope::{ErrorKind, RoleScopedPool};

use super::{unreachable_pool, who};
use crate::support::database;
use crate::support::events::Recorder;
use crate::support::service::{self, Reply, send, service, sign, token};

fn app(pool: &RoleScopedPool) -> Router {
    service(pool, Router::new().route("/who", any(who)))
}

fn claiming(role: &str) -> String {
    serde_json::json!({ "role": role }).to_string()
}

/// All of a response that a client sees, but for the date.
fn seen(reply: &Reply) -> (u16, Vec<(String, String)>, String) {
    let headers = reply.headers.iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()));
    (reply.status.as_u16(), headers.collect(), reply.body.clone())
}

fn long() -> String {
    "r".repeat(64)
}

#[tokio::test]
async fn what_names_no_role_is_refused_before_the_database_is_asked() {
    let pool = unreachable_pool(Some("anon"));
    let app = app(&pool);
    // The database would have to be asked for this one.
    assert_eq!(
        service::get(&app, "/who", Some(&claiming("web_user")))
            .await
            .status,
        503
    );

    let long = long();
    let names = [
        "",
        "none",
        "NONE",
        "nOnE",
        "authenticator",
        &long,
        &"é".repeat(32),
    ]
    .map(claiming);
    let others = [
        "null",
        "7",
        "true",
        "[]",
        "[\"web_user\"]",
        "{}",
        "{\"role\":\"web_user\"}",
    ];
    let others = others.map(|value| format!(r#"{{"role":{value}}}"#));
    let mut answers = Vec::new();
    for claims in names.iter().chain(&others) {
        let recorder = Recorder::start();
        let reply = service::get(&app, "/who", Some(claims)).await;
        assert_eq!(reply.status, 403, "{claims}: {reply:?}");
        assert_eq!(reply.kind(), ErrorKind::RoleRefused, "{claims}");
        assert!(recorder.errors().is_empty(), "{claims}");
        answers.push(seen(&reply));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test]
async fn all_refused_roles_are_answered_alike() {
    let database = database().await;
    let pool = database.pool().await;
    let app = app(&pool);
    let mut answers = Vec::new();
    let long = long();
    for role in [
        "not_granted",
        "no_such_role",
        "postgres",
        "pg_read_all_data",
        "authenticator",
        "none",
        "",
        &long,
        // PostgreSQL takes all of these for names, and for names of nobody.
        "none ",
        " web_user",
        "WEB_USER",
        "\"web_user\"",
        "'web_user'",
        "web_user; RESET ROLE",
        "default",
        "public",
        "роль",
        "web_user\u{200b}",
        "line\nbreak",
        &"r".repeat(63),
    ] {
        let reply = service::get(&app, "/who", Some(&claiming(role))).await;
        assert_eq!(reply.kind(), ErrorKind::RoleRefused, "{role:?}");
        answers.push(seen(&reply));
    }
    answers.dedup();
    let [(status, _, body)] = &answers[..] else {
        panic!("they differ: {answers:?}");
    };
    assert_eq!(*status, 403);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(body).expect("JSON"),
        serde_json::json!({
            "code": "role_refused", "message": "the token's role is not accepted here", "details": null, "hint": null
        })
    );
    assert_eq!(
        service::get(&app, "/who", Some(&claiming("web_user")))
            .await
            .ok(),
        "web_user /who"
    );
    // A refusal by the database costs no connection either.
    assert_eq!(pool.status().connections_discarded, 0);
}

#[tokio::test]
async fn a_nul_is_refused_with_the_token() {
    let app = app(&unreachable_pool(Some("anon")));
    for claims in [
        claiming("\0"),
        claiming("web_user\0x"),
        r#"{"role":"web_user","a":"\u0000"}"#.to_owned(),
    ] {
        let reply = service::get(&app, "/who", Some(&claims)).await;
        assert_eq!(reply.status, 401, "{claims}");
        assert_eq!(reply.kind(), ErrorKind::InvalidToken);
    }
}

fn grpc(content_type: &'static str, authorization: &[&str]) -> Request<Body> {
    let mut request = service::request(Method::POST, "/who", authorization);
    let content_type = HeaderValue::from_static(content_type);
    request.headers_mut().insert("content-type", content_type);
    request
}

#[tokio::test]
async fn grpc_clients_are_refused_in_their_own_words() {
    let auth = service::auth;
    let routes = || Router::new().route("/who", any(who));
    let open = routes().layer(auth());
    let closed = routes().layer(auth().require_token());
    let expired = format!("Bearer {}", sign(r#"{"exp":1}"#));
    for (app, authorization) in [
        (&closed, vec![]),
        (&closed, vec!["Basic a"]),
        (&open, vec!["Bearer garbage"]),
        (&open, vec!["Bearer"]),
        (&open, vec![&expired]),
        (&open, vec!["Basic a", "Basic b"]),
    ] {
        for (content_type, answered) in [
            ("application/grpc", "application/grpc"),
            ("application/grpc+proto", "application/grpc"),
            ("Application/GRPC;a=b", "application/grpc"),
            ("application/grpc-web", "application/grpc-web+proto"),
            ("application/grpc-web+proto", "application/grpc-web+proto"),
            (
                "application/grpc-web-text",
                "application/grpc-web-text+proto",
            ),
            (
                "application/grpc-web-text+proto",
                "application/grpc-web-text+proto",
            ),
        ] {
            let reply = send(app, grpc(content_type, &authorization)).await;
            assert_eq!(reply.status, 200, "{authorization:?}");
            assert_eq!(reply.headers["grpc-status"], "16", "{authorization:?}");
            assert_eq!(reply.headers["content-type"], answered, "{authorization:?}");
            let message = reply.headers["grpc-message"].to_str().expect("text");
            assert_eq!(message, reply.error.as_ref().expect("an error").to_string());
            assert_eq!(reply.body, "", "{authorization:?}");
        }
        let reply = send(app, grpc("application/json", &authorization)).await;
        assert!([400, 401].contains(&reply.status.as_u16()), "{reply:?}");
        assert!(!reply.headers.contains_key("grpc-status"));
    }
}

#[tokio::test]
async fn a_refused_role_is_7_to_a_grpc_client() {
    let database = database().await;
    let pool = database.pool().await;
    let app = app(&pool);
    for claims in [
        claiming("none"),
        claiming("not_granted"),
        claiming("no_such_role"),
    ] {
        let token = format!("Bearer {}", token(&claims));
        let reply = send(&app, grpc("application/grpc", &[&token])).await;
        assert_eq!(reply.status, 200, "{claims}");
        assert_eq!(reply.headers["grpc-status"], "7", "{claims}");
        assert_eq!(reply.kind(), ErrorKind::RoleRefused, "{claims}");
    }
    // Where the handler does not look, the end of its transaction does.
    let routes = Router::new().route(
        "/who",
        any(async |db: rolescope::RoleScopedConnection| {
            let _ = db.query("SELECT 1", &[]).await;
            (
                [("content-type", "application/grpc"), ("grpc-status", "0")],
                "",
            )
        }),
    );
    let app = service(&pool, routes);
    let token = format!("Bearer {}", token(&claiming("no_such_role")));
    let reply = send(&app, grpc("application/grpc", &[&token])).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers["grpc-status"], "7", "{reply:?}");
}

#[tokio::test]
async fn a_grpc_response_that_never_tells_its_status_is_rolled_back() {
    let database = database().await;
    database
        .execute("CREATE TABLE t (x int); GRANT SELECT, INSERT ON t TO anon")
        .await;
    let pool = database.pool().await;
    let grpc_type = [("content-type", "application/grpc")];
    let routes = Router::new()
        .route(
            "/who",
            any(async move |db: rolescope::RoleScopedConnection| {
                let _ = db.execute("INSERT INTO t VALUES (1)", &[]).await;
                (grpc_type, "")
            }),
        )
        .route(
            "/commits",
            any(async move |db: rolescope::RoleScopedConnection| {
                let _ = db.execute("INSERT INTO t VALUES (2)", &[]).await;
                db.commit().await.map(|()| (grpc_type, ""))
            }),
        );
    let app = service(&pool, routes);
    let reply = send(&app, grpc("application/grpc", &[])).await;
    assert!(!reply.headers.contains_key("grpc-status"), "{reply:?}");
    let committed = Request::post("/commits")
        .header("content-type", "application/grpc")
        .body(Body::empty())
        .expect("the request is well formed");
    let reply = send(&app, committed).await;
    assert!(!reply.headers.contains_key("grpc-status"), "{reply:?}");
    let rows: Vec<i32> = database
        .admin()
        .await
        .query_scalar("SELECT x FROM t", &[])
        .await
        .expect("it can be read");
    assert_eq!(rows, [2]);
}
