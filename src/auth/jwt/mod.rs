//! Verifies one token. Nothing here knows of HTTP, and the time is an argument.
//!
//! A token is accepted when all of this holds, in this order:
//!
//! 1. It has 16 KiB at most and is three parts of base64url, each in its only spelling.
//! 2. Its header is a JSON object with an `alg`, without `crit`, `b64`, `zip` or `enc`, and names no member twice.
//! 3. A key of the verifier is for this `alg`. Where the token has a `kid`, it is that key's id, or no key has that id
//!    and the key has none. At most 16 keys are tried.
//! 4. The signature is that key's.
//! 5. Its `typ`, where there is one, is that of a plain JWT or of an access token, or the one that was asked for.
//! 6. The payload is a JSON object in which, at any depth, no member stands twice and no text has U+0000 in it.
//! 7. `exp` is there and has not passed; `nbf` and `iat`, where they are there, have. 30 seconds of leeway.
//! 8. `aud` names the configured audience. Where none is configured there is no `aud`.
//! 9. `iss` is the configured issuer, where one is configured.
//! 10. The claims that are required are there, and have the values that are required.
//! 11. It is not among the [`Revocations`], where the verifier was given some.
//!
//! What was accepted is kept for a while, in a cache of the verifier's own: the same token is then known by its text, and
//! only its times, and whether it is revoked, are checked again. See [`token_cache`](JwtVerifierBuilder::token_cache).
//!
//! # Examples
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use rolescope::JwtVerifier;
//! use rolescope::auth::jwt::{ManualClock, TokenError};
//!
//! # let secret = "not a secret, since it stands here";
//! let clock = ManualClock::new(SystemTime::now());
//! let verifier = JwtVerifier::builder()
//!     .hs256(secret)?
//!     .audience("todos")
//!     .issuer("https://login.example")
//!     .leeway(Duration::from_secs(5))
//!     .clock(clock.clone())
//!     .build()?;
//!
//! assert_eq!(verifier.verify("garbage").unwrap_err(), TokenError::Malformed);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod build_error;
mod builder;
mod cache;
mod candidates;
mod claims;
mod clock;
mod error;
mod header;
pub(crate) mod json;
mod key_status;
mod keys;
mod kinds;
#[cfg(feature = "issuer")]
mod payload;
mod revocations;
mod rules;
pub(crate) mod signature;
#[cfg(all(test, any(feature = "aws-lc-rs", feature = "rust-crypto")))]
pub(crate) mod testing;
#[cfg(all(test, any(feature = "aws-lc-rs", feature = "rust-crypto")))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;
mod verifier;

pub use build_error::BuildError;
#[cfg(feature = "jwks")]
pub(crate) use builder::sealed;
pub use builder::{Dangerous, HasKey, JwtVerifierBuilder, KeyState, WantsKey};
pub use cache::TokenCacheStatus;
pub use claims::{ClaimError, Claims};
pub use clock::{Clock, ManualClock, SystemClock};
pub use error::TokenError;
pub use key_status::KeyStatus;
#[cfg(feature = "issuer")]
pub(crate) use keys::private;
pub use keys::{Algorithm, FetchError, FetchErrorKind, Key, KeyError, KeyErrorKind};
#[cfg(feature = "jwks")]
pub(crate) use keys::{KeySet, KeySource, Keys, Refresh, SourceStatus};
#[cfg(feature = "issuer")]
pub(crate) use payload::PayloadRules;
#[cfg(feature = "postgres")]
pub(crate) use revocations::{
    Content as RevokedContent, Feed as RevocationFeed, MAX_ENTRIES as MAX_REVOCATIONS,
    WeakRevocations,
};
pub use revocations::{Revocation, RevocationError, RevocationStatus, Revocations};
pub use verifier::JwtVerifier;
#[cfg(feature = "issuer")]
pub(crate) use verifier::MAX_LENGTH;
pub(crate) use verifier::{Pending, Verdict};
