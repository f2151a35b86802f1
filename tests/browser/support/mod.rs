//! What these tests share with those in `tests/it`.
#![allow(dead_code, reason = "these tests use a part of it")]

#[path = "../../it/support/example.rs"]
pub(crate) mod example;
#[path = "../../it/support/processes.rs"]
pub(crate) mod processes;
