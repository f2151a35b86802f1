//! Makes an issuer. Its name is a state, since there is no issuer without one; all else has a default.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::error::BuildError;
use super::key::SigningKey;
use super::token::TokenIssuer;
use crate::auth::jwt::signature::backend;
use crate::auth::jwt::{Clock, SystemClock};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Says that a [`TokenIssuerBuilder`] does not know its `issuer` yet, and cannot be built.
#[derive(Debug)]
#[non_exhaustive]
pub struct WantsIssuer;

/// Says that a [`TokenIssuerBuilder`] knows its `issuer`, and can be built.
#[derive(Debug)]
pub struct HasIssuer(String);

/// Makes a [`TokenIssuer`]. The order of its methods does not matter.
///
/// | option | default | what it sets |
/// |---|---|---|
/// | `issuer` | needed | the `iss` of its tokens |
/// | `audience` | none | their `aud`, one or several |
/// | `lifetime` | 5 min | how long they are good where the claims have no `exp` |
/// | `max_lifetime` | 1 h, 24 h at most | how long they are good at most, whatever `exp` the claims have |
/// | `access_tokens` | no: `typ` is `JWT` | whether they are access tokens as RFC 9068 has them: `at+jwt` |
/// | `also_publish` | none | keys that are published beside the one that signs, and verify too |
/// | `jwks_max_age` | 5 min, 24 h at most | how long verifiers may keep the JWKS |
/// | `clock` | [`SystemClock`] | what time it is |
///
/// Without an issuer it does not compile:
///
/// ```compile_fail,E0599
/// fn build(key: rolescope::issuer::SigningKey) {
///     rolescope::issuer::TokenIssuer::builder(key).audience("todos").build();
/// }
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct TokenIssuerBuilder<State> {
    settings: Settings,
    state: State,
}

/// All that is said of an issuer but its name.
pub(super) struct Settings {
    pub(super) key: SigningKey,
    pub(super) others: Vec<SigningKey>,
    pub(super) audiences: Vec<String>,
    pub(super) lifetime: Duration,
    pub(super) max_lifetime: Duration,
    pub(super) access_tokens: bool,
    pub(super) jwks_max_age: Duration,
    pub(super) clock: Arc<dyn Clock>,
}

impl Settings {
    /// The key that signs, then those beside it.
    pub(super) fn keys(&self) -> impl Iterator<Item = &SigningKey> {
        std::iter::once(&self.key).chain(&self.others)
    }
}

impl TokenIssuerBuilder<WantsIssuer> {
    pub(super) fn new(key: SigningKey) -> Self {
        let settings = Settings {
            key,
            others: Vec::new(),
            audiences: Vec::new(),
            lifetime: Duration::from_secs(5 * 60),
            max_lifetime: Duration::from_secs(60 * 60),
            access_tokens: false,
            jwks_max_age: Duration::from_secs(5 * 60),
            clock: Arc::new(SystemClock),
        };
        Self {
            settings,
            state: WantsIssuer,
        }
    }
}

impl<State> TokenIssuerBuilder<State> {
    /// Sets the `iss` of its tokens: an `https` URL where others verify them, which is what they know it by.
    pub fn issuer(self, issuer: impl Into<String>) -> TokenIssuerBuilder<HasIssuer> {
        TokenIssuerBuilder {
            settings: self.settings,
            state: HasIssuer(issuer.into()),
        }
    }

    /// Adds to the `aud` of its tokens: for whom they are meant. Said several times, it is an array. Defaults to no `aud`.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.settings.audiences.push(audience.into());
        self
    }

    /// Sets how long its tokens are good where the claims have no `exp` of their own, in whole seconds. Defaults to 5 minutes.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.lifetime = lifetime;
        self
    }

    /// Sets how long its tokens are good at most: a later `exp` among the claims is an error. Defaults to 1 hour; 24 hours are
    /// the most.
    pub fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.max_lifetime = lifetime;
        self
    }

    /// Issues access tokens as RFC 9068 has them: their `typ` is `at+jwt`, and claims without `sub` or `client_id` are an
    /// error. An `audience` must be said. Defaults to no: `typ` is `JWT`, and nothing is needed.
    pub fn access_tokens(mut self) -> Self {
        self.settings.access_tokens = true;
        self
    }

    /// Publishes another key, and has it verify: the next one before it signs, the last one until its tokens have expired. See
    /// the [module](super) for how keys are changed.
    pub fn also_publish(mut self, key: SigningKey) -> Self {
        self.settings.others.push(key);
        self
    }

    /// Sets how long verifiers may keep the JWKS, in whole seconds: its `Cache-Control`. Defaults to 5 minutes; 24 hours are the
    /// most. A new key must be published for that long before it signs.
    pub fn jwks_max_age(mut self, age: Duration) -> Self {
        self.settings.jwks_max_age = age;
        self
    }

    /// Sets the clock. Defaults to the [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.settings.clock = Arc::new(clock);
        self
    }
}

impl TokenIssuerBuilder<HasIssuer> {
    /// Builds the issuer.
    ///
    /// # Errors
    ///
    /// A name is empty, two keys have the same id, a time is out of its range, access tokens have no audience, or this crate
    /// was compiled without a signature backend.
    pub fn build(self) -> Result<TokenIssuer, BuildError> {
        let HasIssuer(issuer) = self.state;
        let settings = self.settings;
        if backend().is_none() {
            return Err(BuildError::NoBackend);
        }
        let ids = || settings.keys().filter_map(SigningKey::id);
        let names = settings.audiences.iter().map(String::as_str).chain(ids());
        if issuer.is_empty() || names.into_iter().any(str::is_empty) {
            return Err(BuildError::EmptyName);
        }
        let mut known = HashSet::new();
        if !ids().all(|id| known.insert(id)) {
            return Err(BuildError::DuplicateKeyId);
        }
        if settings.max_lifetime > DAY {
            return Err(BuildError::MaxLifetime);
        }
        if settings.lifetime.as_secs() == 0 || settings.lifetime > settings.max_lifetime {
            return Err(BuildError::Lifetime);
        }
        if settings.access_tokens && settings.audiences.is_empty() {
            return Err(BuildError::NoAudience);
        }
        if settings.jwks_max_age > DAY {
            return Err(BuildError::JwksMaxAge);
        }
        Ok(TokenIssuer::new(settings, issuer))
    }
}

impl<State: fmt::Debug> fmt::Debug for TokenIssuerBuilder<State> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenIssuerBuilder")
            .field("state", &self.state)
            .field("key", &self.settings.key)
            .field("also_publish", &self.settings.others)
            .finish_non_exhaustive()
    }
}
