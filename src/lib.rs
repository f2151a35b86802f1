//! PostgreSQL's own authorization for any tower service.
//!
//! The service *authenticates*: [`JwtAuthLayer`] verifies the bearer token of a request. The database *authorizes*: every
//! statement of a handler runs in a transaction that has become the database role in the token, and PostgreSQL's grants
//! and row-level security decide what it sees. A handler is given a [`RoleScopedConnection`], which cannot do more.
//!
//! Statements, parameters and rows are those of [`tokio_postgres`], re-exported here.
//!
//! ```no_run
//! # #[cfg(all(feature = "axum", feature = "postgres"))]
//! # mod example {
//! use axum::{Router, routing::get};
//! use rolescope::{JwtAuthLayer, JwtVerifier, RoleScopeLayer, RoleScopedConnection, RoleScopedPool};
//! use tower::ServiceBuilder;
//!
//! # async fn service(secret: &str) -> Result<Router, Box<dyn std::error::Error>> {
//! let auth = JwtAuthLayer::new(JwtVerifier::builder().hs256(secret)?.audience("todos").build()?);
//! let pool = RoleScopedPool::builder("postgres://authenticator@localhost/app")?
//!     .anonymous_role("anon")
//!     .build()
//!     .await?;
//! let app = Router::new()
//!     .route("/todos", get(list))
//!     .layer(ServiceBuilder::new().layer(auth).layer(RoleScopeLayer::new(pool)));
//! # Ok(app)
//! # }
//!
//! async fn list(db: RoleScopedConnection) -> Result<String, rolescope::Error> {
//!     // Whoever asks sees their own: a policy on the table says so.
//!     let tasks: Vec<String> = db.query_scalar("SELECT task FROM todos", &[]).await?;
//!     Ok(tasks.join("\n"))
//! }
//! # }
//! ```
//!
//! `cargo run --example todos` runs the whole of it without any set-up, and `examples/sql` has the roles and policies to
//! copy.
//!
//! # The way of a request
//!
//! | where | what happens | module |
//! |---|---|---|
//! | `JwtAuthLayer` | the token is verified, or the request refused with 401; the claims go into its extensions | [`auth`] |
//! | `RoleScopeLayer` | the claims decide the role; a lazy connection goes into the extensions | [`role`] |
//! | the handler | its first statement travels with `BEGIN` and the switch to the role: one round trip | `scope` |
//! | `RoleScopeLayer` | 2xx and 3xx commit, everything else rolls back; then the session is reset | `scope` |
//!
//! No connection is taken for a request that is refused before the database is asked, nor for a handler that runs no SQL.
//!
//! # The order of layers
//!
//! `JwtAuthLayer` stands outside of `RoleScopeLayer`, and that outside of the handlers. From the outside in, as
//! `ServiceBuilder` reads (with `Router::layer` it is the other way round: the last call is the outermost):
//!
//! 1. `TraceLayer`, so that it sees every answer. A response that this crate makes carries its [`Error`] in the
//!    extensions: `response.extensions().get::<Error>()` tells `on_response` what happened, and its source why.
//! 2. `CatchPanicLayer`, `TimeoutLayer`, `CompressionLayer`, limits of size and time: what they cut short is rolled back, unless
//!    its COMMIT was sent already.
//! 3. `CorsLayer`: a preflight request carries no token, and is answered before anybody asks for one.
//! 4. `GrpcWebLayer`, in a gRPC service for browsers: further in, the status of a response would be part of its body.
//! 5. [`JwtAuthLayer`].
//! 6. `RoleScopeLayer`.
//! 7. Whatever changes a response's status, since the status decides what is committed.
//! 8. The handlers.
//!
//! Where a layer is missing or misplaced the answer is a 500, and the log names the cure. It is never read as "anonymous".
//!
//! # What it answers
//!
//! | request | answer |
//! |---|---|
//! | no token | runs as the anonymous role; 401 where there is none, or with [`JwtAuthLayer::require_token`] |
//! | a token that is not acceptable, or was revoked | 401 `invalid_token`, by one option anonymous |
//! | it is not known which tokens are revoked, or by which keys they are signed | 503 and `Retry-After` |
//! | a token whose role is not one to act as | 403 |
//! | a token without a scope that is needed | 403 `insufficient_scope` |
//! | PostgreSQL denies a privilege | 403; 401 where no token was sent |
//! | a row breaks a constraint | 400, or 409 where another row is in the way |
//! | the handler's SQL is wrong | 500, the log names the cure |
//! | the database is away or busy, the pool exhausted | 503 and `Retry-After` |
//!
//! The body is `{"code","message","details","hint"}`. [`ErrorKind`] has the whole list, with the gRPC codes and the cures. On
//! gRPC the answer is HTTP 200 with the code and message in the headers.
//!
//! What only the operator may know goes to `tracing`: each 5xx is one event of level ERROR, with
//! its cause and often a cure; a refused role is a WARN. Without a subscriber, `tracing_subscriber::fmt::init()` for example,
//! nobody is told. Tokens, claims and parameters are in none of them.
//!
//! # Options
//!
//! Each has a default, and stands in one of these tables: [of tokens](auth::jwt::JwtVerifierBuilder), of keys that are
//! fetched (the module `auth::jwks`), of an issuer (`issuer::TokenIssuerBuilder`), [of `JwtAuthLayer`](auth), [of roles](role), of
//! `RoleScopedPool` and `RoleScopeLayer` (the module `scope`), of `RevocationListener` (the module `scope::revocation`).
//!
//! To issue tokens, with claims that SQL functions return: [Tokens made by SQL functions](guide::tokens_from_sql).
//!
//! What to say for Keycloak, Auth0, Cognito, Entra ID and others: [Connect your identity
//! provider](guide::identity_providers). How to refuse tokens before they expire: [Revocation](guide::revocation). Users with
//! passwords and sessions of your own, in SQL: the chapters `basic_auth` and `sessions` of the [guide].
//!
//! # Handlers of other frameworks
//!
//! | | axum | hyper, tower | tonic |
//! |---|---|---|---|
//! | the connection | an argument | `RoleScopedConnection::from_extensions` | the same |
//! | an error becomes an answer by | `IntoResponse` | [`Error::to_response`] | `?`, with the feature `tonic` |
//! | what only reads | GET, HEAD, OPTIONS | the same | what `RoleScopeLayer::access_mode` says |
//! | what decides | the status | the status | `grpc-status`, in the headers or trailers |
//!
//! The examples `todos`, `hyper_server` and `tonic_server` have the same handlers on each.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `postgres` | yes | `RoleScopedPool`, `RoleScopeLayer`, `RoleScopedConnection`; without it authentication alone |
//! | `tls` | yes | TLS to PostgreSQL by rustls; without it a URL that needs TLS is refused |
//! | `jwks-client` | yes | an HTTP client for keys that are fetched: hyper, with rustls and the system's roots |
//! | `jwks` | yes, by `jwks-client` | keys that are fetched: [`auth::jwks`](auth) |
//! | `axum` | yes | extractors for axum's handlers, and `IntoResponse` for [`Error`] |
//! | `issuer` | yes | tokens of your own: signing, rotation, a JWKS to serve, claims that SQL functions return |
//! | `testing` | no | what tests of your service need: tokens, an issuer, a clock, statements as a role |
//! | `tonic` | no | [`Error`] as a `tonic::Status` |
//! | `aws-lc-rs` | yes | signatures by AWS-LC: the fastest, needs a C compiler |
//! | `rust-crypto` | no | signatures by the pure-Rust RustCrypto crates |
//!
//! With both of the last two AWS-LC is used; with neither a verifier cannot be built.
//!
//! # What is trusted
//!
//! A handler's SQL is trusted, its *parameters* are not. SQL can leave the role that it was given (`RESET ROLE`): nothing in
//! PostgreSQL forbids that within a session. So text that comes from a client belongs into parameters, never into SQL. A
//! request whose SQL did leave its transaction or role is answered 500 (a read by queries alone, whose end nobody waits for, is
//! logged instead), rolled back as far as that is possible, and its session closed. Sessions rest in the anonymous role, so that an accident falls to the role with the fewest rights.
//!
#![cfg_attr(
    not(feature = "postgres"),
    doc = "[`RoleScopedConnection`]: #features\n[`tokio_postgres`]: #features"
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod answer;
pub mod auth;
mod error;
/// What the targets in `fuzz/` see of the inside. It is there with `--cfg fuzzing` only.
#[cfg(all(fuzzing, feature = "postgres"))]
#[doc(hidden)]
pub mod fuzzing {
    /// Returns the settings that a scope's claims become.
    pub fn claim_settings(scope: &crate::RoleScope) -> Vec<(String, String)> {
        crate::scope::pg::switch::claim_settings(scope)
    }

    /// Returns the scope of a request with these claims, whatever role they name.
    pub fn of_token(claims: &crate::Claims) -> crate::RoleScope {
        crate::role::decide::of_token(claims)
    }
}
#[cfg(feature = "tonic")]
mod grpc;
pub mod guide;
#[cfg(feature = "issuer")]
#[cfg_attr(docsrs, doc(cfg(feature = "issuer")))]
pub mod issuer;
pub mod role;
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub mod scope;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
mod wire;

pub use auth::JwtAuthLayer;
pub use auth::jwt::{Claims, JwtVerifier};
pub use error::{Error, ErrorKind};
pub use role::{RoleName, RolePolicy, RoleScope};
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use scope::{
    AccessMode, Isolation, RoleScopeLayer, RoleScopedConnection, RoleScopedPool, SetupError,
};
/// The driver: its `Row`, its `types` and its errors are what handlers work with.
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use tokio_postgres;
pub use wire::ResponseBody;
