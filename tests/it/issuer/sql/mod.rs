//! Tokens whose claims SQL functions say.

mod example;
mod roles;
mod seed;
mod shapes;
mod transactions;
mod types;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use rolescope::issuer::{IssuedToken, SigningKey, TokenIssuer};
use rolescope::role::RoleName;
use rolescope::{
    Error, ErrorKind, JwtAuthLayer, RoleScope, RoleScopeLayer, RoleScopedConnection, RoleScopedPool,
};
use serde_json::Value;

use super::{SECRET, verifier};
use crate::support::service::{Reply, send};

fn issuer() -> TokenIssuer {
    super::issuer(SigningKey::hs256(SECRET).expect("it is long enough"))
}

/// A transaction as a role, outside of requests.
fn begin(pool: &RoleScopedPool, role: &str) -> RoleScopedConnection {
    pool.begin(&RoleScope::for_role(RoleName::parse(role).expect("a role")))
}

/// Issues a token as `anon`, in a transaction of its own that is rolled back.
async fn issue(pool: &RoleScopedPool, sql: &str) -> Result<Option<IssuedToken>, Error> {
    let db = begin(pool, "anon");
    let issued = db.issue_token(&issuer(), sql, &[]).await;
    db.rollback().await.expect("it is rolled back");
    issued
}

/// The claims of the token that is issued, less those that every token has.
async fn claims(pool: &RoleScopedPool, sql: &str) -> Value {
    let token = issue(pool, sql)
        .await
        .unwrap_or_else(|e| panic!("{e:?}: {sql}"));
    let token = token.unwrap_or_else(|| panic!("it is refused: {sql}"));
    let claims = verifier(&issuer())
        .verify(token.as_str())
        .expect("it is good");
    let mut claims: Value = serde_json::from_str(claims.as_json()).expect("JSON");
    let members = claims.as_object_mut().expect("an object");
    for added in ["iss", "aud", "iat", "exp", "jti"] {
        members.remove(added).expect(added);
    }
    claims
}

/// What the error says to the operator. The client is told nothing of it.
#[track_caller]
fn told(issued: Result<Option<IssuedToken>, Error>, sql: &str) -> String {
    let error = issued.expect_err(sql);
    assert_eq!(error.kind(), ErrorKind::Statement, "{error:?}: {sql}");
    assert_eq!(error.status(), 500);
    error.to_string()
}

/// A service that verifies the issuer's tokens.
fn service(pool: &RoleScopedPool, routes: Router) -> Router {
    routes
        .layer(RoleScopeLayer::new(pool.clone()))
        .layer(JwtAuthLayer::new(verifier(&issuer())))
}

async fn ask(app: &Router, method: Method, uri: &str, token: Option<&str>) -> Reply {
    let mut request = Request::builder().method(method).uri(uri);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    send(app, request.body(Body::empty()).expect("it is well formed")).await
}
