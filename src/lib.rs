//! PostgreSQL's own authorization for any tower service.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod auth;
mod error;
pub mod role;
#[cfg(feature = "postgres")]
pub mod scope;
mod wire;

pub use auth::JwtAuthLayer;
pub use auth::jwt::{Claims, JwtVerifier};
pub use error::{Error, ErrorKind};
pub use wire::ResponseBody;
