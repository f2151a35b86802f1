//! Issues tokens: signs claims, publishes the keys that verify them, makes refresh tokens.
//!
//! What verifies them is [`JwtVerifier`](crate::JwtVerifier), here or in other services.
//! `RoleScopedConnection::issue_token` has a SQL function say what is in a token.
//!
//! # How keys are changed
//!
//! Two keys are published for a while, so that no token is refused. With a lifetime of 5 minutes and a JWKS that is kept for 5
//! minutes, as is the default, step 3 may follow 5 minutes after step 2 has reached every instance, and step 4 another 5 minutes later, or an hour
//! (`max_lifetime`) where claims say their own `exp`.
//!
//! 1. Make a key with an id of its own: `openssl genpkey -algorithm ed25519`.
//! 2. Publish it: `TokenIssuer::builder(old).also_publish(new)`. Verifiers learn it, and nothing is signed with it yet.
//! 3. When `jwks_max_age` has passed, sign with it: `TokenIssuer::builder(new).also_publish(old)`. Tokens of the old key are
//!    still good, and still verified.
//! 4. When the last of them has expired, and 30 seconds more, drop the old key: `TokenIssuer::builder(new)`.
//!
//! A key that was stolen is dropped at once, without the steps: its tokens are refused as soon as verifiers have fetched the
//! JWKS anew.
//!
//! The order of step 2 and 3 matters where there are several instances: a verifier that meets a new `kid` fetches the JWKS at
//! once, but may be answered by an instance that does not publish it yet.

mod builder;
mod error;
mod jwks;
mod key;
mod random;
mod refresh;
mod token;

pub use builder::{HasIssuer, TokenIssuerBuilder, WantsIssuer};
pub use error::{BuildError, IssueError};
pub use jwks::JwksService;
pub use key::SigningKey;
#[cfg(feature = "testing")]
pub(crate) use key::base64;
pub use refresh::{RefreshToken, RefreshTokenError};
pub use token::{IssuedToken, TokenIssuer};
