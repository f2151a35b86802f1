//! What goes to the standby, and how it runs there.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::{get, post};
use rolescope::{
    AccessMode, Error, ErrorKind, Isolation, RoleName, RoleScope, RoleScopedConnection,
    RoleScopedPool,
};
use tower::ServiceExt;

use super::{Proxied, SHORT, Service, TOKEN, place, service};
use crate::support::proxy::within;
use crate::support::service::{self as client, token};
use crate::support::standby::{Standby, replicated_database};

fn begin(pool: &RoleScopedPool) -> RoleScopedConnection {
    pool.begin(&RoleScope::for_role(
        RoleName::parse("web_user").expect("a name"),
    ))
}

#[tokio::test]
async fn what_is_read_only_goes_to_the_standby_and_all_else_to_the_primary() {
    let replicated = Service::new(|b| b).await;
    assert_eq!(replicated.get("/place").await.ok(), "standby");
    assert_eq!(replicated.post("/place").await.ok(), "primary");

    let routes = Router::new()
        .route(
            "/read_only",
            post(async |db: RoleScopedConnection| {
                db.read_only()?;
                place(db).await
            }),
        )
        .route(
            "/read_write",
            get(async |db: RoleScopedConnection| {
                db.read_write()?;
                place(db).await
            }),
        )
        .route(
            "/on_primary",
            get(async |db: RoleScopedConnection| {
                db.on_primary()?;
                place(db).await
            }),
        )
        .route(
            "/serializable",
            get(async |db: RoleScopedConnection| {
                db.isolation(Isolation::Serializable)?;
                place(db).await
            }),
        )
        .route(
            "/repeatable",
            get(async |db: RoleScopedConnection| {
                db.isolation(Isolation::RepeatableRead)?;
                place(db).await
            }),
        )
        .route("/layered", post(place).layer(AccessMode::ReadOnly));
    let app = service(&replicated.pool, routes);
    for (uri, expected) in [
        ("/read_write", "primary"),
        ("/on_primary", "primary"),
        ("/serializable", "primary"),
        ("/repeatable", "standby"),
    ] {
        let reply = within(client::get(&app, uri, TOKEN)).await;
        assert_eq!(reply.ok(), expected, "{uri}");
    }
    for uri in ["/read_only", "/layered"] {
        let reply = within(client::post(&app, uri, TOKEN)).await;
        assert_eq!(reply.ok(), "standby", "{uri}");
    }

    let job = begin(&replicated.pool);
    assert_eq!(within(place(job)).await.expect("it runs"), "primary");
    let job = begin(&replicated.pool);
    job.read_only().expect("it has not begun");
    assert_eq!(
        within(place(job.clone())).await.expect("it runs"),
        "standby"
    );
    let late = job.on_primary().expect_err("it has begun");
    assert_eq!(late.kind(), ErrorKind::Statement);
}

#[tokio::test]
async fn what_the_handler_says_while_a_session_is_waited_for_still_counts() {
    let replicated = Service::new(|b| b.replica_max_size(1)).await;
    let holder = begin(&replicated.pool);
    holder.read_only().expect("it has not begun");
    within(place(holder.clone())).await.expect("it runs");
    let db = begin(&replicated.pool);
    db.read_only().expect("it has not begun");
    // Not the holder's statement: one that the session knows would be tried again.
    let mut waiting = Box::pin(db.query_one_scalar::<bool>("SELECT NOT pg_is_in_recovery()", &[]));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    db.read_write().expect("it has not begun");
    drop(holder);
    assert!(within(waiting).await.expect("it runs on the primary"));
    let status = replicated
        .pool
        .replica_status()
        .expect("there is a replica");
    assert_eq!((status.in_use, status.connections_discarded), (0, 0));
}

#[tokio::test]
async fn roles_claims_and_policies_hold_on_the_standby() {
    let database = replicated_database().await;
    database
        .execute(
            "CREATE TABLE notes (owner text, x text); ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
             CREATE POLICY own ON notes USING
                (owner = nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub');
             GRANT SELECT ON notes TO web_user;
             INSERT INTO notes VALUES ('anna', 'hers'), ('bert', 'his')",
        )
        .await;
    let standby = Standby::of(&database).await;
    let pool = database.pool_builder().max_size(1);
    let pool = pool.replica(&standby.url("authenticator")).expect("a URL");
    let pool = pool.build().await.expect("it is built");
    let notes = get(async |db: RoleScopedConnection| {
        let rows = "SELECT concat_ws(' ', pg_is_in_recovery(), current_user, x) FROM notes";
        let rows: Vec<String> = db.query_scalar(rows, &[]).await?;
        Ok::<_, Error>(rows.join(","))
    });
    let app = service(&pool, Router::new().route("/", notes));
    for round in 0..2 {
        for (sub, expected) in [("anna", "t web_user hers"), ("bert", "t web_user his")] {
            let claims = format!(r#"{{"role":"web_user","sub":"{sub}"}}"#);
            let reply = within(client::get(&app, "/", Some(&claims))).await;
            assert_eq!(reply.ok(), expected, "round {round}");
        }
        let stranger = within(client::get(&app, "/", None)).await;
        assert_eq!(stranger.status, 401, "{stranger:?}");
        for role in ["not_granted", "unheard_of", "authenticator"] {
            let claims = format!(r#"{{"role":"{role}"}}"#);
            let reply = within(client::get(&app, "/", Some(&claims))).await;
            assert_eq!(reply.status, 403, "{reply:?}");
        }
    }
    let status = pool.replica_status().expect("there is a replica");
    assert_eq!(status.connections_created, 1);
}

#[tokio::test]
async fn a_read_on_the_standby_is_one_round_trip_with_a_cached_statement() {
    let proxied = Proxied::new().await;
    let pool = proxied.pool_builder().build().await.expect("it is built");
    assert_eq!(super::place_of(&pool).await, "standby");
    proxied.proxy.rests().await;
    proxied.proxy.hold();
    let app = service(&pool, super::routes());
    let asked = tokio::spawn(async move { client::get(&app, "/place", TOKEN).await });
    proxied.proxy.flight(&["Q", "BE", "BE"]).await;
    assert_eq!(within(asked).await.expect("no panic").ok(), "standby");
}

#[tokio::test]
async fn what_one_server_told_of_a_statement_serves_on_the_other() {
    let proxied = Proxied::new().await;
    let pool = proxied.pool_builder().build().await.expect("it is built");
    let on_primary = begin(&pool);
    within(place(on_primary)).await.expect("it runs");
    proxied.proxy.hold();
    let app = service(&pool, super::routes());
    let asked = tokio::spawn(async move { client::get(&app, "/place", TOKEN).await });
    // Its types are known: it need not be prepared first.
    proxied.proxy.flight(&["Q", "BE", "PD", "PBDE"]).await;
    proxied.proxy.pass();
    proxied.proxy.release();
    assert_eq!(within(asked).await.expect("no panic").ok(), "standby");
}

#[tokio::test]
async fn a_role_whose_transactions_are_serializable_stays_on_the_primary() {
    let database = replicated_database().await;
    database
        .execute(
            "CREATE ROLE strict_reader; GRANT strict_reader TO authenticator;
             ALTER ROLE strict_reader SET default_transaction_isolation = 'serializable'",
        )
        .await;
    let standby = Standby::of(&database).await;
    let pool = database.pool_builder().role_settings(true);
    let pool = pool.replica(&standby.url("authenticator")).expect("a URL");
    let pool = pool.build().await.expect("it is built");
    let app = service(&pool, super::routes());
    let strict = Some(r#"{"role":"strict_reader"}"#);
    let reply = within(client::get(&app, "/place", strict)).await;
    assert_eq!(reply.ok(), "primary");
    assert_eq!(super::place_of(&pool).await, "standby");
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_standbys_backend() {
    let replicated = Service::new(|b| b.replica_max_size(1)).await;
    let sleep = get(async |db: RoleScopedConnection| {
        db.query("SELECT pg_sleep(600)", &[]).await?;
        Ok::<_, Error>("slept")
    });
    let app = service(&replicated.pool, Router::new().route("/", sleep));
    let admin = replicated.standby.admin().await;
    let sleeping = async |expected: i64| {
        let count = "SELECT count(*) FROM pg_stat_activity \
             WHERE datname = current_database() AND query LIKE '%pg_sleep(600)%' AND state = 'active' \
             AND usename = 'authenticator'";
        while admin
            .query_one(count, &[])
            .await
            .expect("it is counted")
            .get::<_, i64>(0)
            != expected
        {}
    };
    let bearer = format!("Bearer {}", token(TOKEN.expect("there are claims")));
    let request = Request::get("/").header("authorization", bearer);
    let request = request.body(Body::empty()).expect("it is well formed");
    let response = tokio::spawn(app.oneshot(request));
    within(sleeping(1)).await;
    response.abort();
    within(sleeping(0)).await;
    assert_eq!(replicated.get("/place").await.ok(), "standby");
}

#[tokio::test]
async fn a_busy_replica_is_a_503_and_no_burden_to_the_primary() {
    let replicated = Service::new(|b| b.replica_max_size(1).acquire_timeout(SHORT)).await;
    let holder = begin(&replicated.pool);
    holder.read_only().expect("it has not begun");
    within(place(holder.clone())).await.expect("it runs");
    let reply = replicated.get("/place").await;
    assert_eq!(
        (reply.status.as_u16(), reply.kind()),
        (503, ErrorKind::PoolExhausted)
    );
    assert_eq!(reply.headers["retry-after"], "1");
    let error = reply.error.expect("there is an error").to_string();
    assert!(error.contains("replica_max_size"), "{error}");
    assert_eq!(replicated.post("/place").await.ok(), "primary");
    drop(holder);
    assert_eq!(replicated.get("/place").await.ok(), "standby");
}

#[tokio::test]
async fn a_statement_in_the_way_of_recovery_is_a_503_and_not_moved_to_the_primary() {
    let replicated = Service::new(|b| b).await;
    let standby = replicated.standby.admin().await;
    for at_once in [
        "ALTER SYSTEM SET max_standby_streaming_delay = 0",
        "SELECT pg_reload_conf()",
    ] {
        standby.execute(at_once, &[]).await.expect("it may");
    }
    replicated
        .database
        .execute("INSERT INTO t VALUES ('x')")
        .await;
    let reads = get(async |db: RoleScopedConnection| {
        // Until there is a row, and then for as long as it is let.
        while db
            .query("SELECT pg_sleep(600) FROM t", &[])
            .await?
            .is_empty()
        {}
        Ok::<_, Error>("read")
    });
    let app = service(&replicated.pool, Router::new().route("/", reads));
    let reading = tokio::spawn(async move { client::get(&app, "/", TOKEN).await });
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    within(async {
        while standby
            .query_one(asleep, &[])
            .await
            .expect("it is counted")
            .get::<_, i64>(0)
            == 0
        {}
    })
    .await;
    replicated.database.execute("TRUNCATE t").await;
    let reply = within(reading).await.expect("no panic");
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_eq!(reply.headers["retry-after"], "1");
    let error = reply.error.expect("there is an error");
    assert_eq!(error.code().map(|code| code.code()), Some("40001"));
    assert_eq!(replicated.get("/place").await.ok(), "standby");
}

#[tokio::test]
async fn of_several_hosts_the_one_that_is_a_standby_serves() {
    let database = replicated_database().await;
    let standby = Standby::of(&database).await;
    let nowhere = crate::support::files::TemporaryDirectory::new("nowhere");
    let directory = |url: String| {
        let host = url.split('@').nth(1).expect("it has hosts");
        host.split(':').next().expect("it has a host").to_owned()
    };
    let primary = directory(database.url("authenticator"));
    let replica = directory(standby.url("authenticator"));
    let nowhere = nowhere.path().display().to_string().replace('/', "%2F");
    let url = format!(
        "postgresql://authenticator@{nowhere},{primary},{replica}/{}?target_session_attrs=read-only",
        database.name()
    );
    let pool = database.pool_builder().replica(&url).expect("a URL");
    let pool = pool.build().await.expect("it is built");
    assert_eq!(super::place_of(&pool).await, "standby");
}
