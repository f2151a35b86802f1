//! Requests through both layers to a real database.

mod composition;
mod errors;
mod logs;
mod over_http;
mod replica;
mod scope;
mod seeds;
