//! Who has written a short while ago: their reads stay on the primary, so that they see what they wrote.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use crate::role::RoleScope;

/// Callers that share a slot send each other's reads to the primary, which costs little. None is ever forgotten early.
const SLOTS: usize = 1 << 16;

/// For each slot of callers, until when their reads stay on the primary.
pub(crate) struct RecentWrites {
    hold: Duration,
    /// Milliseconds since `began`.
    until: Box<[AtomicU64]>,
    began: Instant,
    callers: RandomState,
}

/// One caller's slot.
#[derive(Clone)]
pub(crate) struct Writer {
    writes: Arc<RecentWrites>,
    slot: usize,
}

impl RecentWrites {
    pub(crate) fn new(hold: Duration) -> Arc<Self> {
        Arc::new(Self {
            hold,
            until: std::iter::repeat_with(AtomicU64::default)
                .take(SLOTS)
                .collect(),
            began: Instant::now(),
            callers: RandomState::new(),
        })
    }

    /// Finds a caller's slot: by the role and the claim `sub`, or where there is none by all claims.
    pub(crate) fn of(self: &Arc<Self>, scope: &RoleScope) -> Writer {
        #[derive(Deserialize)]
        struct Subject {
            sub: Option<Value>,
        }

        let mut caller = self.callers.build_hasher();
        scope.role().hash(&mut caller);
        let claims = scope.claims_json();
        match serde_json::from_str(claims) {
            Ok(Subject { sub: Some(sub) }) => (true, sub.to_string()).hash(&mut caller),
            _ => (false, claims).hash(&mut caller),
        }
        Writer {
            writes: Arc::clone(self),
            slot: usize::try_from(caller.finish() % SLOTS as u64).unwrap_or(0),
        }
    }
}

impl Writer {
    /// Notes a write. Reads stay on the primary for the time that was set, from now on.
    pub(crate) fn wrote(&self) {
        let hold = u64::try_from(self.writes.hold.as_millis()).unwrap_or(u64::MAX);
        // Rounded up: the millisecond that has begun counts in full.
        let until = self.now().saturating_add(hold).saturating_add(1);
        self.writes.until[self.slot].fetch_max(until, Ordering::AcqRel);
    }

    /// Whether the last write is so recent that a replica may not have it yet.
    pub(crate) fn has_written(&self) -> bool {
        self.now() < self.writes.until[self.slot].load(Ordering::Acquire)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.writes.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for RecentWrites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecentWrites")
            .field("hold", &self.hold)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::RoleName;

    const LONG: Duration = Duration::from_secs(3600);

    fn scope(role: &str, claims: &str) -> RoleScope {
        let role = RoleName::parse(role).expect("a good name");
        let scope = RoleScope::for_role(role);
        scope.with_claims(claims).expect("good claims")
    }

    #[test]
    fn a_caller_is_the_role_and_the_subject_or_all_claims() {
        let writes = RecentWrites::new(LONG);
        let slot = |role, claims| writes.of(&scope(role, claims)).slot;
        let same = [
            (r#"{"sub":"a","exp":1}"#, r#"{"exp":2, "sub":"a"}"#),
            (r#"{"sub":17}"#, r#"{"sub": 17,"exp":2}"#),
            (r#"{"sub":null,"x":1}"#, r#"{"sub":null,"x":1}"#),
            (r#"{"x":1}"#, r#"{"x":1}"#),
        ];
        for (one, other) in same {
            assert_eq!(slot("r", one), slot("r", other), "{one} {other}");
        }
        let different = [
            ("r", r#"{"sub":"a"}"#, "r", r#"{"sub":"b"}"#),
            ("r", r#"{"sub":"a"}"#, "s", r#"{"sub":"a"}"#),
            ("r", r#"{"sub":"17"}"#, "r", r#"{"sub":17}"#),
            ("r", r#"{"x":1}"#, "r", r#"{"x":2}"#),
            ("r", r#"{"sub":null,"x":1}"#, "r", r#"{"sub":null,"x":2}"#),
        ];
        for (role, one, other_role, other) in different {
            // Two callers can share a slot by chance, but not in every one of these.
            let together = (0..4).all(|_| {
                let writes = RecentWrites::new(LONG);
                let slot = |role, claims| writes.of(&scope(role, claims)).slot;
                slot(role, one) == slot(other_role, other)
            });
            assert!(!together, "{one} {other}");
        }
    }

    #[test]
    fn a_write_holds_for_its_time_and_for_its_caller() {
        let writes = RecentWrites::new(LONG);
        let anna = writes.of(&scope("r", r#"{"sub":"anna"}"#));
        assert!(!anna.has_written());
        anna.wrote();
        assert!(anna.has_written());
        let others = (0..4).map(|n| writes.of(&scope("r", &format!(r#"{{"sub":"{n}"}}"#))));
        assert!(others.filter(Writer::has_written).count() < 2);

        let brief = RecentWrites::new(Duration::ZERO);
        let anna = brief.of(&scope("r", r#"{"sub":"anna"}"#));
        anna.wrote();
        while anna.has_written() {
            assert!(brief.began.elapsed() < Duration::from_secs(20));
        }
        let long = RecentWrites::new(Duration::MAX);
        let anna = long.of(&scope("r", r#"{"sub":"anna"}"#));
        anna.wrote();
        assert!(anna.has_written());
    }
}
