//! What [`JwtAuthLayer`](super::JwtAuthLayer) found out about a request.

use http::Extensions;

use super::jwt::Claims;
use crate::error::{Error, ErrorKind};

/// Says that [`JwtAuthLayer`](super::JwtAuthLayer) has seen a request, and what it found: verified claims, or nobody.
///
/// The layer leaves one in the extensions of every request that it lets through. Where there is none, the layer is
/// missing; that is never read as "anonymous".
#[derive(Clone, Debug)]
pub struct Access {
    claims: Option<Claims>,
    token_sent: bool,
}

impl Access {
    pub(crate) fn verified(claims: Claims) -> Self {
        Self {
            claims: Some(claims),
            token_sent: true,
        }
    }

    pub(crate) fn anonymous(token_sent: bool) -> Self {
        Self {
            claims: None,
            token_sent,
        }
    }

    /// Returns what the layer left in a request's extensions.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::MissingLayer`] where no [`JwtAuthLayer`](super::JwtAuthLayer) has seen the request.
    pub fn from_extensions(extensions: &Extensions) -> Result<&Self, Error> {
        extensions.get().ok_or_else(|| {
            Error::new(
                ErrorKind::MissingLayer,
                "no JwtAuthLayer has seen this request: add it outside of RoleScopeLayer and of the handlers \
                 (with Router::layer the last call is the outermost)",
            )
        })
    }

    /// Returns the verified claims, or `None` for an anonymous request.
    pub fn claims(&self) -> Option<&Claims> {
        self.claims.as_ref()
    }

    /// Returns whether the request counts as anonymous.
    pub fn is_anonymous(&self) -> bool {
        self.claims.is_none()
    }

    /// Returns whether the request carried a token, also one that was not accepted.
    pub fn token_sent(&self) -> bool {
        self.token_sent
    }
}
