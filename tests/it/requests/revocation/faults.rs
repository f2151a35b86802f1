//! What tokens are answered while it is not known which are revoked.

use super::*;
use crate::support::proxy::Proxy;
use crate::support::{OWN_DATABASE, connect, own_server};

/// A listener that notices at once that it has lost touch.
fn strict(url: &str) -> RevocationListenerBuilder {
    let builder = listener(url).reread_interval(NEVER).heartbeat(OFTEN);
    let builder = builder.connect_timeout(STALE).answer_timeout(STALE);
    builder.max_backoff(OFTEN).max_staleness(STALE)
}

async fn is_503(app: &Router) {
    let reply = service::get(app, "/", Some(r#"{"jti":"other"}"#)).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_eq!(reply.headers["retry-after"], "1");
    assert_eq!(reply.kind(), rolescope::ErrorKind::RevocationsUnavailable);
    assert_eq!(reply.json()["code"], "revocations_unavailable");
}

#[tokio::test]
async fn a_connection_that_was_ended_is_made_anew_and_nothing_is_missed() {
    let (database, admin) = prepared().await;
    let listener = listening(patient(&database.url("authenticator"))).await;
    let app = app(listener.revocations());
    for round in 0..3 {
        let jti = format!("t{round}");
        assert_eq!(status(&app, &jti).await, 200);
        // Not notified: only whoever connects anew reads it.
        let sql = format!(
            "INSERT INTO basic_auth.revoked VALUES ('jti', '{jti}');
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE application_name = 'rolescope_revocations' AND datname = current_database()"
        );
        run(&admin, &sql).await;
        becomes(&app, &jti, 401).await;
        revoke(&admin, &format!("{jti} notified")).await;
        becomes(&app, &format!("{jti} notified"), 401).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_server_tokens_are_503_after_the_bound_and_good_again_after() {
    let server = own_server(&[]).await;
    let admin = connect(&server.superuser_url(OWN_DATABASE)).await;
    run(&admin, FIXTURE).await;
    revoke(&admin, "one").await;
    let url = server.url("authenticator", OWN_DATABASE);
    let strict_one = listening(strict(&url)).await;
    let careless = strict(&url).dangerous().accept_stale_revocations();
    let careless = listening(careless).await;
    let anonymous = verifier(strict_one.revocations());
    let anonymous = JwtAuthLayer::new(anonymous).treat_invalid_token_as_anonymous();
    let (strict_app, careless_app) = (app(strict_one.revocations()), app(careless.revocations()));
    let anonymous_app = over(anonymous);
    let ready = verifier(strict_one.revocations());
    until(|| ready.is_ready()).await;
    becomes(&strict_app, "other", 200).await;

    server.stop("INT");
    becomes(&strict_app, "other", 503).await;
    is_503(&strict_app).await;
    // Also where invalid tokens count as anonymous: nobody knows whether it is one.
    is_503(&anonymous_app).await;
    assert!(!ready.is_ready());
    // What is known to be revoked stays so, and a bad token is one all the same.
    assert_eq!(status(&strict_app, "one").await, 401);
    assert_eq!(
        service::get(&strict_app, "/", Some(r#"{"nbf":4102444800}"#))
            .await
            .status,
        401
    );
    assert_eq!(service::get(&strict_app, "/", None).await.status, 200);
    until(|| !careless.revocations().is_fresh()).await;
    assert_eq!(status(&careless_app, "other").await, 200);
    assert_eq!(status(&careless_app, "one").await, 401);
    let error = strict_one.revocations().status().last_error;
    assert!(error.is_some(), "{error:?}");

    // A service that starts meanwhile.
    let lazy = strict(&url).build_lazy().expect("nothing is asked yet");
    let lazy_app = app(lazy.revocations());
    is_503(&lazy_app).await;
    let refused = within(strict(&url).build()).await.expect_err("it is away");
    assert!(
        refused.to_string().contains("is it running there?"),
        "{refused}"
    );

    server.start_again();
    becomes(&strict_app, "other", 200).await;
    becomes(&lazy_app, "other", 200).await;
    assert_eq!(status(&lazy_app, "one").await, 401);
    until(|| ready.is_ready()).await;
    let admin = connect(&server.superuser_url(OWN_DATABASE)).await;
    revoke(&admin, "two").await;
    becomes(&strict_app, "two", 401).await;
    becomes(&careless_app, "two", 401).await;
}

#[tokio::test]
async fn a_server_that_is_frozen_is_noticed() {
    let (database, admin) = prepared().await;
    let proxy = Proxy::start(&database);
    let listener = listening(strict(&proxy.url("authenticator"))).await;
    let app = app(listener.revocations());
    becomes(&app, "one", 200).await;
    proxy.freeze();
    // It stands on the server, and nobody can tell.
    revoke(&admin, "one").await;
    becomes(&app, "other", 503).await;
    becomes(&app, "other", 200).await;
    assert_eq!(status(&app, "one").await, 401);
    assert!(proxy.connections() > 1);
}

#[tokio::test]
async fn a_runtime_that_ends_takes_the_listener_with_it() {
    let (database, _admin) = prepared().await;
    let builder = strict(&database.url("authenticator"));
    let listener = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(listening(builder))
    });
    let listener = listener.join().expect("no panic");
    let app = app(listener.revocations());
    becomes(&app, "other", 503).await;
    let error = listener.revocations().status().last_error;
    assert!(error.is_some_and(|error| error.contains("has ended")));
}
