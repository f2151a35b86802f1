//! The services that are compared: the same two requests, written in different ways.

mod careful;
mod floor;
mod last_statement;
mod postgrest;
mod prepared;
pub(crate) mod rolescope;
mod usual;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::serve::ListenerExt;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_postgres::Row;

use crate::database::{self, SECRET, claims, token};
use postgrest::Postgrest;

/// How many connections to the database each variant has.
pub(crate) const POOL: u32 = 10;

/// A row that a read answers.
#[derive(Debug, Serialize)]
struct Item {
    id: i32,
    title: String,
    done: bool,
}

fn items(rows: &[Row]) -> Vec<Item> {
    let items = rows.iter().map(|row| Item {
        id: row.get(0),
        title: row.get(1),
        done: row.get(2),
    });
    items.collect()
}

/// The body of a write.
#[derive(Debug, Deserialize)]
struct Change {
    value: i32,
}

/// What a write answers when it has changed so many rows.
fn changed(rows: u64) -> StatusCode {
    match rows {
        0 => StatusCode::NOT_FOUND,
        _ => StatusCode::NO_CONTENT,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Read,
    Write,
}

/// One line of the tables: a variant in one of its forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Series {
    Floor,
    FloorWrite,
    Read,
    LastRead,
    Write,
    LastWrite,
    Usual,
    UsualWrite,
    Careful,
    CarefulWrite,
    Postgrest,
    PostgrestWrite,
}

impl Series {
    const ALL: [Self; 12] = [
        Self::Floor,
        Self::Read,
        Self::LastRead,
        Self::Usual,
        Self::Careful,
        Self::Postgrest,
        Self::FloorWrite,
        Self::Write,
        Self::LastWrite,
        Self::UsualWrite,
        Self::CarefulWrite,
        Self::PostgrestWrite,
    ];

    /// All that can be measured here.
    pub(crate) fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|series| match series {
            Self::Postgrest | Self::PostgrestWrite => postgrest::program().is_some(),
            _ => true,
        })
    }

    /// The short name, as the issue and `--only` have it; a `w` marks a write where the variant has both.
    pub(crate) fn letter(self) -> &'static str {
        match self {
            Self::Floor => "a",
            Self::FloorWrite => "aw",
            Self::Read => "b",
            Self::Write => "c",
            Self::LastWrite => "d",
            Self::Usual => "e",
            Self::UsualWrite => "ew",
            Self::Careful => "f",
            Self::CarefulWrite => "fw",
            Self::LastRead => "g",
            Self::Postgrest => "p",
            Self::PostgrestWrite => "pw",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor | Self::FloorWrite => "floor",
            Self::Read | Self::Write => "rolescope",
            Self::LastRead | Self::LastWrite => "rolescope, last statement",
            Self::Usual | Self::UsualWrite => "usual",
            Self::Careful | Self::CarefulWrite => "careful",
            Self::Postgrest | Self::PostgrestWrite => "PostgREST",
        }
    }

    pub(crate) fn form(self) -> Form {
        match self {
            Self::Floor
            | Self::Read
            | Self::LastRead
            | Self::Usual
            | Self::Careful
            | Self::Postgrest => Form::Read,
            Self::FloorWrite
            | Self::Write
            | Self::LastWrite
            | Self::UsualWrite
            | Self::CarefulWrite
            | Self::PostgrestWrite => Form::Write,
        }
    }

    /// The floor checks no token and has its subject for the session.
    pub(crate) fn checks_tokens(self) -> bool {
        !matches!(self, Self::Floor | Self::FloorWrite)
    }

    /// The bytes of a request; of a write, to which row and what.
    pub(crate) fn request(self, token: &str, row: usize, value: i32) -> Arc<[u8]> {
        let path = match self {
            Self::Floor | Self::Read | Self::Usual | Self::Careful => "/items".into(),
            Self::LastRead => "/last/items".into(),
            Self::Postgrest => "/items?select=id,title,done&order=id".into(),
            Self::FloorWrite | Self::Write | Self::UsualWrite | Self::CarefulWrite => {
                format!("/counters/{row}")
            }
            Self::LastWrite => format!("/last/counters/{row}"),
            Self::PostgrestWrite => format!("/counters?id=eq.{row}"),
        };
        let common = format!(
            "{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nAccept: application/json\r\n"
        );
        let text = match self.form() {
            Form::Read => format!("GET {common}\r\n"),
            Form::Write => {
                let body = format!(r#"{{"value":{value}}}"#);
                let length = body.len();
                format!(
                    "PATCH {common}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
                )
            }
        };
        text.into_bytes().into()
    }
}

/// All variants, each on a port of its own.
pub(crate) struct Servers {
    floor: u16,
    /// The floor for another subject.
    other_floor: u16,
    rolescope: u16,
    usual: u16,
    careful: u16,
    postgrest: Option<Postgrest>,
}

impl Servers {
    /// Starts them before the database at this port of 127.0.0.1, on the runtime that calls.
    pub(crate) async fn start(database: u16) -> Result<Self, String> {
        let url = database::url("authenticator", database);
        let floor = |subject: &str, pool| {
            let claims = claims(subject, "web_user", 0).to_string();
            floor::app(url.clone(), claims, pool)
        };
        Ok(Self {
            floor: serve(floor("alice", POOL).await?).await?,
            other_floor: serve(floor("bob", 1).await?).await?,
            rolescope: serve(rolescope::app(&url, crate::scale::KEPT).await?).await?,
            usual: serve(usual::app(&url).await?).await?,
            careful: serve(careful::app(&url).await?).await?,
            postgrest: match postgrest::program() {
                Some(program) => Some(Postgrest::start(&program, &url).await?),
                None => None,
            },
        })
    }

    pub(crate) fn port(&self, series: Series) -> u16 {
        match series {
            Series::Floor | Series::FloorWrite => self.floor,
            Series::Read | Series::Write | Series::LastRead | Series::LastWrite => self.rolescope,
            Series::Usual | Series::UsualWrite => self.usual,
            Series::Careful | Series::CarefulWrite => self.careful,
            Series::Postgrest | Series::PostgrestWrite => {
                self.postgrest.as_ref().map_or(0, Postgrest::port)
            }
        }
    }

    /// Where another subject than alice is served.
    pub(crate) fn other_port(&self, series: Series) -> u16 {
        match series {
            Series::Floor | Series::FloorWrite => self.other_floor,
            _ => self.port(series),
        }
    }
}

pub(crate) async fn serve(app: Router) -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .await
        .map_err(|e| e.to_string())?;
    let port = listener.local_addr().map_err(|e| e.to_string())?.port();
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(port)
}

pub(crate) fn alice(session: usize) -> Result<String, String> {
    token(&claims("alice", "web_user", session), SECRET)
}
