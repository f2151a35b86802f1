//! Cancel requests through a pooler.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::future::join_all;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio_postgres::config::Host;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{CancelToken, Config};

/// Asks for the end of a session's statement, and waits until that has been passed on. Says whether it has.
///
/// As libpq does it: the other end closes the connection. The driver itself closes it at once, and PgBouncer up to 1.19.0
/// comes to its end where a client does that while its request is passed on.
/// <https://github.com/pgbouncer/pgbouncer/pull/846>
///
/// Which of several hosts the session is on only the driver knows: those that do not know the session ignore it.
pub(crate) async fn cancel_and_wait<Tls>(config: &Config, token: &CancelToken, tls: &Tls) -> bool
where
    Tls: MakeTlsConnect<Wire> + Clone,
{
    let (addresses, ports) = (config.get_hostaddrs(), config.get_ports());
    let count = config.get_hosts().len().max(addresses.len());
    let asked = (0..count).map(|at| async move {
        let port = *ports.get(at).or(ports.first()).unwrap_or(&5432);
        let host = config.get_hosts().get(at);
        let wire = match (addresses.get(at), host) {
            (Some(address), _) => Wire::Tcp(TcpStream::connect((*address, port)).await?),
            (None, Some(Host::Tcp(name))) => {
                Wire::Tcp(TcpStream::connect((name.as_str(), port)).await?)
            }
            #[cfg(unix)]
            (None, Some(Host::Unix(directory))) => {
                let socket = directory.join(format!(".s.PGSQL.{port}"));
                Wire::Unix(UnixStream::connect(socket).await?)
            }
            (None, None) => return Err(io::ErrorKind::NotFound.into()),
        };
        let name = match host {
            Some(Host::Tcp(name)) => name,
            _ => "",
        };
        let tls = tls.clone().make_tls_connect(name);
        let tls = tls.map_err(|error| io::Error::other(error.into()))?;
        let request = token.cancel_query_raw(wire, tls);
        request.await.map_err(io::Error::other)
    });
    join_all(asked).await.iter().any(io::Result::is_ok)
}

/// What a cancel request goes over. It waits for the other end where it should shut down its own.
pub(crate) enum Wire {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    // Both of these streams send at once what is written.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut byte = [0];
            let mut buf = ReadBuf::new(&mut byte);
            let read = ready!(self.as_mut().poll_read(cx, &mut buf));
            // A connection that is reset has come to its end as well.
            if read.is_err() || buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
