//! A pooler that nobody has told the pool of.

use axum::Router;
use axum::routing::get;
use rolescope::RoleScopedConnection;
use rolescope::scope::revocation::RevocationListener;

use crate::Pooled;
use crate::support::events::Recorder;
use crate::support::proxy::within;
use crate::support::service::{self, service};

const CURE: &str = "RoleScopedPoolBuilder::pooler(Pooler::Transaction)";

#[tokio::test]
async fn a_pool_that_is_not_told_of_its_pooler_is_refused_and_told_the_cure() {
    for (settings, cause) in [
        ("", "refuses startup options"),
        (
            "ignore_startup_parameters = options",
            "keeps startup options from PostgreSQL",
        ),
    ] {
        let pooled = Pooled::start(settings).await;
        let error = within(pooled.builder_unaware().build())
            .await
            .expect_err("it is refused")
            .to_string();
        assert!(error.contains(cause) && error.contains(CURE), "{error}");

        let pool = pooled
            .builder_unaware()
            .build_lazy()
            .expect("not asked yet");
        let read = async |db: RoleScopedConnection| db.query("SELECT 1", &[]).await.map(|_| "read");
        let app = service(&pool, Router::new().route("/", get(read)));
        let recorder = Recorder::start();
        let reply = within(service::get(&app, "/", None)).await;
        assert_eq!(reply.status.as_u16(), 503);
        assert!(!reply.body.contains("pooler"), "{}", reply.body);
        let errors = recorder.errors();
        let text = format!("{errors:?}");
        assert!(errors.len() == 1 && text.contains(CURE), "{text}");

        let pool = within(pooled.builder().build()).await;
        pool.expect("told of it, it is built");
    }
}

/// Notifications do not come through a pooler in transaction mode, and nothing would tell.
#[tokio::test]
async fn a_listener_is_not_built_behind_a_pooler() {
    for settings in ["", "ignore_startup_parameters = options"] {
        let pooled = Pooled::start(settings).await;
        let listener = RevocationListener::builder(&pooled.url("authenticator"));
        let listener = listener.expect("the URL can be read");
        let listener = listener.query("SELECT 'jti', 'x', NULL::timestamptz");
        let error = within(listener.build()).await.expect_err("it is refused");
        let error = error.to_string();
        assert!(error.contains("leads to PostgreSQL itself"), "{error}");
    }
}
