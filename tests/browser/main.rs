//! The page of the example `todos`, in a real browser.
//!
//! `cargo test` leaves these out, since not everybody has a Chromium: `cargo build --example todos`, then
//! `cargo test --test browser` runs them. Pictures of the page are left in `target/tmp/screenshots`.

mod chromium;
#[path = "../../examples/support/local_postgres/mod.rs"]
mod local_postgres;
mod support;
mod visitor;

mod pictures;
mod sessions;
mod users;
