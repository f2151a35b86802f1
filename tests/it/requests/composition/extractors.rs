//! What handlers are given: a connection, or claims, or neither.

use axum::Router;
use axum::http::Request;
use axum::routing::get;
use rolescope::{
    Claims, Error, ErrorKind, RolePolicy, RoleScopeLayer, RoleScopedConnection, RoleScopedPool,
};

use super::unreachable_pool;
use crate::support::database;
use crate::support::service::{self, auth, service};

const WEB_USER: Option<&str> = Some(r#"{"role":"web_user"}"#);

fn routes() -> Router {
    Router::new()
        .route(
            "/db",
            get(async |db: RoleScopedConnection| db.role().to_string()),
        )
        .route(
            "/may-be-db",
            get(async |db: Option<RoleScopedConnection>| {
                db.map_or("none".to_owned(), |db| db.role().to_string())
            }),
        )
        .route(
            "/claims",
            get(async |claims: Claims| claims.as_json().to_owned()),
        )
        .route(
            "/may-be-claims",
            get(async |claims: Option<Claims>| {
                claims.map_or("none".to_owned(), |claims| claims.as_json().to_owned())
            }),
        )
        .route("/health", get(async || "well"))
}

/// The kind of the refusal, or the body of the answer.
async fn outcome(app: &Router, path: &str, claims: Option<&str>) -> Result<String, ErrorKind> {
    let reply = service::get(app, path, claims).await;
    if reply.status.is_success() {
        Ok(reply.body)
    } else {
        Err(reply.kind())
    }
}

#[tokio::test]
async fn claims_are_none_only_for_strangers() {
    let app = routes().layer(auth());
    assert_eq!(
        outcome(&app, "/claims", None).await,
        Err(ErrorKind::MissingToken)
    );
    assert_eq!(
        outcome(&app, "/may-be-claims", None).await.as_deref(),
        Ok("none")
    );
    let claims = r#"{"exp":4102444800,"role":"web_user"}"#;
    assert_eq!(
        outcome(&app, "/claims", WEB_USER).await.as_deref(),
        Ok(claims)
    );
    assert_eq!(
        outcome(&app, "/may-be-claims", WEB_USER).await.as_deref(),
        Ok(claims)
    );

    // An option of the layer makes strangers of those whose token is not acceptable.
    let app = routes().layer(auth().treat_invalid_token_as_anonymous());
    let request = Request::get("/may-be-claims").header("authorization", "Bearer garbage");
    let request = request
        .body(axum::body::Body::empty())
        .expect("the request is well formed");
    assert_eq!(service::send(&app, request).await.ok(), "none");
}

#[tokio::test]
async fn a_connection_is_none_only_where_the_request_has_no_role() {
    let anonymous = || unreachable_pool(Some("anon"));
    let nobody = || unreachable_pool(None);
    let app = |pool: RoleScopedPool, policy: RolePolicy| {
        routes()
            .layer(RoleScopeLayer::new(pool).roles(policy))
            .layer(auth())
    };
    let any = RolePolicy::new;
    let refuse = || RolePolicy::new().refuse_missing_role();
    let default = || {
        RolePolicy::new()
            .authenticated_role("author")
            .expect("a name")
    };
    let closed = || RolePolicy::new().allow(["author"]).expect("a name");
    let roleless = Some("{}");
    type Expected = Result<&'static str, ErrorKind>;
    let rows: [(RoleScopedPool, RolePolicy, Option<&str>, Expected, Expected); 12] = [
        (anonymous(), any(), None, Ok("anon"), Ok("anon")),
        (anonymous(), any(), roleless, Ok("anon"), Ok("anon")),
        (anonymous(), any(), WEB_USER, Ok("web_user"), Ok("web_user")),
        (anonymous(), refuse(), None, Ok("anon"), Ok("anon")),
        (
            anonymous(),
            refuse(),
            roleless,
            Err(ErrorKind::NoRole),
            Ok("none"),
        ),
        (anonymous(), default(), roleless, Ok("author"), Ok("author")),
        (
            anonymous(),
            closed(),
            WEB_USER,
            Err(ErrorKind::RoleRefused),
            Err(ErrorKind::RoleRefused),
        ),
        (
            nobody(),
            any(),
            None,
            Err(ErrorKind::MissingToken),
            Ok("none"),
        ),
        (
            nobody(),
            any(),
            roleless,
            Err(ErrorKind::NoRole),
            Ok("none"),
        ),
        (nobody(), any(), WEB_USER, Ok("web_user"), Ok("web_user")),
        (nobody(), default(), roleless, Ok("author"), Ok("author")),
        (
            nobody(),
            closed(),
            WEB_USER,
            Err(ErrorKind::RoleRefused),
            Err(ErrorKind::RoleRefused),
        ),
    ];
    for (at, (pool, policy, claims, demanded, optional)) in rows.into_iter().enumerate() {
        let app = app(pool, policy);
        let row = format!("row {at}");
        assert_eq!(
            outcome(&app, "/db", claims).await,
            demanded.map(str::to_owned),
            "{row}"
        );
        assert_eq!(
            outcome(&app, "/may-be-db", claims).await,
            optional.map(str::to_owned),
            "{row}"
        );
    }
}

#[tokio::test]
async fn a_health_route_needs_neither_role_nor_database() {
    for pool in [unreachable_pool(None), unreachable_pool(Some("anon"))] {
        let app = service(&pool, routes());
        for claims in [
            None,
            WEB_USER,
            Some(r#"{"role":"none"}"#),
            Some(r#"{"role":7}"#),
        ] {
            assert_eq!(
                service::get(&app, "/health", claims).await.ok(),
                "well",
                "{claims:?}"
            );
        }
        assert_eq!(pool.status().connections_created, 0);
    }
}

#[tokio::test]
async fn a_handler_that_runs_no_sql_takes_no_connection() {
    let database = database().await;
    let pool = database
        .pool_builder()
        .build_lazy()
        .expect("the options are good");
    let app = service(&pool, routes());
    assert_eq!(service::get(&app, "/db", WEB_USER).await.ok(), "web_user");
    assert_eq!(pool.status().connections_created, 0);
}

/// Extracted twice, and cloned: what one handle writes the others see, and it is committed once.
#[tokio::test]
async fn all_handles_of_a_request_share_its_transaction() {
    let database = database().await;
    database
        .execute("CREATE TABLE notes (id int); GRANT SELECT, INSERT ON notes TO anon")
        .await;
    let routes = Router::new().route(
        "/",
        axum::routing::post(
            async |one: RoleScopedConnection, other: Option<RoleScopedConnection>| {
                one.clone()
                    .execute("INSERT INTO notes VALUES (1)", &[])
                    .await?;
                let other = other.expect("the request has a role");
                let seen: i64 = other
                    .query_one_scalar("SELECT count(*) FROM notes", &[])
                    .await?;
                let same = "SELECT pg_current_xact_id()::text";
                let one: String = one.query_one_scalar(same, &[]).await?;
                let other: String = other.query_one_scalar(same, &[]).await?;
                assert_eq!(one, other);
                Ok::<_, Error>(seen.to_string())
            },
        ),
    );
    let app = service(&database.pool().await, routes);
    assert_eq!(service::post(&app, "/", None).await.ok(), "1");
    assert_eq!(service::post(&app, "/", None).await.ok(), "2");
}
