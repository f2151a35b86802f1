//! A service as it is deployed: behind a socket, with a client that comes and goes.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rolescope::{Error, RoleScopedConnection, RoleScopedPool};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::support::database;
use crate::support::service::{service, token};

/// Serves for as long as the test's runtime lives.
async fn serve(app: Router) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

struct Caller {
    client: Client<HttpConnector, Body>,
    url: String,
}

impl Caller {
    async fn ask(
        &self,
        method: &str,
        path: &str,
        authorization: Option<&str>,
    ) -> (StatusCode, Option<String>, String) {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let request = request
            .body(Body::empty())
            .expect("the request is well formed");
        let response = self
            .client
            .request(request)
            .await
            .expect("the service answers");
        let status = response.status();
        let challenge = response.headers().get("www-authenticate");
        let challenge = challenge.map(|value| value.to_str().expect("text").to_owned());
        let body = response
            .into_body()
            .collect()
            .await
            .expect("the body is whole")
            .to_bytes();
        (
            status,
            challenge,
            String::from_utf8_lossy(&body).into_owned(),
        )
    }
}

async fn serving(pool: &RoleScopedPool) -> (Caller, std::net::SocketAddr) {
    let routes = Router::new()
        .route("/notes", get(notes).post(add))
        .route("/sleep", post(sleep));
    let address = serve(service(pool, routes)).await;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let url = format!("http://{address}");
    (Caller { client, url }, address)
}

async fn notes(db: RoleScopedConnection) -> Result<String, Error> {
    let sql = "SELECT coalesce(string_agg(note, ',' ORDER BY note), '') FROM notes";
    db.query_one_scalar(sql, &[]).await
}

async fn add(db: RoleScopedConnection) -> Result<StatusCode, Error> {
    let sql =
        "INSERT INTO notes VALUES (current_setting('request.jwt.claims')::json ->> 'sub', 'new')";
    db.execute(sql, &[]).await?;
    Ok(StatusCode::CREATED)
}

async fn sleep(db: RoleScopedConnection) -> Result<(), Error> {
    db.execute("INSERT INTO notes VALUES ('alice', 'asleep')", &[])
        .await?;
    db.execute("SELECT pg_sleep(600)", &[]).await.map(|_| ())
}

const SCHEMA: &str = "
    CREATE TABLE notes (owner text, note text);
    ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON notes
        USING (owner = (SELECT nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub'));
    GRANT SELECT ON notes TO anon;
    GRANT SELECT, INSERT ON notes TO web_user;
    INSERT INTO notes VALUES ('alice', 'hers'), ('bob', 'his');";

#[tokio::test]
async fn each_client_sees_and_changes_its_own() {
    let database = database().await;
    database.execute(SCHEMA).await;
    let (caller, _) = serving(&database.pool().await).await;
    let bearer = |claims: &str| Some(format!("Bearer {}", token(claims)));
    let alice = bearer(r#"{"role":"web_user","sub":"alice"}"#);
    let bob = bearer(r#"{"role":"web_user","sub":"bob"}"#);

    let seen = async |who: &Option<String>| caller.ask("GET", "/notes", who.as_deref()).await.2;
    assert_eq!(seen(&alice).await, "hers");
    assert_eq!(seen(&bob).await, "his");
    assert_eq!(seen(&None).await, "");

    assert_eq!(caller.ask("POST", "/notes", alice.as_deref()).await.0, 201);
    // The answer came after the COMMIT, so that the next request sees it, whichever connection it takes.
    assert_eq!(seen(&alice).await, "hers,new");
    assert_eq!(seen(&bob).await, "his");

    let (status, challenge, _) = caller.ask("POST", "/notes", None).await;
    assert_eq!(
        (status.as_u16(), challenge.as_deref()),
        (401, Some("Bearer"))
    );
    let (status, challenge, _) = caller.ask("GET", "/notes", Some("Bearer a.b.c")).await;
    assert_eq!(status, 401);
    assert!(
        challenge.is_some_and(|challenge| challenge.starts_with("Bearer error=\"invalid_token\""))
    );
    let stranger = bearer(r#"{"role":"not_granted"}"#);
    let (status, challenge, body) = caller.ask("GET", "/notes", stranger.as_deref()).await;
    assert_eq!((status.as_u16(), challenge), (403, None), "{body}");
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_statement_with_it() {
    let database = database().await;
    database.execute(SCHEMA).await;
    let pool = database.pool_of_one().await;
    let (caller, address) = serving(&pool).await;
    let admin = database.admin().await;
    let bearer = format!("Bearer {}", token(r#"{"role":"web_user","sub":"alice"}"#));

    let mut socket = TcpStream::connect(address).await.expect("it listens");
    let request = format!(
        "POST /sleep HTTP/1.1\r\nhost: a\r\nauthorization: {bearer}\r\ncontent-length: 0\r\n\r\n"
    );
    socket
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    tokio::time::timeout(Duration::from_secs(30), async {
        while admin
            .query_one(sleeping, &[])
            .await
            .expect("it runs")
            .get::<_, i64>(0)
            == 0
        {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the statement runs");
    drop(socket);

    // The only place in the pool serves again, long before the ten minutes are over.
    let (status, _, body) = caller.ask("GET", "/notes", Some(&bearer)).await;
    assert_eq!((status.as_u16(), &*body), (200, "hers"));
    let status = pool.status();
    assert_eq!(
        (status.connections, status.connections_discarded),
        (1, 1),
        "{status:?}"
    );
}
