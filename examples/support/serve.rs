//! What both examples need around their `app`: a port, and an end.

use std::io::{self, IsTerminal};
use std::net::Ipv4Addr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

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
}

impl Shutdown {
    pub(crate) fn catch() -> Result<Self, String> {
        let catch = |kind| signal(kind).map_err(|e| format!("cannot catch signals: {e}"));
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
        })
    }

    async fn asked_for(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Serves until told to stop; requests that have begun may end, for ten seconds or until told again.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Router,
    mut shutdown: Shutdown,
) -> Result<(), String> {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, app).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let mut server = std::pin::pin!(async { server.await.map_err(|e| e.to_string()) });
    tokio::select! {
        result = &mut server => return result,
        () = shutdown.asked_for() => drop(stop),
    }
    tokio::select! {
        result = server => result,
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
