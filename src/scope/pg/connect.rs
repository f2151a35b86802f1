//! Makes connections, and forgets what kind of TLS they use.

use bb8_postgres::PostgresConnectionManager;
use bb8_postgres::bb8::ManageConnection;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{AsyncMessage, CancelToken, Client, Config, Error, Socket};

use super::cancel::{Wire, cancel_and_wait};

/// Connects to the database and cancels what runs there.
pub(crate) trait Connect: Send + Sync + 'static {
    /// Opens a session as requests use it, resting in its resting role.
    fn connect(&self) -> BoxFuture<'_, Result<Client, Error>>;

    /// Opens a session exactly as the URL says, to look at the set-up.
    fn connect_plain(&self) -> BoxFuture<'_, Result<Client, Error>>;

    /// Opens a session exactly as the URL says, with what the server says unasked. It lives as long as that is polled.
    fn connect_listening(&self) -> BoxFuture<'_, Result<(Client, Messages), Error>>;

    /// Asks the server to cancel a session's statement. The server may act on it later than the future ends.
    fn cancel(&self, token: CancelToken) -> BoxFuture<'_, Result<(), Error>>;

    /// Asks a pooler to do so, and waits until it has passed that on. Says whether it has.
    fn cancel_and_wait(&self, token: CancelToken) -> BoxFuture<'_, bool>;
}

/// Notices and notifications, to the end of the connection.
pub(crate) type Messages = BoxStream<'static, Result<AsyncMessage, Error>>;

/// bb8-postgres' manager, for sessions of both kinds.
pub(crate) struct Connector<Tls>
where
    Tls: MakeTlsConnect<Socket>,
{
    requests: PostgresConnectionManager<Tls>,
    plain: PostgresConnectionManager<Tls>,
    config: Config,
    tls: Tls,
}

impl<Tls> Connector<Tls>
where
    Tls: MakeTlsConnect<Socket> + Clone,
{
    pub(crate) fn new(requests: Config, plain: Config, tls: Tls) -> Self {
        Self {
            requests: PostgresConnectionManager::new(requests, tls.clone()),
            plain: PostgresConnectionManager::new(plain.clone(), tls.clone()),
            config: plain,
            tls,
        }
    }
}

impl<Tls> Connect for Connector<Tls>
where
    Tls: MakeTlsConnect<Socket> + MakeTlsConnect<Wire> + Clone + Send + Sync + 'static,
    <Tls as MakeTlsConnect<Socket>>::Stream: Send + Sync,
    <Tls as MakeTlsConnect<Socket>>::TlsConnect: Send,
    <<Tls as MakeTlsConnect<Socket>>::TlsConnect as TlsConnect<Socket>>::Future: Send,
    <Tls as MakeTlsConnect<Wire>>::Stream: Send,
    <Tls as MakeTlsConnect<Wire>>::TlsConnect: Send,
    <<Tls as MakeTlsConnect<Wire>>::TlsConnect as TlsConnect<Wire>>::Future: Send,
{
    fn connect(&self) -> BoxFuture<'_, Result<Client, Error>> {
        Box::pin(self.requests.connect())
    }

    fn connect_plain(&self) -> BoxFuture<'_, Result<Client, Error>> {
        Box::pin(self.plain.connect())
    }

    fn connect_listening(&self) -> BoxFuture<'_, Result<(Client, Messages), Error>> {
        Box::pin(async move {
            let (client, mut connection) = self.config.connect(self.tls.clone()).await?;
            let messages = stream::poll_fn(move |cx| connection.poll_message(cx));
            Ok((client, messages.boxed()))
        })
    }

    fn cancel(&self, token: CancelToken) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move { token.cancel_query(self.tls.clone()).await })
    }

    fn cancel_and_wait(&self, token: CancelToken) -> BoxFuture<'_, bool> {
        Box::pin(async move { cancel_and_wait(&self.config, &token, &self.tls).await })
    }
}
