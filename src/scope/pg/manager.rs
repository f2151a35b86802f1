//! bb8's view of our sessions: how they are made, and when they are closed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bb8_postgres::bb8::ManageConnection;
use tokio_postgres::CancelToken;

use super::connect::Connect;
use super::connecting::Connecting;
use super::connection::{Connection, Session};
use super::pooler::{self, Pooler};
use crate::error::{Error, ErrorKind};

/// Which of the two servers sessions are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Primary,
    Replica,
}

/// What the manager and the pool know together.
pub(crate) struct Shared {
    pub(crate) server: Server,
    pub(crate) connector: Box<dyn Connect>,
    pub(crate) connect_timeout: Duration,
    pub(crate) resting_role: Option<String>,
    pub(crate) statement_cache: usize,
    pub(crate) connecting: Connecting,
    closed: AtomicBool,
    pooler: Option<Pooler>,
    warned_of_rest: std::sync::Once,
    warned_of_lookups: std::sync::Once,
    login: OnceLock<String>,
}

impl Shared {
    pub(crate) fn new(
        server: Server,
        connector: Box<dyn Connect>,
        connect_timeout: Duration,
        resting_role: Option<String>,
        statement_cache: usize,
        pooler: Option<Pooler>,
    ) -> Self {
        Self {
            server,
            connector,
            connect_timeout,
            resting_role,
            statement_cache,
            connecting: Connecting::default(),
            closed: AtomicBool::new(false),
            pooler,
            warned_of_rest: std::sync::Once::new(),
            warned_of_lookups: std::sync::Once::new(),
            login: OnceLock::new(),
        }
    }

    /// Has no session made any more, and those that are being made closed.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The role that sessions log in as, once one has.
    pub(crate) fn login(&self) -> Option<&str> {
        self.login.get().map(String::as_str)
    }

    /// Asks for the end of a session's statement, and says whether that could be asked.
    pub(crate) async fn cancel(&self, token: CancelToken) -> bool {
        match self.pooler {
            None => self.connector.cancel(token).await.is_ok(),
            Some(Pooler::Transaction) => self.connector.cancel_and_wait(token).await,
        }
    }

    async fn open(&self) -> Result<Session, Error> {
        let opening = async {
            let client = self.connector.connect().await?;
            let resting_role = self.resting_role.as_deref();
            Session::new(client, resting_role, self.statement_cache, self.pooler).await
        };
        match tokio::time::timeout(self.connect_timeout, opening).await {
            Ok(Ok(session)) if self.pooler.is_none() && !session.started => Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "a connection pooler keeps startup options from PostgreSQL: {}",
                    pooler::CURE
                ),
            )),
            Ok(Ok(session)) => {
                if let Some(login) = &session.login {
                    self.login.get_or_init(|| login.clone());
                }
                Ok(session)
            }
            Ok(Err(error)) if self.pooler.is_none() && pooler::refuses_options(&error) => {
                Err(Error::with_source(
                    ErrorKind::Unavailable,
                    format!(
                        "a connection pooler before PostgreSQL refuses startup options: {}",
                        pooler::CURE
                    ),
                    error,
                ))
            }
            Ok(Err(error)) => Err(Error::with_source(
                ErrorKind::Unavailable,
                "no connection to the database could be made",
                error,
            )),
            Err(elapsed) => Err(Error::with_source(
                ErrorKind::Unavailable,
                "the database did not answer an attempt to connect in time",
                elapsed,
            )),
        }
    }

    /// Says once what types of the database's own cost behind a pooler.
    pub(crate) fn warn_of_lookups(&self) {
        self.warned_of_lookups.call_once(|| {
            tracing::warn!(
                "a statement has parameters or columns of types that are not PostgreSQL's own: behind a pooler the driver \
                 asks for them in every transaction, and the connection is made anew after it. \
                 Cast them in the SQL, to text for example"
            );
        });
    }

    fn warn_of_rest(&self) {
        self.warned_of_rest
            .call_once(|| match self.resting_role.as_deref() {
                Some(role) => tracing::warn!(
                    resting_role = role,
                    "sessions do not rest in the resting role, so that each request waits one round trip more: \
                     ALTER ROLE of the login role SET role to it"
                ),
                None => tracing::warn!(
                    "there is neither an anonymous nor a resting role, so that each request waits one round trip \
                     more: name one with RoleScopedPoolBuilder::resting_role"
                ),
            });
    }
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::PoolClosed, "the pool was closed")
}

/// Our manager around bb8-postgres'.
pub(crate) struct Manager(pub(crate) Arc<Shared>);

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = Error;

    async fn connect(&self) -> Result<Connection, Error> {
        let began = Instant::now();
        match self.0.open().await {
            // bb8 makes sessions in the background, and nobody would close one that comes now.
            Ok(_) if self.0.is_closed() => Err(closed()),
            Ok(session) => {
                self.0.connecting.succeeded();
                if !session.rests {
                    self.0.warn_of_rest();
                }
                Ok(Connection::new(session))
            }
            Err(error) => {
                self.0.connecting.failed(began, &error);
                Err(error)
            }
        }
    }

    // Never asked: the answer to a session's last reset is its check.
    async fn is_valid(&self, _: &mut Connection) -> Result<(), Error> {
        Ok(())
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        !connection.session.is_usable()
    }
}
