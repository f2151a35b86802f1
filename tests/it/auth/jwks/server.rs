//! A server of bytes: it answers whatever it is told to, in or against HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What becomes of a connection once its request was read.
#[derive(Clone)]
pub(super) enum Then {
    Answer(Vec<u8>),
    /// The head at once, then a byte a second.
    Trickle {
        head: Vec<u8>,
        body: Vec<u8>,
    },
    /// The head, and then blocks without an end.
    Endless {
        head: Vec<u8>,
    },
    Nothing,
    Close,
}

pub(super) fn ok(body: &str) -> Then {
    answer("200 OK", "", body.as_bytes())
}

pub(super) fn answer(status: &str, headers: &str, body: &[u8]) -> Then {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n");
    Then::Answer([head.as_bytes(), body].concat())
}

pub(super) struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(then: impl Fn(&str) -> Then + Send + Sync + 'static) -> Self {
        Self::with(None, then).await
    }

    pub(super) async fn with(
        tls: Option<TlsAcceptor>,
        then: impl Fn(&str) -> Then + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, then) = (connections.clone(), Arc::new(then));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, tls.clone(), then.clone()));
            }
        });
        Self {
            address,
            connections,
            task,
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve<F: Fn(&str) -> Then + Sync>(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    then: Arc<F>,
) {
    match tls {
        None => speak(stream, &*then).await,
        // A client that does not trust the certificate goes away.
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                speak(stream, &*then).await;
            }
        }
    }
}

/// Whoever asked may go away at any time.
async fn speak(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    then: &(dyn Fn(&str) -> Then + Sync),
) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let request = String::from_utf8(request).unwrap();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let then = then(path);
    let _ = answer_as(&mut stream, then).await;
    let _ = stream.shutdown().await;
}

async fn answer_as(stream: &mut (impl AsyncWrite + Unpin), then: Then) -> std::io::Result<()> {
    match then {
        Then::Answer(bytes) => stream.write_all(&bytes).await,
        Then::Trickle { head, body } => {
            stream.write_all(&head).await?;
            for byte in body {
                stream.write_all(&[byte]).await?;
                stream.flush().await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok(())
        }
        Then::Endless { head } => {
            stream.write_all(&head).await?;
            loop {
                stream.write_all(&[b' '; 65_536]).await?;
            }
        }
        Then::Nothing => std::future::pending().await,
        Then::Close => Ok(()),
    }
}
