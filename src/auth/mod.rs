//! Finds out who is asking: verifies a request's token and leaves its [`Claims`](jwt::Claims).
//!
//! [`JwtAuthLayer`] takes the token from the request ([`Bearer`] unless said otherwise), verifies it ([`jwt`]) and leaves
//! what it found in the request's extensions: an [`Access`] always, and the [`Claims`](jwt::Claims) where there are
//! some. It asks no database.
//!
//! | request | answer |
//! |---|---|
//! | no `Authorization`, or one of another scheme | passed on as anonymous; with [`require_token`](JwtAuthLayer::require_token) 401 |
//! | an acceptable token | passed on with its claims |
//! | a token that is not acceptable | 401 with `WWW-Authenticate: Bearer error="invalid_token", error_description=".."` |
//! | a token that was [revoked](jwt::Revocations) | the same; 503 where that is not known |
//! | a token without a scope that [`RequireScopeLayer`] or [`Access::require_scopes`] needs | 403 with `error="insufficient_scope", scope=".."` |
//! | two `Authorization` headers | 400 with `error="invalid_request"` |
//!
//! A gRPC client, known by its `content-type`, is answered HTTP 200 with `grpc-status: 16`, or 7 where a scope is missing.
//!
//! # Options
//!
//! | option of [`JwtAuthLayer`] | default | what it sets |
//! |---|---|---|
//! | `token_source` | [`Bearer`] | where the token comes from: [`Header`], [`Cookie`], [`Query`], or a [`TokenSource`] of yours |
//! | `require_token` | no | whether requests without a token are refused |
//! | `resource_metadata` | none | the URL of the service's RFC 9728 metadata, for the challenges |
//! | `treat_invalid_token_as_anonymous` | no | whether a token that is not acceptable makes a stranger, not a 401 |
//!
//! What makes a token acceptable is said to [`JwtVerifierBuilder`](jwt::JwtVerifierBuilder), with a table of its own. Why one
//! was refused is a [`TokenError`](jwt::TokenError), the source of the [`Error`](crate::Error).
//!
//! # The order of layers
//!
//! From the outside in: tracing, CORS, `JwtAuthLayer`, then what needs the claims.
//!
//! - **Tracing outside**, so that refusals are seen. The layer marks the token's header as sensitive, so that whatever
//!   prints headers further in prints `Sensitive`; for what stands outside, use `tower_http::sensitive_headers`.
//! - **CORS outside.** A browser's preflight carries no token, and with `require_token` it would be refused; a refusal
//!   without CORS headers is one that a browser's script cannot read.
//! - **`RoleScopeLayer` inside.** Where it finds no [`Access`] it answers 500: absence is not anonymity.
//!
//! # Examples
//!
//! ```
//! use axum::{Router, routing::get};
//! use rolescope::auth::JwtAuthLayer;
//! use rolescope::{Claims, JwtVerifier};
//!
//! async fn whoami(claims: Claims) -> String {
//!     claims.subject().unwrap_or("somebody").to_owned()
//! }
//!
//! async fn greeting(claims: Option<Claims>) -> &'static str {
//!     if claims.is_some() { "welcome back" } else { "hello, stranger" }
//! }
//!
//! # let secret = "a secret of thirty-two bytes at least";
//! let verifier = JwtVerifier::builder().hs256(secret)?.audience("todos").build()?;
//! let app: Router = Router::new()
//!     .route("/whoami", get(whoami))
//!     .route("/greeting", get(greeting))
//!     .layer(JwtAuthLayer::new(verifier));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod access;
mod bearer;
mod challenge;
#[cfg(feature = "axum")]
mod extract;
#[cfg(feature = "jwks")]
#[cfg_attr(docsrs, doc(cfg(feature = "jwks")))]
pub mod jwks;
pub mod jwt;
mod layer;
mod require_scope;
mod source;

pub use access::Access;
pub use bearer::Bearer;
pub use challenge::ResourceMetadataError;
pub use layer::{JwtAuth, JwtAuthLayer, ResponseFuture};
pub use require_scope::{RequireScope, RequireScopeFuture, RequireScopeLayer, ScopeError};
pub use source::{Cookie, Header, Query, Token, TokenSource, TokenSourceError};
