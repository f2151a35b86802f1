//! The task that keeps a set: listens, reads, makes sure, and begins again where that fails.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::session::{Failure, Plan, Session};
use crate::auth::jwt::{Revocations, WeakRevocations};

/// How far apart two reads begin at least, so that a flood of notifications costs no more than that.
const BETWEEN_READS: Duration = Duration::from_millis(50);
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// When what is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) heartbeat: Duration,
    pub(super) reread_interval: Duration,
    pub(super) max_backoff: Duration,
    pub(super) max_staleness: Duration,
}

pub(super) struct Task {
    pub(super) plan: Plan,
    pub(super) times: Times,
    pub(super) set: WeakRevocations,
    pub(super) accept_stale: bool,
}

/// There is nobody left to keep the set for.
struct Gone;

/// A session, when its last read began, and how long it took.
pub(super) struct Listening {
    session: Session,
    read: Instant,
    took: Duration,
}

impl Listening {
    /// Listens first and reads then, so that nothing falls between the two.
    pub(super) async fn start(plan: &Plan, set: &WeakRevocations) -> Result<Self, Failure> {
        let session = Session::open(plan).await?;
        let mut this = Self {
            session,
            read: Instant::now(),
            took: Duration::ZERO,
        };
        this.read(plan, set).await?;
        Ok(this)
    }

    async fn read(&mut self, plan: &Plan, set: &WeakRevocations) -> Result<(), Failure> {
        self.read = Instant::now();
        let content = self.session.read(plan).await?;
        self.took = self.read.elapsed();
        let Some(set) = set.upgrade() else {
            return Ok(());
        };
        set.read(content, self.read.into_std())
            .map_err(|error| Failure::refusal(error.to_string()))
    }

    async fn confirm(&self, plan: &Plan, set: &WeakRevocations) -> Result<Instant, Failure> {
        let began = Instant::now();
        self.session.heartbeat(plan).await?;
        // What has come meanwhile is to be read first.
        if !self.session.is_notified()
            && let Some(set) = set.upgrade()
        {
            set.confirm(began.into_std());
        }
        Ok(began)
    }

    /// Keeps the set until that fails.
    async fn keep(&mut self, task: &Task) -> Failure {
        let mut confirmed = self.read;
        loop {
            let reread = after(self.read, task.times.reread_interval);
            let due = if self.session.is_notified() {
                after(
                    self.read,
                    between_reads(self.took, task.times.max_staleness),
                )
            } else {
                reread.min(after(confirmed, task.times.heartbeat))
            };
            // Whichever comes first.
            let _ = timeout_at(due, self.session.woken()).await;
            if self.session.has_ended() {
                return Failure::lost("the connection was lost");
            }
            let now = Instant::now();
            if now < due {
                continue;
            }
            let (plan, set) = (&task.plan, &task.set);
            let done = if self.session.is_notified() || now >= reread {
                self.read(plan, set).await.map(|()| self.read)
            } else {
                self.confirm(plan, set).await
            };
            match done {
                Ok(began) => confirmed = began,
                Err(failure) => return failure,
            }
        }
    }
}

impl Task {
    /// Runs until the set is gone. Where nothing is listened on yet, it does that first.
    pub(super) async fn run(self, first: Option<Listening>) {
        let mut listening = first;
        let mut failures = 0;
        let mut was_fresh = listening.is_some();
        loop {
            let failure = match listening.take() {
                Some(mut listening) => listening.keep(&self).await,
                None => match Listening::start(&self.plan, &self.set).await {
                    Ok(started) => {
                        listening = Some(started);
                        failures = 0;
                        if !was_fresh {
                            tracing::info!(place = self.plan.place, "it is known what is revoked");
                            was_fresh = true;
                        }
                        continue;
                    }
                    Err(failure) => failure,
                },
            };
            if self.tell(failure, &mut was_fresh).is_err() {
                break;
            }
            sleep(backoff(failures, self.times.max_backoff)).await;
            failures = failures.saturating_add(1);
        }
    }

    /// Tells the operator, once of each reason and once of what follows from it.
    fn tell(&self, failure: Failure, was_fresh: &mut bool) -> Result<(), Gone> {
        let set = self.set.upgrade().ok_or(Gone)?;
        let Failure { reason, is_refusal } = failure;
        let place = self.plan.place.as_str();
        let last = set.failed(reason.clone());
        if is_refusal && last.as_ref() != Some(&reason) {
            tracing::error!(place, "revocations: {reason}");
        } else {
            tracing::warn!(place, "revocations: {reason}");
        }
        if *was_fresh && !set.is_fresh() {
            *was_fresh = false;
            if self.accept_stale {
                tracing::error!(
                    place,
                    "it is not known any more what is revoked: tokens are accepted all the same, as was chosen"
                );
            } else {
                tracing::error!(
                    place,
                    "it is not known any more what is revoked: tokens are answered 503 until it is"
                );
            }
        }
        Ok(())
    }
}

/// Some time later. What cannot be counted to is a year.
fn after(time: Instant, wait: Duration) -> Instant {
    const LONG: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    time + wait.min(LONG)
}

/// How long after a read began the next one begins, where somebody notifies without end: half of the time is spent on reading
/// at most, unless the set would be stale before the next one is over.
fn between_reads(took: Duration, max_staleness: Duration) -> Duration {
    let twice = took.saturating_mul(2);
    twice
        .min(max_staleness.saturating_sub(twice))
        .max(BETWEEN_READS)
}

fn backoff(failures: u32, longest: Duration) -> Duration {
    let doubled = FIRST_RETRY.saturating_mul(1 << failures.min(10));
    doubled.min(longest.max(FIRST_RETRY))
}

/// Is dropped with the task, and tells the set of it where there still is one.
struct Ended(WeakRevocations);

impl Drop for Ended {
    fn drop(&mut self) {
        let Some(set) = self.0.upgrade() else {
            return;
        };
        let message = "the task that reads what is revoked has ended, with the runtime that the listener was built in: build \
                       it in the runtime that uses it";
        tracing::error!("{message}");
        set.failed(message.to_owned());
    }
}

/// As tokio has it, so that its clock for tests is obeyed.
pub(super) fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Ends the task with the set.
pub(super) struct AbortOnDrop(pub(super) tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Task {
    pub(super) fn spawn(self, set: &Revocations, first: Option<Listening>) {
        // Dropped with the task, however it ends, also where it never began.
        let ended = Ended(self.set.clone());
        let task = tokio::spawn(async move {
            let _ended = ended;
            self.run(first).await;
        });
        set.keep(AbortOnDrop(task.abort_handle()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_interval_is_too_long() {
        assert!(after(Instant::now(), Duration::MAX) > Instant::now());
    }

    #[test]
    fn reads_leave_time_for_others_but_not_too_much() {
        let seconds = Duration::from_secs;
        for (took, expected) in [
            (Duration::ZERO, BETWEEN_READS),
            (seconds(1), seconds(2)),
            (seconds(2), seconds(4)),
            // It must be over before 10 s are.
            (seconds(4), seconds(2)),
            (seconds(5), BETWEEN_READS),
        ] {
            assert_eq!(between_reads(took, seconds(10)), expected, "{took:?}");
        }
    }

    #[test]
    fn retries_come_later_and_later_up_to_a_bound() {
        let longest = Duration::from_secs(2);
        for (failures, expected) in [(0, 100), (1, 200), (4, 1600), (5, 2000), (u32::MAX, 2000)] {
            let wait = backoff(failures, longest);
            assert_eq!(wait, Duration::from_millis(expected), "{failures}");
        }
        assert_eq!(backoff(3, Duration::ZERO), FIRST_RETRY);
    }
}
