//! What has happened lately, for those who ask now and for those who wait.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// The last things that happened, each with its number.
#[derive(Debug)]
pub(crate) struct Feed<T> {
    kept: Mutex<VecDeque<(u64, T)>>,
    last: watch::Sender<u64>,
    limit: usize,
}

impl<T: Clone> Feed<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            kept: Mutex::default(),
            last: watch::Sender::new(0),
            limit,
        }
    }

    pub(crate) fn push(&self, value: T) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == self.limit {
            kept.pop_front();
        }
        let number = *self.last.borrow() + 1;
        kept.push_back((number, value));
        drop(kept);
        self.last.send_replace(number);
    }

    /// Returns what came after this number, and is wanted.
    pub(crate) fn after(&self, number: u64, wanted: impl Fn(&T) -> bool) -> Vec<(u64, T)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter()
            .filter(|(at, value)| *at > number && wanted(value))
            .cloned()
            .collect()
    }

    /// Says when there is more.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }
}
