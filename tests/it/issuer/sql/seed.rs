//! "Any SQL stored procedure that returns a type whose name ends in `jwt_claims` will have its return value encoded into JWT."

use axum::extract::Query;
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Extension, Router};
use rolescope::issuer::TokenIssuer;
use rolescope::{Error, RoleScopedConnection};
use serde::Deserialize;

use super::{ask, issuer, service};
use crate::support::database;

/// The user management that PostgREST 0.3 shipped as its example, in its names and types.
const USERS: &str = "
    CREATE SCHEMA basic_auth;
    CREATE TABLE basic_auth.users (
        email text PRIMARY KEY, pass text NOT NULL, role name NOT NULL, verified boolean NOT NULL DEFAULT false);
    INSERT INTO basic_auth.users VALUES
        ('alice@example.org', 'of alice', 'web_user', true),
        ('bob@example.org', 'of bob', 'author', true),
        ('new@example.org', 'of new', 'web_user', false);
    CREATE FUNCTION basic_auth.user_role(email text, pass text) RETURNS name LANGUAGE sql STABLE AS $$
        SELECT role FROM basic_auth.users WHERE users.email = user_role.email AND users.pass = user_role.pass
    $$;
    DROP TYPE IF EXISTS basic_auth.jwt_claims CASCADE;
    CREATE TYPE basic_auth.jwt_claims AS (role text, email text);
    CREATE FUNCTION login(email text, pass text) RETURNS basic_auth.jwt_claims
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        _role name;
        _verified boolean;
        result basic_auth.jwt_claims;
    BEGIN
        SELECT basic_auth.user_role(email, pass) INTO _role;
        IF _role IS NULL THEN
            RAISE invalid_password USING MESSAGE = 'invalid user or password';
        END IF;
        SELECT verified FROM basic_auth.users AS u WHERE u.email = login.email LIMIT 1 INTO _verified;
        IF NOT _verified THEN
            RAISE invalid_authorization_specification USING MESSAGE = 'user is not verified';
        END IF;
        SELECT _role AS role, login.email AS email INTO result;
        RETURN result;
    END;
    $$;
    GRANT EXECUTE ON FUNCTION login(text, text) TO anon;
    CREATE TABLE articles (title text, writer name DEFAULT current_user);
    INSERT INTO articles VALUES ('by bob', 'author');
    GRANT SELECT ON articles TO author;";

#[derive(Deserialize)]
struct Login {
    email: String,
    pass: String,
}

async fn login(
    db: RoleScopedConnection,
    Extension(issuer): Extension<TokenIssuer>,
    Query(Login { email, pass }): Query<Login>,
) -> Result<axum::response::Response, Error> {
    let token = db
        .issue_token(&issuer, "SELECT login($1, $2)", &[&email, &pass])
        .await?;
    Ok(match token {
        Some(token) => token.into_string().into_response(),
        None => StatusCode::UNAUTHORIZED.into_response(),
    })
}

async fn me(db: RoleScopedConnection) -> Result<String, Error> {
    let sql =
        "SELECT current_user || ' ' || (current_setting('request.jwt.claims')::json ->> 'email')";
    db.query_one_scalar(sql, &[]).await
}

async fn articles(db: RoleScopedConnection) -> Result<String, Error> {
    let titles: Vec<String> = db.query_scalar("SELECT title FROM articles", &[]).await?;
    Ok(titles.join(","))
}

#[tokio::test]
async fn the_first_documents_example_runs_word_for_word() {
    let database = database().await;
    database.execute(USERS).await;
    let pool = database.pool().await;
    let routes = Router::new()
        .route("/login", post(login))
        .route("/me", get(me))
        .route("/articles", get(articles))
        .layer(Extension(issuer()));
    let app = service(&pool, routes);
    for (user, role, may_read) in [("alice", "web_user", false), ("bob", "author", true)] {
        let uri = format!("/login?email={user}@example.org&pass=of%20{user}");
        let token = ask(&app, Method::POST, &uri, None).await.ok();
        let reply = ask(&app, Method::GET, "/me", Some(&token)).await;
        assert_eq!(reply.ok(), format!("{role} {user}@example.org"));
        // What the role may do, PostgreSQL decides.
        let reply = ask(&app, Method::GET, "/articles", Some(&token)).await;
        let expected = if may_read {
            StatusCode::OK
        } else {
            StatusCode::FORBIDDEN
        };
        assert_eq!(reply.status, expected, "{user}");
        let forged = format!("{}A", &token[..token.len() - 1]);
        let forged = if forged == token {
            format!("{}B", &token[..token.len() - 1])
        } else {
            forged
        };
        let reply = ask(&app, Method::GET, "/me", Some(&forged)).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    }
    // That example raises where it refuses: class 28, a 403.
    for refused in [
        "email=alice@example.org&pass=wrong",
        "email=new@example.org&pass=of%20new",
        "email=&pass=",
    ] {
        let reply = ask(&app, Method::POST, &format!("/login?{refused}"), None).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{reply:?}");
    }
}
