//! Statements sent with the types of their parameters, unnamed: as their caller says them, or as the pool remembers them.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio_postgres::types::{ToSql, Type};

use super::attempts::{Attempts, Failure, names_another_shape};
use super::gate::{Gate, Message, Running};
use super::hidden::Hidden;
use super::lease::Reset;
use super::statement::{Flow, behind};
use super::statements::ParameterTypes;
use super::transaction::{Current, Transaction};
use crate::error::{Error, ErrorKind};
use crate::role::RoleName;

impl Transaction {
    /// Runs one statement whose caller says the types of the parameters, and reads no rows. The driver asks for no types
    /// then, so that nothing need be known of it.
    pub(crate) async fn run_command(
        &self,
        sql: &str,
        typed: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<u64, Error> {
        let mut attempts = Attempts::at(sql)?;
        loop {
            let current = attempts.open(self, Reset::Sent).await?;
            match self.command(&current, sql, typed).await {
                Ok(affected) => return Ok(affected),
                Err(failure) => attempts.once_more(self, &current, failure)?,
            }
        }
    }

    async fn command(
        &self,
        current: &Current,
        sql: &str,
        typed: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<u64, Failure> {
        self.rested(current).await?;
        let hidden: Vec<_> = typed.iter().map(|(value, _)| Hidden(*value)).collect();
        let values: Vec<(&(dyn ToSql + Sync), Type)> = hidden
            .iter()
            .zip(typed)
            .map(|(value, (_, ty))| (value as _, ty.clone()))
            .collect();
        let mut running = Running::new(self, &current.session, Message::Statement);
        let command = pin!(current.session.client.execute_typed(sql, &values));
        let sent = self.send_gated(&mut running, command, Gate::FirstPoll);
        let (begun, affected) = behind(current, sent).await?;
        self.settle(&mut running, begun, affected?)
    }

    /// A statement whose caller says the types of the parameters: without preparing it, once its columns are known.
    pub(super) async fn attempt_typed(
        &self,
        current: &Current,
        sql: &str,
        typed: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Flow<'_>, Failure> {
        let role = self.scope.role();
        let known = self.pool.typed_statements();
        let types = typed.iter().map(|(_, ty)| ty);
        if known
            .get(role, sql)
            .is_some_and(|known| known.iter().eq(types.clone()))
        {
            let values = typed.iter().map(|(value, ty)| (Hidden(*value), ty.clone()));
            let guess = Guess::new(known, role, sql);
            let flow = self.send_unnamed(current, sql, values, &guess).await;
            return guess.judge(flow, self, current);
        }
        let values: Vec<&(dyn ToSql + Sync)> = typed.iter().map(|(value, _)| *value).collect();
        let types: Vec<Type> = types.cloned().collect();
        let statement = self.prepare(current, sql, &types).await?;
        let looked_up = !known.insert(role, sql, &statement);
        self.note_lookups(current, looked_up);
        self.execute(current, &statement, &values, Message::Execution)
            .await
    }
}

/// What is remembered of a statement, while it is relied on.
///
/// It can be wrong: tables change. Then the server says so; or it does not, and the driver asks for a type behind the
/// statement's rows, and waits for that answer while nobody reads the rows. In both cases the next one asks anew.
/// <https://github.com/rust-postgres/rust-postgres/issues/1348>
pub(super) struct Guess<'a> {
    known: &'a ParameterTypes,
    role: &'a RoleName,
    sql: &'a str,
    good: bool,
    given_up: AtomicBool,
}

impl<'a> Guess<'a> {
    pub(super) fn new(known: &'a ParameterTypes, role: &'a RoleName, sql: &'a str) -> Self {
        Self {
            known,
            role,
            sql,
            good: false,
            given_up: AtomicBool::new(false),
        }
    }

    /// Polls a statement that relies on it. Were the guess good, the driver would be done as soon as the answer begins:
    /// where it is not, it asks for types, and gets some time for that, but not for ever.
    pub(super) async fn watch<F: Future>(
        &self,
        statement: F,
        patience: Duration,
    ) -> Result<F::Output, Failure> {
        let answer = Arc::new(Answer::default());
        let waker = Waker::from(Arc::clone(&answer));
        let mut statement = pin!(statement);
        let mut patience_ends = None;
        poll_fn(|cx| {
            answer.task.register(cx.waker());
            // Before it is polled: an answer that begins behind that will have it polled again.
            let has_begun = answer.has_begun.load(Ordering::Acquire);
            let polled = statement.as_mut().poll(&mut Context::from_waker(&waker));
            if let Poll::Ready(output) = polled {
                return Poll::Ready(Ok(output));
            }
            if !has_begun {
                return Poll::Pending;
            }
            let patience_ends = patience_ends.get_or_insert_with(|| {
                self.known.remove(self.role, self.sql);
                Box::pin(tokio::time::sleep(patience))
            });
            ready!(patience_ends.as_mut().poll(cx));
            self.given_up.store(true, Ordering::Release);
            Poll::Ready(Err(types_changed().into()))
        })
        .await
    }

    /// Notes what the beginning of the answer says about it.
    pub(super) fn judge<'f>(
        mut self,
        flow: Result<Flow<'f>, Failure>,
        transaction: &Transaction,
        current: &Current,
    ) -> Result<Flow<'f>, Failure> {
        if *self.given_up.get_mut() {
            // Statements behind it would wait for its rows as well.
            transaction.give_up(&current.session, types_changed());
        }
        self.good = !matches!(&flow, Err(failure) if names_another_shape(&failure.error));
        flow
    }
}

impl Drop for Guess<'_> {
    fn drop(&mut self) {
        if !self.good {
            self.known.remove(self.role, self.sql);
        }
    }
}

/// Notes that the driver was woken, which it is by answers only, and wakes whoever waits for it.
#[derive(Default)]
struct Answer {
    has_begun: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Answer {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_begun.store(true, Ordering::Release);
        self.task.wake();
    }
}

fn types_changed() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the columns of a statement have other types than when it was sent before, and the driver could not learn them \
         in time: the next time it asks for them first",
    )
}
