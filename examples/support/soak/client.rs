//! A client: sends one request after the other over HTTP, looks at every answer, and leaves where the plan says so.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::Request;
use fastrand::Rng;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::plan::{Kind, Plan};
use super::service::{Note, Probed};

/// How long an answer may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of one request.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) plan: Plan,
    pub(crate) answer: Answer,
    /// From sending to the last byte of the answer.
    pub(crate) took: Duration,
    /// How many rows of others were seen.
    pub(crate) foreign_rows: u64,
    /// What must never be in an answer, but was.
    pub(crate) lie: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The client left before it was complete.
    Left,
    /// It broke off, or did not come.
    Lost(String),
    /// It came: its status, and the body of one that is no success.
    Came(u16, String),
}

/// Where a client sends its requests, and how it signs them.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) secret: String,
}

/// Sends the requests of these numbers until it is told to stop, one at least.
pub(crate) async fn client(
    numbers: Range<i64>,
    mut random: Rng,
    service: Service,
    events: mpsc::UnboundedSender<Event>,
    stop: watch::Receiver<bool>,
) {
    let mut connection = None;
    for number in numbers {
        let plan = Plan::draw(&mut random, number);
        let begun = Instant::now();
        let (answer, body) = send(&mut connection, &service, &plan).await;
        let mut event = Event {
            took: begun.elapsed(),
            answer,
            foreign_rows: 0,
            lie: None,
            plan,
        };
        look(&mut event, &body);
        if events.send(event).is_err() || *stop.borrow() {
            return;
        }
    }
}

/// A connection that is kept alive.
struct Connection {
    requests: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn send(
    connection: &mut Option<Connection>,
    service: &Service,
    plan: &Plan,
) -> (Answer, Bytes) {
    let patience = plan.leaves_after.unwrap_or(PATIENCE);
    let sent = tokio::time::timeout(patience, send_and_read(connection, service, plan)).await;
    match sent {
        Ok(Ok((status, body))) => {
            let text = match status {
                200..300 => String::new(),
                _ => String::from_utf8_lossy(&body).into_owned(),
            };
            (Answer::Came(status, text), body)
        }
        Ok(Err(error)) => {
            *connection = None;
            (Answer::Lost(error), Bytes::new())
        }
        Err(_) => {
            *connection = None;
            let answer = match plan.leaves_after {
                Some(_) => Answer::Left,
                None => Answer::Lost(format!("no answer within {PATIENCE:?}")),
            };
            (answer, Bytes::new())
        }
    }
}

async fn send_and_read(
    connection: &mut Option<Connection>,
    service: &Service,
    plan: &Plan,
) -> Result<(u16, Bytes), String> {
    let request = request(service, plan)?;
    if connection.as_ref().is_none_or(|c| c.requests.is_closed()) {
        *connection = Some(connect(service.address).await?);
    }
    let Some(open) = connection else {
        return Err("no connection".to_owned());
    };
    open.requests.ready().await.map_err(|e| e.to_string())?;
    let sent = open.requests.send_request(request).await;
    let (parts, body) = sent.map_err(|e| format!("no answer: {e}"))?.into_parts();
    let body = body.collect().await;
    let body = body.map_err(|e| format!("the body of {} broke off: {e}", parts.status))?;
    Ok((parts.status.as_u16(), body.to_bytes()))
}

async fn connect(address: SocketAddr) -> Result<Connection, String> {
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|e| format!("cannot connect: {e}"))?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    let (requests, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    let task = tokio::spawn(async move {
        // What goes wrong is told to whoever waits for an answer.
        let _ = connection.await;
    });
    Ok(Connection { requests, task })
}

fn request(service: &Service, plan: &Plan) -> Result<Request<Full<Bytes>>, String> {
    let (kind, asked) = (plan.kind, &plan.asked);
    let mut uri = format!("/{}", kind.path());
    if kind == Kind::GetWrites {
        uri += &format!(
            "?request={}&role={}&sub={}&tenant={}&way=0",
            asked.request, asked.role, asked.sub, asked.tenant
        );
    }
    let method = if kind.is_get() { "GET" } else { "POST" };
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "soak");
    if kind.has_token() {
        let claims = json!({
            "role": asked.role, "sub": asked.sub, "tenant": asked.tenant, "exp": 4_102_444_800_u64
        });
        let key = EncodingKey::from_secret(service.secret.as_bytes());
        let token = jsonwebtoken::encode(&Header::default(), &claims, &key);
        let token = token.map_err(|e| format!("a token cannot be signed: {e}"))?;
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let body = if kind.is_get() {
        Vec::new()
    } else {
        request = request.header("content-type", "application/json");
        serde_json::to_vec(asked).map_err(|e| e.to_string())?
    };
    request
        .body(Full::from(body))
        .map_err(|e| format!("a request cannot be made: {e}"))
}

/// Looks at what an answer shows: nothing but what is the caller's.
fn look(event: &mut Event, body: &[u8]) {
    let Answer::Came(200..300, _) = &event.answer else {
        return;
    };
    let kind = event.plan.kind;
    let seen = match kind {
        Kind::List => serde_json::from_slice::<Vec<Note>>(body).map(|notes| foreign(event, &notes)),
        Kind::Stream => body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(serde_json::from_slice)
            .collect::<Result<Vec<Note>, _>>()
            .map(|notes| foreign(event, &notes)),
        Kind::AnonymousList => {
            serde_json::from_slice::<Vec<Note>>(body).map(|notes| notes.len() as u64)
        }
        Kind::Probe => serde_json::from_slice::<Probed>(body).map(|probed| {
            let asked = &event.plan.asked;
            if probed.role != asked.role || probed.sub != asked.sub || !probed.leftovers.is_empty()
            {
                event.lie = Some(format!("{} of {} ran as {probed:?}", asked.role, asked.sub));
            }
            0
        }),
        Kind::Snapshot => {
            if !body.is_empty() {
                event.lie = Some("a snapshot was torn".to_owned());
            }
            Ok(0)
        }
        _ => Ok(0),
    };
    match seen {
        Ok(foreign_rows) => event.foreign_rows = foreign_rows,
        Err(error) => event.lie = Some(format!("{}: not what was asked for: {error}", kind.name())),
    }
}

/// Counts the rows that are not the caller's.
fn foreign(event: &Event, notes: &[Note]) -> u64 {
    let asked = &event.plan.asked;
    let is_foreign = |note: &&Note| {
        note.asked_role != asked.role
            || note.by_role != asked.role
            || note.asked_tenant != asked.tenant
            || note.by_tenant != asked.tenant
    };
    notes.iter().filter(is_foreign).count() as u64
}
