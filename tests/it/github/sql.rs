//! `examples/sql/github.sql`: one role alone may say who somebody is, and no token is that role.

use axum::http::Method;
use rolescope::RoleScope;
use tokio_postgres::Client;

use super::browser::Browser;
use super::*;
use crate::support::service;

const CALLS: [&str; 2] = [
    "SELECT basic_auth.sign_in_with_github(1, 'alice', 'alice@example.com', sha256('x'))",
    "SELECT basic_auth.use_github_state(sha256('x'))",
];

async fn start() -> Service {
    Service::start(settings("http://127.0.0.1:9")).await
}

async fn sqlstate(client: &Client, sql: &str) -> String {
    let error = client.batch_execute(sql).await.expect_err(sql);
    error
        .code()
        .expect("the server refused it")
        .code()
        .to_owned()
}

#[tokio::test]
async fn nobody_but_the_broker_signs_in_with_a_number() {
    let service = start().await;
    let client = service.database.connect("authenticator").await;
    let mailer = format!("{}_mailer", service.database.name());
    // As a request would come: as anon, as a user, as the mailer, and as the authenticator itself.
    for role in ["anon", "web_user", "author", &mailer, "NONE"] {
        for call in CALLS {
            let sql = format!("SET ROLE {role}; {call}");
            assert_eq!(sqlstate(&client, &sql).await, "42501", "{sql}");
        }
    }
    // Not even the broker does what is behind it.
    for sql in [
        "SELECT basic_auth.start_session(gen_random_uuid(), sha256('x'))",
        "SELECT * FROM basic_auth.users",
        "SELECT * FROM basic_auth.github_identities",
        "INSERT INTO basic_auth.github_identities VALUES (1, gen_random_uuid(), 'x')",
        "SELECT * FROM basic_auth.github_states",
    ] {
        let sql = format!("SET ROLE {}; {sql}", service.broker);
        assert_eq!(sqlstate(&client, &sql).await, "42501", "{sql}");
    }
    for call in CALLS {
        let sql = format!("SET ROLE {}; {call}", service.broker);
        client.batch_execute(&sql).await.expect("that is its work");
    }
}

#[tokio::test]
async fn no_token_is_the_broker() {
    async fn try_it(db: RoleScopedConnection) -> Result<String, Error> {
        let sql =
            "SELECT (basic_auth.sign_in_with_github(1, 'a', 'a@example.com', sha256('x'))).sub";
        db.query_one_scalar(sql, &[]).await
    }
    let service = start().await;
    let claims = format!(r#"{{"role":"{}"}}"#, service.broker);
    let routes = Router::new().route("/", get(try_it).post(try_it));

    // A service that allows its users' roles only.
    let layer = RoleScopeLayer::new(service.pool.clone()).roles(policy());
    let app = routes.clone().layer(layer).layer(service::auth());
    let reply = service::post(&app, "/", Some(&claims)).await;
    assert_eq!(reply.kind(), rolescope::ErrorKind::RoleRefused);

    // One that forgot it, as PostgREST has no such list: the functions see a token's claims.
    let app = service::service(&service.pool, routes);
    let reply = service::post(&app, "/", Some(&claims)).await;
    assert_eq!(
        (reply.status.as_u16(), reply.kind()),
        (403, rolescope::ErrorKind::Database),
        "{reply:?}"
    );
    assert_eq!(reply.json()["message"], "this is not for tokens");
    let client = service.database.connect("authenticator").await;
    for claims in [r#"{"sub":"1"}"#, r#"{"role":"x","exp":1}"#, "[]", "1"] {
        for call in CALLS {
            let sql = format!(
                "BEGIN; SET LOCAL ROLE {}; SET LOCAL request.jwt.claims = '{claims}'; {call}",
                service.broker
            );
            let state = sqlstate(&client, &sql).await;
            assert!(["42501", "22023"].contains(&&*state), "{state}: {sql}");
            client.batch_execute("ROLLBACK").await.expect("it can");
        }
    }

    // And the service's own transactions can.
    let broker = RoleName::parse(&service.broker).expect("it is a name");
    let db = service.pool.begin(&RoleScope::for_role(broker));
    db.execute(CALLS[0], &[]).await.expect("that is its work");
}

#[tokio::test]
async fn a_pool_finds_nothing_wrong_with_what_the_file_makes() {
    let service = start().await;
    let problems = service.pool.setup_problems().await.expect("it can ask");
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    let of_this = |problem: &&String| {
        ["github", "broker", "refuse_tokens"]
            .iter()
            .any(|word| problem.contains(word))
    };
    assert_eq!(problems.iter().find(of_this), None);
}

#[tokio::test]
async fn no_user_has_the_brokers_role() {
    let service = start().await;
    let broker = &service.broker;
    let admin = service.database.admin().await;
    let into = |table, columns| format!("INSERT INTO basic_auth.{table} ({columns}) VALUES");
    let user = format!(
        "{} ('a@example.com', '{broker}')",
        into("users", "email, role")
    );
    assert_eq!(sqlstate(&admin, &user).await, "23503");
    let role = format!("{} ('{broker}')", into("roles", "role"));
    assert_eq!(sqlstate(&admin, &role).await, "23514");
}

#[tokio::test]
async fn used_states_are_kept_for_an_hour() {
    let service = start().await;
    let insert = "INSERT INTO basic_auth.github_states VALUES
        (sha256('old'), now() - interval '61 min'), (sha256('new'), now() - interval '59 min')";
    service.database.execute(insert).await;
    let broker = RoleName::parse(&service.broker).expect("it is a name");
    let db = service.pool.begin(&RoleScope::for_role(broker));
    db.execute(CALLS[1], &[]).await.expect("it is unused");
    db.commit().await.expect("it is stored");
    let left = "SELECT count(*)::text FROM basic_auth.github_states WHERE hash <> sha256('old')";
    assert_eq!(service.column(left).await, ["2"]);
    let all = "SELECT count(*)::text FROM basic_auth.github_states";
    assert_eq!(service.column(all).await, ["2"]);
}

#[tokio::test]
async fn a_user_who_is_deleted_can_come_again_as_somebody_new() {
    let service = Service::start(settings(provider().await.issuer())).await;
    let first = Browser::new(&service).token_of("alice").await;
    service
        .database
        .execute("DELETE FROM basic_auth.users")
        .await;
    let mut alice = Browser::new(&service);
    let second = alice.token_of("alice").await;
    assert_ne!(first, second);
    let list = alice.send(Method::GET, "/todos", Some(&second), "").await;
    assert_eq!(list.ok(), "web_user: ");
    let users = "SELECT count(*)::text FROM basic_auth.users";
    assert_eq!(service.column(users).await, ["1"]);
}
