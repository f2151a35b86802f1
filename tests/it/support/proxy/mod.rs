//! A proxy between driver and server that sees each message of the driver and decides what becomes of it.
//!
//! It withholds the server's answers until a test has seen the messages that it expects, so that one
//! [`flight`](Proxy::flight) is one round trip, whatever the machine's speed.
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

mod relay;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rolescope::RoleScopedPool;
use rolescope::scope::{Pooler, RoleScopedPoolBuilder};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Database;
use super::local_postgres::LocalPostgres;
use super::pgbouncer::PgBouncer;

/// How long a test waits for what must come, before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Passes everything on until it is told otherwise. It ends with the test's runtime.
pub(crate) struct Proxy {
    url: String,
    socket: PathBuf,
    upstream: PathBuf,
    pooler: Option<Pooler>,
    state: watch::Sender<State>,
    listener: Option<JoinHandle<()>>,
}

/// What the driver sends up to the `Sync`, `Query` or startup message that the server answers with `ReadyForQuery`.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) connection: usize,
    /// The type bytes of its messages, or `startup`, or `cancel`.
    pub(crate) messages: String,
    /// The statement that it is about.
    pub(crate) sql: String,
}

/// When a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Before the request reaches the server, and after the answers to those before it have reached the driver.
    Unsent,
    /// After the server has answered the request, and before the driver sees anything of it.
    Unanswered,
}

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    /// How many of `requests` a flight has shown.
    shown: usize,
    connections: Vec<Connection>,
    holding: bool,
    delaying_cancels: bool,
    cuts: Vec<(Cut, &'static str)>,
}

#[derive(Default)]
struct Connection {
    sent: usize,
    answered: usize,
    /// The answers to how many requests may pass, while answers are withheld.
    may_pass: usize,
    cut: bool,
    cut_before: Option<usize>,
    cut_at_answer: Option<usize>,
    frozen: bool,
    ended: bool,
}

impl Proxy {
    /// Starts a proxy for one test.
    pub(crate) fn start(database: &Database) -> Self {
        Self::between(
            database.server,
            &database.url("LOGIN"),
            database.pgbouncer(),
        )
    }

    /// Starts a proxy before a server. The URL is for the user `LOGIN`.
    pub(crate) fn before(server: &LocalPostgres, url: &str) -> Self {
        Self::between(server, url, None)
    }

    fn between(server: &LocalPostgres, url: &str, pgbouncer: Option<&PgBouncer>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(6000);
        // In the server's own directory, which goes with the server: a socket's name is made of nothing but its port.
        let port = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = server.directory();
        let mut this = Self {
            url: url.replace(":5432/", &format!(":{port}/")),
            socket: directory.join(format!(".s.PGSQL.{port}")),
            upstream: directory.join(pgbouncer.map_or(".s.PGSQL.5432".to_owned(), |p| p.socket())),
            pooler: pgbouncer.map(|_| Pooler::Transaction),
            state: watch::Sender::default(),
            listener: None,
        };
        this.listen();
        this
    }

    /// Returns the URL for a user, who needs no password.
    pub(crate) fn url(&self, user: &str) -> String {
        self.url.replace("LOGIN", user)
    }

    /// A pool builder for a login role of one's own.
    pub(crate) fn pool_builder_for(&self, login: &str) -> RoleScopedPoolBuilder {
        RoleScopedPool::builder(&self.url(login))
            .expect("the URL can be read")
            .pooler(self.pooler)
    }

    /// A pool builder as `authenticator`, with `anon` as the anonymous role and one connection.
    pub(crate) fn pool_builder(&self) -> RoleScopedPoolBuilder {
        self.pool_builder_for("authenticator")
            .anonymous_role("anon")
            .max_size(1)
    }

    // --- what was seen ---

    /// All that the driver has sent.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.borrow().requests.clone()
    }

    /// How many requests about statements that begin like this the driver has sent.
    pub(crate) fn count(&self, sql: &str) -> usize {
        let state = self.state.borrow();
        let about = state.requests.iter().filter(|r| r.sql.starts_with(sql));
        about.count()
    }

    /// How many connections were made, those of cancel requests included.
    pub(crate) fn connections(&self) -> usize {
        self.state.borrow().connections.len()
    }

    /// Waits until the driver has sent the next requests, and says that they are these.
    #[track_caller]
    pub(crate) fn sees(&self, expected: &[&str]) -> impl Future<Output = ()> {
        let at = std::panic::Location::caller();
        let mut state = self.state.subscribe();
        let sender = self.state.clone();
        let expected: Vec<String> = expected.iter().map(|&s| s.to_owned()).collect();
        async move {
            let enough = state.wait_for(|s| s.requests.len() >= s.shown + expected.len());
            let in_time = tokio::time::timeout(PATIENCE, enough).await.is_ok();
            let mut seen = Vec::new();
            sender.send_if_modified(|s| {
                seen.extend_from_slice(&s.requests[s.shown..]);
                s.shown = s.requests.len();
                false
            });
            let messages: Vec<&str> = seen.iter().map(|r| r.messages.as_str()).collect();
            assert!(
                in_time && messages == expected,
                "expected {expected:?}, and within {PATIENCE:?} came {seen:#?}\nat {at}"
            );
        }
    }

    /// Waits until the last that the driver has sent is a reset.
    #[track_caller]
    pub(crate) fn rests(&self) -> impl Future<Output = ()> {
        let mut state = self.state.subscribe();
        within(async move {
            let rests = |s: &State| {
                s.requests
                    .last()
                    .is_some_and(|r| r.sql.contains("UNLISTEN *"))
            };
            let _ = state.wait_for(rests).await;
        })
    }

    /// Awaits exactly these requests while all answers are withheld, then lets their answers through: one round trip.
    #[track_caller]
    pub(crate) fn flight(&self, expected: &[&str]) -> impl Future<Output = ()> {
        let seen = self.sees(expected);
        async move {
            seen.await;
            self.release();
        }
    }

    // --- what becomes of it ---

    /// Withholds the answers to all requests from now on.
    pub(crate) fn hold(&self) {
        self.state.send_modify(|s| {
            s.holding = true;
            s.shown = s.requests.len();
            s.release();
        });
    }

    /// Lets the answers through to what was sent by now.
    pub(crate) fn release(&self) {
        self.state.send_modify(State::release);
    }

    /// Lets the answers to one more request through on each connection.
    pub(crate) fn release_one(&self) {
        self.state.send_modify(|s| {
            for connection in &mut s.connections {
                connection.may_pass = connection.sent.min(connection.may_pass + 1);
            }
        });
    }

    /// Keeps cancel requests from the server.
    pub(crate) fn delay_cancels(&self) {
        self.state.send_modify(|s| s.delaying_cancels = true);
    }

    /// Waits until the driver has sent a cancel request.
    pub(crate) async fn sees_cancel(&self) {
        let mut state = self.state.subscribe();
        let sent = |s: &State| s.requests.iter().any(|r| r.messages == "cancel");
        let _ = within(state.wait_for(sent)).await;
    }

    /// Passes on all cancel requests, and waits until the server has acted on them.
    pub(crate) async fn pass_cancels(&self) {
        self.state.send_modify(|s| s.delaying_cancels = false);
        let mut state = self.state.subscribe();
        let acted = |s: &State| {
            let mut cancels = s.requests.iter().filter(|r| r.messages == "cancel");
            cancels.all(|r| s.connections[r.connection].ended)
        };
        let _ = within(state.wait_for(acted)).await;
    }

    /// Passes everything on again.
    pub(crate) fn pass(&self) {
        self.state.send_modify(|s| s.holding = false);
    }

    /// Has nothing pass any more, in either direction, on the connections that there are.
    pub(crate) fn freeze(&self) {
        self.state
            .send_modify(|s| s.connections.iter_mut().for_each(|c| c.frozen = true));
    }

    /// Cuts the connections that there are.
    pub(crate) fn cut(&self) {
        self.state
            .send_modify(|s| s.connections.iter_mut().for_each(|c| c.cut = true));
    }

    /// Cuts the connection of the next request about a statement that begins like this. Said twice, it happens twice.
    pub(crate) fn cut_at(&self, cut: Cut, sql: &'static str) {
        self.state.send_modify(|s| s.cuts.push((cut, sql)));
    }

    /// Refuses new connections.
    pub(crate) async fn refuse(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.abort();
            // The socket is closed once the task is gone; its file stays, so that connections are refused.
            let _ = listener.await;
        }
    }

    /// Accepts connections again.
    pub(crate) fn listen(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
        let listener = UnixListener::bind(&self.socket).expect("the socket can be bound");
        let upstream = self.upstream.clone();
        let state = self.state.clone();
        self.listener = Some(tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut number = 0;
                state.send_modify(|s| {
                    number = s.connections.len();
                    s.connections.push(Connection::default());
                });
                tokio::spawn(relay::relay(
                    client,
                    upstream.clone(),
                    state.clone(),
                    number,
                ));
            }
        }));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl State {
    fn release(&mut self) {
        for connection in &mut self.connections {
            connection.may_pass = connection.sent;
        }
    }

    /// Notes a request and says whether it may go on.
    fn note(&mut self, request: Request) -> bool {
        let matching = |(_, sql): &(Cut, &str)| request.sql.starts_with(*sql);
        let cut = self.cuts.iter().position(matching);
        let cut = cut.map(|i| self.cuts.remove(i).0);
        let connection = &mut self.connections[request.connection];
        connection.sent += 1;
        match cut {
            Some(Cut::Unsent) => connection.cut_before = Some(connection.sent - 1),
            Some(Cut::Unanswered) => connection.cut_at_answer = Some(connection.sent - 1),
            None => {}
        }
        self.requests.push(request);
        cut != Some(Cut::Unsent)
    }
}

impl Connection {
    fn is_cut(&self) -> bool {
        self.cut || self.cut_before.is_some_and(|n| self.answered >= n)
    }
}

/// Waits for what must come, and fails where it does not.
#[track_caller]
pub(crate) fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let at = std::panic::Location::caller();
    async move {
        tokio::time::timeout(PATIENCE, future)
            .await
            .unwrap_or_else(|_| panic!("it did not come within {PATIENCE:?}\nat {at}"))
    }
}
