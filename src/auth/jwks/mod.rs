//! Keys that are fetched from whoever issues the tokens, and stay fresh while the verifier lives.
//!
//! [`jwks_url`], [`oidc_issuer`] and [`x509_url`] of the builder name the place. [`build`] fetches the keys and fails where that
//! does; [`build_lazy`] fetches them meanwhile, and tokens wait for it. Both want a tokio runtime: one task for each place keeps
//! its keys fresh, and ends with the last clone of the verifier. Where the runtime ends first, no token is accepted by
//! fetched keys any more.
//!
//! | option | default | what it sets |
//! |---|---|---|
//! | `jwks_url`, `oidc_issuer`, `x509_url` | none | where the keys are: one of them |
//! | `fetch_with` | hyper, rustls, the system's roots (feature `jwks-client`) | the HTTP client: a tower service |
//! | `max_key_age` | 24 h, at least 2 min | for how long keys are used that cannot be fetched again |
//! | `refresh_interval` | 5 min | when keys are fetched again where the response does not say |
//! | `algorithms` | those of each key | what fetched keys may be used with |
//!
//! Fixed keys of the same builder are used besides those that are fetched. Several issuers are several verifiers, made one by
//! [`of_issuers`](super::jwt::JwtVerifier::of_issuers).
//!
//! # When keys are fetched
//!
//! | when | then |
//! |---|---|
//! | `Cache-Control: max-age` is over, `Age` taken off | it counts as 1 min at least and 24 h at most; without one `refresh_interval` |
//! | a token's key is not known | at once, and the token waits; once in 30 s, whatever comes: other such tokens are refused with 401 |
//! | a fetch failed | 2 s later, then 4, 8, .. 60 s |
//!
//! All tokens that wait share one fetch. A token whose key is known never waits, also while a fetch is under way.
//!
//! So a new key is known with its first token; where another unknown one came within 30 s before it, 30 s after that one. Tokens of
//! a withdrawn key count among those: publish a new key some time before the old one goes. A key that
//! the issuer has withdrawn, or replaced under the same id, is refused once the keys were fetched again: within the `max-age`
//! and the 5 s that a fetch may take; and within `max_key_age` where the issuer cannot be reached. This holds for tokens in
//! the cache, too.
//!
//! # When that fails
//!
//! The keys of the last success are used until they are `max_key_age` old. Then, and before there was any, tokens are neither
//! accepted nor refused: [`TokenError::KeysUnavailable`](super::jwt::TokenError::KeysUnavailable), 503. Each failure is a `tracing`
//! event of level WARN, the loss of the keys one of ERROR; [`key_status`](super::jwt::JwtVerifier::key_status) and
//! [`is_ready`](super::jwt::JwtVerifier::is_ready) tell health endpoints.
//!
//! # What is accepted
//!
//! - The URL is one of https, or of http to `localhost`, 127.0.0.0/8 or `::1`; user names and passwords in it are refused. The
//!   `jwks_uri` of an https issuer is https, and may be of another host.
//! - The status is 200. Three redirects are followed, to the same scheme, host and port.
//! - The body has 1 MiB at most and is not compressed. All of it, discovery included, takes 5 s at most.
//! - One key to 1000 keys are usable. One that is not is skipped with a warning, and so are secrets: everybody can read
//!   what is published. Keys of the same id are all tried.
//! - A certificate is the envelope of a key: neither its dates nor who signed it are looked at.
//!
//! # Examples
//!
//! ```no_run
//! use std::time::Duration;
//! use rolescope::JwtVerifier;
//! use rolescope::auth::jwt::Algorithm;
//!
//! # async fn verifier() -> Result<(), Box<dyn std::error::Error>> {
//! let verifier = JwtVerifier::builder()
//!     .oidc_issuer("https://login.example")?
//!     .audience("todos")
//!     .algorithms([Algorithm::RS256, Algorithm::ES256])
//!     .max_key_age(Duration::from_secs(4 * 60 * 60))
//!     .build_lazy()?;
//! for keys in verifier.key_status() {
//!     println!("{:?}: ready {}, fetched {:?} ago", keys.issuers, keys.is_ready, keys.age);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`jwks_url`]: super::jwt::JwtVerifierBuilder::jwks_url
//! [`oidc_issuer`]: super::jwt::JwtVerifierBuilder::oidc_issuer
//! [`x509_url`]: super::jwt::JwtVerifierBuilder::x509_url
//! [`build`]: super::jwt::JwtVerifierBuilder#method.build
//! [`build_lazy`]: super::jwt::JwtVerifierBuilder::build_lazy

mod builder;
mod client;
#[cfg(feature = "jwks-client")]
mod default_client;
mod fetcher;
mod freshness;
mod get;
mod schedule;
mod source;
mod url;

pub use builder::HasKeySource;
