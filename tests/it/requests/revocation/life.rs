//! From a change in the database to the refusal.

use std::time::Instant;

use tokio_postgres::Client;

use super::*;
use crate::support::proxy::Proxy;

#[tokio::test]
async fn a_revoked_token_is_refused_cached_or_not_and_others_are_not() {
    let (database, admin) = prepared().await;
    revoke(&admin, "before").await;
    let listener = listening(patient(&database.url("authenticator"))).await;
    let app = app(listener.revocations());
    assert_eq!(status(&app, "before").await, 401);
    assert_eq!(status(&app, "one").await, 200);
    assert_eq!(status(&app, "one").await, 200);

    revoke(&admin, "one").await;
    becomes(&app, "one", 401).await;
    assert_eq!(status(&app, "other").await, 200);
    let reply = service::get(&app, "/", Some(r#"{"jti":"one"}"#)).await;
    assert_eq!(
        reply.headers["www-authenticate"],
        r#"Bearer error="invalid_token", error_description="the token was revoked""#
    );
    let anonymous = verifier(listener.revocations());
    let anonymous = JwtAuthLayer::new(anonymous).treat_invalid_token_as_anonymous();
    assert_eq!(status(&over(anonymous), "one").await, 200);

    // All tokens of a session, and those that a user was given up to now: what comes later is good.
    let sql = "INSERT INTO basic_auth.revoked VALUES ('sid', 's', NULL), ('sub', 'alice', '2020-01-01 00:00:00+00');
               NOTIFY rolescope_revocations";
    run(&admin, sql).await;
    let claims = [
        (r#"{"sid":"s"}"#, 401),
        (r#"{"sid":"t"}"#, 200),
        (r#"{"sub":"alice","iat":1577836799}"#, 401),
        (r#"{"sub":"alice"}"#, 401),
        (r#"{"sub":"alice","iat":1577836800}"#, 200),
    ];
    until(|| listener.revocations().status().entries == 4).await;
    for (claims, expected) in claims {
        let reply = service::get(&app, "/", Some(claims)).await;
        assert_eq!(reply.status, expected, "{claims}");
    }

    // What is taken back is good again.
    run(
        &admin,
        "DELETE FROM basic_auth.revoked; NOTIFY rolescope_revocations",
    )
    .await;
    becomes(&app, "one", 200).await;
    let status = listener.revocations().status();
    assert!(status.is_fresh && status.last_error.is_none(), "{status:?}");
}

/// What was committed before `LISTEN` is in what is read after it.
#[tokio::test]
async fn it_listens_before_it_reads() {
    let (database, _admin) = prepared().await;
    let proxy = Proxy::start(&database);
    let _listener = listening(patient(&proxy.url("authenticator"))).await;
    let seen = proxy.requests();
    let place = |sql: &str| seen.iter().position(|request| request.sql.starts_with(sql));
    let (listens, reads) = (place("LISTEN"), place("SELECT claim"));
    assert!(listens.is_some() && listens < reads, "{seen:?}");
}

/// A read shows what was committed before it began, and what comes meanwhile is told while it runs.
#[tokio::test]
async fn what_is_committed_during_a_read_is_read_after_it() {
    let (database, admin) = prepared().await;
    run(
        &admin,
        "GRANT SELECT ON basic_auth.revoked TO authenticator",
    )
    .await;
    // It waits for a lock with its snapshot in its hands.
    let query = "SELECT claim, value, issued_before FROM basic_auth.revoked, \
                 (SELECT pg_advisory_xact_lock_shared(17)::text) AS gate";
    let patient = patient(&database.url("authenticator")).query(query);
    let listener = listening(patient.heartbeat(NEVER / 2).answer_timeout(NEVER)).await;
    let app = app(listener.revocations());
    let gate = database.admin().await;
    run(&gate, "SELECT pg_advisory_lock(17)").await;
    revoke(&admin, "one").await;
    let waiting = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                   WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted";
    within(async {
        let count = async || -> i64 {
            let row = admin.query_one(waiting, &[]).await;
            row.expect("it runs").get(0)
        };
        while count().await != 1 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    revoke(&admin, "two").await;
    assert_eq!(status(&app, "one").await, 200);
    run(&gate, "SELECT pg_advisory_unlock(17)").await;
    becomes(&app, "one", 401).await;
    becomes(&app, "two", 401).await;
}

#[tokio::test]
async fn a_change_that_was_not_notified_counts_after_the_interval() {
    let (database, admin) = prepared().await;
    let often = listener(&database.url("authenticator")).heartbeat(NEVER);
    let often = often.reread_interval(OFTEN).max_staleness(NEVER);
    let listener = listening(often).await;
    let app = app(listener.revocations());
    assert_eq!(status(&app, "one").await, 200);
    run(
        &admin,
        "INSERT INTO basic_auth.revoked VALUES ('jti', 'one')",
    )
    .await;
    becomes(&app, "one", 401).await;
}

#[tokio::test]
async fn a_heartbeat_keeps_it_fresh_without_reading() {
    let (database, _admin) = prepared().await;
    let builder = listener(&database.url("authenticator"));
    let builder = builder.heartbeat(OFTEN).reread_interval(NEVER);
    let listener = listening(builder.max_staleness(NEVER)).await;
    let set = listener.revocations();
    let age = || set.status().age.expect("it was read");
    for _ in 0..3 {
        let before = age();
        tokio::time::sleep(OFTEN).await;
        until(|| age() < before + OFTEN).await;
    }
    assert_eq!(set.status().reads, 1);
}

/// The SQL of the guide, with which a table of one's own is enough.
#[tokio::test]
async fn the_sql_of_the_guide_does_what_it_says() {
    let page = include_str!("../../../../src/guide/revocation.md");
    let (_, sql) = page.split_once("```sql\n").expect("there is SQL");
    let (sql, rest) = sql.split_once("```").expect("it ends");
    let (_, query) = rest.split_once("`.query(\"").expect("there is a query");
    let (query, _) = query.split_once('"').expect("it ends");
    let database = database().await;
    let admin = database.admin().await;
    run(&admin, sql).await;
    let grant = "GRANT USAGE ON SCHEMA public TO authenticator";
    run(&admin, grant).await;
    let builder = patient(&database.url("authenticator")).query(query);
    let listener = listening(builder).await;
    let app = app(listener.revocations());
    let rows = [
        ("('jti', '4b1a0f1e-..', NULL)", r#"{"jti":"4b1a0f1e-.."}"#),
        ("('sid', '0192f3a0-..', NULL)", r#"{"sid":"0192f3a0-.."}"#),
        (
            "('sub', 'alice', clock_timestamp())",
            r#"{"sub":"alice","iat":1}"#,
        ),
        (
            "('role', 'clerk', clock_timestamp())",
            r#"{"role":"clerk","iat":1}"#,
        ),
    ];
    for (number, (row, claims)) in rows.into_iter().enumerate() {
        assert!(page.contains(row), "{row}");
        assert_eq!(service::get(&app, "/", Some(claims)).await.status, 200);
        let values = row
            .replace(')', ", 'infinity')")
            .replace("clock_timestamp(, 'infinity')", "clock_timestamp()");
        run(&admin, &format!("INSERT INTO revoked VALUES {values}")).await;
        until(|| listener.revocations().status().entries == number + 1).await;
        assert_eq!(service::get(&app, "/", Some(claims)).await.status, 401);
    }
    run(&admin, "UPDATE revoked SET until = '2020-01-01'").await;
    until(|| listener.revocations().status().entries == 0).await;
    let anon = database.connect("authenticator").await;
    run(&anon, "SET ROLE anon").await;
    let read = anon.batch_execute(query).await.expect_err("it may not");
    assert_eq!(read.code().map(|code| code.code()), Some("42501"));
}

/// How often the function was called.
async fn reads(admin: &Client) -> i64 {
    let row = admin.query_one("SELECT last_value FROM basic_auth.reads", &[]);
    row.await.expect("it runs").get(0)
}

/// Any role can notify: it costs reads, of which there are no more than time allows, and changes nothing.
#[tokio::test]
async fn a_flood_of_notifications_of_any_role_costs_few_reads() {
    let (database, admin) = prepared().await;
    revoke(&admin, "one").await;
    let listener = listening(patient(&database.url("authenticator"))).await;
    let app = app(listener.revocations());
    let stranger = database.connect("authenticator").await;
    run(&stranger, "SET ROLE anon").await;
    let before = reads(&admin).await;
    let began = Instant::now();
    for round in 0..100 {
        let flood = "SELECT pg_notify('rolescope_revocations', repeat('jti one', 1000) || n) FROM generate_series(1, 20) n";
        run(&stranger, flood).await;
        if round % 10 == 0 {
            assert_eq!(status(&app, "one").await, 401);
            assert_eq!(status(&app, "two").await, 200);
        }
    }
    run(&stranger, "NOTIFY rolescope_revocations, 'jti two'").await;
    revoke(&admin, "last").await;
    becomes(&app, "last", 401).await;
    let passed = began.elapsed();
    let most = passed.as_millis() as i64 / 50 + 2;
    let cost = reads(&admin).await - before;
    eprintln!("2000 notifications in {passed:?}: {cost} reads");
    assert!(cost <= most, "{cost} reads in {passed:?}");
    assert_eq!(status(&app, "two").await, 200);
}

#[tokio::test]
async fn the_channel_and_the_query_are_of_ones_own() {
    let (database, admin) = prepared().await;
    let own = r#"CREATE TABLE gone (id uuid); GRANT SELECT ON gone TO authenticator; GRANT USAGE ON SCHEMA public TO authenticator"#;
    run(&admin, own).await;
    let builder = patient(&database.url("authenticator"));
    let builder = builder.channel(r#"My "channel"; DROP TABLE gone; --"#);
    let builder = builder.query("SELECT 'sid', id::text, NULL::timestamptz FROM public.gone");
    let listener = listening(builder).await;
    let app = app(listener.revocations());
    let claims = r#"{"sid":"7c2f8f8e-3c1b-4a62-8a5c-0d5b6f0f2a11"}"#;
    assert_eq!(service::get(&app, "/", Some(claims)).await.status, 200);
    let sql = r#"INSERT INTO gone VALUES ('7c2f8f8e-3c1b-4a62-8a5c-0d5b6f0f2a11');
                 NOTIFY "My ""channel""; DROP TABLE gone; --""#;
    run(&admin, sql).await;
    until(|| listener.revocations().status().entries == 1).await;
    assert_eq!(service::get(&app, "/", Some(claims)).await.status, 401);
}

#[tokio::test]
async fn it_ends_with_the_last_of_its_set() {
    let (database, admin) = prepared().await;
    let listener = listening(patient(&database.url("authenticator"))).await;
    let set = listener.revocations().clone();
    let app = app(&set);
    drop((listener, set));
    // The verifier's own keeps it going.
    revoke(&admin, "one").await;
    becomes(&app, "one", 401).await;
    assert_eq!(sessions(&admin).await, 1);
    drop(app);
    within(async {
        while sessions(&admin).await > 0 {
            tokio::time::sleep(OFTEN).await;
        }
    })
    .await;
}
