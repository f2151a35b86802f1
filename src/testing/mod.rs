//! What tests of a service need: tokens, an issuer that can fail, a clock to set, and statements that run as a role.
//!
//! It is for `[dev-dependencies]` (`rolescope = { version = "..", features = ["testing"] }`): what is here signs tokens and
//! panics where something is not as it should be.
//!
//! | to have | say |
//! |---|---|
//! | tokens that are good, and each kind that is not | [`Mint`] |
//! | keys to sign with | [`SigningKey`] |
//! | an issuer with discovery document and JWKS, without a network | [`TestIssuer`] |
//! | a time that only a test changes | [`ManualClock`] |
//! | what a role may see and do | [`as_role`] |
//!
//! # Examples
//!
//! A whole test, of policies first and then of the service. A container, or a server of yours, gives it a database; this
//! crate's own tests start one with `examples/support/local_postgres`.
//!
//! ```no_run
//! # #[cfg(all(feature = "axum", feature = "postgres"))]
//! # mod example {
//! # use axum::body::Body;
//! # use axum::http::{Request, StatusCode};
//! # use axum::{Router, routing::get};
//! # use rolescope::testing::{Mint, SigningKey, as_role};
//! # use rolescope::{JwtAuthLayer, RoleScopeLayer, RoleScopedConnection, RoleScopedPool};
//! # use serde_json::json;
//! # use tower::ServiceExt;
//! async fn alice_sees_what_is_hers(pool: RoleScopedPool) -> Result<(), Box<dyn std::error::Error>> {
//!     // The policies, without a service. All of it is rolled back.
//!     let alice = as_role(&pool, "web_user").claims(json!({ "sub": "alice" }));
//!     let tasks: Vec<String> = alice.sees("SELECT task FROM todos ORDER BY task", &[]).await;
//!     assert_eq!(tasks, ["buy a present for bob", "read the policies"]);
//!     assert_eq!(alice.changes("UPDATE todos SET task = 'mine' WHERE owner = 'bob'", &[]).await, 0);
//!     alice.is_denied("INSERT INTO todos (owner, task) VALUES ('bob', 'hire alice')", &[]).await;
//!     as_role(&pool, "anon").is_denied("DELETE FROM todos", &[]).await;
//!
//!     // The service, as it is built for production but for its keys.
//!     let mint = Mint::new(SigningKey::es256("test")).issuer("https://login.example").audience("todos");
//!     let app = Router::new()
//!         .route("/todos", get(list))
//!         .layer(RoleScopeLayer::new(pool))
//!         .layer(JwtAuthLayer::new(mint.verifier()));
//!     let claims = json!({ "sub": "alice", "role": "web_user" });
//!     for (token, status) in [
//!         (mint.token(&claims), StatusCode::OK),
//!         (mint.expired(&claims), StatusCode::UNAUTHORIZED),
//!         (mint.for_another_audience(&claims), StatusCode::UNAUTHORIZED),
//!         (mint.signed_by_another_key(&claims), StatusCode::UNAUTHORIZED),
//!         (mint.token(json!({ "sub": "alice", "role": "postgres" })), StatusCode::FORBIDDEN),
//!     ] {
//!         let request = Request::get("/todos").header("authorization", format!("Bearer {token}"));
//!         let response = app.clone().oneshot(request.body(Body::empty())?).await?;
//!         assert_eq!(response.status(), status);
//!     }
//!     Ok(())
//! }
//!
//! async fn list(db: RoleScopedConnection) -> Result<String, rolescope::Error> {
//!     let tasks: Vec<String> = db.query_scalar("SELECT task FROM todos", &[]).await?;
//!     Ok(tasks.join("\n"))
//! }
//! # }
//! ```

mod issuer;
mod key;
mod mint;
#[cfg(feature = "postgres")]
mod role;

pub use crate::auth::jwt::ManualClock;
pub use issuer::{Fault, TestIssuer};
pub use key::SigningKey;
pub use mint::Mint;
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use role::{AsRole, as_role};
