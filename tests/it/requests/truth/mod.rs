//! Truth of the answer: whatever a handler swallows, holds or forgets, no client reads of a success that was not committed.
//!
//! `lies` has the handlers, `http` and `grpc` the clients that must not believe them. What else stands to it:
//! - `scope::ending` and `scope::last_statement`: each row of the contract by itself;
//! - `scope::lost_connections`: connections that die before, during and after COMMIT;
//! - `scope::release`: handlers whose SQL leaves the transaction or the role;
//! - `streams::{rows, ends, copy_fails}`: bodies that end the transaction;
//! - `streams::trailers` and `grpc::{streaming, web}`: statuses that come at the end.

#[cfg(feature = "tonic")]
mod grpc;
mod http;
mod lies;
mod no_connection;
mod status_in_head;
