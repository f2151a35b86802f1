//! Many requests at once, each dropped, failed or finished wherever its seed says.

use std::collections::HashMap;
use std::task::Poll;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{Method, Request, StatusCode};
use axum::routing::any;
use rolescope::tokio_postgres::types::Type;
use rolescope::{Error, RoleScopedConnection};
use tower::ServiceExt;

use crate::support::proxy::within;
use crate::support::service::{service, token};
use crate::support::{Database, database};

const REQUESTS: u64 = 1500;
const AT_ONCE: u64 = 12;

/// Marsaglia's xorshift: the same requests on each run.
struct Seeded(u64);

impl Seeded {
    fn of(request: u64) -> Self {
        Self((request + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

const INSERT: &str = "INSERT INTO audit (request, claimed_sub) VALUES ($1, $2)";

async fn insert(db: &RoleScopedConnection, request: i64) -> Result<u64, Error> {
    db.execute(INSERT, &[&request, &format!("s{request}")])
        .await
}

/// Does a few things as the request's seed says, and answers as it says.
async fn act(
    db: RoleScopedConnection,
    Path(request): Path<u64>,
) -> Result<(StatusCode, String), Error> {
    let mut seed = Seeded::of(request);
    let id = i64::try_from(request).expect("a small number");
    let (mut stored, mut broken, mut ended) = (0, false, false);
    for _ in 0..seed.below(5) {
        if ended {
            break;
        }
        let result = match seed.below(13) {
            0..=2 => insert(&db, id).await,
            3 => {
                let other = db.clone();
                let (one, two) = tokio::join!(insert(&db, id), insert(&other, id));
                stored += u64::from(one.is_ok());
                one.and(two)
            }
            4 => {
                let sql = format!("SELECT {}", seed.below(40));
                let _ = db.query(&sql, &[]).await.map(|_| 0)?;
                continue;
            }
            5 => db.query("SELECT pg_sleep(0.003)", &[]).await.map(|_| 0),
            6 => db.query("SELECT 1 / 0", &[]).await.map(|_| 0),
            7 => {
                let savepoint = db.savepoint().await?;
                let _ = insert(&db, id).await?;
                assert!(db.query("SELECT 1 / 0", &[]).await.is_err());
                savepoint.rollback().await?;
                continue;
            }
            8 => db
                .batch_execute("SET app.kept = 'behind'; SELECT pg_advisory_lock_shared(7)")
                .await
                .map(|()| 0),
            9 => db
                .query_typed("SELECT 'good'::mood, $1", &[(&"x", Type::TEXT)])
                .await
                .map(|_| 0),
            10 => {
                // Sent, and nobody waits for it.
                let mut sent = Box::pin(db.query("SELECT pg_sleep(0.002)", &[]));
                let _ = futures_util::poll!(&mut sent);
                drop(sent);
                continue;
            }
            11 if seed.below(3) == 0 => {
                ended = true;
                if seed.below(2) == 0 {
                    db.commit().await?;
                } else {
                    let _ = db.rollback().await;
                    stored = 0;
                }
                continue;
            }
            _ => {
                let db = db.clone();
                tokio::spawn(async move { insert(&db, id).await })
                    .await
                    .expect("no panic")
            }
        };
        match result {
            Ok(rows) => stored += rows,
            Err(_) if seed.below(2) == 0 => broken = true,
            Err(error) => return Err(error),
        }
    }
    assert!(seed.below(25) > 0, "on purpose");
    let _ = broken;
    let status = if seed.below(5) == 0 {
        StatusCode::CONFLICT
    } else {
        StatusCode::OK
    };
    Ok((status, format!("{stored} {ended}")))
}

/// What the client of a request learned.
enum Told {
    /// How many rows are stored.
    Stored(i64),
    Nothing,
}

/// Sends a request, and drops it after some polls where its seed says so.
async fn send(app: Router, request: u64) -> Told {
    let mut seed = Seeded::of(request ^ 0xFFFF);
    let role = ["web_user", "author", "jdoe123"][seed.below(3) as usize];
    let claims = format!(r#"{{"role":"{role}","sub":"s{request}"}}"#);
    let method = if seed.below(3) == 0 {
        Method::GET
    } else {
        Method::POST
    };
    let http = Request::builder()
        .method(method)
        .uri(format!("/{request}"))
        .header("authorization", format!("Bearer {}", token(&claims)))
        .body(Body::empty())
        .expect("the request is well formed");
    let polls = if seed.below(2) == 0 {
        seed.below(60)
    } else {
        u64::MAX
    };
    let mut response = Box::pin(app.oneshot(http));
    let mut polled = 0;
    let response = std::future::poll_fn(|cx| {
        if polled == polls {
            return Poll::Ready(None);
        }
        polled += 1;
        response.as_mut().poll(cx).map(Some)
    })
    .await;
    let Some(Ok(response)) = response else {
        return Told::Nothing;
    };
    let status = response.status();
    assert_ne!(
        status,
        StatusCode::FORBIDDEN,
        "{:?}",
        response.extensions().get::<Error>()
    );
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await;
    let body = String::from_utf8(body.expect("it is whole").into()).expect("it is text");
    match body.split_once(' ') {
        Some((stored, ended)) if status == StatusCode::OK || ended == "true" => {
            Told::Stored(stored.parse().expect("a number"))
        }
        Some((_, "false")) => Told::Stored(0),
        // An error: where the handler had not committed before.
        _ => Told::Nothing,
    }
}

async fn stored(database: &Database) -> HashMap<u64, i64> {
    let rows = "SELECT request, count(*) FROM audit GROUP BY request";
    let rows = database.admin().await.query(rows, &[]).await;
    rows.expect("they can be counted")
        .iter()
        .map(|row| (row.get::<_, i64>(0) as u64, row.get(1)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn whatever_requests_do_and_whenever_they_leave_rows_are_theirs_and_sessions_come_back() {
    let database = database().await;
    database
        .execute(
            "CREATE TYPE mood AS ENUM ('good');
             CREATE TABLE audit (request bigint, claimed_sub text,
               who text DEFAULT current_user,
               sub text DEFAULT nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub',
               role text DEFAULT nullif(current_setting('request.jwt.claims', true), '')::json ->> 'role',
               path text DEFAULT current_setting('request.path', true),
               kept text DEFAULT nullif(current_setting('app.kept', true), ''));
             GRANT SELECT, INSERT ON audit TO anon, web_user, author, jdoe123",
        )
        .await;
    let pool = database
        .pool_builder()
        .max_size(3)
        .build()
        .await
        .expect("it is built");
    let app = service(&pool, Router::new().route("/{request}", any(act)));
    let mut told = HashMap::new();
    for first in (0..REQUESTS).step_by(AT_ONCE as usize) {
        let sent: Vec<_> = (first..first + AT_ONCE)
            .map(|request| (request, tokio::spawn(send(app.clone(), request))))
            .collect();
        for (request, sent) in sent {
            // A panicking handler tells its client nothing.
            let said = within(sent).await.unwrap_or(Told::Nothing);
            told.insert(request, said);
        }
    }
    drop(app);
    within(async {
        while pool.status().in_use > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // Whoever takes a session next reads the last answers; all of them are still there.
    let scope = rolescope::RoleScope::for_role(rolescope::RoleName::parse("anon").expect("a name"));
    let all: Vec<_> = (0..3).map(|_| pool.begin(&scope)).collect();
    for db in &all {
        within(db.query("SELECT 1", &[])).await.expect("it serves");
    }
    drop(all);
    let admin = database.admin().await;
    let wrong = "SELECT count(*) FROM audit WHERE who <> role OR sub <> claimed_sub OR sub IS NULL \
         OR path <> '/' || request OR who = 'anon'";
    let wrong: i64 = admin
        .query_one_scalar(wrong, &[])
        .await
        .expect("it is counted");
    assert_eq!(wrong, 0, "rows of somebody else");
    let stored = stored(&database).await;
    for (request, told) in told {
        if let Told::Stored(rows) = told {
            let found = stored.get(&request).copied().unwrap_or_default();
            assert_eq!(found, rows, "request {request}");
        }
    }
    println!("{:?} {}", pool.status(), stored.len());
    assert_eq!(pool.status().in_use, 0);
    assert_eq!(pool.status().connections, 3);
    within(async {
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND usename = 'authenticator' AND NOT (state = 'active' AND query LIKE 'SELECT pg_sleep%')";
        while admin.query_one_scalar::<i64, _>(sessions, &[]).await.expect("it is counted") > 3 {}
    })
    .await;
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
         AND state LIKE 'idle in transaction%'";
    within(async {
        while admin
            .query_one_scalar::<i64, _>(open, &[])
            .await
            .expect("it is counted")
            != 0
        {}
    })
    .await;
}
