//! Before anything is measured: all variants answer the same, and row-level security is in force in each.

use serde_json::Value;

use crate::database::{Database, SECRET, claims, token};
use crate::load;
use crate::variants::{Form, Series, Servers, alice};

pub(crate) async fn check(
    database: &Database,
    servers: &Servers,
    all: &[Series],
) -> Result<(), String> {
    for (at, &series) in all.iter().enumerate() {
        let checked = async {
            match series.form() {
                Form::Read => read(database, servers, series).await,
                Form::Write => write(database, servers, series, 1_000 + at as i32).await,
            }?;
            forged(servers, series).await
        };
        let named = |e| format!("({}) {}: {e}", series.letter(), series.name());
        checked.await.map_err(named)?;
    }
    Ok(())
}

async fn forged(servers: &Servers, series: Series) -> Result<(), String> {
    if !series.checks_tokens() {
        return Ok(());
    }
    let claims = claims("alice", "web_user", 0);
    let forged = token(&claims, "another secret of as many bytes")?;
    let request = series.request(&forged, 0, 0);
    let (status, _) = load::once(servers.port(series), &request).await?;
    expect("a forged token", status, 401)
}

async fn read(database: &Database, servers: &Servers, series: Series) -> Result<(), String> {
    let bob = token(&claims("bob", "web_user", 0), SECRET)?;
    for (subject, port, token) in [
        ("alice", servers.port(series), alice(0)?),
        ("bob", servers.other_port(series), bob),
    ] {
        let (status, body) = load::once(port, &series.request(&token, 0, 0)).await?;
        expect(subject, status, 200)?;
        let body: Value = serde_json::from_slice(&body).map_err(|e| format!("the body: {e}"))?;
        let expected = database.items_of(subject).await?;
        if body != expected || body.as_array().is_none_or(|rows| rows.len() != 10) {
            return Err(format!("{subject} was answered {body}, not {expected}"));
        }
    }
    Ok(())
}

async fn write(
    database: &Database,
    servers: &Servers,
    series: Series,
    value: i32,
) -> Result<(), String> {
    let request = series.request(&alice(0)?, 7, value);
    let (status, _) = load::once(servers.port(series), &request).await?;
    expect("alice", status, 204)?;
    // Whatever bob is answered, the row is alice's.
    let bob = token(&claims("bob", "web_user", 0), SECRET)?;
    let request = series.request(&bob, 7, -1);
    load::once(servers.other_port(series), &request).await?;
    let found = database
        .text("SELECT value::text FROM counters WHERE id = 7")
        .await?;
    if found != value.to_string() {
        return Err(format!("the row has {found}, not {value}"));
    }
    Ok(())
}

fn expect(who: &str, status: u16, expected: u16) -> Result<(), String> {
    if status == expected {
        return Ok(());
    }
    Err(format!("{who} was answered {status}, not {expected}"))
}
