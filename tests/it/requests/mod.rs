//! Requests through both layers to a real database.

mod composition;
mod errors;
#[cfg(feature = "tonic")]
mod grpc;
mod logs;
mod over_http;
pub(crate) mod scope;
mod seeds;
mod streams;
