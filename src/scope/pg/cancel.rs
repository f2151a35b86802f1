//! Cancel requests through a pooler.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::future::join_all;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::Host;
use tokio_postgres::{CancelToken, Config, NoTls};

/// Asks for the end of a session's statement, and waits until that has been passed on. Says whether it has.
///
/// As libpq does it: the other end closes the connection. The driver itself closes it at once, and PgBouncer up to 1.19.0
/// comes to its end where a client does that while its request is passed on.
/// <https://github.com/pgbouncer/pgbouncer/pull/846>
///
/// Which of several hosts the session is on only the driver knows: those that do not know the session ignore it.
pub(crate) async fn cancel_and_wait(config: &Config, token: CancelToken) -> bool {
    let (addresses, ports) = (config.get_hostaddrs(), config.get_ports());
    let count = config.get_hosts().len().max(addresses.len());
    let asked = (0..count).map(|at| {
        let token = &token;
        async move {
            let port = *ports.get(at).or(ports.first()).unwrap_or(&5432);
            match (addresses.get(at), config.get_hosts().get(at)) {
                (Some(address), _) => ask(token, tcp((*address, port)).await?).await,
                (None, Some(Host::Tcp(name))) => {
                    ask(token, tcp((name.as_str(), port)).await?).await
                }
                #[cfg(unix)]
                (None, Some(Host::Unix(directory))) => {
                    let socket = directory.join(format!(".s.PGSQL.{port}"));
                    ask(token, tokio::net::UnixStream::connect(socket).await?).await
                }
                (None, None) => Err(io::ErrorKind::NotFound.into()),
            }
        }
    });
    join_all(asked).await.iter().any(io::Result::is_ok)
}

async fn tcp(address: impl tokio::net::ToSocketAddrs) -> io::Result<tokio::net::TcpStream> {
    tokio::net::TcpStream::connect(address).await
}

async fn ask<S>(token: &CancelToken, stream: S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = token.cancel_query_raw(UntilClosed(stream), NoTls);
    request.await.map_err(io::Error::other)
}

/// Waits for the other end where it should shut down its own.
struct UntilClosed<S>(S);

impl<S: AsyncRead + Unpin> AsyncRead for UntilClosed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for UntilClosed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut byte = [0];
            let mut buf = ReadBuf::new(&mut byte);
            let read = ready!(Pin::new(&mut self.0).poll_read(cx, &mut buf));
            // A connection that is reset has come to its end as well.
            if read.is_err() || buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
