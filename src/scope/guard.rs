//! Whoever holds the transaction of a request: its future, and then perhaps its response's body.

use std::sync::Arc;

use super::pg::ending::Verdict;
use super::pg::finish::Finish;
use super::pg::transaction::Transaction;

/// The transaction while the handler runs, or its body. Dropped before its end, it is rolled back.
pub(super) struct OpenScope(Arc<Transaction>);

impl OpenScope {
    pub(super) fn new(transaction: Arc<Transaction>) -> Self {
        Self(transaction)
    }

    pub(super) fn transaction(&self) -> &Transaction {
        &self.0
    }

    pub(super) fn finish(&self, verdict: Verdict) -> Finish {
        self.0.finish(verdict)
    }

    pub(super) fn token_sent(&self) -> bool {
        self.0.scope().token_sent()
    }
}

impl Drop for OpenScope {
    fn drop(&mut self) {
        drop(self.0.finish(Verdict::Rollback));
    }
}
