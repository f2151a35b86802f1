//! When and how a transaction goes from `Open` to `Finished`: by the layer, by the handler, or by accident.

use std::sync::Arc;
use std::time::Instant;

use super::connection::Session;
use super::ending::{Ending, Verdict};
use super::lease::LONGEST_WAIT;
use super::mode::{AccessMode, Isolation};
use super::stream::Left;
use super::transaction::{Finished, Known, Open, Phase, Transaction, finished};
use crate::error::{Error, ErrorKind};

/// When a transaction ends whose response is a success.
pub(crate) enum EndsWith {
    /// With the response's head.
    Head,
    /// With its body, since a stream is open or the handler said so.
    Body,
    /// A stream is open that may write, and the handler did not say that it is to be committed.
    Neither,
}

/// What the layer has to wait for.
pub(crate) enum Finish {
    Done(Result<(), Error>),
    Ending(Box<Ending>),
}

impl Transaction {
    /// Has the transaction end with the response's body, not with its head.
    pub(crate) fn end_with_body(&self) -> Result<(), Error> {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Finished(_)) {
            return Err(finished());
        }
        state.ends_with_body = true;
        Ok(())
    }

    /// Decides when the transaction of a successful response ends. Where that is with its body only because of a stream,
    /// the handles are revoked all the same.
    pub(crate) fn ends_with(&self) -> EndsWith {
        let mut state = self.lock();
        match &state.phase {
            Phase::Finished(_) => EndsWith::Head,
            _ if state.ends_with_body => EndsWith::Body,
            Phase::Open(open) if !open.streams.is_empty() => match open.opened.mode {
                AccessMode::ReadOnly => {
                    state.revoked = true;
                    EndsWith::Body
                }
                AccessMode::ReadWrite => EndsWith::Neither,
            },
            _ => EndsWith::Head,
        }
    }

    /// Whether a commit is still to come: there is a transaction, or the body may yet begin one.
    pub(crate) fn is_open(&self) -> bool {
        let state = self.lock();
        match state.phase {
            Phase::Open(_) => true,
            Phase::Idle => state.ends_with_body,
            Phase::Finished(_) => false,
        }
    }

    /// Whether the client has to learn how the transaction ends.
    pub(crate) fn end_matters(&self) -> bool {
        let state = self.lock();
        state.mode == AccessMode::ReadWrite || state.isolation == Some(Isolation::Serializable)
    }

    /// Revokes all handles and ends what is open.
    pub(crate) fn finish(&self, verdict: Verdict) -> Finish {
        let mut state = self.lock();
        match std::mem::replace(&mut state.phase, Phase::Finished(Finished::Revoked)) {
            Phase::Idle => Finish::Done(state.unopened.take().map_or(Ok(()), Err)),
            Phase::Finished(Finished::Revoked) => Finish::Done(Ok(())),
            Phase::Finished(Finished::RolledBack(result)) => {
                // What is lost is rolled back all the same; that the SQL had left the transaction is not.
                Finish::Done(match result.get() {
                    Some(Err(error)) if error.kind() == ErrorKind::ScopeLeft => Err(error.clone()),
                    _ => Ok(()),
                })
            }
            Phase::Finished(Finished::Committed(result)) => {
                Finish::Done(result.get().cloned().unwrap_or_else(|| {
                    Err(Error::new(
                        ErrorKind::CommitUnknown,
                        "the handler did not wait for its COMMIT: it is unknown whether the transaction was committed",
                    ))
                }))
            }
            Phase::Finished(Finished::Broken(error)) => Finish::Done(Err(error)),
            Phase::Open(mut open) => {
                if !open.revoke_streams() {
                    self.abort(open);
                    return Finish::Done(Err(given_up()));
                }
                if open.is_better_aborted(verdict) {
                    self.abort(open);
                    return Finish::Done(Ok(()));
                }
                let awaited = open.must_be_awaited();
                let ending = Ending::send(open.opened, verdict, awaited);
                if awaited {
                    Finish::Ending(Box::new(ending))
                } else {
                    Finish::Done(Ok(()))
                }
            }
        }
    }

    /// Commits now. Later use is an error.
    pub(crate) async fn commit(&self) -> Result<(), Error> {
        let result = Known::default();
        let ending = self.end(Verdict::Commit, Finished::Committed(Arc::clone(&result)))?;
        let outcome = match ending {
            Some(ending) => ending
                .outcome()
                .await
                .map_err(|error| error.token_sent(self.scope.token_sent())),
            None => Ok(()),
        };
        let _ = result.set(outcome.clone());
        outcome
    }

    /// Rolls back now. Later use is an error.
    pub(crate) async fn rollback(&self) -> Result<(), Error> {
        let result = Known::default();
        let outcome =
            match self.end(Verdict::Rollback, Finished::RolledBack(Arc::clone(&result)))? {
                Some(ending) => ending.outcome().await,
                None => Ok(()),
            };
        let _ = result.set(outcome.clone());
        outcome
    }

    pub(super) fn end(&self, verdict: Verdict, by: Finished) -> Result<Option<Ending>, Error> {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Finished(_)) {
            return Err(finished());
        }
        match std::mem::replace(&mut state.phase, Phase::Finished(by)) {
            Phase::Open(mut open) => {
                let in_step = open.revoke_streams();
                if !in_step && verdict == Verdict::Commit {
                    state.phase = Phase::Finished(Finished::Broken(given_up()));
                    self.abort(open);
                    return Err(given_up());
                }
                // A COMMIT that was asked for is one: even a read may have said NOTIFY.
                if !in_step || (verdict == Verdict::Rollback && open.is_better_aborted(verdict)) {
                    self.abort(open);
                    return Ok(None);
                }
                Ok(Some(Ending::send(open.opened, verdict, true)))
            }
            Phase::Idle => match state.unopened.take() {
                Some(error) if verdict == Verdict::Commit => {
                    state.phase = Phase::Finished(Finished::Broken(error.clone()));
                    Err(error)
                }
                _ => Ok(None),
            },
            Phase::Finished(_) => Ok(None),
        }
    }

    /// Ends a transaction whose statement nobody waits for any more: cancels it, rolls back and has the session closed.
    ///
    /// It is not reused: the driver does not wait until the server has read a cancel request, and a late one would hit
    /// the session's next user.
    fn abort(&self, open: Open) {
        let session = Arc::clone(&open.opened.lease);
        session.doubt();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let shared = Arc::clone(open.opened.lease.shared());
        let reset_timeout = self.pool.options().reset_timeout.min(LONGEST_WAIT);
        runtime.spawn(async move {
            // A request that hits BEGIN would leave the statement behind it outside of any transaction. Where not even
            // BEGIN is answered, nothing else will be.
            if let Err(failure) = open.opened.begun.clone().await
                && failure.is_silence()
            {
                return;
            }
            let cancel = shared.cancel(session.client.cancel_token());
            if let Ok(true) = tokio::time::timeout(shared.connect_timeout, cancel).await {
                // The place in the pool is free once the server is.
                Ending::send(open.opened, Verdict::Rollback, false)
                    .settle(Instant::now() + reset_timeout)
                    .await;
            }
        });
    }

    /// Gives up a session whose answers can no longer be told apart, and with it the transaction.
    pub(super) fn break_off(&self, session: &Arc<Session>) {
        self.give_up(session, given_up());
    }

    /// Gives up a session, and with it the transaction, which fails for this reason.
    pub(super) fn give_up(&self, session: &Arc<Session>, error: Error) {
        let mut state = self.lock();
        if state.open_on(session).is_none() {
            return;
        }
        let broken = Finished::Broken(error);
        if let Phase::Open(mut open) = std::mem::replace(&mut state.phase, Phase::Finished(broken))
        {
            open.revoke_streams();
            self.abort(open);
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        drop(self.finish(Verdict::Rollback));
    }
}

impl Open {
    /// Where nothing can have been changed and everything went well, the end can tell nothing that matters.
    fn has_nothing_to_tell(&self) -> bool {
        self.opened.mode == AccessMode::ReadOnly
            && self.isolation != Isolation::Serializable
            && !self.opened.failed
            && !self.opened.unknown
            && !matches!(self.opened.begun.peek(), Some(Err(_)))
    }

    fn must_be_awaited(&self) -> bool {
        !self.has_nothing_to_tell() || self.running > 0
    }

    /// Whether the client has to learn how it ends, with the last statement on its way.
    pub(super) fn end_matters(&self) -> bool {
        !self.has_nothing_to_tell() || self.running > 1
    }

    /// Whether one statement is all that was asked of it.
    pub(super) fn is_alone(&self) -> bool {
        self.statements == 1 && self.running == 1 && !self.opened.may_have_ended
    }

    /// Whether to stop what still runs in place of waiting for it: nobody wants what it does, or the rest of what it reads.
    fn is_better_aborted(&self, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Rollback => self.running > 0,
            Verdict::Commit => self.abandoned && self.has_nothing_to_tell(),
        }
    }

    /// Takes the streams away. Says whether the session's answers are in step after that.
    fn revoke_streams(&mut self) -> bool {
        let mut in_step = true;
        for stream in std::mem::take(&mut self.streams) {
            let left = stream.revoke();
            in_step &= left != Left::OutOfStep;
            self.ended(left);
        }
        in_step
    }

    /// Notes how a stream was left.
    pub(super) fn ended(&mut self, left: Left) {
        match left {
            Left::Complete => self.running -= 1,
            Left::Failed | Left::OutOfStep => {
                self.running -= 1;
                self.opened.failed = true;
            }
            Left::Unread => self.abandoned = true,
        }
    }
}

fn given_up() -> Error {
    Error::new(
        ErrorKind::TransactionAborted,
        "the transaction was given up since a COPY did not begin, or was not finished",
    )
}
