//! Statements sent with the types of their parameters, unnamed: as their caller says them, or as the pool remembers them.

use std::future::Future;
use std::pin::pin;

use futures_util::future::{Either, select};
use tokio_postgres::types::{ToSql, Type};

use super::attempts::{Attempts, Failure, names_another_shape};
use super::gate::{Gate, Message, Running};
use super::hidden::Hidden;
use super::lease::Reset;
use super::statement::{Flow, behind};
use super::statements::ParameterTypes;
use super::transaction::{Current, Transaction};
use crate::error::Error;
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
            let flow = self.send_unnamed(current, sql, values);
            return Guess::new(known, role, sql).hold_for(flow, self).await;
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
/// It can be wrong: tables change. Then the server says so; or it does not, and the driver waits for ever for a type that
/// it asks for behind the statement's rows, until somebody gives up. In both cases the next one asks anew, also while the
/// first one still waits.
pub(super) struct Guess<'a> {
    known: &'a ParameterTypes,
    role: &'a RoleName,
    sql: &'a str,
    good: bool,
}

impl<'a> Guess<'a> {
    pub(super) fn new(known: &'a ParameterTypes, role: &'a RoleName, sql: &'a str) -> Self {
        Self {
            known,
            role,
            sql,
            good: false,
        }
    }

    /// Waits for the answer to a statement that relies on it to begin.
    pub(super) async fn hold_for<'f>(
        mut self,
        flow: impl Future<Output = Result<Flow<'f>, Failure>>,
        transaction: &Transaction,
    ) -> Result<Flow<'f>, Failure> {
        let mut flow = pin!(flow);
        let patience = tokio::time::sleep(transaction.pool.options().begin_timeout);
        let flow = match select(flow.as_mut(), pin!(patience)).await {
            Either::Left((flow, _)) => flow,
            Either::Right(_) => {
                self.known.remove(self.role, self.sql);
                flow.await
            }
        };
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
