//! Who reads their own writes. The standby's replay is paused, so that it has none of them.

use axum::Router;
use rolescope::scope::RoleScopedPoolBuilder;

use super::{
    LONG, SHORT, Service, Standby, TOKEN, replicated_database, routes, service, until_on_standby,
};
use crate::support::proxy::{Cut, Proxy, within};
use crate::support::service as client;

async fn pause(standby: &Standby) {
    let admin = standby.admin().await;
    let paused = "SELECT pg_wal_replay_pause()";
    admin.execute(paused, &[]).await.expect("it may");
    within(async {
        let state = "SELECT pg_get_wal_replay_pause_state() = 'paused'";
        while !admin
            .query_one(state, &[])
            .await
            .expect("it says")
            .get::<_, bool>(0)
        {}
    })
    .await;
}

async fn rows_as(app: &Router, claims: Option<&str>) -> String {
    within(client::get(app, "/rows", claims)).await.ok()
}

/// What others see. Two callers can by chance be taken for one, but not several.
async fn rows_of_others(app: &Router) -> Vec<String> {
    let mut rows = Vec::new();
    for n in 0..4 {
        let claims = format!(r#"{{"role":"web_user","sub":"{n}"}}"#);
        rows.push(rows_as(app, Some(&claims)).await);
    }
    rows.sort();
    rows.dedup();
    rows
}

#[tokio::test]
async fn whoever_wrote_reads_the_primary_and_all_others_the_standby() {
    let service = Service::new(|b| b.primary_after_write(LONG)).await;
    pause(&service.standby).await;
    assert_eq!(service.get("/rows").await.ok(), "standby 0");
    service.post("/rows").await.ok();
    assert_eq!(service.get("/rows").await.ok(), "primary 1");
    // The same caller with a newer token.
    let renewed = Some(r#"{"sub":"anna","role":"web_user","jti":"2"}"#);
    assert_eq!(rows_as(&service.app, renewed).await, "primary 1");
    assert!(
        rows_of_others(&service.app)
            .await
            .contains(&"standby 0".to_owned())
    );
}

#[tokio::test]
async fn anonymous_requests_are_one_caller() {
    let service = Service::new(|b| b.primary_after_write(LONG)).await;
    pause(&service.standby).await;
    assert_eq!(rows_as(&service.app, None).await, "standby 0");
    within(client::post(&service.app, "/rows", None)).await.ok();
    assert_eq!(rows_as(&service.app, None).await, "primary 1");
}

#[tokio::test]
async fn without_the_option_a_read_can_be_older_than_the_callers_write() {
    let service = Service::new(|b| b).await;
    pause(&service.standby).await;
    service.post("/rows").await.ok();
    assert_eq!(service.get("/rows").await.ok(), "standby 0");
}

#[tokio::test]
async fn the_time_ends() {
    let service = Service::new(|b| b.primary_after_write(SHORT)).await;
    service.post("/rows").await.ok();
    until_on_standby(&service.pool).await;
}

#[tokio::test]
async fn a_commit_counts_whatever_the_response_and_a_rollback_does_not() {
    let service = Service::new(|b| b.primary_after_write(LONG)).await;
    pause(&service.standby).await;
    assert_eq!(service.post("/refused").await.status, 409);
    assert_eq!(service.get("/rows").await.ok(), "standby 0");
    assert_eq!(service.post("/committed").await.status, 409);
    assert_eq!(service.get("/rows").await.ok(), "primary 1");
}

/// A pool whose way to the primary a test can watch, and whose standby gets nothing any more.
async fn paused_behind_proxy(
    build: impl FnOnce(RoleScopedPoolBuilder) -> RoleScopedPoolBuilder,
) -> (Proxy, Standby, Router) {
    let database = replicated_database().await;
    database
        .execute("CREATE TABLE t (x text); GRANT SELECT, INSERT ON t TO web_user")
        .await;
    let standby = Standby::of(&database).await;
    pause(&standby).await;
    let proxy = Proxy::start(&database);
    let builder = proxy.pool_builder().max_size(2);
    let builder = builder.replica(&standby.url("authenticator"));
    let pool = build(builder.expect("a URL")).build().await;
    let app = service(&pool.expect("it is built"), routes());
    assert_eq!(rows_as(&app, TOKEN).await, "standby 0");
    (proxy, standby, app)
}

#[tokio::test]
async fn a_commit_of_which_nobody_knows_counts() {
    let (proxy, _standby, app) = paused_behind_proxy(|b| b.primary_after_write(LONG)).await;
    proxy.cut_at(Cut::Unanswered, "COMMIT");
    let reply = within(client::post(&app, "/rows", TOKEN)).await;
    assert_eq!(reply.kind(), rolescope::ErrorKind::CommitUnknown);
    assert_eq!(rows_as(&app, TOKEN).await, "primary 1");
}

#[tokio::test]
async fn a_commit_that_nobody_waits_for_counts() {
    let (proxy, _standby, app) = paused_behind_proxy(|b| b.primary_after_write(LONG)).await;
    let at_commit = async {
        while proxy.count("COMMIT") == 0 {
            tokio::task::yield_now().await;
        }
    };
    proxy.hold();
    let leaves = {
        let app = app.clone();
        tokio::spawn(async move { client::post(&app, "/rows", TOKEN).await })
    };
    // Everything but COMMIT is answered.
    within(async {
        tokio::pin!(at_commit);
        while futures_util::poll!(&mut at_commit).is_pending() {
            proxy.release_one();
            tokio::task::yield_now().await;
        }
    })
    .await;
    leaves.abort();
    assert!(leaves.await.expect_err("it is gone").is_cancelled());
    proxy.pass();
    proxy.release();
    let rows = rows_as(&app, TOKEN).await;
    assert!(rows.starts_with("primary"), "{rows}");
}

#[tokio::test]
async fn the_time_counts_from_the_answer_to_commit() {
    let time = 4 * SHORT;
    let (proxy, _standby, app) = paused_behind_proxy(|b| b.primary_after_write(time)).await;
    within(client::post(&app, "/rows", TOKEN)).await.ok();
    proxy.rests().await;
    proxy.hold();
    let sent = {
        let app = app.clone();
        tokio::spawn(async move { client::post(&app, "/rows", TOKEN).await })
    };
    proxy.flight(&["Q", "BE", "BE"]).await;
    proxy.sees(&["BE", "Q", "Q"]).await;
    tokio::time::sleep(time).await;
    proxy.pass();
    proxy.release();
    within(sent).await.expect("no panic").ok();
    assert_eq!(rows_as(&app, TOKEN).await, "primary 2");
}
