//! Requests through both layers to a real database.

mod composition;
mod errors;
mod escapes;
mod faults;
#[cfg(feature = "tonic")]
mod grpc;
mod hardened;
mod hygiene;
mod leaving;
mod logs;
mod over_http;
mod replica;
mod revocation;
pub(crate) mod scope;
mod seeds;
mod streams;
#[cfg(feature = "tls")]
mod tls;
mod truth;
#[cfg(not(feature = "tls"))]
mod without_tls;
