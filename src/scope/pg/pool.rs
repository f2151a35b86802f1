//! [`RoleScopedPool`]: lends transactions.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join;

use super::builder::RoleScopedPoolBuilder;
use super::lease::{Lease, Leases, Reset};
use super::manager::Shared;
use super::recent_writes::{RecentWrites, Writer};
use super::replica::Replica;
use super::role_settings::RoleSettings;
use super::setup::{Expected, SetupProblem};
use super::setup_error::SetupError;
use super::statements::ParameterTypes;
use super::switch::{AppSettings, Start};
use crate::error::{Error, ErrorKind};
use crate::role::{RoleName, RoleScope};

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
pub struct RoleScopedPool(Arc<Pool>);

pub(super) struct Pool {
    pub(super) leases: Leases,
    pub(super) expected: Expected,
    pub(super) options: Options,
    pub(super) login: Option<Box<str>>,
    pub(super) anonymous_role: Option<RoleName>,
    pub(super) parameter_types: ParameterTypes,
    pub(super) typed_statements: ParameterTypes,
    pub(super) role_settings: Option<Arc<RoleSettings>>,
    pub(super) replica: Option<Arc<Replica>>,
    pub(super) recent_writes: Option<Arc<RecentWrites>>,
}

/// What every transaction of a pool is made with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) begin_timeout: Duration,
    pub(crate) reset_timeout: Duration,
    /// Set where a pooler keeps startup options from PostgreSQL.
    pub(crate) start: Option<Start>,
    pub(crate) claim_settings: bool,
    pub(crate) app_settings: AppSettings,
}

/// Tells the state of a [`RoleScopedPool`], for metrics and health endpoints.
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

impl RoleScopedPool {
    pub(super) fn new(pool: Pool) -> Self {
        Self(Arc::new(pool))
    }

    /// Starts to configure a pool that connects to `url` as the authenticator.
    ///
    /// The URL is libpq's, or a `key=value` string:
    /// <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING>.
    ///
    /// # TLS
    ///
    /// Without `sslmode`, Unix sockets and loopback (`localhost`, 127.0.0.0/8, `::1`) are spoken to plain, and every other
    /// host as with `verify-full`; so is loopback where the URL says anything else of TLS. Of several hosts the one that
    /// needs most decides, and `hostaddr` counts before `host`.
    ///
    /// | option | |
    /// |---|---|
    /// | `sslmode=disable` | plain |
    /// | `sslmode=prefer` | TLS if the server has it; its certificate is verified only against `sslrootcert` |
    /// | `sslmode=require` | TLS; as `verify-ca` where there is a root file, and else with whomever answers |
    /// | `sslmode=verify-ca` | TLS; a root has signed the server's certificate, whatever its name |
    /// | `sslmode=verify-full` | TLS; and its `subjectAltName` has the host (or the address, where the URL has no host) |
    /// | `sslrootcert` | a PEM file of roots, or `system`; else `~/.postgresql/root.crt`, and for `verify-full` the system's |
    /// | `sslcert`, `sslkey` | the client's certificate and key as PEM; nobody but their owner may be able to read the key |
    /// | `channel_binding` | `disable`, `prefer`, `require` |
    /// | `sslnegotiation` | `postgres`, `direct` (PostgreSQL 17) |
    ///
    /// Every other option of TLS is refused, and so is `sslmode=allow`. As with libpq, `sslmode` does not count on Unix
    /// sockets, and `system` goes with `verify-full` only. Unlike libpq, the system's roots stand in for a missing root
    /// file, since with the name they say who it is; `~/.postgresql/postgresql.crt` and the environment's `PG..` variables
    /// are not read. The files are read now, and not again: build a new pool where they change.
    ///
    /// rustls speaks TLS 1.2 and 1.3, with the process's default crypto provider or AWS-LC. Requests, the look at the set-up
    /// and cancel requests all speak the same. Where nothing verifies the server, one warning says so.
    ///
    /// # Errors
    ///
    /// [`SetupError`] where the URL cannot be read, where it asks for what is not supported, or where a file that it names
    /// cannot be used.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example() -> Result<(), rolescope::SetupError> {
    /// use rolescope::RoleScopedPool;
    ///
    /// let url = "postgres://authenticator:secret@db.example.org/app?sslrootcert=/etc/ssl/db-ca.crt";
    /// let builder = RoleScopedPool::builder(url)?.anonymous_role("anon");
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(url: &str) -> Result<RoleScopedPoolBuilder, SetupError> {
        RoleScopedPoolBuilder::new(url)
    }

    /// Looks at the set-up of the database, and returns all that is wrong with it: also what was accepted.
    ///
    /// The authenticator is looked at as [`build`](RoleScopedPoolBuilder::build) does, and so is what requests may reach:
    ///
    /// | [kind](crate::scope::SetupProblemKind) | what is looked for |
    /// |---|---|
    /// | `RlsWithoutPolicies` | tables that are granted, with row-level security and no policy |
    /// | `PoliciesWithoutRls` | tables whose policies do not count |
    /// | `OwnerNotForced` | tables with row-level security that is not forced, of an owner whose rights requests may have |
    /// | `TableWithoutRls` | tables, partitions and foreign tables that are granted, without row-level security |
    /// | `ViewBypassesRls` | views without `security_invoker`, and materialized ones, over tables with row-level security |
    /// | `TruncateGranted` | tables with row-level security that may be emptied in spite of it |
    /// | `DefinerWithoutSearchPath` | `SECURITY DEFINER` functions that may be called, without a `search_path` of their own |
    ///
    /// Requests may run as every role that the authenticator may become. What they inherit counts, and what is granted to
    /// PUBLIC; not what the system and extensions brought along, nor what a schema without `USAGE` hides.
    ///
    /// # Errors
    ///
    /// [`SetupError`] where the database cannot be asked, or not within `connect_timeout`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection of its own that it uses.
    ///
    /// # Examples
    ///
    /// A test, or a command of the service, that says what is to be cured:
    ///
    /// ```no_run
    /// # async fn example(pool: rolescope::RoleScopedPool) -> Result<(), rolescope::SetupError> {
    /// use rolescope::scope::SetupProblemKind;
    ///
    /// for problem in pool.setup_problems().await? {
    ///     // Everybody may read these.
    ///     let is_meant = problem.kind() == SetupProblemKind::TableWithoutRls
    ///         && problem.subject() == "public.countries";
    ///     if !is_meant {
    ///         eprintln!("{problem}");
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn setup_problems(&self) -> Result<Vec<SetupProblem>, SetupError> {
        let connector = &*self.shared().connector;
        let (_, problems) = self.0.expected.look(connector, true).await?;
        Ok(problems)
    }

    /// Checks the set-up, and that there is a database to serve from.
    pub(super) async fn start(&self) -> Result<(), SetupError> {
        self.0.expected.check(&*self.shared().connector).await?;
        if let Some(role_settings) = &self.0.role_settings {
            let loaded = role_settings.load().await;
            loaded.map_err(SetupError::unreachable)?;
        }
        // Connects as requests will, so that what is wrong with the startup options shows now.
        self.connect().await.map_err(SetupError::unreachable)?;
        match &self.0.replica {
            Some(replica) => replica.look().await,
            None => Ok(()),
        }
    }

    /// Refuses new transactions from now on, waits until those that run have ended, and closes all connections.
    ///
    /// Statements of requests that come later fail with [`PoolClosed`](crate::ErrorKind::PoolClosed), 503.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the waiting. The pool stays closed to new transactions; call it again to wait on.
    pub async fn close(&self) {
        let replica = async {
            if let Some(replica) = &self.0.replica {
                replica.leases.close().await;
            }
        };
        join(self.0.leases.close(), replica).await;
    }

    /// Returns the state of the pool, without the replica's connections.
    pub fn status(&self) -> PoolStatus {
        self.0.leases.status()
    }

    /// Returns the state of the replica's connections, or `None` where there is no
    /// [`replica`](RoleScopedPoolBuilder::replica).
    pub fn replica_status(&self) -> Option<PoolStatus> {
        let replica = self.0.replica.as_ref()?;
        Some(replica.leases.status())
    }

    /// Returns the role of requests that name none.
    pub fn anonymous_role(&self) -> Option<&RoleName> {
        self.0.anonymous_role.as_ref()
    }

    /// The role that the pool logs in as: as the server says, and before the first connection as the URL says.
    pub(crate) fn login(&self) -> Option<&str> {
        self.shared().login().or(self.0.login.as_deref())
    }

    /// The role that the replica says its sessions log in as: as a rule the same.
    pub(crate) fn replica_login(&self) -> Option<&str> {
        self.replica()?.leases.shared.login()
    }

    /// Makes sure that there is a connection.
    pub(crate) async fn connect(&self) -> Result<(), Error> {
        self.acquire(Reset::Answered).await.map(drop)
    }

    /// Waits for a session of the primary.
    pub(crate) async fn acquire(&self, reset: Reset) -> Result<Lease, Error> {
        let deadline = self.deadline();
        self.know_role_settings(deadline).await?;
        self.0.leases.acquire(deadline, reset).await
    }

    /// When a session of the primary that is asked for now has to be there.
    pub(crate) fn deadline(&self) -> Instant {
        self.0.leases.deadline()
    }

    /// Has the settings of the roles read, where they are to be known and are not yet.
    pub(crate) async fn know_role_settings(&self, deadline: Instant) -> Result<(), Error> {
        if let Some(role_settings) = &self.0.role_settings {
            tokio::time::timeout_at(deadline.into(), role_settings.keep_fresh())
                .await
                .map_err(|elapsed| {
                    Error::with_source(
                        ErrorKind::Unavailable,
                        "the settings of the roles could not be read in time",
                        elapsed,
                    )
                })??;
        }
        Ok(())
    }

    pub(crate) fn replica(&self) -> Option<&Arc<Replica>> {
        self.0.replica.as_ref()
    }

    /// The caller whose writes are noted, where that was asked for.
    pub(crate) fn writer(&self, scope: &RoleScope) -> Option<Writer> {
        Some(self.0.recent_writes.as_ref()?.of(scope))
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

    /// Statements whose caller says the types, and whose columns are known.
    pub(crate) fn typed_statements(&self) -> &ParameterTypes {
        &self.0.typed_statements
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
