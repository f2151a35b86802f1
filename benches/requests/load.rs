//! The load generator: connections that send one request after the other, on one thread and with as little work as it
//! takes, so that the service under test has the machine.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::cpu::Cpu;

/// How long an answer may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the load generator may be kept from running.
const STANDSTILL: Duration = Duration::from_millis(500);

/// Latencies beyond this are recorded as this.
const LONGEST: Duration = Duration::from_secs(100);

/// What one connection sends, in turns.
pub(crate) type Script = Vec<Arc<[u8]>>;

/// What a slice of time has shown.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    pub(crate) seconds: f64,
    /// Nanoseconds from the first byte sent to the last one received, of the requests that were answered with 2xx.
    pub(crate) latencies: Histogram<u64>,
    /// What it took of the processors, where that can be known.
    pub(crate) cpu: Option<Cpu>,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
}

impl Slice {
    fn new(seconds: f64) -> Self {
        Self {
            seconds,
            latencies: Histogram::new_with_bounds(1_000, LONGEST.as_nanos() as u64, 3)
                .expect("the bounds are in order"),
            cpu: None,
            errors: 0,
            first_error: None,
        }
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.seconds
    }

    /// Milliseconds.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1e6
    }

    /// Microseconds of processor time for each request: the service's, and PostgreSQL's.
    pub(crate) fn cpu(&self) -> Option<(f64, f64)> {
        let micros = |nanos: u64| nanos as f64 / 1e3 / self.latencies.len() as f64;
        self.cpu
            .map(|cpu| (micros(cpu.service), micros(cpu.database)))
    }

    fn failed(&mut self, error: String) {
        self.errors += 1;
        self.first_error.get_or_insert(error);
    }
}

/// Sends for `warm_up` and then for `time`: one connection for each script. What is answered in the latter counts.
///
/// Where the load generator itself did not run for a while, the service had nothing to do: that is done again, twice at
/// most.
pub(crate) fn run(port: u16, scripts: &[Script], warm_up: Duration, time: Duration) -> Slice {
    for _ in 0..2 {
        let (slice, stood_still) = once_through(port, scripts, warm_up, time, true);
        if stood_still.is_zero() {
            return slice;
        }
        eprintln!("this process stood still for {stood_still:.1?}: measuring again");
    }
    once_through(port, scripts, warm_up, time, false).0
}

/// Also returns how long nothing ran here, where that is too long and not to be put up with.
fn once_through(
    port: u16,
    scripts: &[Script],
    warm_up: Duration,
    time: Duration,
    strict: bool,
) -> (Slice, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let slice = Rc::new(RefCell::new(Slice::new(time.as_secs_f64())));
    let tasks = LocalSet::new();
    let from = Instant::now() + warm_up;
    for script in scripts {
        let (script, slice) = (script.clone(), Rc::clone(&slice));
        tasks.spawn_local(connection(port, script, from, from + time, slice));
    }
    let measured = Rc::clone(&slice);
    tasks.spawn_local(async move {
        tokio::time::sleep_until(from.into()).await;
        let begun = Cpu::now();
        tokio::time::sleep_until((from + time).into()).await;
        let ended = Cpu::now();
        measured.borrow_mut().cpu = ended.zip(begun).map(|(ended, begun)| ended.since(begun));
    });
    let stood_still = runtime.block_on(async {
        tokio::select! {
            biased;
            stood_still = standstill(), if strict => stood_still,
            () = tasks => Duration::ZERO,
            () = tokio::time::sleep(warm_up + time + PATIENCE) => {
                slice.borrow_mut().failed(format!("no answer within {PATIENCE:?}"));
                Duration::ZERO
            }
        }
    });
    (slice.replace(Slice::new(0.0)), stood_still)
}

/// Ends when this thread has not run for a while: the machine or the process was stopped, or others took all of it.
async fn standstill() -> Duration {
    let mut last = Instant::now();
    loop {
        tokio::time::sleep(STANDSTILL / 10).await;
        let passed = last.elapsed();
        if passed >= STANDSTILL {
            return passed;
        }
        last = Instant::now();
    }
}

async fn connection(
    port: u16,
    script: Script,
    from: Instant,
    until: Instant,
    slice: Rc<RefCell<Slice>>,
) {
    let mut client = None;
    for request in script.iter().cycle() {
        let begun = Instant::now();
        let answer = match &mut client {
            Some(client) => send(client, request).await,
            none => match Client::connect(port).await {
                // The first request of a connection does not pay for the handshake.
                Ok(connected) => {
                    *none = Some(connected);
                    continue;
                }
                Err(error) => Err(error),
            },
        };
        let ended = Instant::now();
        if ended >= until {
            return;
        }
        match answer {
            Ok(status) if (200..300).contains(&status) => {
                if ended >= from {
                    let nanos = (ended - begun).as_nanos() as u64;
                    slice.borrow_mut().latencies.saturating_record(nanos);
                }
            }
            Ok(status) => slice.borrow_mut().failed(format!("status {status}")),
            Err(error) => {
                slice.borrow_mut().failed(error);
                client = None;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn send(client: &mut Client, request: &[u8]) -> Result<u16, String> {
    client.send(request).await.map(|answer| answer.status)
}

/// A connection that is kept alive.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

struct Answer {
    status: u16,
    /// Where the body ends in the buffer.
    end: usize,
    /// The places of its parts.
    body: Vec<(usize, usize)>,
}

impl Client {
    async fn connect(port: u16) -> Result<Self, String> {
        let stream = TcpStream::connect(("127.0.0.1", port))
            .await
            .map_err(|e| format!("connect: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(16 * 1024),
        })
    }

    async fn send(&mut self, request: &[u8]) -> Result<Answer, String> {
        self.buffer.clear();
        self.stream
            .write_all(request)
            .await
            .map_err(|e| format!("write: {e}"))?;
        loop {
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Err("the connection was closed".into()),
                Ok(_) => {}
                Err(e) => return Err(format!("read: {e}")),
            }
            if let Some(answer) = parse(&self.buffer)? {
                if answer.end != self.buffer.len() {
                    return Err("there is something behind the answer".into());
                }
                return Ok(answer);
            }
        }
    }
}

/// Sends one request on a connection of its own; the answer's status and body.
pub(crate) async fn once(port: u16, request: &[u8]) -> Result<(u16, Vec<u8>), String> {
    let mut client = Client::connect(port).await?;
    let answer = client.send(request).await?;
    let parts = answer.body.iter();
    let body = parts.flat_map(|&(from, to)| &client.buffer[from..to]);
    Ok((answer.status, body.copied().collect()))
}

/// Reads an answer, if all of it is there.
fn parse(buffer: &[u8]) -> Result<Option<Answer>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response
        .parse(buffer)
        .map_err(|e| format!("not an answer: {e}"))?
    else {
        return Ok(None);
    };
    let status = response.code.unwrap_or(0);
    let value = |name: &str| {
        let mut headers = response.headers.iter();
        let found = headers.find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    if status == 204 {
        let (end, body) = (head, Vec::new());
        return Ok(Some(Answer { status, end, body }));
    }
    if value("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return Ok(chunks(buffer, head)?.map(|(end, body)| Answer { status, end, body }));
    }
    let length: usize = value("content-length")
        .and_then(|value| value.parse().ok())
        .ok_or("an answer without a length")?;
    let end = head + length;
    Ok((end <= buffer.len()).then(|| Answer {
        status,
        end,
        body: vec![(head, end)],
    }))
}

/// Where a chunked body ends, and the places of its chunks, if all of it is there.
#[allow(
    clippy::type_complexity,
    reason = "an end and places are what there is"
)]
fn chunks(buffer: &[u8], mut at: usize) -> Result<Option<(usize, Vec<(usize, usize)>)>, String> {
    let mut body = Vec::new();
    loop {
        let size = httparse::parse_chunk_size(&buffer[at.min(buffer.len())..])
            .map_err(|_| "not a chunk")?;
        let httparse::Status::Complete((line, size)) = size else {
            return Ok(None);
        };
        let from = at + line;
        let to = from + size as usize;
        at = to + 2;
        if size == 0 {
            return Ok((at <= buffer.len()).then_some((at, body)));
        }
        body.push((from, to));
    }
}
