//! Why a statement failed, and when it is sent once more.

use tokio_postgres::error::SqlState;

use super::connection::is_about_prepared;
use super::ending::BeginError;
use super::lease::Reset;
use super::session::{self, FirstWord};
use super::transaction::{Current, Transaction};
use crate::error::{Error, ErrorKind};
use crate::role::RoleScope;

/// Why a statement failed, and whether sending it again is safe and of use.
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) retry: Option<Retry>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// The session was dead before `BEGIN` was answered, or was not reset.
    OnAnotherSession,
    /// The session is silent: one of a replica, or one whose reset is not answered.
    PastSilence,
    /// The cached statement no longer fits the tables that it names.
    PreparedAnew,
}

/// The attempts at one statement: one, and one more where that is safe and of use.
pub(super) struct Attempts {
    first_word: FirstWord,
    retried: Option<Retry>,
}

impl Attempts {
    pub(super) fn at(sql: &str) -> Result<Self, Error> {
        let first_word = session::first_word(sql);
        if first_word == FirstWord::Copy {
            return Err(Error::new(
                ErrorKind::Statement,
                "COPY cannot be run as a query: use copy_in or copy_out",
            ));
        }
        Ok(Self {
            first_word,
            retried: None,
        })
    }

    pub(super) async fn open(
        &self,
        transaction: &Transaction,
        reset: Reset,
    ) -> Result<Current, Error> {
        let current = transaction.open(reset).await?;
        match self.first_word {
            FirstWord::Prepared => {
                current.session.doubt();
                transaction.does_unknown(&current);
            }
            FirstWord::End => transaction.may_have_ended(&current),
            FirstWord::Write => transaction.writes(&current),
            FirstWord::Other => transaction.does_unknown(&current),
            FirstWord::Copy | FirstWord::Read => {}
        }
        Ok(current)
    }

    /// Whether nothing that was remembered of the statement is to be relied on.
    pub(super) fn anew(&self) -> bool {
        self.retried == Some(Retry::PreparedAnew)
    }

    pub(super) fn prepare_anew(&mut self) {
        self.retried = Some(Retry::PreparedAnew);
    }

    pub(super) fn once_more(
        &mut self,
        transaction: &Transaction,
        current: &Current,
        failure: Failure,
    ) -> Result<(), Error> {
        let failure = failure.on_pooled(current);
        match failure.retry {
            Some(retry) if self.retried.is_none() && transaction.start_again(current, retry) => {
                self.retried = Some(retry);
                Ok(())
            }
            _ => Err(failure.told_to(&transaction.scope)),
        }
    }
}

impl Failure {
    pub(super) fn told_to(self, scope: &RoleScope) -> Error {
        self.error.token_sent(scope.token_sent())
    }

    /// On a server connection of a pooler a statement that is gone, or was there before, is no fault of this one.
    fn on_pooled(mut self, current: &Current) -> Self {
        if current.session.is_pooled() && self.error.code().is_some_and(is_about_prepared) {
            self.retry = Some(Retry::OnAnotherSession);
        }
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, retry: None }
    }
}

impl From<BeginError> for Failure {
    fn from(failure: BeginError) -> Self {
        let retry = match failure.error.kind() {
            _ if !failure.begin_unanswered => None,
            _ if failure.is_silence() => Some(Retry::PastSilence),
            ErrorKind::ConnectionLost => Some(Retry::OnAnotherSession),
            _ => None,
        };
        Self {
            error: failure.error,
            retry,
        }
    }
}

/// Whether an error may come from what is remembered of a statement: its plan, or the types of its parameters.
pub(super) fn names_another_shape(error: &Error) -> bool {
    is_stale(error)
        || error.code().is_some_and(|code| {
            code.code().starts_with("42") && *code != SqlState::INSUFFICIENT_PRIVILEGE
        })
}

/// PostgreSQL's answers to a prepared statement that no longer fits, or no longer is.
pub(super) fn is_stale(error: &Error) -> bool {
    error
        .code()
        .is_some_and(|code| *code == SqlState::FEATURE_NOT_SUPPORTED || is_about_prepared(code))
}
