//! Every kind of error, as a client meets it.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use axum::routing::{get, post};
use rolescope::ErrorKind as K;
use rolescope::{Claims, Error, RoleName, RoleScope, RoleScopeLayer, RoleScopedConnection};

use super::{By, app, ask, ask_anybody, check, header, prepared_database, server_error};
use crate::support::events::Recorder;
use crate::support::service::{self, Reply, auth, send, service, token};

async fn statement(db: RoleScopedConnection) -> Result<(), Error> {
    db.execute("SELECT 1", &[]).await.map(|_| ())
}

fn request(authorization: &[&str]) -> Request<Body> {
    service::request(Method::GET, "/", authorization)
}

#[tokio::test]
async fn refusals_say_who_the_client_should_have_been() {
    let database = prepared_database().await;
    let pool = database.pool().await;
    let strangers = service(&pool, Router::new().route("/", get(statement)));
    let members = Router::new()
        .route("/", get(statement))
        .layer(RoleScopeLayer::new(pool.clone()))
        .layer(auth().require_token());
    let no_anonymous_role = rolescope::RoleScopedPool::builder(&database.url("authenticator"))
        .expect("the URL can be read")
        .resting_role("anon")
        .build()
        .await
        .expect("the pool is built");
    let no_strangers = service(&no_anonymous_role, Router::new().route("/", get(statement)));
    let roleless = format!("Bearer {}", token("{}"));
    let ungranted = format!("Bearer {}", token(r#"{"role":"not_granted"}"#));

    let recorder = Recorder::start();
    for (app, authorization, kind, status, grpc, challenge) in [
        (
            &strangers,
            vec!["Basic a", "Basic b"],
            K::InvalidRequest,
            400,
            16,
            Some(
                "Bearer error=\"invalid_request\", \
                 error_description=\"the request has more than one token or Authorization header\"",
            ),
        ),
        (&members, vec![], K::MissingToken, 401, 16, Some("Bearer")),
        (
            &members,
            vec!["Basic a"],
            K::MissingToken,
            401,
            16,
            Some("Bearer"),
        ),
        (
            &no_strangers,
            vec![],
            K::MissingToken,
            401,
            16,
            Some("Bearer"),
        ),
        (&no_strangers, vec![&roleless], K::NoRole, 403, 7, None),
        (&strangers, vec![&ungranted], K::RoleRefused, 403, 7, None),
    ] {
        let reply = send(app, request(&authorization)).await;
        assert_eq!(reply.kind(), kind, "{reply:?}");
        assert_eq!(reply.status.as_u16(), status, "{reply:?}");
        assert_eq!(header(&reply, "www-authenticate"), challenge, "{reply:?}");
        let error = reply.error.as_ref().expect("an error");
        assert_eq!((error.status().as_u16(), error.grpc_code()), (status, grpc));
        assert_eq!(reply.json()["code"], kind.as_str());
        // No fault of the service; but whoever has set up the roles is told, without the name that was claimed.
        let told = recorder.take();
        let told: Vec<_> = told.iter().filter_map(|line| line.get("cause")).collect();
        match kind {
            K::NoRole => assert!(
                told[0].contains("nothing at the policy's claim"),
                "{told:?}"
            ),
            K::RoleRefused => {
                assert_eq!(told, ["it is not granted to the login role: GRANT it"]);
            }
            _ => assert_eq!(told, [""; 0]),
        }
    }
    let reply = send(&strangers, request(&["Bearer garbage"])).await;
    assert_eq!(reply.kind(), K::InvalidToken);
    let error = reply.error.as_ref().expect("an error");
    assert_eq!((error.status().as_u16(), error.grpc_code()), (401, 16));
    let challenge = header(&reply, "www-authenticate").expect("a challenge");
    let reason = error.token_error().expect("a reason").as_str();
    assert_eq!(
        challenge,
        format!("Bearer error=\"invalid_token\", error_description=\"{reason}\"")
    );
    assert_eq!(recorder.errors().len(), 0);
}

#[tokio::test]
async fn the_services_own_faults_are_500_and_say_nothing() {
    let database = prepared_database().await;
    let pool = database.pool().await;
    let app = app(&pool);
    let routes = Router::new()
        .route(
            "/none",
            post(async |db: RoleScopedConnection| {
                db.query_one("SELECT 1 WHERE false", &[]).await.map(|_| ())
            }),
        )
        .route(
            "/two",
            post(async |db: RoleScopedConnection| {
                db.query_opt("SELECT 1 FROM parent", &[]).await.map(|_| ())
            }),
        )
        .route(
            "/columns",
            post(async |db: RoleScopedConnection| {
                db.query_one_scalar::<i32>("SELECT 1, 2", &[])
                    .await
                    .map(|_| ())
            }),
        )
        .route(
            "/type",
            post(async |db: RoleScopedConnection| {
                db.query_one_scalar::<String>("SELECT 1", &[])
                    .await
                    .map(|_| ())
            }),
        )
        .route(
            "/parameter",
            post(async |db: RoleScopedConnection| {
                db.query("SELECT $1::int", &[&"x"]).await.map(|_| ())
            }),
        )
        .route(
            "/parameters",
            post(async |db: RoleScopedConnection| {
                db.query("SELECT $1::int", &[]).await.map(|_| ())
            }),
        )
        .route(
            "/copy",
            post(async |db: RoleScopedConnection| {
                db.execute("COPY parent TO STDOUT", &[]).await.map(|_| ())
            }),
        )
        .route(
            "/late",
            post(async |db: RoleScopedConnection| {
                db.execute("SELECT 1", &[]).await?;
                db.read_only()
            }),
        )
        .route(
            "/finished",
            post(async |db: RoleScopedConnection| {
                db.commit().await?;
                db.execute("SELECT 1", &[]).await.map(|_| ())
            }),
        );
    let wrong = service(&pool, routes);

    let recorder = Recorder::start();
    for path in [
        "/none",
        "/two",
        "/columns",
        "/type",
        "/parameter",
        "/parameters",
        "/copy",
        "/late",
    ] {
        let reply = service::post(&wrong, path, None).await;
        assert_eq!(reply.kind(), K::Statement, "{path}");
        check(&reply, &recorder, 500, 13, "statement_error");
    }
    let reply = service::post(&wrong, "/finished", None).await;
    assert_eq!(reply.kind(), K::Finished);
    check(&reply, &recorder, 500, 13, "transaction_finished");

    let ignoring = async |by, sql| ask(&app, Method::POST, "/ignoring", by, sql).await;
    let reply = ignoring(
        By::Anybody,
        "INSERT INTO parent VALUES (5, 'five');;SELECT 1 / 0",
    )
    .await;
    assert_eq!(reply.kind(), K::TransactionAborted);
    check(&reply, &recorder, 500, 13, "transaction_aborted");

    for (by, sql) in [
        (By::Anybody, "COMMIT"),
        (By::Anybody, "ROLLBACK"),
        (By::Anybody, "COMMIT; BEGIN"),
        (By::Anybody, "SET ROLE web_user"),
        (By::Anybody, "SET ROLE NONE"),
        (By::WebUser, "RESET ROLE"),
    ] {
        let reply = ignoring(by, sql).await;
        assert_eq!(reply.kind(), K::ScopeLeft, "{sql}");
        check(&reply, &recorder, 500, 13, "scope_left");
    }
    let reply = service::get(&Router::new().route("/", get(statement)), "/", None).await;
    assert_eq!(reply.kind(), K::MissingLayer);
    check(&reply, &recorder, 500, 13, "missing_layer");
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_unknown() {
    let database = prepared_database().await;
    database
        .execute(
            "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN PERFORM end_session(); PERFORM pg_sleep(600); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER cut AFTER INSERT ON parent INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION cut()",
        )
        .await;
    let app = app(&database.pool().await);
    let recorder = Recorder::start();
    let reply = ask_anybody(&app, "INSERT INTO parent VALUES (7, 'seven')").await;
    assert_eq!(reply.kind(), K::CommitUnknown);
    // No Retry-After: to send it again could store it twice.
    check(&reply, &recorder, 500, 2, "commit_unknown");
}

#[tokio::test]
async fn a_database_that_cannot_serve_now_is_503() {
    let database = prepared_database().await;
    let pool = database
        .pool_builder()
        .max_size(1)
        .acquire_timeout(Duration::from_millis(500))
        .build()
        .await
        .expect("the pool is built");
    let serving = app(&pool);
    let recorder = Recorder::start();

    let holder = pool.begin(&RoleScope::for_role(
        RoleName::parse("anon").expect("a name"),
    ));
    holder.execute("SELECT 1", &[]).await.expect("it runs");
    let reply = ask_anybody(&serving, "SELECT 1").await;
    assert_eq!(reply.kind(), K::PoolExhausted);
    check(&reply, &recorder, 503, 14, "pool_exhausted");

    holder.rollback().await.expect("it ends");
    drop(holder);
    pool.close().await;
    let reply = ask_anybody(&serving, "SELECT 1").await;
    assert_eq!(reply.kind(), K::PoolClosed);
    check(&reply, &recorder, 503, 14, "pool_closed");

    let away =
        rolescope::RoleScopedPool::builder("postgres://authenticator:needle@127.0.0.1:1/needle")
            .expect("the URL can be read")
            .anonymous_role("anon")
            .build_lazy()
            .expect("the options are good");
    let reply = ask_anybody(&app(&away), "SELECT 1").await;
    assert_eq!(reply.kind(), K::Unavailable);
    let errors = recorder.errors();
    let [event] = &errors[..] else {
        panic!("one event, not {errors:?}");
    };
    assert!(
        event
            .get("cause")
            .is_some_and(|cause| cause.contains("refused")),
        "{event:?}"
    );
    assert!(!format!("{event:?}").contains("needle"), "{event:?}");
    assert_eq!(reply.json(), server_error(503, "database_unavailable"));
}

/// Whoever adds a kind has to say here what becomes of it.
#[test]
fn every_kind_has_a_word_of_its_own() {
    let kinds = [
        (K::InvalidRequest, "invalid_request"),
        (K::MissingToken, "missing_token"),
        (K::InvalidToken, "invalid_token"),
        (K::NoRole, "no_role"),
        (K::RoleRefused, "role_refused"),
        (K::Database, "database_error"),
        (K::Statement, "statement_error"),
        (K::TransactionAborted, "transaction_aborted"),
        (K::ScopeLeft, "scope_left"),
        (K::CommitUnknown, "commit_unknown"),
        (K::ConnectionLost, "connection_lost"),
        (K::Unavailable, "database_unavailable"),
        (K::PoolExhausted, "pool_exhausted"),
        (K::PoolClosed, "pool_closed"),
        (K::Finished, "transaction_finished"),
        (K::MissingLayer, "missing_layer"),
    ];
    for (kind, word) in kinds {
        assert_eq!(kind.as_str(), word);
    }
}

#[tokio::test]
async fn an_error_is_cheap_to_clone_and_keeps_its_source() {
    let database = prepared_database().await;
    let reply: Reply = ask_anybody(&app(&database.pool().await), "SELECT nothing").await;
    let error = reply.error.expect("an error");
    let clone = error.clone();
    assert_eq!(clone.kind(), error.kind());
    let source = std::error::Error::source(&clone).expect("a source");
    assert!(source.is::<tokio_postgres::Error>(), "{source:?}");
    assert_eq!(
        clone.as_db_error().expect("the database's").message(),
        "column \"nothing\" does not exist"
    );
    assert_eq!(clone.to_string(), "the database refused a statement");
    fn is<T: std::error::Error + Clone + Send + Sync + 'static>() {}
    is::<Error>();
    fn extracts<T: axum::extract::FromRequestParts<()>>() {}
    extracts::<Claims>();
}
