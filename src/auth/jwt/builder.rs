//! Makes a verifier. The key is a state, since there is no verifier without one; all else has a default.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::crypto::CryptoProvider;

use super::build_error::BuildError;
use super::cache::TokenCache;
use super::clock::{Clock, SystemClock};
use super::keys::{Key, KeyError, KeyErrorKind, Keys};
use super::kinds::Kinds;
use super::rules::Rules;
use super::signature;
use super::verifier::{JwtVerifier, Trusted};

/// The longest leeway: RFC 7519 speaks of "no more than a few minutes", and more would undo the checks.
const MAX_LEEWAY: Duration = Duration::from_secs(10 * 60);
/// The default capacity of the token cache.
pub(super) const TOKEN_CACHE: usize = 16 * 1024 * 1024;

/// Says that a [`JwtVerifierBuilder`] has no key yet, and cannot be built: add one with `hs256`, `pem`, `jwk` or `jwks`, or
/// say where keys are to be fetched from.
#[derive(Debug)]
#[non_exhaustive]
pub struct WantsKey;

/// Says that a [`JwtVerifierBuilder`] has a key, and can be built.
#[derive(Debug)]
#[non_exhaustive]
pub struct HasKey;

/// Says what a [`JwtVerifierBuilder`] has so far: [`WantsKey`], [`HasKey`] or `HasKeySource`.
pub trait KeyState: sealed::Sealed {
    /// Is the state once a key was added.
    type WithKey: KeyState;

    #[doc(hidden)]
    fn with_key(self) -> Self::WithKey;
}

pub(crate) mod sealed {
    #[allow(unnameable_types, reason = "nobody else is to implement it")]
    pub trait Sealed {}
    impl Sealed for super::WantsKey {}
    impl Sealed for super::HasKey {}
}

impl KeyState for WantsKey {
    type WithKey = HasKey;

    fn with_key(self) -> HasKey {
        HasKey
    }
}

impl KeyState for HasKey {
    type WithKey = Self;

    fn with_key(self) -> Self {
        self
    }
}

/// Makes a [`JwtVerifier`] out of keys and rules. The order of its methods does not matter.
///
/// | option | default | |
/// |---|---|---|
/// | `hs256`, `hs384`, `hs512`, `pem`, `jwk`, `jwks`, `key`, `keys` | none | the keys: one or more |
/// | `jwks_url`, `oidc_issuer`, `x509_url` | none | where keys are fetched from (feature `jwks`): see the module `auth::jwks` |
/// | `audience` | none: a token with an `aud` is refused | whom tokens must be meant for |
/// | `any_audience` | no | whether tokens may be meant for anybody |
/// | `issuer` | any | whom tokens must come from |
/// | `require_claim` | none | which claims must be there, besides `exp` |
/// | `require_claim_value` | none | which claims must have which values |
/// | `token_type` | none, `JWT`, `JOSE`, `at+jwt` | which `typ` tokens may have |
/// | `access_tokens_only` | no | whether tokens must be access tokens as RFC 9068 has them |
/// | `revocations` | none | which tokens are refused before they expire |
/// | `leeway` | 30 s, 10 min at most | how far clocks may be apart |
/// | `clock` | [`SystemClock`] | what time it is |
/// | `token_cache` | 16 MiB | how much memory verified tokens may take |
/// | `dangerous().accept_missing_exp()` | no | whether tokens may be good for ever |
/// | `dangerous().accept_short_secrets()` | no | whether an HMAC secret may be shorter than its hash |
///
/// Without a key it does not compile:
///
/// ```compile_fail,E0599
/// rolescope::JwtVerifier::builder().audience("todos").build();
/// ```
///
/// ```
/// # let secret = "a secret of thirty-two bytes at least";
/// rolescope::JwtVerifier::builder().audience("todos").hs256(secret)?.build()?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct JwtVerifierBuilder<State> {
    keys: Vec<Key>,
    pub(super) rules: Rules,
    clock: Arc<dyn Clock>,
    accept_short_secrets: bool,
    token_cache: usize,
    state: State,
}

impl JwtVerifierBuilder<WantsKey> {
    pub(super) fn new() -> Self {
        Self {
            keys: Vec::new(),
            rules: Rules::default(),
            clock: Arc::new(SystemClock),
            accept_short_secrets: false,
            token_cache: TOKEN_CACHE,
            state: WantsKey,
        }
    }
}

/// Keys. Each call adds to those that are there.
impl<State: KeyState> JwtVerifierBuilder<State> {
    /// Adds an HMAC secret for `HS256`, of 32 bytes or more. See [`Key::hs256`].
    ///
    /// # Errors
    ///
    /// Those of [`Key::hs256`].
    pub fn hs256(
        self,
        secret: impl AsRef<[u8]>,
    ) -> Result<JwtVerifierBuilder<State::WithKey>, KeyError> {
        Ok(self.key(Key::hs256(secret)?))
    }

    /// Adds an HMAC secret for `HS384`, of 48 bytes or more. See [`Key::hs384`].
    ///
    /// # Errors
    ///
    /// Those of [`Key::hs384`].
    pub fn hs384(
        self,
        secret: impl AsRef<[u8]>,
    ) -> Result<JwtVerifierBuilder<State::WithKey>, KeyError> {
        Ok(self.key(Key::hs384(secret)?))
    }

    /// Adds an HMAC secret for `HS512`, of 64 bytes or more. See [`Key::hs512`].
    ///
    /// # Errors
    ///
    /// Those of [`Key::hs512`].
    pub fn hs512(
        self,
        secret: impl AsRef<[u8]>,
    ) -> Result<JwtVerifierBuilder<State::WithKey>, KeyError> {
        Ok(self.key(Key::hs512(secret)?))
    }

    /// Adds the RSA, EC or Ed25519 public key of a PEM. See [`Key::from_pem`].
    ///
    /// # Errors
    ///
    /// Those of [`Key::from_pem`].
    pub fn pem(
        self,
        pem: impl AsRef<[u8]>,
    ) -> Result<JwtVerifierBuilder<State::WithKey>, KeyError> {
        Ok(self.key(Key::from_pem(pem)?))
    }

    /// Adds a JWK. See [`Key::from_jwk`].
    ///
    /// # Errors
    ///
    /// Those of [`Key::from_jwk`].
    pub fn jwk(self, json: &str) -> Result<JwtVerifierBuilder<State::WithKey>, KeyError> {
        Ok(self.key(Key::from_jwk(json)?))
    }

    /// Adds the usable keys of a JWKS. See [`Key::from_jwks`].
    ///
    /// # Errors
    ///
    /// Those of [`Key::from_jwks`].
    pub fn jwks(self, json: &str) -> Result<JwtVerifierBuilder<State::WithKey>, KeyError> {
        self.keys(Key::from_jwks(json)?)
    }

    /// Adds a key.
    pub fn key(mut self, key: Key) -> JwtVerifierBuilder<State::WithKey> {
        self.keys.push(key);
        self.has_key()
    }

    /// Adds several keys.
    ///
    /// # Errors
    ///
    /// The list is empty.
    pub fn keys(
        mut self,
        keys: impl IntoIterator<Item = Key>,
    ) -> Result<JwtVerifierBuilder<State::WithKey>, KeyError> {
        let before = self.keys.len();
        self.keys.extend(keys);
        if self.keys.len() == before {
            return Err(KeyError::new(
                KeyErrorKind::NoKey,
                "the list of keys is empty: a verifier needs a key",
            ));
        }
        Ok(self.has_key())
    }

    fn has_key(self) -> JwtVerifierBuilder<State::WithKey> {
        self.map_state(State::with_key)
    }
}

/// Rules.
impl<State> JwtVerifierBuilder<State> {
    /// Accepts tokens that are meant for `audience`, among others. Tokens without an `aud` are refused then.
    ///
    /// Said several times, any of them will do. Defaults to none: a token with an `aud` is refused (RFC 7519 section
    /// 4.1.3).
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.rules.audiences.push(audience.into());
        self
    }

    /// Accepts tokens that are meant for anybody, and such as do not say.
    ///
    /// A token that was issued for another service is good here, too. That is right where one issuer's services are one
    /// party; elsewhere name the [`audience`](Self::audience). Defaults to no.
    pub fn any_audience(mut self) -> Self {
        self.rules.any_audience = true;
        self
    }

    /// Accepts tokens of `issuer` only. Tokens without an `iss` are refused then.
    ///
    /// Said several times, any of them will do. Defaults to any issuer that has a key here.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.rules.issuers.push(issuer.into());
        self
    }

    /// Refuses tokens that do not have this claim, or have `null` there. Defaults to none but `exp`.
    pub fn require_claim(mut self, name: impl Into<String>) -> Self {
        self.rules.required.push(name.into());
        self
    }

    /// Sets how far clocks may be apart, for `exp`, `nbf` and `iat`. Defaults to 30 seconds; 10 minutes are the most.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.rules.leeway = leeway;
        self
    }

    /// Sets the clock. Defaults to the [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets how many bytes of memory verified tokens may take, so that a token that comes again is not verified again.
    ///
    /// What the verifier answers does not depend on it. A token is kept as long as there is room, `exp`, `nbf` and `iat` are
    /// checked each time, and what is refused is never kept. Only a text that is the same in every byte is found, and clones
    /// of a verifier share what they keep; two verifiers never do.
    ///
    /// All that the cache allocates is counted: tokens, claims, what is prepared of them, and its own table. A mebibyte holds
    /// 850 tokens of 130 bytes, 580 of 380, 360 of 900, or 120 of 3.7 kB. A token that is too large for it is verified each
    /// time. No lock is held while a token is verified.
    ///
    /// Defaults to 16 MiB; 0 turns it off. [`cache_status`](JwtVerifier::cache_status) tells how it does.
    pub fn token_cache(mut self, bytes: usize) -> Self {
        self.token_cache = bytes;
        self
    }

    /// Leads to what makes a verifier less safe. Each use is to be found by this word.
    pub fn dangerous(self) -> Dangerous<State> {
        Dangerous(self)
    }
}

impl JwtVerifierBuilder<HasKey> {
    /// Builds the verifier.
    ///
    /// # Errors
    ///
    /// A secret is shorter than its hash, a rule contradicts another one or checks nothing, or this crate was compiled
    /// without a signature backend (feature `aws-lc-rs` or `rust-crypto`).
    pub fn build(self) -> Result<JwtVerifier, BuildError> {
        let keys = Keys::Fixed(self.keys.as_slice().into());
        self.finish(keys)
    }
}

impl<State> JwtVerifierBuilder<State> {
    /// Checks keys and rules, so that nothing is fetched for a verifier that cannot be.
    pub(crate) fn check(&self) -> Result<&'static CryptoProvider, BuildError> {
        let backend = signature::backend().ok_or(BuildError::NoBackend)?;
        if !self.accept_short_secrets {
            self.keys.iter().try_for_each(Key::check_length)?;
        }
        let rules = &self.rules;
        if rules.any_audience && !rules.audiences.is_empty() {
            return Err(BuildError::AudienceContradiction);
        }
        if rules
            .audiences
            .iter()
            .chain(&rules.issuers)
            .any(String::is_empty)
        {
            return Err(BuildError::EmptyName);
        }
        Kinds::check_rules(rules)?;
        if rules.leeway > MAX_LEEWAY {
            return Err(BuildError::LongLeeway);
        }
        Ok(backend)
    }

    /// Checks the rules and builds the verifier, its keys being those.
    pub(crate) fn finish(self, keys: Keys) -> Result<JwtVerifier, BuildError> {
        let backend = self.check()?;
        let cache = (self.token_cache > 0).then(|| TokenCache::new(self.token_cache));
        let trusted = vec![Trusted {
            keys,
            rules: self.rules,
        }];
        Ok(JwtVerifier::new(trusted, self.clock, backend, cache))
    }

    #[cfg(feature = "jwks")]
    pub(crate) fn split(self) -> (JwtVerifierBuilder<()>, State) {
        let mut state = None;
        let rest = self.map_state(|is| state = Some(is));
        match state {
            Some(state) => (rest, state),
            None => unreachable!("the state is there"),
        }
    }

    /// The keys that were given.
    #[cfg(feature = "jwks")]
    pub(crate) fn fixed(&self) -> &[Key] {
        &self.keys
    }

    pub(crate) fn map_state<S>(self, change: impl FnOnce(State) -> S) -> JwtVerifierBuilder<S> {
        JwtVerifierBuilder {
            keys: self.keys,
            rules: self.rules,
            clock: self.clock,
            accept_short_secrets: self.accept_short_secrets,
            token_cache: self.token_cache,
            state: change(self.state),
        }
    }
}

impl<State> fmt::Debug for JwtVerifierBuilder<State> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtVerifierBuilder")
            .field("keys", &self.keys)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// Holds the ways around a check. Each leads back to the builder.
#[derive(Debug)]
#[must_use = "nothing is changed until one of the methods is called"]
pub struct Dangerous<State>(JwtVerifierBuilder<State>);

impl<State> Dangerous<State> {
    /// Accepts HMAC secrets that are shorter than their hash.
    ///
    /// Whoever has one token can guess such a secret at leisure, and then sign tokens for any role.
    pub fn accept_short_secrets(mut self) -> JwtVerifierBuilder<State> {
        self.0.accept_short_secrets = true;
        self.0
    }

    /// Accepts tokens without `exp`.
    ///
    /// Such a token is good until the key is replaced. An `exp` that is there is still checked.
    pub fn accept_missing_exp(mut self) -> JwtVerifierBuilder<State> {
        self.0.rules.accept_missing_exp = true;
        self.0
    }
}

#[cfg(all(test, not(any(feature = "aws-lc-rs", feature = "rust-crypto"))))]
mod tests {
    use super::*;

    #[test]
    fn without_a_backend_nothing_is_built() {
        let builder = JwtVerifier::builder()
            .hs256([7; 32])
            .expect("it is a secret");
        let error = builder.build().expect_err("nothing can verify");
        assert_eq!(error, BuildError::NoBackend);
    }
}
