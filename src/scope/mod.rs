//! Runs the statements of a request in a transaction of its own, as the role that was decided.
//!
//! [`RoleScopedPool`] logs in as the authenticator and keeps the connections, [`RoleScopeLayer`] gives each request its
//! [`RoleScopedConnection`] and ends the transaction with the response.
//!
//! # From the first statement to the reset
//!
//! 1. The layer decides the role, and leaves a connection in the request's extensions. Nothing is taken from the pool.
//! 2. The handler's first statement takes a session. `BEGIN`, the switch and the statement travel together. The switch
//!    sets the role, `request.jwt.claims`, `request.method` and `request.path`, for this transaction only.
//! 3. Later statements follow in the same transaction. Several handles, clones or extractions, share it.
//! 4. When the response's head is ready, all handles are revoked. Statements that were sent are waited for; one that is
//!    run later, from a task that the handler has spawned for example, is an error. A stream that the body holds goes on.
//! 5. 2xx and 3xx commit, everything else rolls back. Where something may have been changed, the response waits for it.
//! 6. The session is reset and goes back to the pool. The next transaction's `BEGIN` may be sent behind the reset
//!    without waiting for it; the answer to the reset is read ahead of its own. Where the reset has failed, nothing
//!    behind it is shown or stored, the session is closed, and another one serves.
//!
//! # Who ends the transaction
//!
//! | | |
//! |---|---|
//! | the response is 2xx or 3xx | COMMIT |
//! | it is anything else, the handler panics, the client goes away | ROLLBACK |
//! | the handler says [`commit`](RoleScopedConnection::commit) or [`rollback`](RoleScopedConnection::rollback) | done then, whatever the status |
//! | the handler runs its last statement by [`query_and_commit`](RoleScopedConnection::query_and_commit) or [`execute_and_commit`](RoleScopedConnection::execute_and_commit) | COMMIT in the same round trip, whatever the status; if the statement fails, nothing is committed |
//! | COMMIT is refused, or a statement's error was ignored | the error takes the place of a 2xx |
//! | there was no connection to be had, and no later statement got one | the same, unless the handler says `rollback` |
//! | the connection is lost after COMMIT was sent, or the `BEGIN` before it is not answered in time | 500: it is *unknown* whether it was stored |
//! | the handler's SQL left its transaction or role | 500, and the session is closed |
//! | a read's stream is still open | the transaction goes on, and ends with the body |
//! | a write's stream is still open | 500 and ROLLBACK, unless the handler said [`commit_at_end_of_body`](RoleScopedConnection::commit_at_end_of_body) |
//! | it was said, and the body comes to its end | COMMIT, and the end of the body waits for it; if that fails, the body ends with an error |
//! | a gRPC response with its status in the trailers | COMMIT before a `grpc-status: 0` is passed on, which is replaced if that fails; otherwise ROLLBACK |
//! | the body fails, or is dropped before its end | ROLLBACK |
//!
//! Say `commit` in the handler only where a failure must be stored too: a failed login that is counted, for example.
//! An error within the transaction makes all of it fail, unless a [`savepoint`](RoleScopedConnection::savepoint) was set.
//!
//! # What SQL can leave, and the ways out that it has
//!
//! The SQL of handlers is trusted. What it leaves on its session by accident, the next request does not find: settings, roles,
//! temporary objects, cursors, listeners, advisory locks and values of sequences are reset, and where that fails the session
//! is closed. So it is after PREPARE, DEALLOCATE or DISCARD, in blocks of code and in texts of several statements too. Not
//! reset are the seed of `random()`, statements that a *function* prepares or deallocates when it is called, connections of
//! `dblink`, and global variables of PL/Perl and PL/Python.
//!
//! PostgreSQL lets SQL leave the role that it runs as: `SET ROLE`, `RESET ROLE`, `set_config('role', ..)`, `COMMIT`. At the
//! transaction's end the time of its begin, its role and, of a read, its being `READ ONLY` are checked, in the same round trip:
//! where one is not what it was, the answer is 500, what is not committed yet is rolled back, and the session is closed. Of a read
//! by queries alone nobody waits for the end: then the log tells it. SQL that goes out and comes back, or that overwrites the
//! claims, is not noticed. `examples/sql/hardening.sql` closes what an expression can do, not what a whole statement can.
//!
//! # Streams
//!
//! [`query_stream`](RoleScopedConnection::query_stream), [`copy_out`](RoleScopedConnection::copy_out) and
//! [`copy_in`](RoleScopedConnection::copy_in) read and write without holding all of it in memory. See [`RowStream`] for
//! what a stream does to its transaction, and for a response body made of rows.
//!
//! A streaming response keeps its connection until the client has read all of it, and a handler that reads the request's
//! body behind its first statement until that has come. Give slow clients a limit: a timeout on the bodies
//! (`ResponseBodyTimeoutLayer`, `RequestBodyTimeoutLayer` of `tower_http::timeout`), and a pool that is large enough.
//!
//! # Outside of requests
//!
//! [`RoleScopedPool::begin`] gives a connection to jobs, and to tests of what a role sees.
//!
//! # A replica for reads
//!
//! With [`RoleScopedPoolBuilder::replica`] transactions that are `READ ONLY` at their first statement run on a replica, so
//! GET, HEAD and OPTIONS do. `READ WRITE` and `SERIALIZABLE` ones run on the primary, and those that say
//! [`on_primary`](RoleScopedConnection::on_primary).
//!
//! - *Where the replica is away*, the primary serves: no connection can be made, a pooled one is dead before `BEGIN` was
//!   answered, or `BEGIN` is not answered in time. The request that finds out is delayed by that at most. Those that
//!   follow go to the primary at once, and one a second has the replica looked for in the background. A batch of several
//!   statements is not sent twice.
//! - *Where it is there*, its errors are the request's: all of its connections in use, or a statement cancelled due to a
//!   conflict with recovery (40001) are 503 with `Retry-After`. The primary is not given what the replica was to keep
//!   from it.
//! - *It lags behind.* What was committed a moment ago may not be there yet, a new role or table included. With
//!   [`primary_after_write`](RoleScopedPoolBuilder::primary_after_write) a caller's own reads stay on the primary for a
//!   while after its writes.
//! - *Its set-up* is checked as the primary's is, before it is used. The settings of roles
//!   ([`role_settings`](RoleScopedPoolBuilder::role_settings)) are read from the primary.
//!
//! # Connection poolers
//!
//! Between a pool and PostgreSQL there may be PgBouncer; the pool must be told: see [`Pooler`].
//!
//! # gRPC
//!
//! Every gRPC request is a POST to the path of its method: [`RoleScopeLayer::access_mode`] says which methods only read. The
//! status decides, in the headers or in the trailers; an HTTP 200 without one rolls back. The transaction is open while the
//! method's request and response streams are, and committed before the client sees `grpc-status: 0`. A success that its
//! client could not read as one is refused with a status of 13, and rolled back: an answer that is not gRPC at all, or a
//! `grpc-status: 0` in the headers with a body behind it.
//!
//! A client that drops the response of a bidirectional call, but keeps its request stream open, has not ended the call as
//! HTTP/2 sees it. Where the method waits for that stream, its transaction lives until `idle_in_transaction_timeout`, and its
//! place in the pool is taken until the call ends. Give the request stream a limit: `RequestBodyTimeoutLayer` of `tower_http`,
//! outside of both layers, ends a call whose next message does not come in time.
//!
//! # What SQL can read
//!
//! | | |
//! |---|---|
//! | `current_user` | the request's role |
//! | `session_user` | the role that the pool logs in as |
//! | `request.jwt.claims` | the claims as they were signed; of an anonymous request `{"role":"anon"}`, with the role's name |
//! | `request.method`, `request.path` | of the request, as `RoleScopeLayer` saw it; outside of requests empty |
//! | `request.headers` | by choice: a JSON object |
//! | `request.jwt.claim.NAME` | by choice: each claim |
//! | settings of your own | by choice: `app_setting` |
//!
//! `nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub'` is how a policy reads a claim.
//!
//! # Options
//!
//! Of a pool, by [`RoleScopedPoolBuilder`]; the URL has those of TLS ([`RoleScopedPool::builder`]):
//!
//! | option | default | what it sets |
//! |---|---|---|
//! | `anonymous_role` | none | the role of requests that name none; without it they are refused |
//! | `resting_role` | the anonymous role | the role that sessions fall to when a transaction ends |
//! | `max_size` | 10 | how many connections there may be |
//! | `max_lifetime` | 30 min | the age at which a connection is replaced |
//! | `idle_timeout` | 10 min | how long a connection may be idle before it is closed |
//! | `statement_cache` | 1024 | how many prepared statements each connection keeps |
//! | `app_setting` | none | a setting of your own in every transaction |
//! | `claim_settings` | no | `request.jwt.claim.NAME` for each claim, too |
//! | `role_settings` | no | whether `ALTER ROLE .. SET` counts for a request's role |
//! | `pooler` | none | which pooler stands before PostgreSQL |
//! | `replica` | none | where `READ ONLY` transactions are served |
//! | `replica_max_size` | `max_size` | how many connections to the replica there may be |
//! | `primary_after_write` | zero | how long a caller's reads stay on the primary after its writes |
//! | `check_tables` | no | whether tables that row-level security does not protect are refused, too |
//! | `accept_setup_problem` | none | which dangerous set-up is accepted |
//!
//! Deadlines, of the same builder:
//!
//! | option | default | what is waited for | what comes of it |
//! |---|---|---|---|
//! | `acquire_timeout` | 5 s | a connection of the pool | 503, [`PoolExhausted`](crate::ErrorKind::PoolExhausted) or `Unavailable` |
//! | `connect_timeout` | 5 s | a new connection, with its handshake | 503, [`Unavailable`](crate::ErrorKind::Unavailable) |
//! | `begin_timeout` | 5 s | the answer to `BEGIN` and the switch; the types of a statement's columns, where they have changed | 503, `Unavailable`, and the session is closed; 500, [`CommitUnknown`](crate::ErrorKind::CommitUnknown), where COMMIT was sent behind them |
//! | `statement_timeout` | the server's | a statement | 504, SQLSTATE 57014 |
//! | `idle_in_transaction_timeout` | 60 s | the next statement of a transaction | 503, and the session is closed |
//! | `reset_timeout` | 1 s | the answer to ROLLBACK, and to a session's reset | the session is closed, and a statement that was sent behind it is sent once more on another; where that is not safe, as `begin_timeout` |
//!
//! While no connection can be made, one attempt a second is let through. Requests for which none is idle are told at once:
//! 503, [`Unavailable`](crate::ErrorKind::Unavailable). So are those for which the server has no place left: let it have
//! `max_size` for each pool, in its `max_connections` and in the limits of database and login role.
//!
//! Nothing but the server ends a statement or a COMMIT that it has begun to answer to. For one that falls silent there
//! (a network that drops all, a process that is stopped), put a timeout around the handlers (`TimeoutLayer` of
//! `tower_http::timeout`), and on TCP `tcp_user_timeout`, `keepalives_idle` and `keepalives_interval` into the URL.
//!
//! Of requests, by [`RoleScopeLayer`]:
//!
//! | option | default | what it sets |
//! |---|---|---|
//! | `roles` | the claim `role` | how the role is decided: a [`RolePolicy`](crate::RolePolicy) |
//! | `access_mode` | by the HTTP method | which requests are `READ ONLY` |
//! | `request_headers` | no | `request.headers`, too, without what is secret |
//! | `request_cookies` | no | whether `Cookie` is among them |
//!
//! Of one route [`AccessMode`] as a layer; of one request, before its first statement, `read_only`, `read_write`, `isolation`
//! and `on_primary` of its [`RoleScopedConnection`].

mod access_mode;
mod begin;
mod body;
mod connection;
mod end;
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
mod extract;
mod guard;
#[cfg(feature = "issuer")]
#[cfg_attr(docsrs, doc(cfg(feature = "issuer")))]
mod issue;
mod layer;
mod outcome;
pub(crate) mod pg;
mod response;
pub mod revocation;
mod rows;
mod savepoint;
mod streams;

pub use access_mode::WithAccessMode;
pub use body::ScopedBody;
pub use connection::RoleScopedConnection;
pub use layer::{RoleScopeLayer, RoleScopeService};
pub use pg::builder::RoleScopedPoolBuilder;
pub use pg::mode::{AccessMode, Isolation};
pub use pg::pool::{PoolStatus, RoleScopedPool};
pub use pg::pooler::Pooler;
pub use pg::setup::{SetupProblem, SetupProblemKind};
pub use pg::setup_error::SetupError;
pub use response::ResponseFuture;
pub use savepoint::Savepoint;
pub use streams::{CopyIn, CopyOut, RowStream};
