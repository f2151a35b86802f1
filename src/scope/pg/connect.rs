//! Makes connections, and forgets what kind of TLS they use.

use bb8_postgres::PostgresConnectionManager;
use bb8_postgres::bb8::ManageConnection;
use futures_util::future::BoxFuture;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{CancelToken, Client, Config, Error, Socket};

/// Connects to the database and cancels what runs there.
pub(crate) trait Connect: Send + Sync + 'static {
    /// Opens a session as requests use it, resting in its resting role.
    fn connect(&self) -> BoxFuture<'_, Result<Client, Error>>;

    /// Opens a session exactly as the URL says, to look at the set-up.
    fn connect_plain(&self) -> BoxFuture<'_, Result<Client, Error>>;

    /// Asks the server to cancel a session's statement. The server may act on it later than the future ends.
    fn cancel(&self, token: CancelToken) -> BoxFuture<'static, Result<(), Error>>;
}

/// bb8-postgres' manager, for sessions of both kinds.
pub(crate) struct Connector<Tls>
where
    Tls: MakeTlsConnect<Socket>,
{
    requests: PostgresConnectionManager<Tls>,
    plain: PostgresConnectionManager<Tls>,
    tls: Tls,
}

impl<Tls> Connector<Tls>
where
    Tls: MakeTlsConnect<Socket> + Clone,
{
    pub(crate) fn new(requests: Config, plain: Config, tls: Tls) -> Self {
        Self {
            requests: PostgresConnectionManager::new(requests, tls.clone()),
            plain: PostgresConnectionManager::new(plain, tls.clone()),
            tls,
        }
    }
}

impl<Tls> Connect for Connector<Tls>
where
    Tls: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    Tls::Stream: Send + Sync,
    Tls::TlsConnect: Send,
    <Tls::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    fn connect(&self) -> BoxFuture<'_, Result<Client, Error>> {
        Box::pin(self.requests.connect())
    }

    fn connect_plain(&self) -> BoxFuture<'_, Result<Client, Error>> {
        Box::pin(self.plain.connect())
    }

    fn cancel(&self, token: CancelToken) -> BoxFuture<'static, Result<(), Error>> {
        let tls = self.tls.clone();
        Box::pin(async move { token.cancel_query(tls).await })
    }
}
