//! Where a verifier's keys come from: they are fixed, or change while it lives.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use super::Key;

/// Keys that change while a verifier lives.
pub(crate) trait KeySource: fmt::Debug + Send + Sync + 'static {
    /// The keys as of now. `None` where there are none yet, or none that are young enough to be trusted.
    fn keys(&self) -> Option<Arc<[Key]>>;

    /// A number that is another one after each change of [`keys`](Self::keys), and after they have become too old.
    fn generation(&self) -> u64;

    /// Has the keys fetched anew, unless that was tried a moment ago. The future is ready once that is done, whatever came
    /// of it; dropping it stops nothing.
    fn refresh(&self) -> Option<Refresh>;
}

pub(crate) type Refresh = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The keys of one issuer.
#[derive(Clone, Debug)]
pub(crate) enum Keys {
    Fixed(Arc<[Key]>),
    Changing(Arc<dyn KeySource>),
}

impl Keys {
    pub(crate) fn get(&self) -> Option<Arc<[Key]>> {
        match self {
            Self::Fixed(keys) => Some(Arc::clone(keys)),
            Self::Changing(source) => source.keys(),
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        match self {
            Self::Fixed(_) => 0,
            Self::Changing(source) => source.generation(),
        }
    }

    pub(crate) fn refresh(&self) -> Option<Refresh> {
        match self {
            Self::Fixed(_) => None,
            Self::Changing(source) => source.refresh(),
        }
    }

    /// Whether a key may be there that is not known yet.
    pub(crate) fn may_change(&self) -> bool {
        matches!(self, Self::Changing(_))
    }
}
