//! From a token to its claims, step by step.

use std::collections::HashSet;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::CryptoProvider;

use super::build_error::BuildError;
use super::builder::{JwtVerifierBuilder, WantsKey};
use super::cache::{TokenCache, TokenCacheStatus};
use super::candidates::{candidates, may_be_too_old};
use super::claims::{self, Claims, VerifiedBy};
use super::clock::Clock;
use super::error::TokenError;
use super::header::Header;
use super::json;
use super::keys::{Key, KeySet, Keys};
use super::rules::Rules;
use super::signature;

/// The longest token that is looked at.
pub(crate) const MAX_LENGTH: usize = 16 * 1024;

/// Verifies tokens: JSON Web Tokens in their signed, compact form (RFC 7519, RFC 7515).
///
/// It is made by [`builder`](Self::builder) and holds keys and rules. Clones are cheap, and share its cache
/// of verified tokens; no two verifiers share one. See the [module](super) for what it checks.
#[derive(Clone)]
pub struct JwtVerifier(Arc<Inner>);

struct Inner {
    /// One, or several of which each names the issuers whose tokens are its own.
    trusted: Vec<Trusted>,
    clock: Arc<dyn Clock>,
    backend: &'static CryptoProvider,
    /// What these keys and rules have accepted.
    cache: Option<TokenCache>,
}

/// Whose tokens are accepted, and which of them.
#[derive(Clone, Debug)]
pub(super) struct Trusted {
    pub(super) keys: Keys,
    pub(super) rules: Rules,
}

/// A token that was not accepted, and whose keys may have been too old for it.
struct Refused {
    reason: TokenError,
    /// Whose keys, and which generation of them.
    by: Option<VerifiedBy>,
}

impl From<TokenError> for Refused {
    fn from(reason: TokenError) -> Self {
        Self { reason, by: None }
    }
}

/// What is known of a token without waiting.
pub(crate) enum Verdict {
    Known(Result<Claims, TokenError>),
    /// Its keys are being fetched.
    Pending(Pending),
}

pub(crate) type Pending = Pin<Box<dyn Future<Output = Result<Claims, TokenError>> + Send>>;

impl JwtVerifier {
    /// Starts a verifier. It wants at least one key before it can be built.
    pub fn builder() -> JwtVerifierBuilder<WantsKey> {
        JwtVerifierBuilder::new()
    }

    /// Makes one verifier of several: a token is for the one that names its `iss`, and is tried with no other's keys.
    ///
    /// Each keeps its keys and rules: audiences, leeway, what it requires. Each must name an
    /// [`issuer`](JwtVerifierBuilder::issuer), and no two the same. Tokens of nobody's, and tokens without `iss`, are refused
    /// before any signature is looked at. The clock is the first one's, and so is the size of the token cache.
    ///
    /// # Errors
    ///
    /// There is none, one names no issuer, or two name the same.
    ///
    /// # Examples
    ///
    /// ```
    /// use rolescope::JwtVerifier;
    ///
    /// # let (ours, theirs) = ("a secret of thirty-two bytes at least", "another secret of thirty-two bytes ..");
    /// let verifier = JwtVerifier::of_issuers([
    ///     JwtVerifier::builder().hs256(ours)?.issuer("https://login.example").audience("todos").build()?,
    ///     JwtVerifier::builder().hs256(theirs)?.issuer("https://partner.example").audience("partners").build()?,
    /// ])?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn of_issuers(verifiers: impl IntoIterator<Item = Self>) -> Result<Self, BuildError> {
        let verifiers: Vec<Self> = verifiers.into_iter().collect();
        let first = verifiers.first().ok_or(BuildError::NoIssuer)?;
        let trusted: Vec<Trusted> = verifiers
            .iter()
            .flat_map(|verifier| verifier.0.trusted.iter().cloned())
            .collect();
        let mut names = HashSet::new();
        for one in &trusted {
            if one.rules.issuers.is_empty() {
                return Err(BuildError::NoIssuer);
            }
            if !one.rules.issuers.iter().all(|issuer| names.insert(issuer)) {
                return Err(BuildError::DuplicateIssuer);
            }
        }
        let Inner {
            clock,
            backend,
            cache,
            ..
        } = &*first.0;
        let cache = cache.as_ref().map(TokenCache::another);
        Ok(Self::new(trusted, Arc::clone(clock), backend, cache))
    }

    pub(super) fn new(
        trusted: Vec<Trusted>,
        clock: Arc<dyn Clock>,
        backend: &'static CryptoProvider,
        cache: Option<TokenCache>,
    ) -> Self {
        Self(Arc::new(Inner {
            trusted,
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
        self.decide(token, now).map_err(|refused| refused.reason)
    }

    /// Verifies a token as of now, and waits where its key is not known yet and may have been published meanwhile.
    ///
    /// Whoever waits shares one fetch with all others. It is the same as [`verify`](Self::verify) where all keys are fixed.
    ///
    /// # Errors
    ///
    /// The token is not acceptable; the error says why.
    ///
    /// # Cancel safety
    ///
    /// A fetch that has begun goes on without whoever waits for it.
    pub async fn verify_fresh(&self, token: &str) -> Result<Claims, TokenError> {
        match self.verdict(token) {
            Verdict::Known(result) => result,
            Verdict::Pending(pending) => pending.await,
        }
    }

    /// What is known of a token now, or what to wait for.
    pub(crate) fn verdict(&self, token: &str) -> Verdict {
        let refused = match self.decide(token, self.0.clock.now()) {
            Ok(claims) => return Verdict::Known(Ok(claims)),
            Err(refused) => refused,
        };
        let refresh = refused
            .by
            .and_then(|by| self.0.trusted[by.issuer].keys.refresh(by.generation));
        let Some(refresh) = refresh else {
            return Verdict::Known(Err(refused.reason));
        };
        let verifier = self.clone();
        let token = token.to_owned();
        Verdict::Pending(Box::pin(async move {
            refresh.await;
            verifier.verify(&token)
        }))
    }

    fn decide(&self, token: &str, now: SystemTime) -> Result<Claims, Refused> {
        let Some(cache) = &self.0.cache else {
            return self.verify_anew(token, now);
        };
        let known = cache.get(token).filter(|claims| {
            let by = claims.verified_by();
            self.0.trusted[by.issuer].keys.generation() == by.generation
        });
        let Some(claims) = known else {
            let claims = self.verify_anew(token, now)?;
            cache.insert(token, &claims);
            return Ok(claims);
        };
        let rules = &self.0.trusted[claims.verified_by().issuer].rules;
        let in_time = rules.check_time(claims.registered(), now);
        match in_time.and_then(|()| rules.check_revoked(&claims)) {
            Ok(()) => Ok(claims),
            Err(reason) => {
                if matches!(reason, TokenError::Expired | TokenError::Revoked) {
                    cache.remove(token);
                }
                Err(reason.into())
            }
        }
    }

    pub(super) fn trusted(&self) -> &[Trusted] {
        &self.0.trusted
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
            trusted,
            clock,
            backend,
            ..
        } = &*self.0;
        Self::new(trusted.clone(), clock.clone(), backend, None)
    }

    fn verify_anew(&self, token: &str, now: SystemTime) -> Result<Claims, Refused> {
        let parts = Parts::split(token)?;
        let header = decode_text(parts.header)?;
        let header = Header::parse(&header)?;
        let signature = decode(parts.signature)?;
        let issuer = self.issuer(&parts)?;
        let Trusted { keys, rules } = &self.0.trusted[issuer];
        // Read first, so that claims never pass for verified by keys that came later.
        let by = VerifiedBy {
            issuer,
            generation: keys.generation(),
        };
        self.check_signature(keys, &header, &parts, &signature)
            .map_err(|reason| Refused {
                reason,
                by: may_be_too_old(keys, &header, reason).then_some(by),
            })?;
        rules.kinds.check_type(header.typ.as_deref())?;
        Ok(accept(&parts, rules, now, by)?)
    }

    /// Finds out whose keys and rules a token is for. What it says of that is not verified yet.
    fn issuer(&self, parts: &Parts<'_>) -> Result<usize, TokenError> {
        if self.0.trusted.len() == 1 {
            return Ok(0);
        }
        let payload = decode_text(parts.payload)?;
        let members = json::unambiguous_object(&payload)?;
        if json::find(&members, "iss").is_none() {
            return Err(TokenError::MissingIssuer);
        }
        let named = claims::text(&members, "iss").ok_or(TokenError::WrongIssuer)?;
        let mut trusted = self.0.trusted.iter();
        trusted
            .position(|one| one.rules.issuers.iter().any(|issuer| **issuer == *named))
            .ok_or(TokenError::WrongIssuer)
    }

    fn check_signature(
        &self,
        keys: &Keys,
        header: &Header<'_>,
        parts: &Parts<'_>,
        signature: &Vec<u8>,
    ) -> Result<(), TokenError> {
        let KeySet { keys, is_complete } = keys.get();
        let is_good = candidates(&keys, header).and_then(|(algorithm, candidates)| {
            let backend = self.0.backend;
            let is_by = |key: &Key| {
                signature::verifies(backend, algorithm, key.decoding(), parts.signed, signature)
            };
            if candidates.into_iter().any(is_by) {
                Ok(())
            } else {
                Err(TokenError::BadSignature)
            }
        });
        use TokenError as E;
        is_good.map_err(|reason| match reason {
            // It may be signed with one of those that are missing.
            E::AlgorithmNotAllowed | E::UnknownKey | E::BadSignature if !is_complete => {
                E::KeysUnavailable
            }
            reason => reason,
        })
    }
}

/// Checks what a token says whose signature is good.
fn accept(
    parts: &Parts<'_>,
    rules: &Rules,
    now: SystemTime,
    verified_by: VerifiedBy,
) -> Result<Claims, TokenError> {
    let payload = decode_text(parts.payload)?;
    let members = json::unambiguous_object(&payload)?;
    let registered = rules.check(&members, now)?;
    let index = claims::index(&payload, members);
    let claims = Claims::verified(payload, index, registered, verified_by);
    rules.check_revoked(&claims)?;
    Ok(claims)
}

impl fmt::Debug for JwtVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtVerifier")
            .field("trusted", &self.0.trusted)
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
