//! [`RoleScopedPool`] and its builder.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bb8_postgres::bb8;
use bb8_postgres::tokio_postgres::{Config, NoTls};

use super::connect::Connector;
use super::lease::{Lease, Leases};
use super::manager::{Manager, Shared};
use super::role_settings::RoleSettings;
use super::setup::{self, SetupError, SetupProblemKind};
use super::statements::ParameterTypes;
use super::switch::{self, AppSettings};
use super::transaction::Transaction;
use crate::error::Error;
use crate::role::{RoleName, RoleScope};
use crate::scope::RoleScopedConnection;

/// Lends transactions that run as a decided role, over connections that log in as the authenticator.
///
/// It is bb8 with a fair queue before it: cheap to clone, and every clone is the same pool. Sessions rest in the
/// *resting role*, by default the anonymous one, so that whatever ends a transaction by accident falls to the role with
/// the fewest rights. At every release a session is reset completely.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use rolescope::RoleScopedPool;
///
/// let pool = RoleScopedPool::builder("postgres://authenticator@localhost/app")?
///     .anonymous_role("anon")
///     .max_size(20)
///     .build()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RoleScopedPool(Arc<Inner>);

struct Inner {
    leases: Leases,
    options: Options,
    login: Option<Box<str>>,
    anonymous_role: Option<RoleName>,
    parameter_types: ParameterTypes,
    role_settings: Option<Arc<RoleSettings>>,
}

/// What every transaction of a pool is made with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) begin_timeout: Duration,
    pub(crate) reset_timeout: Duration,
    pub(crate) claim_settings: bool,
    pub(crate) app_settings: AppSettings,
}

/// Configures a [`RoleScopedPool`]. See [`RoleScopedPool::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct RoleScopedPoolBuilder {
    config: Config,
    anonymous_role: Option<String>,
    resting_role: Option<String>,
    max_size: u32,
    max_lifetime: Option<Duration>,
    idle_timeout: Option<Duration>,
    acquire_timeout: Duration,
    connect_timeout: Duration,
    statement_timeout: Option<Duration>,
    idle_in_transaction_timeout: Option<Duration>,
    statement_cache: usize,
    role_settings: bool,
    accepted: Vec<SetupProblemKind>,
    options: Options,
}

/// The state of a [`RoleScopedPool`], for metrics and health endpoints.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PoolStatus {
    /// How many connections there may be.
    pub max_size: u32,
    /// How many connections there are.
    pub connections: u32,
    /// How many of them wait for a request.
    pub idle_connections: u32,
    /// How many requests hold or are about to hold a connection.
    pub in_use: u32,
    /// How many connections have been made since the pool was built.
    pub connections_created: u64,
    /// How many connections have been closed since they were dead or in doubt.
    pub connections_discarded: u64,
}

// === impl RoleScopedPool ===

impl RoleScopedPool {
    /// Starts to configure a pool that connects to `url` as the authenticator.
    ///
    /// The URL is libpq's, or a `key=value` string:
    /// <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING>.
    ///
    /// # Errors
    ///
    /// [`SetupError`] where the URL cannot be read.
    pub fn builder(url: &str) -> Result<RoleScopedPoolBuilder, SetupError> {
        let config = Config::from_str(url).map_err(SetupError::invalid_url)?;
        Ok(RoleScopedPoolBuilder {
            config,
            anonymous_role: None,
            resting_role: None,
            max_size: 10,
            max_lifetime: Some(Duration::from_secs(30 * 60)),
            idle_timeout: Some(Duration::from_secs(10 * 60)),
            acquire_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            statement_timeout: None,
            idle_in_transaction_timeout: Some(Duration::from_secs(60)),
            statement_cache: 256,
            role_settings: false,
            accepted: Vec::new(),
            options: Options {
                begin_timeout: Duration::from_secs(5),
                reset_timeout: Duration::from_secs(1),
                ..Options::default()
            },
        })
    }

    /// Makes a connection that runs as `scope`, outside of any HTTP request: for jobs and tests.
    ///
    /// It is lazy, as in a handler: the first statement takes a connection and begins the transaction, `READ WRITE`
    /// unless [`read_only`](RoleScopedConnection::read_only) was said. Nothing is stored without
    /// [`commit`](RoleScopedConnection::commit); when the last clone is dropped, the transaction is rolled back.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(pool: rolescope::RoleScopedPool) -> Result<(), Box<dyn std::error::Error>> {
    /// use rolescope::role::{RoleName, RoleScope};
    ///
    /// let db = pool.begin(&RoleScope::for_role(RoleName::parse("reporter")?));
    /// db.execute("REFRESH MATERIALIZED VIEW daily", &[]).await?;
    /// db.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn begin(&self, scope: &RoleScope) -> RoleScopedConnection {
        RoleScopedConnection::new(Arc::new(Transaction::new(
            self.clone(),
            scope.clone(),
            switch::RequestSettings::default(),
            super::mode::AccessMode::ReadWrite,
        )))
    }

    /// Refuses new transactions from now on, waits until those that run have ended, and closes all connections.
    ///
    /// Statements of requests that come later fail with [`PoolClosed`](crate::ErrorKind::PoolClosed), 503.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the waiting. The pool stays closed to new transactions; call it again to wait on.
    pub async fn close(&self) {
        self.0.leases.close().await;
    }

    /// Returns the state of the pool.
    pub fn status(&self) -> PoolStatus {
        let state = self.0.leases.bb8_state();
        let max_size = self.0.leases.max_size();
        PoolStatus {
            max_size,
            connections: state.connections,
            idle_connections: state.idle_connections,
            in_use: max_size.saturating_sub(self.0.leases.free_permits()),
            connections_created: state.statistics.connections_created,
            connections_discarded: state.statistics.connections_closed_broken,
        }
    }

    /// Returns the role of requests that name none.
    pub fn anonymous_role(&self) -> Option<&RoleName> {
        self.0.anonymous_role.as_ref()
    }

    /// The role that the pool logs in as: as the server says, and before the first connection as the URL says.
    pub(crate) fn login(&self) -> Option<&str> {
        self.shared().login().or(self.0.login.as_deref())
    }

    pub(crate) async fn acquire(&self) -> Result<Lease, Error> {
        if let Some(role_settings) = &self.0.role_settings {
            role_settings.keep_fresh().await?;
        }
        self.0.leases.acquire().await
    }

    pub(crate) fn options(&self) -> &Options {
        &self.0.options
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.leases.shared
    }

    pub(crate) fn parameter_types(&self) -> &ParameterTypes {
        &self.0.parameter_types
    }

    pub(crate) fn role_settings(&self) -> Option<&RoleSettings> {
        self.0.role_settings.as_deref()
    }
}

impl fmt::Debug for RoleScopedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleScopedPool")
            .field("anonymous_role", &self.0.anonymous_role)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

// === impl RoleScopedPoolBuilder ===

impl RoleScopedPoolBuilder {
    /// Sets the role of requests that name none: those without a token, and those whose token has no role claim.
    ///
    /// Defaults to none: such requests are refused when a handler asks for a connection.
    pub fn anonymous_role(mut self, role: impl Into<String>) -> Self {
        self.anonymous_role = Some(role.into());
        self
    }

    /// Sets the role that sessions fall to when a transaction ends, however it ends.
    ///
    /// Defaults to the anonymous role. The pool sends it as the startup option `role`.
    pub fn resting_role(mut self, role: impl Into<String>) -> Self {
        self.resting_role = Some(role.into());
        self
    }

    /// Sets how many connections there may be. Defaults to 10; 0 counts as 1.
    pub fn max_size(mut self, connections: u32) -> Self {
        self.max_size = connections.max(1);
        self
    }

    /// Sets the age at which a connection is replaced. Defaults to 30 minutes; `None` keeps it for ever.
    pub fn max_lifetime(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.max_lifetime = age.into().filter(|age| !age.is_zero());
        self
    }

    /// Sets how long a connection may be idle before it is closed. Defaults to 10 minutes; `None` keeps it for ever.
    pub fn idle_timeout(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = idle.into().filter(|idle| !idle.is_zero());
        self
    }

    /// Sets how long a first statement waits for a connection. Defaults to 5 s.
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// Sets how long an attempt to connect may take, with its handshake. Defaults to 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long `BEGIN` and the switch may take to be answered. Defaults to 5 s.
    pub fn begin_timeout(mut self, timeout: Duration) -> Self {
        self.options.begin_timeout = timeout;
        self
    }

    /// Sets how long the answer to a session's last reset is waited for before the session is closed. Defaults to 1 s.
    pub fn reset_timeout(mut self, timeout: Duration) -> Self {
        self.options.reset_timeout = timeout;
        self
    }

    /// Sets PostgreSQL's `statement_timeout` for all sessions. Defaults to none: the server's own setting.
    pub fn statement_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.statement_timeout = timeout.into();
        self
    }

    /// Sets PostgreSQL's `idle_in_transaction_session_timeout` for all sessions. Defaults to 60 s; `None` leaves the
    /// server's own setting.
    pub fn idle_in_transaction_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_in_transaction_timeout = timeout.into();
        self
    }

    /// Sets how many prepared statements each connection keeps, over all roles. Defaults to 256; 0 keeps none.
    pub fn statement_cache(mut self, statements: usize) -> Self {
        self.statement_cache = statements;
        self
    }

    /// Also sets `request.jwt.claim.NAME` for each top-level claim, as PostgREST up to 11 did. Defaults to false.
    ///
    /// A string is set as its text, everything else as JSON. Names that PostgreSQL does not take as part of a setting's
    /// name (`https://x/role`) and names that differ only in case are left out: read those from `request.jwt.claims`.
    pub fn claim_settings(mut self, yes: bool) -> Self {
        self.options.claim_settings = yes;
        self
    }

    /// Also applies what `ALTER ROLE .. SET` says of a request's role, before the switch. Defaults to false.
    ///
    /// Only settings that any user may change count, and those that were granted to the authenticator (`GRANT SET ON
    /// PARAMETER`); never `role`, `session_authorization`, `client_encoding`, `transaction_*` or custom ones.
    /// `default_transaction_isolation` becomes the isolation level of the request's transaction. They are read when the
    /// pool is built and every 60 s.
    pub fn role_settings(mut self, yes: bool) -> Self {
        self.role_settings = yes;
        self
    }

    /// Also sets a setting of your own in every transaction, `app.tenant_schema` for example.
    ///
    /// The name needs at least two parts with a dot between. Handlers' SQL reads it by `current_setting`; every role can.
    pub fn app_setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.app_settings.push(name.into(), value.into());
        self
    }

    /// Accepts a set-up that [`build`](Self::build) otherwise refuses as dangerous. Say it once for each kind.
    pub fn accept_setup_problem(mut self, kind: SetupProblemKind) -> Self {
        self.accepted.push(kind);
        self
    }

    /// Connects, checks the set-up of the authenticator and builds the pool.
    ///
    /// # Errors
    ///
    /// [`SetupError`] where an option is unusable, where the database cannot be reached, and where the set-up is not
    /// safe: it names each problem and its cure.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future builds nothing.
    pub async fn build(self) -> Result<RoleScopedPool, SetupError> {
        let accepted = self.accepted.clone();
        let anonymous_role = self.anonymous_role.clone();
        let resting_role = self.resting_role.clone();
        let timeout = self.connect_timeout;
        let pool = self.build_lazy()?;
        setup::check(
            &*pool.shared().connector,
            timeout,
            anonymous_role.as_deref(),
            resting_role.as_deref(),
            &accepted,
        )
        .await?;
        if let Some(role_settings) = &pool.0.role_settings {
            role_settings
                .load()
                .await
                .map_err(SetupError::unreachable)?;
        }
        // Connects as requests will, so that what is wrong with the startup options shows now.
        pool.0
            .leases
            .acquire()
            .await
            .map_err(SetupError::from_pool)?;
        Ok(pool)
    }

    /// Builds the pool without connecting: for a database that is not up yet. The set-up is not checked.
    ///
    /// # Errors
    ///
    /// [`SetupError`] where an option is unusable or where no tokio runtime is at hand.
    pub fn build_lazy(self) -> Result<RoleScopedPool, SetupError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(SetupError::no_runtime());
        }
        let anonymous_role = self
            .anonymous_role
            .as_deref()
            .map(|role| {
                RoleName::parse(role).map_err(|error| SetupError::invalid_role(role, error))
            })
            .transpose()?;
        let resting_role = match self.resting_role.as_deref() {
            Some(role) => {
                Some(RoleName::parse(role).map_err(|error| SetupError::invalid_role(role, error))?)
            }
            None => anonymous_role.clone(),
        };
        self.options.app_settings.check()?;

        let mut requests = self.config.clone();
        requests.options(switch::startup_options(
            self.config.get_options(),
            resting_role.as_ref(),
            self.statement_timeout,
            self.idle_in_transaction_timeout,
        ));
        if requests.get_application_name().is_none() {
            requests.application_name("rolescope");
        }
        let connector: Box<dyn super::connect::Connect> =
            Box::new(Connector::new(requests, self.config.clone(), NoTls));
        let shared = Arc::new(Shared::new(
            connector,
            self.connect_timeout,
            resting_role.map(|role| role.as_str().to_owned()),
            self.statement_cache,
        ));
        let bb8 = bb8::Pool::builder()
            .max_size(self.max_size)
            .max_lifetime(self.max_lifetime)
            .idle_timeout(self.idle_timeout)
            .connection_timeout(self.acquire_timeout.max(Duration::from_millis(1)))
            .test_on_check_out(false)
            .retry_connection(false)
            .build_unchecked(Manager(Arc::clone(&shared)));
        let role_settings = self
            .role_settings
            .then(|| Arc::new(RoleSettings::new(Arc::clone(&shared))));
        Ok(RoleScopedPool(Arc::new(Inner {
            login: self.config.get_user().map(Into::into),
            leases: Leases::new(
                shared,
                bb8,
                self.max_size,
                self.acquire_timeout,
                self.options.reset_timeout,
            ),
            parameter_types: ParameterTypes::new(self.statement_cache.saturating_mul(4)),
            options: self.options,
            anonymous_role,
            role_settings,
        })))
    }
}
