//! Tokens as an issuer makes them, and as it does not.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::{Map, Value};

use super::issuer::TestIssuer;
use super::key::SigningKey;
use crate::auth::jwt::{Clock, JwtVerifier, SystemClock};
use crate::issuer::base64;

/// Farther away than the longest leeway.
const FAR: Duration = Duration::from_secs(60 * 60);

/// Mints tokens: good ones, and each kind that must be refused.
///
/// Claims are whatever serializes to a JSON object: `json!({ .. })`, or a type of yours. What they do not say themselves is
/// added: `iss` and `aud` as told, `iat` and `exp`.
///
/// | option | default | |
/// |---|---|---|
/// | `issuer` | none | the `iss` of its tokens |
/// | `audience` | none | their `aud` |
/// | `lifetime` | 5 min | how long they are good |
/// | `clock` | [`SystemClock`] | what time it is |
///
/// ```
/// use rolescope::auth::jwt::TokenError;
/// use rolescope::testing::{Mint, SigningKey};
/// use serde_json::json;
///
/// let mint = Mint::new(SigningKey::ed25519("key-1")).issuer("https://login.example").audience("todos");
/// let verifier = mint.verifier();
/// let claims = json!({ "sub": "alice", "role": "web_user" });
///
/// assert_eq!(verifier.verify(&mint.token(&claims))?.subject(), Some("alice"));
/// assert_eq!(verifier.verify(&mint.expired(&claims)).unwrap_err(), TokenError::Expired);
/// assert_eq!(verifier.verify(&mint.of_another_issuer(&claims)).unwrap_err(), TokenError::WrongIssuer);
/// # Ok::<_, TokenError>(())
/// ```
#[derive(Clone)]
#[must_use = "it mints nothing by itself"]
pub struct Mint {
    keys: Keys,
    issuer: Option<String>,
    audience: Option<String>,
    lifetime: Duration,
    clock: Arc<dyn Clock>,
}

#[derive(Clone, Debug)]
enum Keys {
    One(SigningKey),
    Of(TestIssuer),
}

impl Mint {
    /// Makes a mint that signs with this key.
    pub fn new(key: SigningKey) -> Self {
        Self::with(Keys::One(key), None)
    }

    /// Makes a mint that signs with the key that the issuer has at that time.
    pub(super) fn of(issuer: &TestIssuer) -> Self {
        Self::with(Keys::Of(issuer.clone()), Some(issuer.url().to_owned()))
    }

    fn with(keys: Keys, issuer: Option<String>) -> Self {
        Self {
            keys,
            issuer,
            audience: None,
            lifetime: Duration::from_secs(5 * 60),
            clock: Arc::new(SystemClock),
        }
    }

    /// Sets the `iss` of its tokens.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Sets the `aud` of its tokens.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Sets how long its tokens are good. Defaults to 5 minutes.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Sets the clock, also that of [`verifier`](Self::verifier). Defaults to the [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Returns a verifier that accepts its tokens, by the keys that are published now.
    ///
    /// # Panics
    ///
    /// The issuer or the audience is empty, or this crate was compiled without a signature backend.
    #[must_use]
    pub fn verifier(&self) -> JwtVerifier {
        let mut builder = JwtVerifier::builder();
        if let Some(issuer) = &self.issuer {
            builder = builder.issuer(issuer);
        }
        if let Some(audience) = &self.audience {
            builder = builder.audience(audience);
        }
        let clock = Arc::clone(&self.clock);
        let keys = match &self.keys {
            Keys::One(key) => vec![key.verifying_key()],
            Keys::Of(issuer) => issuer.verifying_keys(),
        };
        let builder = builder.clock(move || clock.now()).keys(keys);
        let verifier = builder.map(|builder| builder.build());
        verifier
            .expect("there is a key")
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Mints a token that is good.
    pub fn token(&self, claims: impl Serialize) -> String {
        self.key().sign(self.payload(claims, |_, _| ()))
    }

    /// Mints a token that was good until an hour ago.
    pub fn expired(&self, claims: impl Serialize) -> String {
        self.key().sign(self.payload(claims, |claims, now| {
            claims.insert("iat".into(), seconds(now - 2 * FAR));
            claims.insert("exp".into(), seconds(now - FAR));
        }))
    }

    /// Mints a token that will be good in an hour.
    pub fn not_yet_valid(&self, claims: impl Serialize) -> String {
        self.key().sign(self.payload(claims, |claims, now| {
            claims.insert("nbf".into(), seconds(now + FAR));
            claims.insert("exp".into(), seconds(now + 2 * FAR));
        }))
    }

    /// Mints a token that would never expire.
    pub fn without_expiry(&self, claims: impl Serialize) -> String {
        self.key().sign(self.payload(claims, |claims, _| {
            claims.remove("exp");
        }))
    }

    /// Mints a token for the audience `another-audience`.
    pub fn for_another_audience(&self, claims: impl Serialize) -> String {
        self.key().sign(self.payload(claims, |claims, _| {
            claims.insert("aud".into(), "another-audience".into());
        }))
    }

    /// Mints a token of the issuer `https://another-issuer.example`, with the key of this one.
    pub fn of_another_issuer(&self, claims: impl Serialize) -> String {
        self.key().sign(self.payload(claims, |claims, _| {
            claims.insert("iss".into(), "https://another-issuer.example".into());
        }))
    }

    /// Mints a token whose key has the id and the algorithm of the right one, and is another.
    ///
    /// # Panics
    ///
    /// The key is an RSA key, or one on P-384, of which this module makes no new ones.
    pub fn signed_by_another_key(&self, claims: impl Serialize) -> String {
        let key = self.key().another();
        key.sign(self.payload(claims, |_, _| ()))
    }

    /// Mints a token whose `kid` nobody knows, `unknown-key`. The key is the right one.
    pub fn with_unknown_key(&self, claims: impl Serialize) -> String {
        let key = self.key().with_id("unknown-key");
        key.sign(self.payload(claims, |_, _| ()))
    }

    /// Mints a token without a signature, with `"alg":"none"` in its header.
    pub fn unsigned(&self, claims: impl Serialize) -> String {
        let header = base64(br#"{"alg":"none"}"#);
        let payload = self.payload(claims, |_, _| ());
        format!("{header}.{}.", base64(payload.as_bytes()))
    }

    fn key(&self) -> SigningKey {
        match &self.keys {
            Keys::One(key) => key.clone(),
            Keys::Of(issuer) => issuer.signing_key(),
        }
    }

    fn payload(
        &self,
        claims: impl Serialize,
        change: impl FnOnce(&mut Map<String, Value>, SystemTime),
    ) -> String {
        let claims = serde_json::to_value(claims).expect("claims can be serialized");
        let Value::Object(mut claims) = claims else {
            panic!("claims are a JSON object, not {claims}");
        };
        let now = self.clock.now();
        let mut default = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                claims.entry(name).or_insert(value);
            }
        };
        default("iss", self.issuer.clone().map(Value::from));
        default("aud", self.audience.clone().map(Value::from));
        default("iat", Some(seconds(now)));
        default("exp", Some(seconds(now + self.lifetime)));
        change(&mut claims, now);
        Value::from(claims).to_string()
    }
}

fn seconds(time: SystemTime) -> Value {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs()).into()
}

impl fmt::Debug for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mint")
            .field("keys", &self.keys)
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}
