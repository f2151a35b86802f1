//! [`RoleScopedPoolBuilder`]: every option of a pool, with its default.

use std::sync::Arc;
use std::time::Duration;

use bb8_postgres::bb8;

use super::lease::Leases;
use super::manager::{Server, Shared};
use super::pool::{Options, Pool, RoleScopedPool};
use super::pooler::Pooler;
use super::recent_writes::RecentWrites;
use super::replica::Replica;
use super::role_settings::RoleSettings;
use super::setup::{Expected, SetupProblemKind};
use super::setup_error::{SetupError, place_of};
use super::statements::ParameterTypes;
use super::switch;
use super::target::Target;
use crate::role::RoleName;

/// What sessions are called where the URL does not say.
const APPLICATION_NAME: &str = "rolescope";

/// Configures a [`RoleScopedPool`]. [The module](crate::scope#options) lists all options with their defaults.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct RoleScopedPoolBuilder {
    target: Target,
    replica: Option<Target>,
    replica_max_size: Option<u32>,
    primary_after_write: Duration,
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
    pooler: Option<Pooler>,
    accepted: Vec<SetupProblemKind>,
    check_tables: bool,
    options: Options,
}

impl RoleScopedPoolBuilder {
    pub(super) fn new(url: &str) -> Result<Self, SetupError> {
        Ok(Self {
            target: Target::from_url(url)?,
            replica: None,
            replica_max_size: None,
            primary_after_write: Duration::ZERO,
            anonymous_role: None,
            resting_role: None,
            max_size: 10,
            max_lifetime: Some(Duration::from_secs(30 * 60)),
            idle_timeout: Some(Duration::from_secs(10 * 60)),
            acquire_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            statement_timeout: None,
            idle_in_transaction_timeout: Some(Duration::from_secs(60)),
            statement_cache: 1024,
            role_settings: false,
            pooler: None,
            accepted: Vec::new(),
            check_tables: false,
            options: Options {
                begin_timeout: Duration::from_secs(5),
                reset_timeout: Duration::from_secs(1),
                ..Options::default()
            },
        })
    }

    /// Sets the role of requests that name none: those without a token, and those whose token has no role claim.
    ///
    /// Defaults to none: such requests are refused when a handler asks for a connection.
    pub fn anonymous_role(mut self, role: impl Into<String>) -> Self {
        self.anonymous_role = Some(role.into());
        self
    }

    /// Sets the role that sessions fall to when a transaction ends, however it ends.
    ///
    /// Defaults to the anonymous role. The pool sends it as the startup option `role`; behind a
    /// [pooler](Self::pooler), `ALTER ROLE .. SET role` of the login role says it.
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

    /// Sets how long ROLLBACK may take, and a session's reset before another one serves. Defaults to 1 s.
    pub fn reset_timeout(mut self, timeout: Duration) -> Self {
        self.options.reset_timeout = timeout;
        self
    }

    /// Sets PostgreSQL's `statement_timeout` for all sessions. Defaults to none: the server's own setting.
    pub fn statement_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.statement_timeout = timeout.into();
        self
    }

    /// Sets PostgreSQL's `idle_in_transaction_session_timeout` for all sessions. Defaults to 60 s; `None`: the server's.
    pub fn idle_in_transaction_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_in_transaction_timeout = timeout.into();
        self
    }

    /// Sets how many prepared statements each connection keeps, one for each role and text. Defaults to 1024; 0 keeps none.
    /// PostgreSQL needs about 20 KiB of the session's memory for a simple one. One that is not kept takes twice the time.
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

    /// Says that a connection pooler stands between this pool and PostgreSQL, and how it works. Defaults to none.
    ///
    /// Without it a pool that finds PgBouncer at its URL cannot be built. See [`Pooler`] for what it changes.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use rolescope::RoleScopedPool;
    /// use rolescope::scope::Pooler;
    ///
    /// let pool = RoleScopedPool::builder("postgres://authenticator@localhost:6432/app")?
    ///     .anonymous_role("anon")
    ///     .pooler(Pooler::Transaction)
    ///     .build()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn pooler(mut self, pooler: impl Into<Option<Pooler>>) -> Self {
        self.pooler = pooler.into();
        self
    }

    /// Has transactions that are `READ ONLY` served by a replica: a streaming standby of the database, say.
    ///
    /// All others stay on the primary, as do `SERIALIZABLE` ones and those that ask for it
    /// ([`on_primary`](crate::RoleScopedConnection::on_primary)). The replica's connections are a pool of their own, with
    /// the same options. Where the replica is away the primary serves, and the replica is looked for in the background
    /// once a second; [the module](crate::scope#a-replica-for-reads) has the details. Defaults to none.
    ///
    /// The URL can name several hosts: the first that accepts a connection serves, or with
    /// `load_balance_hosts=random` any of them. `target_session_attrs=read-only` passes over hosts that are, or have
    /// become, a primary.
    ///
    /// # Errors
    ///
    /// [`SetupError`] where the URL cannot be read.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use rolescope::RoleScopedPool;
    /// use std::time::Duration;
    ///
    /// let pool = RoleScopedPool::builder("postgres://authenticator@db-1/app")?
    ///     .replica("postgres://authenticator@db-2,db-3/app?load_balance_hosts=random&target_session_attrs=read-only")?
    ///     .primary_after_write(Duration::from_secs(2))
    ///     .anonymous_role("anon")
    ///     .build()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn replica(mut self, url: &str) -> Result<Self, SetupError> {
        self.replica = Some(Target::from_url(url)?);
        Ok(self)
    }

    /// Sets how many connections to the replica there may be. Defaults to [`max_size`](Self::max_size); 0 counts as 1.
    pub fn replica_max_size(mut self, connections: u32) -> Self {
        self.replica_max_size = Some(connections.max(1));
        self
    }

    /// Keeps a caller's reads on the primary for this long after its last COMMIT of a `READ WRITE` transaction, so that it
    /// sees what it wrote. Defaults to zero: reads go to the replica at once.
    ///
    /// Choose more than the replica's usual lag. A caller is the role together with the token's claim `sub`, or with all
    /// claims where it has none; all anonymous requests are one caller. The time counts from the answer to COMMIT, and
    /// starts before the response is let through. It is known to this process alone: where several serve the same
    /// callers, have the balancer keep each caller to one of them, or commit with `synchronous_commit = remote_apply`.
    pub fn primary_after_write(mut self, time: Duration) -> Self {
        self.primary_after_write = time;
        self
    }

    /// Also has [`build`](Self::build) refuse what requests may reach in spite of row-level security: tables, views and
    /// functions, as [`RoleScopedPool::setup_problems`] lists them. Defaults to false.
    pub fn check_tables(mut self, yes: bool) -> Self {
        self.check_tables = yes;
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
        let pool = self.build_lazy()?;
        pool.start().await?;
        Ok(pool)
    }

    /// Builds the pool without connecting: for a database that is not up yet. The set-up is not checked.
    ///
    /// # Errors
    ///
    /// [`SetupError`] where an option is unusable or where no tokio runtime is at hand.
    pub fn build_lazy(mut self) -> Result<RoleScopedPool, SetupError> {
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
        for target in [&self.target].into_iter().chain(&self.replica) {
            let config = target.config();
            for role in anonymous_role.iter().chain(&resting_role) {
                if config.get_user() == Some(role.as_str()) {
                    return Err(SetupError::role_is_login(role.as_str()));
                }
            }
            if self.pooler.is_some() && config.get_options().is_some() {
                return Err(SetupError::options_behind_pooler());
            }
        }
        self.options.app_settings.check()?;
        let config = self.target.config();
        let login = config.get_user().map(Into::into);
        if self.pooler.is_some() {
            self.options.start = Some(switch::Start::new(
                config.get_application_name().unwrap_or(APPLICATION_NAME),
                self.statement_timeout,
                self.idle_in_transaction_timeout,
            ));
        }

        let resting = resting_role.as_ref();
        let leases = self.leases(Server::Primary, &self.target, resting);
        let replica = self.replica.as_ref().map(|target| {
            let leases = self.leases(Server::Replica, target, resting);
            Arc::new(Replica::new(leases, self.expected(Server::Replica, target)))
        });
        let notes_writes = replica.is_some() && !self.primary_after_write.is_zero();
        let role_settings = self
            .role_settings
            .then(|| Arc::new(RoleSettings::new(Arc::clone(&leases.shared))));
        Ok(RoleScopedPool::new(Pool {
            login,
            leases,
            expected: self.expected(Server::Primary, &self.target),
            replica,
            recent_writes: notes_writes.then(|| RecentWrites::new(self.primary_after_write)),
            parameter_types: ParameterTypes::new(self.statement_cache.saturating_mul(4)),
            typed_statements: ParameterTypes::new(self.statement_cache.saturating_mul(4)),
            options: self.options,
            anonymous_role,
            role_settings,
        }))
    }

    /// What one of the servers is looked at for.
    fn expected(&self, server: Server, target: &Target) -> Expected {
        Expected {
            place: place_of(target.config()),
            timeout: self.connect_timeout,
            anonymous_role: self.anonymous_role.clone(),
            resting_role: self.resting_role.clone(),
            accepted: self.accepted.clone(),
            // A replica has the primary's.
            tables: self.check_tables && matches!(server, Server::Primary),
        }
    }

    /// Makes the sessions' pool of one of the servers.
    fn leases(&self, server: Server, target: &Target, resting_role: Option<&RoleName>) -> Leases {
        let mut requests = target.config().clone();
        if requests.get_application_name().is_none() {
            requests.application_name(APPLICATION_NAME);
        }
        if self.pooler.is_none() {
            requests.options(switch::startup_options(
                target.config().get_options(),
                resting_role,
                self.statement_timeout,
                self.idle_in_transaction_timeout,
            ));
        }
        let shared = Arc::new(Shared::new(
            server,
            target.clone().connector(requests),
            self.connect_timeout,
            resting_role.map(|role| role.as_str().to_owned()),
            self.statement_cache,
            self.pooler,
        ));
        let max_size = match server {
            Server::Primary => self.max_size,
            Server::Replica => self.replica_max_size.unwrap_or(self.max_size),
        };
        let bb8 = bb8::Pool::builder()
            .max_lifetime(self.max_lifetime)
            .idle_timeout(self.idle_timeout);
        Leases::new(
            shared,
            bb8,
            max_size,
            self.acquire_timeout,
            self.options.reset_timeout,
        )
    }
}
