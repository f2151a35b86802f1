//! What `ALTER ROLE .. SET` says of the roles that requests run as.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio_postgres::Error as PgError;

use super::manager::Shared;
use super::mode::Isolation;
use crate::error::{Error, ErrorKind};
use crate::role::RoleName;

const MAX_AGE: Duration = Duration::from_secs(60);

/// How long after a failure they are tried again.
const RETRY: Duration = Duration::from_secs(5);

/// The stored settings of all roles that the authenticator can become, of the whole cluster first and then of this
/// database. On PostgreSQL 14 there is no privilege on parameters to ask for.
const STORED_SETTINGS: &str = "\
    SELECT r.rolname::pg_catalog.text, c.setting, s.setdatabase <> 0 \
    FROM pg_catalog.pg_db_role_setting s \
    JOIN pg_catalog.pg_roles r ON r.oid = s.setrole \
    CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) WITH ORDINALITY AS c (setting, place) \
    WHERE s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())) \
    AND pg_catalog.pg_has_role(session_user, r.oid, 'member') \
    ORDER BY s.setdatabase <> 0, c.place";

const USER_SETTINGS: &str = "\
    SELECT name FROM pg_catalog.pg_settings WHERE context = 'user'";

const GRANTED_SETTINGS: &str = "\
    SELECT name FROM pg_catalog.pg_settings \
    WHERE context = 'user' OR (context = 'superuser' AND pg_catalog.has_parameter_privilege(session_user, name, 'set'))";

/// Settings by role, read again every minute while the pool is used.
pub(crate) struct RoleSettings {
    shared: Arc<Shared>,
    known: RwLock<Option<Known>>,
    /// Whoever holds it is reading.
    reading: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Clone)]
struct Known {
    by_role: Arc<HashMap<String, Stored>>,
    good_until: Instant,
}

/// What is applied for one role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) isolation: Option<Isolation>,
    pub(crate) settings: Arc<Vec<(String, String)>>,
}

impl RoleSettings {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            known: RwLock::default(),
            reading: Arc::default(),
        }
    }

    pub(crate) fn of(&self, role: &RoleName) -> Option<Stored> {
        self.known()?.by_role.get(role.as_str()).cloned()
    }

    fn known(&self) -> Option<Known> {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn know(&self, by_role: Arc<HashMap<String, Stored>>, good_for: Duration) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Known {
            by_role,
            good_until: Instant::now() + good_for,
        });
    }

    /// Reads them anew on a connection of its own.
    pub(crate) async fn load(&self) -> Result<(), Error> {
        let reading = async {
            let client = self.shared.connector.connect_plain().await?;
            let version: String = client
                .query_typed("SHOW server_version_num", &[])
                .await?
                .first()
                .map_or_else(|| Ok(String::new()), |row| row.try_get(0))?;
            let allowed = if version
                .parse::<u32>()
                .is_ok_and(|version| version >= 150_000)
            {
                GRANTED_SETTINGS
            } else {
                USER_SETTINGS
            };
            let allowed = client.query_typed(allowed, &[]).await?;
            let stored = client.query_typed(STORED_SETTINGS, &[]).await?;
            let allowed = allowed
                .iter()
                .map(|row| row.try_get::<_, String>(0))
                .collect::<Result<Vec<_>, _>>()?;
            let stored = stored
                .iter()
                .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
                .collect::<Result<Vec<(String, String)>, PgError>>()?;
            Ok(collect(&allowed, stored))
        };
        let by_role = tokio::time::timeout(self.shared.connect_timeout, reading)
            .await
            .map_err(|elapsed| {
                Error::with_source(
                    ErrorKind::Unavailable,
                    "the settings of the roles could not be read in time",
                    elapsed,
                )
            })?
            // Whatever it is, it is not what this request asked for: nothing of it is for the client.
            .map_err(|error: PgError| {
                Error::with_source(
                    ErrorKind::Unavailable,
                    "the settings of the roles could not be read",
                    error,
                )
            })?;
        self.know(Arc::new(by_role), MAX_AGE);
        Ok(())
    }

    /// Reads them for a request, unless attempts to connect have just failed.
    async fn load_first(&self) -> Result<(), Error> {
        let connecting = &self.shared.connecting;
        if let Some(error) = connecting.held_back() {
            return Err(error);
        }
        let began = Instant::now();
        let loaded = self.load().await;
        match &loaded {
            Ok(()) => connecting.succeeded(),
            Err(error) => connecting.failed(began, error),
        }
        loaded
    }

    /// Has them read again in the background where they are a minute old. Only the first time is waited for.
    pub(crate) async fn keep_fresh(self: &Arc<Self>) -> Result<(), Error> {
        let Some(known) = self.known() else {
            let _turn = self.reading.lock().await;
            return match self.known() {
                Some(_) => Ok(()),
                None => self.load_first().await,
            };
        };
        if Instant::now() < known.good_until {
            return Ok(());
        }
        let Ok(turn) = Arc::clone(&self.reading).try_lock_owned() else {
            return Ok(());
        };
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let _turn = turn;
            if let Err(error) = this.load().await {
                this.know(known.by_role, RETRY);
                tracing::warn!(
                    "the settings of the roles could not be read, the last ones stay: {}",
                    crate::error::chain(&error)
                );
            }
        });
        Ok(())
    }
}

/// Keeps of all stored settings what may be replayed; later ones replace earlier ones.
fn collect(allowed: &[String], stored: Vec<(String, String)>) -> HashMap<String, Stored> {
    let mut by_role: HashMap<String, Stored> = HashMap::new();
    for (role, setting) in stored {
        let Some((name, value)) = setting.split_once('=') else {
            continue;
        };
        let entry = by_role.entry(role).or_default();
        if name.eq_ignore_ascii_case("default_transaction_isolation") {
            entry.isolation = Isolation::from_setting(value);
            continue;
        }
        if is_never_replayed(name) || !allowed.iter().any(|known| known.eq_ignore_ascii_case(name))
        {
            continue;
        }
        let settings = Arc::make_mut(&mut entry.settings);
        settings.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        settings.push((name.to_owned(), value.to_owned()));
    }
    by_role
}

/// Settings that would undo the switch or confuse the driver.
fn is_never_replayed(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains('.')
        || name.starts_with("transaction_")
        || matches!(
            name.as_str(),
            "role" | "session_authorization" | "client_encoding"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_settings_are_replayed_and_the_database_wins() {
        let allowed = ["statement_timeout", "role", "search_path", "TimeZone"].map(str::to_owned);
        let by_role = collect(
            &allowed,
            [
                "role=other",
                "session_authorization=postgres",
                "statement_timeout=1s",
                "app.x=1",
                "log_statement=none",
                "transaction_read_only=off",
                "client_encoding=latin1",
                "timezone=UTC",
                "default_transaction_isolation=repeatable read",
                "statement_timeout=2s",
            ]
            .map(|setting| ("r".to_owned(), setting.to_owned()))
            .into(),
        );
        assert_eq!(
            by_role["r"],
            Stored {
                isolation: Some(Isolation::RepeatableRead),
                settings: Arc::new(vec![
                    ("timezone".into(), "UTC".into()),
                    ("statement_timeout".into(), "2s".into()),
                ]),
            }
        );
    }
}
