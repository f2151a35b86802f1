//! [`RoleScopedConnection`] as an argument of axum's handlers.

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use super::RoleScopedConnection;
use crate::error::{Error, ErrorKind};

impl<S: Sync> FromRequestParts<S> for RoleScopedConnection {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Self::from_extensions(&parts.extensions)
    }
}

/// Is `None` only where the request has no role to act as; a role that is refused stays an error.
impl<S: Sync> OptionalFromRequestParts<S> for RoleScopedConnection {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Error> {
        match Self::from_extensions(&parts.extensions) {
            Ok(connection) => Ok(Some(connection)),
            Err(error) if matches!(error.kind(), ErrorKind::MissingToken | ErrorKind::NoRole) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
