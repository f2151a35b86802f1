//! A network that is further away: a proxy before PostgreSQL that holds back each chunk in both directions, and limits
//! neither how many are under way nor how fast they follow each other.
//!
//! tokio's timers tick in milliseconds, so one thread reads and stamps, and another sleeps until what it has read is due.
//! The delay is the same for all, so a queue keeps them in order.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream as Socket};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

struct Chunk {
    due: Instant,
    to: Arc<Socket>,
    /// Empty for the end.
    bytes: Vec<u8>,
}

/// Ends when it is dropped, with the connections through it.
pub(crate) struct Proxy {
    port: u16,
    stop: Option<oneshot::Sender<()>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Proxy {
    /// Listens on a port of 127.0.0.1, and adds `delay` to each round trip to the port `upstream`.
    pub(crate) fn start(upstream: u16, delay: Duration) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?;
        let listener = runtime
            .block_on(TcpListener::bind(("127.0.0.1", 0)))
            .map_err(|e| e.to_string())?;
        let port = listener.local_addr().map_err(|e| e.to_string())?.port();
        let (stop, stopped) = oneshot::channel();
        let (queue, due) = mpsc::channel();
        let reader = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, upstream, delay / 2, queue) => {}
                    _ = stopped => {}
                }
            });
        });
        let writer = thread::spawn(move || deliver(&due));
        Ok(Self {
            port,
            stop: Some(stop),
            threads: vec![reader, writer],
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, upstream: u16, delay: Duration, queue: Sender<Chunk>) {
    while let Ok((client, _)) = listener.accept().await {
        let queue = queue.clone();
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)).await else {
                return;
            };
            if let (Ok((client, to_client)), Ok((server, to_server))) =
                (split(client), split(server))
            {
                tokio::spawn(forward(client, to_server, delay, queue.clone()));
                tokio::spawn(forward(server, to_client, delay, queue));
            }
        });
    }
}

fn split(stream: TcpStream) -> std::io::Result<(TcpStream, Arc<Socket>)> {
    stream.set_nodelay(true)?;
    let socket = stream.into_std()?;
    let writer = Arc::new(socket.try_clone()?);
    Ok((TcpStream::from_std(socket)?, writer))
}

async fn forward(mut from: TcpStream, to: Arc<Socket>, delay: Duration, queue: Sender<Chunk>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await.unwrap_or(0);
        let chunk = Chunk {
            due: Instant::now() + delay,
            to: Arc::clone(&to),
            bytes: buffer[..length].to_vec(),
        };
        if queue.send(chunk).is_err() || length == 0 {
            return;
        }
    }
}

fn deliver(chunks: &Receiver<Chunk>) {
    for chunk in chunks {
        thread::sleep(chunk.due.saturating_duration_since(Instant::now()));
        if chunk.bytes.is_empty() {
            let _ = chunk.to.shutdown(Shutdown::Write);
            continue;
        }
        let mut rest = &chunk.bytes[..];
        while !rest.is_empty() {
            match (&*chunk.to).write(rest) {
                Ok(written) => rest = &rest[written..],
                // The peer reads slowly. Nothing of these benches fills a socket's buffer.
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_micros(100));
                }
                Err(_) => break,
            }
        }
    }
}
