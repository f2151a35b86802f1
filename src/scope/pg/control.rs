//! The statements around a handler's: prepared once for a session, or behind a pooler sent unnamed each time.

use futures_util::future::try_join4;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error as PgError, Row, Statement};

use super::hidden::Hidden;
use super::session;

/// One of the statements.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Control {
    /// Only where no startup options are sent.
    Start,
    Settings,
    Switch,
    Check,
}

impl Control {
    const fn sql(self) -> &'static str {
        match self {
            Self::Start => session::START,
            Self::Settings => session::SETTINGS,
            Self::Switch => session::SWITCH,
            Self::Check => session::CHECK,
        }
    }

    const fn parameter_types(self) -> &'static [Type] {
        const START: &[Type] = &[Type::TEXT, Type::TEXT, Type::TEXT];
        const SETTINGS: &[Type] = &[Type::TEXT_ARRAY, Type::TEXT_ARRAY];
        const SWITCH: &[Type] = &[Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT];
        const CHECK: &[Type] = &[Type::TIMESTAMPTZ, Type::TEXT, Type::TEXT];
        match self {
            Self::Start => START,
            Self::Settings => SETTINGS,
            Self::Switch => SWITCH,
            Self::Check => CHECK,
        }
    }
}

/// How they are sent on a session.
pub(crate) enum Controls {
    Prepared {
        settings: Statement,
        switch: Statement,
        check: Statement,
    },
    Unnamed,
}

impl Controls {
    /// Prepares them.
    pub(crate) async fn prepare(client: &Client) -> Result<Self, PgError> {
        let (settings, switch, check, ()) = try_join4(
            client.prepare(session::SETTINGS),
            client.prepare(session::SWITCH),
            client.prepare(session::CHECK),
            client.batch_execute(session::PREPARE_END_OF_READ),
        )
        .await?;
        Ok(Self::Prepared {
            settings,
            switch,
            check,
        })
    }

    /// Sends one of them at the first poll, its values hidden from the driver's log.
    pub(crate) async fn run<const N: usize>(
        &self,
        client: &Client,
        control: Control,
        values: [&(dyn ToSql + Sync); N],
    ) -> Result<Vec<Row>, PgError> {
        let values = values.map(Hidden);
        let statement = match (self, control) {
            (Self::Unnamed, _) | (_, Control::Start) => {
                let types = control.parameter_types().iter().cloned();
                let values = values.iter().map(|value| value as &(dyn ToSql + Sync));
                let typed: Vec<_> = values.zip(types).collect();
                return client.query_typed(control.sql(), &typed).await;
            }
            (Self::Prepared { settings, .. }, Control::Settings) => settings,
            (Self::Prepared { switch, .. }, Control::Switch) => switch,
            (Self::Prepared { check, .. }, Control::Check) => check,
        };
        let values = values.each_ref().map(|value| value as &(dyn ToSql + Sync));
        client.query(statement, &values).await
    }
}
