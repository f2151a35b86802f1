//! Logins that are refused, and roles that are taken away, while sessions live.

use rolescope::ErrorKind;
use tokio_postgres::{Client, NoTls};

use super::{LONG, SIZE, Server, Service, causes, pool_builder, terminate, unavailable};
use crate::support::proxy::within;
use crate::support::run;

/// Has logins of the pool need a password.
async fn require_password(server: &Server, admin: &Client) {
    run(admin, "ALTER ROLE authenticator PASSWORD 'one'").await;
    let hba = server.postgres.directory().join("data/pg_hba.conf");
    let rules = std::fs::read_to_string(&hba).expect("it can be read");
    std::fs::write(
        &hba,
        format!("local all authenticator scram-sha-256\n{rules}"),
    )
    .expect("it can be written");
    run(admin, "SELECT pg_reload_conf()").await;
    within(async {
        while tokio_postgres::connect(&server.url("authenticator"), NoTls)
            .await
            .is_ok()
        {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_that_are_refused_are_503_until_they_are_not() {
    // Three of the eight are the superuser's.
    let server = Server::start(&["-c", "max_connections=8"]).await;
    let admin = server.admin().await;
    let service = |url: &str| {
        let pool = pool_builder(url)
            .acquire_timeout(LONG)
            .connect_timeout(LONG);
        Service::over(pool.build_lazy().expect("the options are good"))
    };

    // max_connections
    let mut others = Vec::new();
    while let Ok((other, connection)) =
        tokio_postgres::connect(&server.url("authenticator"), NoTls).await
    {
        tokio::spawn(connection);
        others.push(other);
    }
    let full = service(&server.url("authenticator"));
    for reply in full.ask_all(8, "/read").await {
        unavailable(&reply, ErrorKind::Unavailable);
        assert!(causes(&reply).contains("connection"), "{}", causes(&reply));
    }
    let reply = full.ask("/read").await;
    let code = reply.error.as_ref().and_then(|e| e.code().cloned());
    assert_eq!(code.as_ref().map(|c| c.code()), Some("53300"), "{reply:?}");
    // One place for two.
    others.pop();
    full.until_it_serves("max_connections, one free").await;
    let held = full.send("/hold");
    full.gate.is_reached_by(1).await;
    for _ in 0..3 {
        unavailable(&full.ask("/read").await, ErrorKind::Unavailable);
    }
    full.gate.open(1);
    assert_eq!(held.await.expect("no panic").ok(), "read");
    for _ in 0..3 {
        assert_eq!(full.ask("/read").await.ok(), "read");
    }
    drop(others);
    full.until_it_serves("max_connections").await;
    full.is_whole().await;
    full.pool.close().await;

    // A role that sessions become.
    let roles = service(&server.url("authenticator"));
    roles.is_whole().await;
    for (take, give) in [
        (
            "REVOKE web_user FROM authenticator",
            "GRANT web_user TO authenticator",
        ),
        (
            "DROP OWNED BY web_user; DROP ROLE web_user",
            "CREATE ROLE web_user; GRANT web_user TO authenticator; GRANT USAGE ON SCHEMA public TO web_user; \
             GRANT SELECT, INSERT ON t TO web_user",
        ),
    ] {
        run(&admin, take).await;
        for reply in roles.ask_all(8, "/read").await {
            assert_eq!(
                (reply.status.as_u16(), reply.kind()),
                (403, ErrorKind::RoleRefused),
                "{take}: {reply:?}"
            );
            assert!(!reply.body.contains("web_user"), "{reply:?}");
        }
        run(&admin, give).await;
        assert_eq!(roles.ask("/read").await.ok(), "read", "{give}");
        roles.is_whole().await;
    }
    roles.pool.close().await;

    // The password.
    require_password(&server, &admin).await;
    let url = server.url("authenticator:one");
    let password = service(&url);
    password.is_whole().await;
    run(&admin, "ALTER ROLE authenticator PASSWORD 'two'").await;
    password.is_whole().await;
    terminate(&admin).await;
    for reply in password.ask_all(8, "/read").await {
        unavailable(&reply, ErrorKind::Unavailable);
        assert!(causes(&reply).contains("password"), "{}", causes(&reply));
        assert!(!reply.body.contains("password"), "{reply:?}");
    }
    run(&admin, "ALTER ROLE authenticator PASSWORD 'one'").await;
    password.until_it_serves("wrong password").await;
    password.is_whole().await;

    // The login itself.
    run(&admin, "ALTER ROLE authenticator NOLOGIN").await;
    assert_eq!(password.ask("/read").await.ok(), "read");
    terminate(&admin).await;
    for reply in password.ask_all(8, "/read").await {
        unavailable(&reply, ErrorKind::Unavailable);
    }
    run(&admin, "ALTER ROLE authenticator LOGIN").await;
    password.until_it_serves("NOLOGIN").await;
    password.is_whole().await;

    // Dropped and made anew: a session of the one that is no more serves nobody twice.
    run(&admin, "DROP ROLE authenticator").await;
    for reply in password.ask_all(2, "/read").await {
        assert_eq!(reply.status, 403, "{reply:?}");
    }
    run(
        &admin,
        "CREATE ROLE authenticator LOGIN NOINHERIT PASSWORD 'one'; GRANT anon, web_user TO authenticator",
    )
    .await;
    let began = std::time::Instant::now();
    let mut refused = 0;
    within(async {
        while password.ask("/read").await.status != 200 {
            refused += 1;
        }
    })
    .await;
    eprintln!(
        "login role made anew: the first success after {:?}",
        began.elapsed()
    );
    for reply in password.ask_all(8, "/read").await {
        assert!([200, 403].contains(&reply.status.as_u16()), "{reply:?}");
        refused += u32::from(reply.status == 403);
    }
    assert!(refused <= SIZE, "{refused} refused, of {SIZE} sessions");
    for reply in password.ask_all(8, "/read").await {
        assert_eq!(reply.ok(), "read");
    }
    password.is_whole().await;
}
