//! What a test's own thread says to `tracing`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Collects events and spans for as long as it lives, on the thread that made it.
pub(crate) struct Recorder {
    lines: Lines,
}

type Lines = Arc<Mutex<Vec<Line>>>;

thread_local! {
    static RECORDING: RefCell<Option<Lines>> = const { RefCell::new(None) };
}

/// One event, or one span with its fields.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) level: Level,
    pub(crate) target: &'static str,
    pub(crate) fields: BTreeMap<&'static str, String>,
}

impl Recorder {
    pub(crate) fn start() -> Self {
        // One for all threads: where each had its own, an event first met by a thread without one could stay switched off.
        static GLOBAL: Once = Once::new();
        GLOBAL.call_once(|| {
            tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Collect))
                .expect("nobody else listens in this process");
        });
        let lines = Lines::default();
        RECORDING.set(Some(Arc::clone(&lines)));
        Self { lines }
    }

    /// Takes all lines since the last time.
    pub(crate) fn take(&self) -> Vec<Line> {
        std::mem::take(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes what this crate has warned of since the last time.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut lines = self.take();
        lines.retain(|line| line.level <= Level::WARN && line.target.starts_with("rolescope"));
        lines.iter().map(|line| line.message().to_owned()).collect()
    }

    /// Takes this crate's errors since the last time.
    pub(crate) fn errors(&self) -> Vec<Line> {
        let mut lines = self.take();
        lines.retain(|line| line.level == Level::ERROR && line.target.starts_with("rolescope"));
        lines
    }
}

impl Line {
    pub(crate) fn get(&self, field: &str) -> Option<&str> {
        self.fields.get(field).map(String::as_str)
    }

    pub(crate) fn message(&self) -> &str {
        self.get("message").unwrap_or_default()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        RECORDING.set(None);
    }
}

struct Collect;

impl Collect {
    fn push(&self, level: Level, target: &'static str, fields: Fields) {
        RECORDING.with_borrow(|lines| {
            if let Some(lines) = lines {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.push(Line {
                    level,
                    target,
                    fields: fields.0,
                });
            }
        });
    }
}

impl<S: Subscriber> Layer<S> for Collect {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let metadata = attributes.metadata();
        self.push(*metadata.level(), metadata.target(), fields);
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        self.push(Level::TRACE, "a span's later values", fields);
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.push(*event.metadata().level(), event.metadata().target(), fields);
    }
}

/// The values of an event's fields as a formatter would show them.
#[derive(Default)]
pub(crate) struct Fields(pub(crate) BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}
