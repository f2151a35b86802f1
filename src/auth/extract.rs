//! Extractors for axum: `Claims`, and `Option<Claims>`.

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use super::access::Access;
use super::jwt::Claims;
use crate::error::{Error, ErrorKind};

/// Extracts the claims of the request's token.
///
/// An anonymous request is answered 401, one that [`JwtAuthLayer`](super::JwtAuthLayer) has not seen 500.
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl<S: Send + Sync> FromRequestParts<S> for Claims {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        claims(parts)?
            .ok_or_else(|| Error::new(ErrorKind::MissingToken, "the request needs a token"))
    }
}

/// Extracts the claims of the request's token, or `None` for an anonymous request.
///
/// A request that [`JwtAuthLayer`](super::JwtAuthLayer) has not seen is answered 500.
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl<S: Send + Sync> OptionalFromRequestParts<S> for Claims {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Error> {
        claims(parts)
    }
}

fn claims(parts: &Parts) -> Result<Option<Claims>, Error> {
    let access = Access::from_extensions(&parts.extensions)?;
    Ok(access.claims().cloned())
}
