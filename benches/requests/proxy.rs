//! A network that is further away: a proxy before PostgreSQL that holds back each chunk in both directions, and limits
//! neither how many are under way nor how fast they follow each other.
//!
//! tokio's timers tick in milliseconds, so one thread reads and stamps, and another sleeps until what it has read is due.
//! The delay is the same for all, so a queue keeps them in order.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream as Socket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// What its threads are called.
pub(crate) const THREAD: &str = "proxy";

struct Chunk {
    due: Instant,
    to: Arc<Socket>,
    /// Empty for the end.
    bytes: Vec<u8>,
}

/// Ends when it is dropped, with the connections through it.
pub(crate) struct Proxy {
    port: u16,
    parses: Arc<AtomicU64>,
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
        let parses = Arc::new(AtomicU64::new(0));
        let forwarding = Forwarding {
            upstream,
            delay: delay / 2,
            queue,
            parses: Arc::clone(&parses),
        };
        let reader = spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, forwarding) => {}
                    _ = stopped => {}
                }
            });
        })?;
        let writer = spawn(move || deliver(&due))?;
        Ok(Self {
            port,
            parses,
            stop: Some(stop),
            threads: vec![reader, writer],
        })
    }

    /// How many statements clients have had prepared, to be kept.
    pub(crate) fn parses(&self) -> u64 {
        self.parses.load(Ordering::Relaxed)
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

fn spawn(run: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>, String> {
    let named = thread::Builder::new().name(THREAD.into());
    named.spawn(run).map_err(|e| e.to_string())
}

#[derive(Clone)]
struct Forwarding {
    upstream: u16,
    delay: Duration,
    queue: Sender<Chunk>,
    parses: Arc<AtomicU64>,
}

async fn accept(listener: TcpListener, forwarding: Forwarding) {
    while let Ok((client, _)) = listener.accept().await {
        let forwarding = forwarding.clone();
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(("127.0.0.1", forwarding.upstream)).await else {
                return;
            };
            if let (Ok((client, to_client)), Ok((server, to_server))) =
                (split(client), split(server))
            {
                let messages = Messages::default();
                let there = forwarding.clone();
                tokio::spawn(there.forward(client, to_server, Some(messages)));
                tokio::spawn(forwarding.forward(server, to_client, None));
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

impl Forwarding {
    async fn forward(self, mut from: TcpStream, to: Arc<Socket>, mut messages: Option<Messages>) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = from.read(&mut buffer).await.unwrap_or(0);
            let bytes = buffer[..length].to_vec();
            if let Some(messages) = &mut messages {
                let parses = messages.named_parses(&bytes);
                self.parses.fetch_add(parses, Ordering::Relaxed);
            }
            let chunk = Chunk {
                due: Instant::now() + self.delay,
                to: Arc::clone(&to),
                bytes,
            };
            if self.queue.send(chunk).is_err() || length == 0 {
                return;
            }
        }
    }
}

/// Finds the messages in what a client sends. The first one, which starts the session, has no type.
///
/// <https://www.postgresql.org/docs/current/protocol-overview.html#PROTOCOL-MESSAGE-CONCEPTS>
#[derive(Default)]
struct Messages {
    started: bool,
    head: Vec<u8>,
    /// Bytes of the present message's body that are still to come.
    rest: usize,
    /// The present message is a Parse, of which the name comes next.
    parse: bool,
}

impl Messages {
    /// Counts the statements that are prepared to be kept, which are those with a name.
    fn named_parses(&mut self, mut bytes: &[u8]) -> u64 {
        let mut parses = 0;
        while let Some(&byte) = bytes.first() {
            if self.rest > 0 {
                parses += u64::from(std::mem::take(&mut self.parse) && byte != 0);
                let passed = self.rest.min(bytes.len());
                self.rest -= passed;
                bytes = &bytes[passed..];
                continue;
            }
            self.head.push(byte);
            bytes = &bytes[1..];
            let length = self.head.get(usize::from(self.started)..);
            if let Some(&length) = length.and_then(|length| length.first_chunk()) {
                self.parse = self.started && self.head[0] == b'P';
                self.rest = (u32::from_be_bytes(length) as usize).saturating_sub(4);
                self.head.clear();
                self.started = true;
            }
        }
        parses
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
