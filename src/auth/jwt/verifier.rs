//! From a token to its claims, step by step.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::CryptoProvider;

use super::builder::{JwtVerifierBuilder, WantsKey};
use super::cache::{TokenCache, TokenCacheStatus};
use super::claims::{self, Claims};
use super::clock::Clock;
use super::error::TokenError;
use super::header::Header;
use super::json;
use super::keys::{Algorithm, Key};
use super::rules::Rules;
use super::signature;

/// The longest token that is looked at.
const MAX_LENGTH: usize = 16 * 1024;
/// The most keys that one token is tried with, so that a stranger's token costs a bounded time.
pub(super) const MAX_TRIED: usize = 16;

/// Verifies tokens: JSON Web Tokens in their signed, compact form (RFC 7519, RFC 7515).
///
/// It is made by [`builder`](Self::builder), holds keys and rules, and never changes. Clones are cheap, and share its cache
/// of verified tokens; no two verifiers share one. See the [module](super) for what it checks.
#[derive(Clone)]
pub struct JwtVerifier(Arc<Inner>);

struct Inner {
    keys: Vec<Key>,
    rules: Rules,
    clock: Arc<dyn Clock>,
    backend: &'static CryptoProvider,
    /// What these keys and rules have accepted.
    cache: Option<TokenCache>,
}

impl JwtVerifier {
    /// Starts a verifier. It wants at least one key before it can be built.
    pub fn builder() -> JwtVerifierBuilder<WantsKey> {
        JwtVerifierBuilder::new()
    }

    pub(super) fn new(
        keys: Vec<Key>,
        rules: Rules,
        clock: Arc<dyn Clock>,
        backend: &'static CryptoProvider,
        cache: Option<TokenCache>,
    ) -> Self {
        Self(Arc::new(Inner {
            keys,
            rules,
            clock,
            backend,
            cache,
        }))
    }

    /// Verifies a token as of now, by the verifier's clock.
    ///
    /// # Errors
    ///
    /// The token is not acceptable; the error says why.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        self.verify_at(token, self.0.clock.now())
    }

    /// Verifies a token as of `now`.
    ///
    /// # Errors
    ///
    /// The token is not acceptable; the error says why.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use rolescope::JwtVerifier;
    /// use rolescope::auth::jwt::TokenError;
    ///
    /// // RFC 7515 appendix A.1: a token that expired in 2011.
    /// let verifier = JwtVerifier::builder()
    ///     .jwk(r#"{"kty":"oct","alg":"HS256",
    ///         "k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#)?
    ///     .build()?;
    /// let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
    ///     eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
    ///     dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    ///
    /// assert_eq!(verifier.verify(token).unwrap_err(), TokenError::Expired);
    /// let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_300_819_379);
    /// assert_eq!(verifier.verify_at(token, then)?.issuer(), Some("joe"));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn verify_at(&self, token: &str, now: SystemTime) -> Result<Claims, TokenError> {
        let Some(cache) = &self.0.cache else {
            return self.verify_anew(token, now);
        };
        let Some(claims) = cache.get(token) else {
            let claims = self.verify_anew(token, now)?;
            cache.insert(token, &claims);
            return Ok(claims);
        };
        match self.0.rules.check_time(claims.registered(), now) {
            Ok(()) => Ok(claims),
            Err(error) => {
                if error == TokenError::Expired {
                    cache.remove(token);
                }
                Err(error)
            }
        }
    }

    /// Returns the state of the token cache.
    pub fn cache_status(&self) -> TokenCacheStatus {
        let cache = self.0.cache.as_ref();
        cache.map(TokenCache::status).unwrap_or_default()
    }

    /// The same keys and rules.
    #[cfg(all(test, any(feature = "aws-lc-rs", feature = "rust-crypto")))]
    pub(super) fn without_cache(&self) -> Self {
        let Inner {
            keys,
            rules,
            clock,
            backend,
            ..
        } = &*self.0;
        Self::new(keys.clone(), rules.clone(), clock.clone(), backend, None)
    }

    fn verify_anew(&self, token: &str, now: SystemTime) -> Result<Claims, TokenError> {
        let Inner {
            keys,
            rules,
            backend,
            ..
        } = &*self.0;
        let parts = Parts::split(token)?;
        let header = decode_text(parts.header)?;
        let header = Header::parse(&header)?;
        let signature = decode(parts.signature)?;
        let (algorithm, candidates) = candidates(keys, &header)?;
        if !candidates.iter().any(|key| {
            signature::verifies(backend, algorithm, key.decoding(), parts.signed, &signature)
        }) {
            return Err(TokenError::BadSignature);
        }
        let payload = decode_text(parts.payload)?;
        let members = json::unambiguous_object(&payload)?;
        let registered = rules.check(&members, now)?;
        let index = claims::index(&payload, members);
        Ok(Claims::verified(payload, index, registered))
    }
}

impl fmt::Debug for JwtVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtVerifier")
            .field("keys", &self.0.keys)
            .field("rules", &self.0.rules)
            .finish_non_exhaustive()
    }
}

struct Parts<'a> {
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
    signed: &'a [u8],
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Result<Self, TokenError> {
        if token.is_empty() {
            return Err(TokenError::Empty);
        }
        if token.len() > MAX_LENGTH {
            return Err(TokenError::TooLarge);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        if payload.contains('.') {
            return Err(TokenError::Malformed);
        }
        Ok(Self {
            header,
            payload,
            signature,
            signed: signed.as_bytes(),
        })
    }
}

/// Decodes base64url, of which there is one spelling only: no padding, no stray bits at the end.
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenError::Malformed)
}

fn decode_text(part: &str) -> Result<String, TokenError> {
    String::from_utf8(decode(part)?).map_err(|_| TokenError::Malformed)
}

/// Chooses the keys that may have signed the token.
fn candidates<'k>(
    keys: &'k [Key],
    header: &Header<'_>,
) -> Result<(Algorithm, Vec<&'k Key>), TokenError> {
    let for_algorithm = |key: &'k Key| {
        let mut algorithms = key.algorithms().iter().copied();
        let algorithm = algorithms.find(|known| known.as_str() == header.algorithm)?;
        Some((algorithm, key))
    };
    let fitting: Vec<(Algorithm, &Key)> = keys.iter().filter_map(for_algorithm).collect();
    let (algorithm, _) = *fitting.first().ok_or(TokenError::AlgorithmNotAllowed)?;
    let with_id = |id: Option<&str>| -> Vec<&Key> {
        let same = fitting.iter().filter(|(_, key)| key.id() == id);
        same.map(|(_, key)| *key).collect()
    };
    let chosen = match &header.key_id {
        None => fitting.iter().map(|(_, key)| *key).collect(),
        Some(id) => match with_id(Some(id)) {
            same if !same.is_empty() => same,
            _ => with_id(None),
        },
    };
    match chosen.len() {
        0 => Err(TokenError::UnknownKey),
        1..=MAX_TRIED => Ok((algorithm, chosen)),
        _ => Err(TokenError::AmbiguousKey),
    }
}
