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
        let value = 1_000 + at as i32;
        let checked = match series.form() {
            Form::Read => read(database, servers, series).await,
            Form::Write => write(database, servers, series, value).await,
        };
        checked.map_err(|e| format!("({}) {}: {e}", series.letter(), series.name()))?;
        if series.checks_tokens() {
            let forged = token(
                &claims("alice", "web_user", 0),
                "another secret of as many bytes",
            )?;
            let request = series.request(&forged, 0, 0);
            let (status, _) = load::once(servers.port(series), &request).await?;
            expect(series, "a forged token", status, 401)?;
        }
    }
    Ok(())
}

async fn read(database: &Database, servers: &Servers, series: Series) -> Result<(), String> {
    let bob = token(&claims("bob", "web_user", 0), SECRET)?;
    for (subject, port, token) in [
        ("alice", servers.port(series), alice(0)?),
        ("bob", servers.other_port(series), bob),
    ] {
        let (status, body) = load::once(port, &series.request(&token, 0, 0)).await?;
        expect(series, subject, status, 200)?;
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
    expect(series, "alice", status, 204)?;
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

fn expect(series: Series, who: &str, status: u16, expected: u16) -> Result<(), String> {
    if status == expected {
        return Ok(());
    }
    Err(format!(
        "({}) answered {who} {status}, not {expected}",
        series.letter()
    ))
}
