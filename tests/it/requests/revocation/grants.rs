//! A grant that is taken back: PostgreSQL itself refuses the next switch, whatever the session has done for the role before.

use axum::Router;
use axum::routing::{get, post};
use rolescope::{Error, ErrorKind, RoleScopedConnection};

use crate::support::service::{self, service};
use crate::support::{database, run};

async fn read(db: RoleScopedConnection) -> Result<String, Error> {
    let row = db.query_one("SELECT count(*) FROM notes", &[]).await?;
    Ok(row.get::<_, i64>(0).to_string())
}

async fn write(db: RoleScopedConnection) -> Result<&'static str, Error> {
    db.execute("INSERT INTO notes VALUES (1)", &[]).await?;
    Ok("written")
}

/// The statement, the COMMIT and the reset travel together.
async fn write_at_once(db: RoleScopedConnection) -> Result<&'static str, Error> {
    db.execute_and_commit("INSERT INTO notes VALUES (1)", &[])
        .await?;
    Ok("written")
}

#[tokio::test]
async fn a_grant_that_is_taken_back_counts_for_the_next_request_of_a_used_session() {
    let database = database().await;
    let admin = database.admin().await;
    // Of the whole server: named as no other test's.
    let setup = "CREATE ROLE loses_grant NOLOGIN; GRANT loses_grant TO authenticator;
                 CREATE TABLE notes (n int); GRANT SELECT, INSERT ON notes TO loses_grant;
                 GRANT USAGE ON SCHEMA public TO loses_grant";
    run(&admin, setup).await;
    let pool = database.pool_of_one().await;
    let routes = Router::new()
        .route("/read", get(read))
        .route("/write", post(write))
        .route("/write_at_once", post(write_at_once));
    let app = service(&pool, routes);
    let claims = Some(r#"{"role":"loses_grant"}"#);
    let ask = async |path: &str| match path {
        "/read" => service::get(&app, path, claims).await,
        _ => service::post(&app, path, claims).await,
    };
    let paths = ["/read", "/write", "/write_at_once"];
    let mut written = 0;
    // Each is the first to find out once, and each comes first behind the reset of each other.
    for first in paths {
        for before in paths {
            // Twice: the second one finds its statement prepared on the session.
            for path in paths.into_iter().chain([before, before]) {
                ask(path).await.ok();
                written += i64::from(path != "/read");
            }
            run(&admin, "REVOKE loses_grant FROM authenticator").await;
            for path in [first].into_iter().chain(paths) {
                let reply = ask(path).await;
                assert_eq!(reply.status, 403, "{before}, {first}, {path}: {reply:?}");
                assert_eq!(reply.kind(), ErrorKind::RoleRefused);
                assert!(!reply.body.contains("loses_grant"), "{reply:?}");
            }
            run(&admin, "GRANT loses_grant TO authenticator").await;
        }
    }
    assert_eq!(ask("/read").await.ok(), written.to_string());
    pool.close().await;
    run(&admin, "DROP OWNED BY loses_grant; DROP ROLE loses_grant").await;
}
