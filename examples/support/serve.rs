//! What all examples need around their service: a port, and an end.

use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Shows the operator what goes wrong.
pub(crate) fn log_to_stderr() {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
}

/// Binds a port of this machine that nobody outside of it can reach.
pub(crate) async fn bind(port: u16) -> Result<TcpListener, String> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {port} is in use: choose another one with `--port`, or `--port 0` for any that is free"
        ),
        _ => format!("cannot listen on port {port}: {e}; choose another one with `--port`"),
    })
}

pub(crate) fn url(listener: &TcpListener) -> Result<String, String> {
    let address = listener
        .local_addr()
        .map_err(|e| format!("the port is not known: {e}"))?;
    Ok(format!("http://{address}"))
}

/// Ctrl-C and SIGTERM, which from here on do not end the process by themselves.
#[derive(Debug)]
pub(crate) struct Shutdown {
    interrupt: Signal,
    terminate: Signal,
    stop: watch::Sender<()>,
}

impl Shutdown {
    pub(crate) fn catch() -> Result<Self, String> {
        let catch = |kind| signal(kind).map_err(|e| format!("cannot catch signals: {e}"));
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            stop: watch::Sender::default(),
        })
    }

    /// Comes about when the server shall take no more requests.
    pub(crate) fn stop(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut told = self.stop.subscribe();
        async move {
            let _ = told.changed().await;
        }
    }

    async fn asked_for(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Serves until told to stop; requests that have begun may end, for ten seconds or until told again.
pub(crate) async fn serve<E: Display>(
    server: impl IntoFuture<Output = Result<(), E>>,
    mut shutdown: Shutdown,
) -> Result<(), String> {
    let mut server = std::pin::pin!(server.into_future());
    tokio::select! {
        result = &mut server => return result.map_err(|e| e.to_string()),
        () = shutdown.asked_for() => { shutdown.stop.send_replace(()); }
    }
    tokio::select! {
        result = server => result.map_err(|e| e.to_string()),
        () = shutdown.asked_for() => Ok(()),
        () = tokio::time::sleep(Duration::from_secs(10)) => Ok(()),
    }
}

/// Writes an error with all its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        // Some errors repeat their cause.
        if text.contains(&cause) {
            text
        } else {
            format!("{text}: {cause}")
        }
    })
}
