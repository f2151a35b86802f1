//! Keys that a task of their own keeps fresh.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use super::super::jwt::{
    FetchError, FetchErrorKind, Key, KeySet, KeySource, Refresh, SourceStatus,
};
use super::fetcher::{Fetched, Fetcher};
use super::schedule::{Asked, Schedule, Step, Times};

/// The keys of one place. Whoever drops the last of it ends the task.
pub(super) struct RemoteKeys {
    /// Those that are not fetched.
    fixed: Arc<[Key]>,
    /// What readers see. No lock on it is held for longer than a copy takes.
    current: RwLock<KeySet>,
    /// Changed after `current`, so that nobody takes old keys for new ones.
    generation: AtomicU64,
    state: Mutex<State>,
    /// Tells the task that somebody asks.
    asked: Arc<Notify>,
    /// Tells whoever waits that a fetch is over.
    done: watch::Sender<()>,
    task: OnceLock<AbortHandle>,
    /// For the log.
    place: String,
}

struct State {
    schedule: Schedule,
    /// What `current` has of fetched keys.
    fetched: Option<Arc<[Key]>>,
    fetches: u64,
    last_error: Option<FetchError>,
    has_ended: bool,
}

impl RemoteKeys {
    /// Starts the task. Where nothing was fetched before, it does that first.
    pub(super) fn start(
        runtime: &Handle,
        fetcher: Fetcher,
        first: Option<Fetched>,
        fixed: &[Key],
        times: Times,
    ) -> Arc<Self> {
        let now = now();
        let fixed: Arc<[Key]> = fixed.into();
        let keys = Arc::new(Self {
            current: RwLock::new(KeySet {
                keys: Arc::clone(&fixed),
                is_complete: false,
            }),
            fixed,
            generation: AtomicU64::new(0),
            state: Mutex::new(State {
                schedule: Schedule::new(times, now),
                fetched: None,
                fetches: u64::from(first.is_some()),
                last_error: None,
                has_ended: false,
            }),
            asked: Arc::new(Notify::new()),
            done: watch::Sender::new(()),
            task: OnceLock::new(),
            place: fetcher.url().to_string(),
        });
        if let Some(first) = first {
            keys.finished(Ok(first));
        }
        let task = Ended(Arc::downgrade(&keys)).run(fetcher, Arc::clone(&keys.asked));
        let task = runtime.spawn(task).abort_handle();
        // Set once, here.
        keys.task.get_or_init(|| task);
        keys
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the task does next.
    fn step(&self) -> Step {
        let now = now();
        let mut state = self.state();
        self.give_up_old(&mut state, now);
        let step = state.schedule.step(now);
        if step == Step::Fetch {
            state.fetches += 1;
        }
        step
    }

    fn finished(&self, result: Result<Fetched, FetchError>) {
        let now = now();
        let mut state = self.state();
        match result {
            Ok(Fetched { keys, fresh }) => {
                state.schedule.succeeded(now, fresh);
                state.last_error = None;
                self.publish(&mut state, Some(keys));
            }
            Err(error) => {
                state.schedule.failed(now);
                tracing::warn!(
                    is_ready = state.fetched.is_some(),
                    "keys were not fetched: {error}"
                );
                state.last_error = Some(error);
            }
        }
        self.give_up_old(&mut state, now);
        drop(state);
        self.done.send_replace(());
    }

    fn give_up_old(&self, state: &mut State, now: std::time::Instant) {
        if state.fetched.is_some() && !state.schedule.is_trusted(now) {
            tracing::error!(
                place = self.place,
                "the keys are too old to be trusted, since they could not be fetched for so long: no token is accepted by them"
            );
            self.publish(state, None);
        }
    }

    /// Shows readers these keys, unless they see them already.
    fn publish(&self, state: &mut State, fetched: Option<Arc<[Key]>>) {
        let is_same = match (&state.fetched, &fetched) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        if is_same {
            return;
        }
        let keys = match &fetched {
            Some(fetched) if self.fixed.is_empty() => Arc::clone(fetched),
            Some(fetched) => self.fixed.iter().chain(&**fetched).cloned().collect(),
            None => Arc::clone(&self.fixed),
        };
        let is_complete = fetched.is_some();
        state.fetched = fetched;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) =
            KeySet { keys, is_complete };
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Nothing will be fetched any more, and so nothing is trusted any more.
    fn ended(&self) {
        let mut state = self.state();
        let message = "the task that fetches keys has ended, with the runtime that the verifier was built in or by a panic of \
                       the client: build the verifier in the runtime that uses it";
        tracing::error!(place = self.place, "{message}");
        state.has_ended = true;
        state.last_error = Some(FetchError::new(
            FetchErrorKind::Ended,
            format!("{}: {message}", self.place),
        ));
        self.publish(&mut state, None);
        drop(state);
        self.done.send_replace(());
    }
}

impl KeySource for RemoteKeys {
    fn keys(&self) -> KeySet {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn refresh(&self, seen: u64) -> Option<Refresh> {
        let mut state = self.state();
        if self.generation() != seen {
            // Others have come meanwhile: nothing is to be waited for.
            return Some(Box::pin(std::future::ready(())));
        }
        if state.has_ended {
            return None;
        }
        match state.schedule.ask(now()) {
            Asked::TooSoon => return None,
            Asked::Granted => self.asked.notify_one(),
            Asked::Pending => {}
        }
        // Subscribed while the state is locked: the end of the fetch comes later.
        let mut done = self.done.subscribe();
        Some(Box::pin(async move {
            // An error is that there is no verifier any more.
            let _ = done.changed().await;
        }))
    }

    fn status(&self) -> SourceStatus {
        let state = self.state();
        SourceStatus {
            is_ready: state.fetched.is_some(),
            age: state.schedule.age(now()),
            fetches: state.fetches,
            last_error: state.last_error.as_ref().map(ToString::to_string),
        }
    }
}

impl Drop for RemoteKeys {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

impl fmt::Debug for RemoteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteKeys")
            .field("place", &self.place)
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

/// Is dropped with the task, and tells the keys of it where there still are some.
struct Ended(Weak<RemoteKeys>);

impl Ended {
    async fn run(self, mut fetcher: Fetcher, asked: Arc<Notify>) {
        while let Some(step) = self.0.upgrade().map(|keys| keys.step()) {
            match step {
                Step::Wait(until) => {
                    // Whichever comes first.
                    let _ = timeout_at(until.into(), asked.notified()).await;
                }
                Step::Fetch => {
                    let result = fetcher.fetch().await;
                    if let Some(keys) = self.0.upgrade() {
                        keys.finished(result);
                    }
                }
            }
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(keys) = self.0.upgrade() {
            keys.ended();
        }
    }
}

/// As tokio has it, so that its clock for tests is obeyed.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}
