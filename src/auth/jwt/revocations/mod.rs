//! Tokens that are refused although they have not expired.

mod content;
#[cfg_attr(
    not(feature = "postgres"),
    allow(dead_code, reason = "only a listener feeds a set")
)]
mod feed;

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::time::{Duration, Instant};

use super::builder::JwtVerifierBuilder;
use super::claims::Claims;
use super::error::TokenError;
use super::rules::Rules;

pub(crate) use content::Content;
pub use content::{Revocation, RevocationError};
pub(crate) use feed::Feed;

/// How many revocations a set holds where nobody says otherwise.
pub(crate) const MAX_ENTRIES: usize = 1_000_000;

/// Holds what is revoked, and is asked by each [`JwtVerifier`](super::JwtVerifier) that was given it, about each token that
/// is otherwise acceptable, cached ones too.
///
/// Clones are the same set. It is filled by hand, by [`revoke`](Self::revoke) and [`replace`](Self::replace), or by a
/// listener that reads it from PostgreSQL (feature `postgres`, module `scope::revocation`); what was added by hand then stays
/// besides what is read. A change counts for each token that is verified after the call has returned.
///
/// A token that is revoked is refused as [`TokenError::Revoked`]: 401 `invalid_token`. Where a listener has not been able to
/// confirm the set for too long it is [`TokenError::RevocationsUnavailable`]: 503.
///
/// A token that the cache has costs one comparison more while the set stays the same, and after a change, once, one look
/// into a table for each claim that is named in it. An entry with a value of 36 bytes takes 90 to 130 bytes; while a content
/// is replaced, the old one and the new one are there. A set holds a million unless said otherwise.
///
/// # Examples
///
/// ```
/// use rolescope::JwtVerifier;
/// use rolescope::auth::jwt::{Revocation, Revocations, TokenError};
///
/// # let secret = "a secret of thirty-two bytes at least";
/// # let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJyb2xlIjoiamRvZTEyMyJ9.X_ZeWSS9qsKDCDczv8C-GE2fccrPQjOh_ALMZJa5jsU";
/// # let secret = "secret";
/// let revocations = Revocations::new();
/// let verifier = JwtVerifier::builder().hs256(secret)?.revocations(&revocations);
/// # let verifier = verifier.dangerous().accept_short_secrets().dangerous().accept_missing_exp();
/// let verifier = verifier.build()?;
///
/// assert!(verifier.verify(token).is_ok());
/// revocations.revoke(Revocation::new("role", "jdoe123"))?;
/// assert_eq!(verifier.verify(token).unwrap_err(), TokenError::Revoked);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Revocations(Arc<Inner>);

struct Inner {
    /// No lock on it is held for longer than looking a token up takes.
    content: RwLock<Contents>,
    /// Changed after `content`, so that nobody takes the old one for the new one. Never 0.
    generation: AtomicU64,
    max_entries: usize,
    feed: Option<Feed>,
}

#[derive(Default)]
struct Contents {
    by_hand: Content,
    fed: Content,
}

/// Tells the state of a set of [`Revocations`], for health endpoints and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RevocationStatus {
    /// How many there are.
    pub entries: usize,
    /// How often the set was changed, by hand or by what was read.
    pub changes: u64,
    /// Whether it is known to be whole: a set without a listener always is, and one with a listener was confirmed within
    /// `max_staleness`.
    pub is_fresh: bool,
    /// How long ago it was last confirmed. `None` where it never was, or has no listener.
    pub age: Option<Duration>,
    /// How often it was read. 0 where it has no listener.
    pub reads: u64,
    /// Why it could not be read or confirmed the last time. `None` where it could.
    pub last_error: Option<String>,
}

impl Default for Revocations {
    fn default() -> Self {
        Self::new()
    }
}

impl Revocations {
    /// Makes a set with nothing in it, for up to a million revocations.
    pub fn new() -> Self {
        Self::with_max_entries(MAX_ENTRIES)
    }

    /// Makes a set with nothing in it, for up to `max` revocations.
    pub fn with_max_entries(max: usize) -> Self {
        Self::make(max, None)
    }

    fn make(max_entries: usize, feed: Option<Feed>) -> Self {
        Self(Arc::new(Inner {
            content: RwLock::default(),
            generation: AtomicU64::new(1),
            max_entries,
            feed,
        }))
    }

    /// Refuses tokens from now on. What is revoked stays so until [`replace`](Self::replace) leaves it out.
    ///
    /// # Errors
    ///
    /// The set is full, and the tokens are still accepted: the caller must not tell anybody that they are revoked.
    pub fn revoke(&self, revocation: Revocation) -> Result<(), RevocationError> {
        self.change(|contents, max| {
            let left = max.saturating_sub(contents.fed.entries());
            let added = contents.by_hand.add(revocation, left);
            added.map_err(|error| match error {
                RevocationError::TooMany { .. } => RevocationError::TooMany { max },
                error => error,
            })?;
            Ok(None)
        })
    }

    /// Replaces all that was added by hand, at once: no token is verified against half of it.
    ///
    /// # Errors
    ///
    /// There are more than the set holds. What was there before stays.
    pub fn replace(
        &self,
        all: impl IntoIterator<Item = Revocation>,
    ) -> Result<(), RevocationError> {
        let mut content = Content::default();
        for one in all {
            content.add(one, self.0.max_entries)?;
        }
        content.shrink();
        self.change(|contents, max| {
            if content.entries().saturating_add(contents.fed.entries()) > max {
                return Err(RevocationError::TooMany { max });
            }
            Ok(Some(std::mem::replace(&mut contents.by_hand, content)))
        })
    }

    /// Returns whether tokens are judged by what is revoked now, not by what was some time ago.
    ///
    /// It is always so without a listener.
    pub fn is_fresh(&self) -> bool {
        self.0.feed.as_ref().is_none_or(Feed::is_fresh)
    }

    /// Returns the state of the set.
    pub fn status(&self) -> RevocationStatus {
        let feed = self.0.feed.as_ref();
        let contents = self.contents();
        let entries = contents.by_hand.entries() + contents.fed.entries();
        drop(contents);
        let said = feed.map(Feed::said);
        let said = said.map(|said| (said.reads, said.last_error.clone()));
        let (reads, last_error) = said.unwrap_or_default();
        RevocationStatus {
            entries,
            changes: self.0.generation.load(Ordering::Acquire) - 1,
            is_fresh: self.is_fresh(),
            age: feed.and_then(Feed::age),
            reads,
            last_error,
        }
    }

    /// Whether tokens may be judged by it.
    pub(super) fn is_usable(&self) -> bool {
        self.0.feed.as_ref().is_none_or(Feed::is_usable)
    }

    /// Refuses a token that is revoked, or of which that cannot be known.
    fn check(&self, claims: &Claims) -> Result<(), TokenError> {
        // Asked first: what is read afterwards is at least as new as what was confirmed.
        let is_usable = self.is_usable();
        let generation = self.0.generation.load(Ordering::Acquire);
        if !claims.is_unrevoked_as_of(generation) {
            let contents = self.contents();
            if contents.fed.revokes(claims) || contents.by_hand.revokes(claims) {
                return Err(TokenError::Revoked);
            }
            drop(contents);
            claims.unrevoked_as_of(generation);
        }
        if is_usable {
            Ok(())
        } else {
            Err(TokenError::RevocationsUnavailable)
        }
    }

    fn contents(&self) -> RwLockReadGuard<'_, Contents> {
        let content = &self.0.content;
        content.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the content; what it returns of the old one is dropped without the lock.
    fn change(
        &self,
        change: impl FnOnce(&mut Contents, usize) -> Result<Option<Content>, RevocationError>,
    ) -> Result<(), RevocationError> {
        let content = &self.0.content;
        let mut contents = content.write().unwrap_or_else(PoisonError::into_inner);
        let old = change(&mut contents, self.0.max_entries)?;
        drop(contents);
        self.0.generation.fetch_add(1, Ordering::AcqRel);
        drop(old);
        Ok(())
    }
}

/// For whoever keeps a set: a task that the set outlives by nothing.
#[cfg_attr(
    not(feature = "postgres"),
    allow(dead_code, reason = "only a listener feeds a set")
)]
impl Revocations {
    pub(crate) fn fed(max_entries: usize, feed: Feed) -> Self {
        Self::make(max_entries, Some(feed))
    }

    pub(crate) fn downgrade(&self) -> WeakRevocations {
        WeakRevocations(Arc::downgrade(&self.0))
    }

    /// Drops this with the last of the set.
    pub(crate) fn keep(&self, keeper: impl Any + Send + Sync) {
        if let Some(feed) = &self.0.feed {
            feed.keep(Box::new(keeper));
        }
    }

    /// All of this was read, and nothing else was to be read at `as_of`.
    pub(crate) fn read(&self, mut content: Content, as_of: Instant) -> Result<(), RevocationError> {
        content.shrink();
        self.change(|contents, max| {
            if content.entries().saturating_add(contents.by_hand.entries()) > max {
                return Err(RevocationError::TooMany { max });
            }
            Ok(Some(std::mem::replace(&mut contents.fed, content)))
        })?;
        if let Some(feed) = &self.0.feed {
            feed.said().reads += 1;
        }
        self.confirm(as_of);
        Ok(())
    }

    /// What was read last was all that there was to read at `as_of`.
    pub(crate) fn confirm(&self, as_of: Instant) {
        if let Some(feed) = &self.0.feed {
            feed.confirm(as_of);
            feed.said().last_error = None;
        }
    }

    /// It could not be read or confirmed. Returns what was said last.
    pub(crate) fn failed(&self, reason: String) -> Option<String> {
        let feed = self.0.feed.as_ref()?;
        feed.said().last_error.replace(reason)
    }
}

/// A set that may be gone.
#[derive(Clone)]
pub(crate) struct WeakRevocations(Weak<Inner>);

#[cfg_attr(
    not(feature = "postgres"),
    allow(dead_code, reason = "only a listener feeds a set")
)]
impl WeakRevocations {
    pub(crate) fn upgrade(&self) -> Option<Revocations> {
        self.0.upgrade().map(Revocations)
    }
}

impl Rules {
    /// Refuses tokens that are revoked.
    pub(super) fn check_revoked(&self, claims: &Claims) -> Result<(), TokenError> {
        let revocations = self.revocations.as_ref();
        revocations.map_or(Ok(()), |revocations| revocations.check(claims))
    }
}

impl<State> JwtVerifierBuilder<State> {
    /// Refuses tokens that are in this set, whenever they were verified. Defaults to none.
    ///
    /// Of several issuers' verifiers each keeps its own set, or none: see [`of_issuers`](super::JwtVerifier::of_issuers).
    pub fn revocations(mut self, revocations: &Revocations) -> Self {
        self.rules.revocations = Some(revocations.clone());
        self
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations")
            .field("status", &self.status())
            .field("feed", &self.0.feed)
            .finish_non_exhaustive()
    }
}
