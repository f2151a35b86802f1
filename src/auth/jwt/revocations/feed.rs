//! How fresh a set is that somebody else keeps.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// What whoever keeps a set has last said of it.
pub(crate) struct Feed {
    max_staleness: Duration,
    accept_stale: bool,
    now: fn() -> Instant,
    began: Instant,
    /// When the set was last known to be whole: nanoseconds since `began`, and one. 0 is never.
    confirmed: AtomicU64,
    said: Mutex<Said>,
    /// Dropped with the set.
    keeper: OnceLock<Box<dyn Any + Send + Sync>>,
}

#[derive(Default)]
pub(super) struct Said {
    pub(super) reads: u64,
    pub(super) last_error: Option<String>,
}

impl Feed {
    /// A set of which nothing is known yet. `now` is a clock that is never set back.
    pub(crate) fn new(max_staleness: Duration, accept_stale: bool, now: fn() -> Instant) -> Self {
        Self {
            max_staleness,
            accept_stale,
            now,
            began: now(),
            confirmed: AtomicU64::new(0),
            said: Mutex::default(),
            keeper: OnceLock::new(),
        }
    }

    /// The set was whole at this time.
    pub(super) fn confirm(&self, as_of: Instant) {
        let since = as_of.saturating_duration_since(self.began).as_nanos();
        let since = u64::try_from(since).unwrap_or(u64::MAX - 1);
        self.confirmed.fetch_max(since + 1, Ordering::AcqRel);
    }

    pub(super) fn age(&self) -> Option<Duration> {
        let confirmed = self.confirmed.load(Ordering::Acquire).checked_sub(1)?;
        let now = (self.now)().saturating_duration_since(self.began);
        Some(now.saturating_sub(Duration::from_nanos(confirmed)))
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.age().is_some_and(|age| age <= self.max_staleness)
    }

    /// Whether tokens may be judged by it.
    pub(super) fn is_usable(&self) -> bool {
        self.accept_stale || self.is_fresh()
    }

    pub(super) fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn keep(&self, keeper: Box<dyn Any + Send + Sync>) {
        // Set once, by whoever made it.
        self.keeper.get_or_init(|| keeper);
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("age", &self.age())
            .field("max_staleness", &self.max_staleness)
            .field("accept_stale", &self.accept_stale)
            .finish_non_exhaustive()
    }
}
