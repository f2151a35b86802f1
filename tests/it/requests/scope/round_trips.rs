//! How many round trips to the database a request waits for, counted.
//!
//! In a request's messages `Q` is a simple query, `PD` prepares a statement, `BE` executes a prepared one and `PBDE` does
//! all at once.

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::routing::get;
use rolescope::{
    Error, Isolation, RoleScope, RoleScopedConnection, RoleScopedPool, role::RoleName,
};

use crate::support::proxy::{Proxy, within};
use crate::support::service::{Reply, call, service};
use crate::support::{Database, database};

/// `BEGIN`, the switch, and a statement that the session knows.
const OPENING: [&str; 3] = ["Q", "BE", "BE"];
/// The end of a read: its check, the reset and COMMIT.
const END_OF_READ: [&str; 1] = ["Q"];
/// The check, ROLLBACK and the reset.
const END_OF_REFUSED_READ: [&str; 2] = ["BE", "Q"];
/// The check, COMMIT or ROLLBACK, and the reset.
const END_OF_WRITE: [&str; 3] = ["BE", "Q", "Q"];
const TOKEN: Option<&str> = Some(r#"{"role":"web_user"}"#);

async fn one(db: RoleScopedConnection) -> Result<String, Error> {
    db.query_one_scalar("SELECT 'one' || $1", &[&"!"]).await
}

async fn two(db: RoleScopedConnection) -> Result<String, Error> {
    let one = one(db.clone()).await?;
    let two: String = db.query_one_scalar("SELECT 'two'", &[]).await?;
    Ok(one + &two)
}

async fn together(db: RoleScopedConnection) -> Result<String, Error> {
    let two = db.query_one_scalar::<String>("SELECT 'two'", &[]);
    let (one, two) = tokio::join!(one(db.clone()), two);
    Ok(one? + &two?)
}

async fn fails(db: RoleScopedConnection) -> Result<String, Error> {
    db.query_one_scalar("SELECT (1/0)::text", &[]).await
}

async fn refuses(db: RoleScopedConnection) -> Result<StatusCode, Error> {
    one(db).await?;
    Ok(StatusCode::CONFLICT)
}

async fn serializable(db: RoleScopedConnection) -> Result<String, Error> {
    db.isolation(Isolation::Serializable)?;
    one(db).await
}

async fn nothing(db: RoleScopedConnection) -> String {
    db.role().to_string()
}

struct Counted {
    proxy: Proxy,
    pool: RoleScopedPool,
    app: Router,
    _database: Database,
}

impl Counted {
    /// A service whose pool has one connection, with nothing asked of it yet.
    async fn new() -> Self {
        let database = database().await;
        let proxy = Proxy::start(&database);
        let pool = proxy.pool_builder().build().await.expect("it is built");
        Self::over(database, proxy, pool)
    }

    fn over(database: Database, proxy: Proxy, pool: RoleScopedPool) -> Self {
        let routes = Router::new()
            .route("/one", get(one).post(one))
            .route("/two", get(two))
            .route("/together", get(together))
            .route("/fails", get(fails).post(fails))
            .route("/refuses", get(refuses).post(refuses))
            .route("/serializable", get(serializable))
            .route("/nothing", get(nothing));
        Self {
            app: service(&pool, routes),
            proxy,
            pool,
            _database: database,
        }
    }

    /// Sends a request, which is answered as this test lets the database answer.
    fn send(&self, method: Method, uri: &'static str, claims: Option<&'static str>) -> Sent {
        let app = self.app.clone();
        Sent(tokio::spawn(async move {
            call(&app, method, uri, claims).await
        }))
    }

    /// Sends a request that the connection has seen before.
    async fn send_again(
        &self,
        method: Method,
        uri: &'static str,
        claims: Option<&'static str>,
    ) -> Sent {
        within(self.send(method.clone(), uri, claims).0)
            .await
            .expect("no panic");
        self.proxy.rests().await;
        self.proxy.hold();
        self.send(method, uri, claims)
    }
}

struct Sent(tokio::task::JoinHandle<Reply>);

impl Sent {
    async fn reply(self) -> Reply {
        within(self.0).await.expect("no panic")
    }

    /// The message that would show an answer too early is seen after that answer was given.
    fn is_not_answered(&self) {
        assert!(!self.0.is_finished(), "it is answered too early");
    }
}

#[tokio::test]
async fn a_read_is_one_round_trip_with_a_token_and_without() {
    let counted = Counted::new().await;
    for claims in [TOKEN, None] {
        let sent = counted.send_again(Method::GET, "/one", claims).await;
        counted.proxy.flight(&OPENING).await;
        assert_eq!(sent.reply().await.ok(), "one!");
        // It was answered while the answers to its end are withheld.
        counted.proxy.sees(&END_OF_READ).await;
        counted.proxy.pass();
    }
}

#[tokio::test]
async fn a_write_is_two_round_trips_and_does_not_wait_for_the_reset() {
    let counted = Counted::new().await;
    for claims in [TOKEN, None] {
        let sent = counted.send_again(Method::POST, "/one", claims).await;
        counted.proxy.flight(&OPENING).await;
        counted.proxy.sees(&END_OF_WRITE).await;
        sent.is_not_answered();
        counted.proxy.release_one();
        sent.is_not_answered();
        counted.proxy.release_one();
        assert_eq!(sent.reply().await.ok(), "one!");
        counted.proxy.sees(&[]).await;
        counted.proxy.pass();
    }
}

#[tokio::test]
async fn the_next_request_does_not_wait_for_the_reset() {
    let counted = Counted::new().await;
    for (method, end) in [
        (Method::GET, END_OF_READ.as_slice()),
        (Method::POST, &END_OF_WRITE),
    ] {
        let sent = counted.send_again(method.clone(), "/one", TOKEN).await;
        counted.proxy.flight(&OPENING).await;
        counted.proxy.sees(end).await;
        if method == Method::POST {
            counted.proxy.release_one();
            counted.proxy.release_one();
        }
        assert_eq!(sent.reply().await.ok(), "one!");
        // The answer to the reset is withheld.
        let next = counted.send(Method::GET, "/one", TOKEN);
        counted.proxy.sees(&OPENING).await;
        next.is_not_answered();
        counted.proxy.pass();
        assert_eq!(next.reply().await.ok(), "one!");
        assert_eq!(counted.pool.status().connections_discarded, 0);
        counted.proxy.rests().await;
    }
}

#[tokio::test]
async fn two_statements_one_after_the_other_are_two_round_trips() {
    let counted = Counted::new().await;
    let sent = counted.send_again(Method::GET, "/two", TOKEN).await;
    counted.proxy.flight(&OPENING).await;
    counted.proxy.flight(&["BE"]).await;
    assert_eq!(sent.reply().await.ok(), "one!two");
    counted.proxy.sees(&END_OF_READ).await;
}

#[tokio::test]
async fn two_statements_together_are_one_round_trip() {
    let counted = Counted::new().await;
    let sent = counted.send_again(Method::GET, "/together", TOKEN).await;
    counted.proxy.flight(&["Q", "BE", "BE", "BE"]).await;
    assert_eq!(sent.reply().await.ok(), "one!two");
    counted.proxy.sees(&END_OF_READ).await;
}

#[tokio::test]
async fn the_first_use_of_a_statement_on_a_connection_is_one_round_trip_more() {
    let counted = Counted::new().await;
    counted.proxy.hold();
    let sent = counted.send(Method::GET, "/one", TOKEN);
    counted.proxy.flight(&["Q", "BE", "PD"]).await;
    counted.proxy.flight(&["BE"]).await;
    assert_eq!(sent.reply().await.ok(), "one!");
    counted.proxy.sees(&END_OF_READ).await;
}

#[tokio::test]
async fn the_first_use_by_another_role_is_a_first_use() {
    let counted = Counted::new().await;
    let other = Some(r#"{"role":"author"}"#);
    within(counted.send(Method::GET, "/one", other).0)
        .await
        .expect("no panic");
    counted.proxy.rests().await;
    counted.proxy.hold();
    let sent = counted.send(Method::GET, "/one", TOKEN);
    counted.proxy.flight(&["Q", "BE", "PD"]).await;
    counted.proxy.flight(&["BE"]).await;
    assert_eq!(sent.reply().await.ok(), "one!");
}

#[tokio::test]
async fn a_statement_known_from_another_connection_costs_no_round_trip() {
    let database = database().await;
    let proxy = Proxy::start(&database);
    let pool = proxy
        .pool_builder()
        .max_size(2)
        .build()
        .await
        .expect("it is built");
    let counted = Counted::over(database, proxy, pool);

    let scope = RoleScope::for_role(RoleName::parse("web_user").expect("a name"));
    let here = counted.pool.begin(&scope);
    within(here.execute("SELECT 1", &[]))
        .await
        .expect("it runs");
    let there = counted.pool.begin(&scope);
    within(one(there.clone())).await.expect("it runs");
    within(here.rollback()).await.expect("it is rolled back");

    // The connection that knows the statement is in use.
    counted.proxy.rests().await;
    counted.proxy.hold();
    let sent = counted.send(Method::GET, "/one", TOKEN);
    counted.proxy.flight(&["Q", "BE", "PD", "PBDE"]).await;
    assert_eq!(sent.reply().await.ok(), "one!");
    counted.proxy.sees(&END_OF_READ).await;
    counted.proxy.pass();

    let sent = counted.send_again(Method::GET, "/one", TOKEN).await;
    counted.proxy.flight(&OPENING).await;
    assert_eq!(sent.reply().await.ok(), "one!");
}

#[tokio::test]
async fn what_a_pool_sets_by_choice_costs_no_round_trip() {
    let database = database().await;
    let proxy = Proxy::start(&database);
    let builder = proxy.pool_builder().app_setting("app.tenant", "t1");
    let pool = builder
        .claim_settings(true)
        .role_settings(true)
        .build()
        .await;
    let counted = Counted::over(database, proxy, pool.expect("it is built"));
    let sent = counted.send_again(Method::GET, "/one", TOKEN).await;
    // One message more in the same flight: the settings, before the switch.
    counted.proxy.flight(&["Q", "BE", "BE", "BE"]).await;
    assert_eq!(sent.reply().await.ok(), "one!");
    counted.proxy.sees(&END_OF_READ).await;
}

#[tokio::test]
async fn a_statement_that_fails_is_followed_by_one_round_trip_that_rolls_back() {
    let counted = Counted::new().await;
    for method in [Method::GET, Method::POST] {
        let sent = counted.send_again(method, "/fails", TOKEN).await;
        counted.proxy.flight(&OPENING).await;
        counted.proxy.flight(&END_OF_WRITE).await;
        assert_eq!(sent.reply().await.status, 400);
        counted.proxy.pass();
    }
}

#[tokio::test]
async fn the_end_of_a_serializable_read_is_awaited() {
    let counted = Counted::new().await;
    let sent = counted
        .send_again(Method::GET, "/serializable", TOKEN)
        .await;
    counted.proxy.flight(&OPENING).await;
    counted.proxy.sees(&END_OF_WRITE).await;
    sent.is_not_answered();
    counted.proxy.pass();
    assert_eq!(sent.reply().await.ok(), "one!");
}

#[tokio::test]
async fn a_refusal_by_the_handler_costs_as_much_as_its_success() {
    let counted = Counted::new().await;
    let sent = counted.send_again(Method::GET, "/refuses", TOKEN).await;
    counted.proxy.flight(&OPENING).await;
    assert_eq!(sent.reply().await.status, 409);
    counted.proxy.sees(&END_OF_REFUSED_READ).await;
    counted.proxy.pass();

    let sent = counted.send_again(Method::POST, "/refuses", TOKEN).await;
    counted.proxy.flight(&OPENING).await;
    counted.proxy.flight(&END_OF_WRITE).await;
    assert_eq!(sent.reply().await.status, 409);
}

#[tokio::test]
async fn without_sql_nothing_is_sent_and_no_connection_made() {
    let database = database().await;
    let proxy = Proxy::start(&database);
    let pool = proxy.pool_builder().build_lazy().expect("it is built");
    let counted = Counted::over(database, proxy, pool);
    for claims in [TOKEN, None] {
        let role = counted
            .send(Method::GET, "/nothing", claims)
            .reply()
            .await
            .ok();
        assert_eq!(role, if claims.is_some() { "web_user" } else { "anon" });
    }
    // The refusals of a role need no connection either.
    let refused = counted.send(Method::GET, "/one", Some(r#"{"role":"none"}"#));
    assert_eq!(refused.reply().await.status, 403);
    assert_eq!(
        counted.proxy.connections(),
        0,
        "{:?}",
        counted.proxy.requests()
    );
}

#[tokio::test]
async fn a_typed_statement_is_described_once_and_a_command_never() {
    let database = database().await;
    let proxy = Proxy::start(&database);
    let pool = within(proxy.pool_builder().build())
        .await
        .expect("it is built");
    let typed = [(&"!" as _, tokio_postgres::types::Type::TEXT)];
    let ask = async |flights: &[&[&str]], command_flight: &[&str]| {
        let db = pool.begin(&RoleScope::for_role(
            RoleName::parse("web_user").expect("a good name"),
        ));
        proxy.hold();
        let rows = db.query_typed("SELECT 'one' || $1", &typed);
        let seen = async {
            for flight in flights {
                proxy.flight(flight).await;
            }
        };
        let (rows, ()) = tokio::join!(within(rows), seen);
        assert_eq!(rows.expect("it runs").len(), 1);
        proxy.hold();
        let command = db.execute_typed("SELECT 'two' || $1", &typed);
        let (affected, ()) = tokio::join!(within(command), proxy.flight(command_flight));
        assert_eq!(affected.expect("it runs"), 1);
        proxy.pass();
        within(db.rollback()).await.expect("it ends");
        proxy.rests().await;
    };
    // What described it is closed behind it, and nobody waits for that.
    ask(&[&["Q", "BE", "PD"], &["BE"]], &["C", "PBDE"]).await;
    ask(&[&["Q", "BE", "PBDE"]], &["PBDE"]).await;
}
