//! Tokens, from claims to text.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::builder::{Settings, TokenIssuerBuilder, WantsIssuer};
use super::error::IssueError;
use super::jwks::JwksService;
use super::key::{SigningKey, base64};
use super::random::random;
use crate::auth::jwt::{Key, MAX_LENGTH, PayloadRules, TokenError, json};

/// How far the clock of whoever says `exp` may be ahead: as far as verifiers let it be.
const LEEWAY: Duration = Duration::from_secs(30);

/// Issues tokens: claims in, a signed JSON Web Token out (RFC 7519). Clones are the same issuer, and cheap.
///
/// It is made by [`builder`](Self::builder). `Debug` shows no key.
///
/// # Examples
///
/// ```
/// # #[cfg(any(feature = "aws-lc-rs", feature = "rust-crypto"))] {
/// use rolescope::JwtVerifier;
/// use rolescope::issuer::{SigningKey, TokenIssuer};
/// use serde_json::json;
///
/// # let key = SigningKey::random_es256("2026-11")?;
/// let issuer = TokenIssuer::builder(key).issuer("https://login.example").audience("todos").build()?;
/// let token = issuer.issue(json!({ "role": "web_user", "sub": "alice" }))?;
///
/// // Elsewhere the keys come from the issuer's JWKS: `jwks_url`.
/// let verifier = JwtVerifier::builder()
///     .keys(issuer.verifying_keys())?
///     .issuer("https://login.example")
///     .audience("todos")
///     .build()?;
/// assert_eq!(verifier.verify(token.as_str())?.subject(), Some("alice"));
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TokenIssuer(Arc<Inner>);

pub(super) struct Inner {
    settings: Settings,
    issuer: String,
    rules: PayloadRules,
    jwks: JwksService,
}

impl TokenIssuer {
    /// Starts an issuer that signs with this key. It wants an `issuer` before it can be built.
    pub fn builder(key: SigningKey) -> TokenIssuerBuilder<WantsIssuer> {
        TokenIssuerBuilder::new(key)
    }

    pub(super) fn new(settings: Settings, issuer: String) -> Self {
        let rules = PayloadRules::new(&issuer, &settings.audiences, settings.access_tokens);
        let jwks = JwksService::new(document(&settings), settings.jwks_max_age);
        Self(Arc::new(Inner {
            settings,
            issuer,
            rules,
            jwks,
        }))
    }

    /// Issues a token with these claims: whatever serializes to a JSON object.
    ///
    /// | claim | where the claims do not say it | where they do |
    /// |---|---|---|
    /// | `iss` | the issuer | must be the same |
    /// | `aud` | the audiences, if there are any | each must be one of them |
    /// | `iat` | now | not later than in 30 seconds |
    /// | `exp` | now and the lifetime | later than now, and not later than now, `max_lifetime` and 30 seconds |
    /// | `nbf` | none | not later than in 30 seconds |
    /// | `jti` | 128 random bits | a text |
    ///
    /// A claim that is `null` is left out, as if it were not said. All others are signed as they were serialized: a
    /// number that fits no machine integer stays exact where the type writes it so (`serde_json::value::RawValue`).
    ///
    /// # Errors
    ///
    /// What the table refuses; what every verifier of this crate would refuse: a member that stands twice at any depth, a text
    /// with U+0000 in it, a token of more than 16 KiB.
    pub fn issue(&self, claims: impl Serialize) -> Result<IssuedToken, IssueError> {
        // What went wrong there may quote a claim.
        let claims = serde_json::to_string(&claims).map_err(|_| IssueError::NotAnObject)?;
        self.issue_json(&claims)
    }

    /// Issues a token with the claims of a JSON text.
    pub(crate) fn issue_json(&self, claims: &str) -> Result<IssuedToken, IssueError> {
        let Inner {
            settings, rules, ..
        } = &*self.0;
        let now = settings.clock.now();
        let (payload, jwt_id) = self.payload(claims, now)?;
        let expires_at = rules.check(&payload, now).map_err(IssueError::Refused)?;
        let Ok(expires_in) = expires_at.duration_since(now) else {
            return Err(IssueError::Refused(TokenError::Expired));
        };
        if expires_in.is_zero() {
            return Err(IssueError::Refused(TokenError::Expired));
        }
        if expires_in > settings.max_lifetime + LEEWAY {
            return Err(IssueError::TooLong);
        }
        let typ = if settings.access_tokens {
            "at+jwt"
        } else {
            "JWT"
        };
        let token = settings.key.sign(typ, payload.as_bytes());
        let token = token.ok_or(IssueError::NotSigned)?;
        if token.len() > MAX_LENGTH {
            return Err(IssueError::TooLarge);
        }
        Ok(IssuedToken {
            token,
            jwt_id,
            expires_at,
            expires_in,
        })
    }

    /// Returns the payload with what the claims do not say, and its `jti`.
    fn payload(&self, claims: &str, now: SystemTime) -> Result<(String, String), IssueError> {
        let Inner {
            settings, issuer, ..
        } = &*self.0;
        let mut members = json::object(claims).map_err(|error| match error {
            json::JsonError::Malformed => IssueError::NotAnObject,
            error => IssueError::Refused(error.into()),
        })?;
        members.retain(|member| member.value != "null");
        let jwt_id = match json::find(&members, "jti").map(json::string) {
            None => {
                let bytes = random::<16>().map_err(|_| IssueError::NoRandomness)?;
                base64(&bytes)
            }
            Some(Some(id)) if !id.is_empty() => id.into_owned(),
            Some(_) => return Err(IssueError::MalformedJwtId),
        };
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let now = since.map_or(0, |since| since.as_secs());
        let audience = match &*settings.audiences {
            [] => None,
            [one] => Some(text(one)),
            many => Some(serde_json::to_string(many).unwrap_or_default()),
        };
        let added = [
            ("iss", Some(text(issuer))),
            ("aud", audience),
            ("iat", Some(now.to_string())),
            ("exp", Some((now + settings.lifetime.as_secs()).to_string())),
            ("jti", Some(text(&jwt_id))),
        ];
        let mut payload = String::with_capacity(claims.len() + 256);
        let mut write = |name: &str, value: &str| {
            payload.push(if payload.is_empty() { '{' } else { ',' });
            payload.push_str(&text(name));
            payload.push(':');
            payload.push_str(value);
        };
        for member in &members {
            write(&member.name, member.value);
        }
        for (name, value) in &added {
            if let Some(value) = value
                && json::find(&members, name).is_none()
            {
                write(name, value);
            }
        }
        payload.push('}');
        Ok((payload, jwt_id))
    }

    /// Returns the issuer: the `iss` of its tokens.
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Returns the audiences: the `aud` of its tokens.
    pub fn audiences(&self) -> impl Iterator<Item = &str> {
        self.0.settings.audiences.iter().map(String::as_str)
    }

    /// Returns what verifies its tokens: the key that signs, then those that are published beside it. HMAC secrets are among
    /// them.
    pub fn verifying_keys(&self) -> Vec<Key> {
        self.0
            .settings
            .keys()
            .map(SigningKey::verifying_key)
            .collect()
    }

    /// Returns the JWKS: the public keys, as JSON text (RFC 7517 section 5). An HMAC secret is never among them.
    pub fn jwks(&self) -> String {
        document(&self.0.settings)
    }

    /// Returns what serves the JWKS.
    pub fn jwks_service(&self) -> JwksService {
        self.0.jwks.clone()
    }
}

fn text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn document(settings: &Settings) -> String {
    let keys: Vec<_> = settings.keys().filter_map(SigningKey::public_jwk).collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

impl fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenIssuer")
            .field("issuer", &self.0.issuer)
            .field("audiences", &self.0.settings.audiences)
            .field("key", &self.0.settings.key)
            .finish_non_exhaustive()
    }
}

/// Holds a token that was issued. `Debug` shows neither the token nor its id.
#[derive(Clone)]
pub struct IssuedToken {
    token: String,
    jwt_id: String,
    expires_at: SystemTime,
    expires_in: Duration,
}

impl IssuedToken {
    /// Returns the token.
    pub fn as_str(&self) -> &str {
        &self.token
    }

    /// Returns the token, and nothing else of it.
    pub fn into_string(self) -> String {
        self.token
    }

    /// Returns its `jti`.
    pub fn jwt_id(&self) -> &str {
        &self.jwt_id
    }

    /// Returns its `exp`.
    pub fn expires_at(&self) -> SystemTime {
        self.expires_at
    }

    /// Returns for how long it was good when it was issued: the `expires_in` of RFC 6749 section 5.1, once it is in seconds.
    pub fn expires_in(&self) -> Duration {
        self.expires_in
    }
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}
