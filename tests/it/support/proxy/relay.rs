//! Passes one connection's messages on, as the proxy's state says.

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use super::{Request, State};

const CANCEL_REQUEST: u32 = 80_877_102;

pub(super) async fn relay(
    client: UnixStream,
    upstream: PathBuf,
    state: watch::Sender<State>,
    number: usize,
) {
    let Ok(server) = UnixStream::connect(upstream).await else {
        return;
    };
    let (from_driver, to_driver) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut cut = state.subscribe();
    // Whichever ends first takes both sockets with it.
    tokio::select! {
        _ = requests(from_driver, to_server, &state, number) => {}
        _ = answers(from_server, to_driver, &state, number) => {}
        _ = cut.wait_for(|s| s.connections[number].is_cut()) => {}
    }
    state.send_modify(|s| s.connections[number].ended = true);
}

async fn requests(
    mut driver: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    state: &watch::Sender<State>,
    number: usize,
) -> io::Result<()> {
    let mut thawed = state.subscribe();
    let mut statements = HashMap::new();
    let mut bytes = Vec::new();
    let mut request = startup(&mut driver, &mut bytes, number).await?;
    loop {
        let cancels = request.messages == "cancel";
        let mut may_go = true;
        if request.messages != "X" {
            state.send_modify(|s| may_go = s.note(request));
        }
        let _ = thawed.wait_for(|s| !s.connections[number].frozen).await;
        if !may_go {
            return pending().await;
        }
        if cancels {
            let _ = thawed.wait_for(|s| !s.delaying_cancels).await;
            server.write_all(&bytes).await?;
            // The driver does not wait for the server. The connection ends when the server has acted.
            return pending().await;
        }
        // A server that has closed may have said why: that still has to be passed on.
        let _ = server.write_all(&bytes).await;
        bytes.clear();
        request = Request {
            connection: number,
            messages: String::new(),
            sql: String::new(),
        };
        loop {
            let kind = message(&mut driver, &mut bytes).await?;
            let start = bytes.len() - kind.1;
            request.messages.push(char::from(kind.0));
            let mut texts = bytes[start..].split(|b| *b == 0);
            let mut text =
                || String::from_utf8_lossy(texts.next().unwrap_or_default()).into_owned();
            match kind.0 {
                b'Q' => request.sql = text(),
                b'P' => {
                    let name = text();
                    request.sql = text();
                    statements.insert(name, request.sql.clone());
                }
                b'B' => {
                    text();
                    request.sql = statements.get(&text()).cloned().unwrap_or_default();
                }
                _ => {}
            }
            if matches!(kind.0, b'Q' | b'S' | b'X') {
                break;
            }
        }
        // `Sync` ends every other kind of request, so that it tells nothing.
        if request.messages.len() > 1 && request.messages.ends_with('S') {
            request.messages.pop();
        }
    }
}

async fn startup(
    driver: &mut OwnedReadHalf,
    bytes: &mut Vec<u8>,
    connection: usize,
) -> io::Result<Request> {
    let length = driver.read_u32().await?;
    bytes.extend(length.to_be_bytes());
    bytes.resize(length as usize, 0);
    driver.read_exact(&mut bytes[4..]).await?;
    let cancels = bytes[4..8] == CANCEL_REQUEST.to_be_bytes();
    Ok(Request {
        connection,
        messages: if cancels { "cancel" } else { "startup" }.to_owned(),
        sql: String::new(),
    })
}

/// Appends a message, and returns its type and the length of its body.
async fn message(from: &mut OwnedReadHalf, bytes: &mut Vec<u8>) -> io::Result<(u8, usize)> {
    let kind = from.read_u8().await?;
    let length = from.read_u32().await?;
    bytes.push(kind);
    bytes.extend(length.to_be_bytes());
    let start = bytes.len();
    bytes.resize(start + length as usize - 4, 0);
    from.read_exact(&mut bytes[start..]).await?;
    Ok((kind, length as usize - 4))
}

async fn answers(
    mut server: OwnedReadHalf,
    mut driver: OwnedWriteHalf,
    state: &watch::Sender<State>,
    number: usize,
) -> io::Result<()> {
    let mut allowed = state.subscribe();
    loop {
        let mut bytes = Vec::new();
        let (kind, _) = message(&mut server, &mut bytes).await?;
        let cut = {
            let may_pass = |s: &State| {
                let connection = &s.connections[number];
                !connection.frozen && (!s.holding || connection.answered < connection.may_pass)
            };
            let state = allowed.wait_for(may_pass).await.map_err(io::Error::other)?;
            let connection = &state.connections[number];
            connection.cut_at_answer == Some(connection.answered)
        };
        if !cut {
            driver.write_all(&bytes).await?;
        }
        if kind == b'Z' {
            if cut {
                return Ok(());
            }
            state.send_modify(|s| s.connections[number].answered += 1);
        }
    }
}
