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
#[cfg(feature = "postgres")]
pub use bb8_postgres::tokio_postgres;
pub use error::{Error, ErrorKind};
pub use role::{RoleName, RolePolicy, RoleScope};
#[cfg(feature = "postgres")]
pub use scope::{
    AccessMode, Isolation, RoleScopeLayer, RoleScopedConnection, RoleScopedPool, SetupError,
};
pub use wire::ResponseBody;
