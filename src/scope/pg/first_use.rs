//! A statement that a session does not know yet: prepared, or sent unnamed.

use std::pin::pin;

use futures_util::future::try_join;
use tokio_postgres::Statement;
use tokio_postgres::types::{ToSql, Type};

use super::attempts::Failure;
use super::gate::{Gate, Message, Running};
use super::hidden::Hidden;
use super::pooler;
use super::statement::{Flow, behind};
use super::transaction::{Current, Transaction};
use super::typed::Guess;

impl Transaction {
    /// Sends a statement that the session has not prepared yet.
    pub(super) async fn first_use(
        &self,
        current: &Current,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
        anew: bool,
    ) -> Result<Flow<'_>, Failure> {
        let known = self.pool.parameter_types();
        let role = self.scope.role();
        if !anew
            && let Some(types) = known.get(role, sql)
            && types.len() == values.len()
        {
            let guess = Guess::new(known, role, sql);
            let flow = if current.session.is_pooled() {
                let values = values.iter().map(|value| Hidden(*value));
                let typed = values.zip(types.iter().cloned());
                self.send_unnamed(current, sql, typed, &guess).await
            } else {
                self.prepare_and_execute(current, sql, values, &types, &guess)
                    .await
            };
            return guess.judge(flow, self, current);
        }
        let statement = self.prepare(current, sql, &[]).await?;
        self.keep(current, sql, &statement);
        self.execute(current, &statement, values, Message::Execution)
            .await
    }

    pub(super) async fn prepare(
        &self,
        current: &Current,
        sql: &str,
        types: &[Type],
    ) -> Result<Statement, Failure> {
        let mut running = Running::new(self, &current.session, Message::Preparation);
        let prepare = pin!(current.session.client.prepare_typed(sql, types));
        let sent = self.send_gated(&mut running, prepare, Gate::EveryPoll);
        let (begun, prepared) = behind(current, sent).await?;
        self.settle(&mut running, begun, prepared?)
    }

    /// Sends a statement that leaves no name behind.
    pub(super) async fn send_unnamed<'v>(
        &self,
        current: &Current,
        sql: &str,
        values: impl Iterator<Item = (Hidden<'v>, Type)>,
        guess: &Guess<'_>,
    ) -> Result<Flow<'_>, Failure> {
        let statement = current.session.client.query_typed_raw(sql, values);
        let statement = pin!(guess.watch(statement, self.pool.options().begin_timeout));
        let mut running = Running::new(self, &current.session, Message::Statement);
        let sent = self.send_gated(&mut running, statement, Gate::EveryPoll);
        let (begun, rows) = behind(current, sent).await?;
        self.begin_flow(running, begun, rows??)
    }

    /// Another session has told the parameters' types: sends the statement with them, and prepares it for the next time.
    async fn prepare_and_execute(
        &self,
        current: &Current,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
        types: &[Type],
        guess: &Guess<'_>,
    ) -> Result<Flow<'_>, Failure> {
        let client = &current.session.client;
        let typed = values
            .iter()
            .zip(types)
            .map(|(value, ty)| (Hidden(*value), ty.clone()));
        let mut preparing = Running::new(self, &current.session, Message::Preparation);
        let mut running = Running::new(self, &current.session, Message::Execution);
        let prepare = pin!(client.prepare(sql));
        let execute = client.query_typed_raw(sql, typed);
        let execute = pin!(guess.watch(execute, self.pool.options().begin_timeout));
        let sent = try_join(
            self.send_gated(&mut preparing, prepare, Gate::EveryPoll),
            async {
                self.send_gated(&mut running, execute, Gate::EveryPoll)
                    .await?
            },
        );
        let (begun, sent) = behind(current, sent).await?;
        let (prepared, rows) = sent?;
        // In the order in which they were sent: the second fails if the first did.
        let statement = self.settle(&mut preparing, begun.clone(), prepared);
        let flow = self.begin_flow(running, begun, rows);
        self.keep(current, sql, &statement?);
        flow
    }

    pub(super) fn keep(&self, current: &Current, sql: &str, statement: &Statement) {
        let role = self.scope.role();
        let looked_up = pooler::were_looked_up(statement.columns())
            || statement.params().iter().any(pooler::is_looked_up);
        if self.note_lookups(current, looked_up) {
            return;
        }
        current
            .session
            .statements
            .insert(role, sql, statement.clone());
        self.pool.parameter_types().insert(role, sql, statement);
    }

    /// Has a pooled session closed after its transaction where the driver had to ask for types: it keeps the names of its
    /// statements for that, which the next server connection does not have.
    pub(super) fn note_lookups(&self, current: &Current, looked_up: bool) -> bool {
        let noted = looked_up && current.session.is_pooled();
        if noted {
            current.session.doubt();
            self.pool.shared().warn_of_lookups();
        }
        noted
    }

    pub(super) fn forget(&self, current: &Current, sql: &str) {
        let role = self.scope.role();
        current.session.statements.remove(role, sql);
        self.pool.parameter_types().remove(role, sql);
    }
}
