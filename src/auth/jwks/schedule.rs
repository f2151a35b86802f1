//! When keys are fetched, and for how long they are trusted. The time is an argument.

use std::time::{Duration, Instant};

const LEAST_INTERVAL: Duration = Duration::from_secs(60);
const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
/// How far apart two fetches are that unknown keys ask for.
const BETWEEN_ASKED: Duration = Duration::from_secs(30);
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// What can be chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// After which time keys are fetched again where the response does not say.
    pub(super) interval: Duration,
    /// For how long keys are trusted after they were fetched.
    pub(super) max_age: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5 * 60),
            max_age: Duration::from_secs(24 * 60 * 60),
        }
    }
}

#[derive(Debug)]
pub(super) struct Schedule {
    times: Times,
    due: Instant,
    /// Whether a fetch is under way, or about to be.
    is_pending: bool,
    /// When somebody last asked for a fetch and got it.
    asked: Option<Instant>,
    attempted: Option<Instant>,
    failures: u32,
    loaded: Option<Instant>,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Fetch,
    /// Nothing, until then or until somebody asks.
    Wait(Instant),
}

/// What comes of asking for a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// There will be one at once.
    Granted,
    /// There is one already.
    Pending,
    TooSoon,
}

impl Schedule {
    /// Keys are to be fetched at once.
    pub(super) fn new(times: Times, now: Instant) -> Self {
        Self {
            times: Times {
                interval: times.interval,
                // Refreshed twice before they are too old.
                max_age: times.max_age.max(2 * LEAST_INTERVAL),
            },
            due: now,
            is_pending: true,
            asked: None,
            attempted: None,
            failures: 0,
            loaded: None,
        }
    }

    pub(super) fn step(&mut self, now: Instant) -> Step {
        if self.is_pending || now >= self.due {
            self.is_pending = true;
            self.attempted = Some(now);
            return Step::Fetch;
        }
        let end = self.end().filter(|end| now < *end);
        Step::Wait(end.map_or(self.due, |end| end.min(self.due)))
    }

    /// Somebody has a token whose key is not known.
    pub(super) fn ask(&mut self, now: Instant) -> Asked {
        if self.is_pending {
            return Asked::Pending;
        }
        let was_lately = |then: Option<Instant>| {
            then.is_some_and(|then| now.saturating_duration_since(then) < BETWEEN_ASKED)
        };
        if was_lately(self.asked) || self.failures > 0 && was_lately(self.attempted) {
            return Asked::TooSoon;
        }
        self.asked = Some(now);
        self.is_pending = true;
        Asked::Granted
    }

    /// The fetch was a success. `fresh` is for how long the response says that it is good.
    pub(super) fn succeeded(&mut self, now: Instant, fresh: Option<Duration>) {
        let interval = fresh.unwrap_or(self.times.interval);
        let interval = interval
            .min(self.times.max_age / 2)
            .clamp(LEAST_INTERVAL, LONGEST_INTERVAL);
        self.is_pending = false;
        self.failures = 0;
        self.loaded = Some(now);
        self.due = now + interval;
    }

    pub(super) fn failed(&mut self, now: Instant) {
        let doubled = FIRST_RETRY.saturating_mul(1 << self.failures.min(10));
        self.is_pending = false;
        self.failures += 1;
        self.due = now + doubled.min(LONGEST_RETRY);
    }

    /// When the keys are too old. `None` is never, or that there are none.
    fn end(&self) -> Option<Instant> {
        self.loaded?.checked_add(self.times.max_age)
    }

    /// Whether there are keys, and they are young enough.
    pub(super) fn is_trusted(&self, now: Instant) -> bool {
        self.loaded.is_some() && self.end().is_none_or(|end| now < end)
    }

    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        self.loaded.map(|then| now.saturating_duration_since(then))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    /// A schedule, and its time in seconds since it was made.
    struct Timed {
        schedule: Schedule,
        start: Instant,
    }

    impl Timed {
        fn new(times: Times) -> Self {
            let start = Instant::now();
            let schedule = Schedule::new(times, start);
            Self { schedule, start }
        }

        fn loaded(times: Times, fresh: Option<u64>) -> Self {
            let mut timed = Self::new(times);
            assert_eq!(timed.step(0.0), None);
            timed.succeeded(0.0, fresh);
            timed
        }

        fn at(&self, seconds: f64) -> Instant {
            self.start + Duration::from_secs_f64(seconds)
        }

        /// Until when to wait, or `None` to fetch.
        fn step(&mut self, now: f64) -> Option<f64> {
            match self.schedule.step(self.at(now)) {
                Step::Fetch => None,
                Step::Wait(until) => Some((until - self.start).as_secs_f64()),
            }
        }

        fn ask(&mut self, now: f64) -> Asked {
            self.schedule.ask(self.at(now))
        }

        fn succeeded(&mut self, now: f64, fresh: Option<u64>) {
            let fresh = fresh.map(Duration::from_secs);
            self.schedule.succeeded(self.at(now), fresh);
        }

        fn failed(&mut self, now: f64) {
            self.schedule.failed(self.at(now));
        }

        fn is_trusted(&self, now: f64) -> bool {
            self.schedule.is_trusted(self.at(now))
        }
    }

    const DAY: f64 = 86_400.0;

    fn times(interval: u64, max_age: u64) -> Times {
        Times {
            interval: Duration::from_secs(interval),
            max_age: Duration::from_secs(max_age),
        }
    }

    #[test]
    fn the_response_says_when_within_bounds() {
        for (fresh, due) in [
            (None, 300.0),
            (Some(0), 60.0),
            (Some(59), 60.0),
            (Some(61), 61.0),
            (Some(3600), 3600.0),
            (Some(43_200), DAY / 2.0),
            (Some(u64::MAX), DAY / 2.0),
        ] {
            let mut timed = Timed::loaded(Times::default(), fresh);
            assert_eq!(timed.step(0.0), Some(due), "{fresh:?}");
            assert_eq!(timed.step(due - 0.1), Some(due), "{fresh:?}");
            assert_eq!(timed.step(due), None, "{fresh:?}");
        }
        for (chosen, fresh, due) in [
            (times(10, 86_400), None, 60.0),
            (times(1_000_000, 10_000_000), None, DAY),
            (times(300, 10_000_000), Some(u64::MAX), DAY),
            (times(300, 200), None, 100.0),
            (times(300, 0), None, 60.0),
        ] {
            let mut timed = Timed::loaded(chosen, fresh);
            assert_eq!(timed.step(0.0), Some(due), "{chosen:?}");
        }
    }

    #[test]
    fn whoever_asks_gets_one_fetch_in_30_seconds() {
        let mut timed = Timed::loaded(Times::default(), None);
        assert_eq!(timed.ask(1.0), Asked::Granted);
        assert_eq!(timed.ask(1.0), Asked::Pending);
        assert_eq!(timed.step(1.0), None);
        assert_eq!(timed.ask(2.0), Asked::Pending);
        timed.succeeded(3.0, None);
        assert_eq!(timed.step(3.0), Some(303.0));
        assert_eq!(timed.ask(3.0), Asked::TooSoon);
        assert_eq!(timed.ask(30.9), Asked::TooSoon);
        assert_eq!(timed.ask(31.0), Asked::Granted);
    }

    #[test]
    fn a_fetch_that_was_due_does_not_count_as_asked_for() {
        let mut timed = Timed::loaded(Times::default(), None);
        assert_eq!(timed.step(300.0), None);
        assert_eq!(timed.ask(300.5), Asked::Pending);
        timed.succeeded(301.0, None);
        assert_eq!(timed.ask(301.0), Asked::Granted);
    }

    #[test]
    fn a_flood_makes_at_most_three_fetches_a_minute() {
        let mut timed = Timed::new(Times::default());
        let mut fetches = 0;
        for tick in 0..6_000 {
            let now = f64::from(tick) / 100.0;
            timed.ask(now);
            if timed.step(now).is_none() {
                fetches += 1;
                timed.succeeded(now, Some(0));
            }
        }
        assert_eq!(fetches, 3);
    }

    #[test]
    fn failures_are_retried_later_and_later_whoever_asks() {
        let mut timed = Timed::loaded(Times::default(), None);
        let mut now = 300.0;
        for wait in [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
            assert_eq!(timed.step(now), None);
            timed.failed(now);
            assert_eq!(timed.ask(now + 1.9), Asked::TooSoon);
            now += wait;
            assert_eq!(timed.step(now - 0.1), Some(now));
        }
        // Half a minute after the last one, a token may ask.
        let mut timed = Timed::loaded(Times::default(), None);
        for _ in 0..40 {
            timed.failed(300.0);
        }
        timed.schedule.attempted = Some(timed.at(300.0));
        assert_eq!(timed.ask(329.9), Asked::TooSoon);
        assert_eq!(timed.ask(330.0), Asked::Granted);
        assert_eq!(timed.step(330.0), None);
        timed.succeeded(331.0, None);
        assert_eq!(timed.step(331.0), Some(631.0));
    }

    #[test]
    fn without_any_keys_the_same_bounds_hold() {
        let mut timed = Timed::new(Times::default());
        assert_eq!(timed.ask(0.0), Asked::Pending);
        assert_eq!(timed.step(0.0), None);
        assert!(!timed.is_trusted(0.0));
        timed.failed(1.0);
        assert_eq!(timed.ask(1.0), Asked::TooSoon);
        assert_eq!(timed.step(1.0), Some(3.0));
        assert!(!timed.is_trusted(1.0));
    }

    #[test]
    fn keys_are_trusted_until_they_are_too_old() {
        let mut timed = Timed::loaded(times(300, 600), None);
        assert_eq!(timed.step(0.0), Some(300.0));
        assert_eq!(timed.step(300.0), None);
        for _ in 0..20 {
            timed.failed(599.0);
        }
        assert!(timed.is_trusted(599.9));
        assert_eq!(timed.step(599.0), Some(600.0), "woken to give them up");
        assert!(!timed.is_trusted(600.0));
        assert_eq!(timed.step(600.0), Some(659.0));
        timed.succeeded(660.0, None);
        assert!(timed.is_trusted(1259.9));
        assert_eq!(
            timed.schedule.age(timed.at(661.0)),
            Some(Duration::from_secs(1))
        );

        let for_ever = Times {
            max_age: Duration::MAX,
            ..Times::default()
        };
        let mut timed = Timed::loaded(for_ever, Some(u64::MAX));
        assert!(timed.is_trusted(1e9));
        assert_eq!(timed.step(0.0), Some(DAY));
    }
}
