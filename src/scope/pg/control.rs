//! The statements around a handler's: prepared once for a session, or behind a pooler sent unnamed each time.

use futures_util::future::try_join4;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error as PgError, Statement};

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
    CheckAndUnlock,
}

impl Control {
    const fn sql(self) -> &'static str {
        match self {
            Self::Start => session::START,
            Self::Settings => session::SETTINGS,
            Self::Switch => session::SWITCH,
            Self::Check => session::CHECK,
            Self::CheckAndUnlock => session::CHECK_AND_UNLOCK,
        }
    }

    /// All parameters of one statement have one type.
    const fn parameter_type(self) -> Type {
        match self {
            Self::Settings => Type::TEXT_ARRAY,
            Self::Start | Self::Switch | Self::Check | Self::CheckAndUnlock => Type::TEXT,
        }
    }
}

/// How they are sent on a session.
pub(crate) enum Controls {
    Prepared {
        settings: Statement,
        switch: Statement,
        check: Statement,
        check_and_unlock: Statement,
    },
    Unnamed,
}

impl Controls {
    /// Prepares them.
    pub(crate) async fn prepare(client: &Client) -> Result<Self, PgError> {
        let (settings, switch, check, check_and_unlock) = try_join4(
            client.prepare(session::SETTINGS),
            client.prepare(session::SWITCH),
            client.prepare(session::CHECK),
            client.prepare(session::CHECK_AND_UNLOCK),
        )
        .await?;
        Ok(Self::Prepared {
            settings,
            switch,
            check,
            check_and_unlock,
        })
    }

    /// Sends one of them at the first poll, its values hidden from the driver's log.
    pub(crate) async fn run<const N: usize>(
        &self,
        client: &Client,
        control: Control,
        values: [&(dyn ToSql + Sync); N],
    ) -> Result<(), PgError> {
        let values = values.map(Hidden);
        let statement = match (self, control) {
            (Self::Unnamed, _) | (_, Control::Start) => {
                let typed = values
                    .each_ref()
                    .map(|value| (value as &(dyn ToSql + Sync), control.parameter_type()));
                return client.query_typed(control.sql(), &typed).await.map(|_| ());
            }
            (Self::Prepared { settings, .. }, Control::Settings) => settings,
            (Self::Prepared { switch, .. }, Control::Switch) => switch,
            (Self::Prepared { check, .. }, Control::Check) => check,
            (
                Self::Prepared {
                    check_and_unlock, ..
                },
                Control::CheckAndUnlock,
            ) => check_and_unlock,
        };
        let values = values.each_ref().map(|value| value as &(dyn ToSql + Sync));
        client.query(statement, &values).await.map(|_| ())
    }
}
