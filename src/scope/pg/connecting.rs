//! What a failed attempt to connect says of the next ones.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::error::Error;

/// How long a failed attempt speaks for the next ones.
const FAILURE_HOLDS: Duration = Duration::from_secs(1);

/// How the attempts to connect to one server went.
///
/// While they fail, one a second is let through, and nobody else waits for what will probably fail too.
#[derive(Default)]
pub(crate) struct Connecting {
    state: Mutex<State>,
    failures: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// The last attempt that has failed, unless a later one has succeeded.
    failure: Option<Failure>,
    succeeded: Option<Instant>,
}

struct Failure {
    error: Error,
    /// When the next attempt is let through.
    holds_until: Instant,
}

impl Connecting {
    /// Counts failed attempts, so that whoever waits for one learns of it at once.
    pub(crate) fn failures(&self) -> watch::Receiver<u64> {
        self.failures.subscribe()
    }

    /// Returns the cause of the last failed attempt, unless one has succeeded since.
    pub(crate) fn last_failure(&self) -> Option<Error> {
        Some(self.lock().failure.as_ref()?.error.clone())
    }

    /// Returns why there is to be no attempt now. `None` lets one through.
    pub(crate) fn held_back(&self) -> Option<Error> {
        self.lock().held_back(Instant::now())
    }

    pub(crate) fn succeeded(&self) {
        self.lock().succeeded(Instant::now());
    }

    /// Notes that an attempt has failed which began at `began`.
    pub(crate) fn failed(&self, began: Instant, error: &Error) {
        self.lock().failed(began, Instant::now(), error);
        self.failures.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn held_back(&mut self, now: Instant) -> Option<Error> {
        let failure = self.failure.as_mut()?;
        if now < failure.holds_until {
            return Some(failure.error.clone());
        }
        // Nobody has tried since: it says nothing of now.
        if now >= failure.holds_until + FAILURE_HOLDS {
            return None;
        }
        failure.holds_until = now + FAILURE_HOLDS;
        None
    }

    fn succeeded(&mut self, now: Instant) {
        *self = Self {
            failure: None,
            succeeded: Some(now),
        };
    }

    fn failed(&mut self, began: Instant, now: Instant, error: &Error) {
        // One that was on its way while the server was away says nothing once it is back.
        if self.succeeded.is_none_or(|succeeded| succeeded <= began) {
            self.failure = Some(Failure {
                error: error.clone(),
                holds_until: now + FAILURE_HOLDS,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn while_attempts_fail_one_a_second_is_let_through_and_a_success_lets_all() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let error = Error::new(ErrorKind::Unavailable, "away");
        let mut state = State::default();
        let lets = |state: &mut State, ms| state.held_back(at(ms)).is_none();
        assert!(lets(&mut state, 0) && lets(&mut state, 0));
        state.failed(at(0), at(100), &error);
        for (ms, through) in [
            (100, false),
            (1099, false),
            (1100, true),
            // That one hangs.
            (1101, false),
            (2099, false),
            (2100, true),
        ] {
            assert_eq!(lets(&mut state, ms), through, "{ms}");
        }
        state.failed(at(2100), at(2500), &error);
        assert!(!lets(&mut state, 3499) && lets(&mut state, 3500));
        // Long after it, all who come together are let through.
        assert!(lets(&mut state, 5500) && lets(&mut state, 5500));
        state.succeeded(at(5600));
        assert!(lets(&mut state, 5601) && lets(&mut state, 5601));
        // It began before that success.
        state.failed(at(1100), at(6100), &error);
        assert!(lets(&mut state, 6101));
        state.failed(at(5600), at(6200), &error);
        assert!(!lets(&mut state, 6201));
    }
}
