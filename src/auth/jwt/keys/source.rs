//! Where a verifier's keys come from: they are fixed, or change while it lives.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::Key;

/// Keys that change while a verifier lives.
pub(crate) trait KeySource: fmt::Debug + Send + Sync + 'static {
    /// The keys as of now.
    fn keys(&self) -> KeySet;

    /// A number that is another one after each change of [`keys`](Self::keys), and after they have become too old.
    fn generation(&self) -> u64;

    /// Has the keys fetched anew, unless that was tried a moment ago or they are not those of the generation `seen` any
    /// more. The future is ready once that is done, whatever came of it; dropping it stops nothing.
    fn refresh(&self, seen: u64) -> Option<Refresh>;

    fn status(&self) -> SourceStatus;
}

pub(crate) type Refresh = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Keys at one moment.
#[derive(Clone, Debug)]
pub(crate) struct KeySet {
    pub(crate) keys: Arc<[Key]>,
    /// Whether all are there. Those that are fetched may be missing yet, or were given up as too old.
    pub(crate) is_complete: bool,
}

/// What [`KeyStatus`](super::super::KeyStatus) says of keys that change.
#[derive(Clone, Debug)]
pub(crate) struct SourceStatus {
    pub(crate) is_ready: bool,
    pub(crate) age: Option<Duration>,
    pub(crate) fetches: u64,
    pub(crate) last_error: Option<String>,
}

/// The keys of one issuer.
#[derive(Clone, Debug)]
pub(crate) enum Keys {
    Fixed(Arc<[Key]>),
    #[cfg_attr(
        not(feature = "jwks"),
        expect(dead_code, reason = "only what is fetched changes")
    )]
    Changing(Arc<dyn KeySource>),
}

impl Keys {
    pub(crate) fn get(&self) -> KeySet {
        match self {
            Self::Fixed(keys) => KeySet {
                keys: Arc::clone(keys),
                is_complete: true,
            },
            Self::Changing(source) => source.keys(),
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        match self {
            Self::Fixed(_) => 0,
            Self::Changing(source) => source.generation(),
        }
    }

    pub(crate) fn refresh(&self, seen: u64) -> Option<Refresh> {
        match self {
            Self::Fixed(_) => None,
            Self::Changing(source) => source.refresh(seen),
        }
    }

    pub(crate) fn status(&self) -> Option<SourceStatus> {
        match self {
            Self::Fixed(_) => None,
            Self::Changing(source) => Some(source.status()),
        }
    }

    /// Whether a key may be there that is not known yet.
    pub(crate) fn may_change(&self) -> bool {
        matches!(self, Self::Changing(_))
    }
}
