//! What [`JwtAuthLayer`](super::JwtAuthLayer) found out about a request.

use http::Extensions;

use super::jwt::Claims;
use super::require_scope::is_scope;
use crate::error::{Error, ErrorKind, NeededScopes};

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

    /// Returns the verified claims, where they grant all of these scopes.
    ///
    /// Scopes are what a user lets a client do in the user's name; what the role may do is still for the database to
    /// say. [`Claims::scopes`] says where they stand in a token. See [`RequireScopeLayer`](super::RequireScopeLayer) for
    /// whole routes.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::MissingToken`]: the request is anonymous
    /// - [`ErrorKind::InsufficientScope`]: the token does not grant one of them; the challenge names all that are needed
    ///
    /// # Examples
    ///
    /// ```
    /// use http::Request;
    /// use rolescope::Error;
    /// use rolescope::auth::Access;
    ///
    /// fn delete<B>(request: &Request<B>) -> Result<(), Error> {
    ///     let claims = Access::from_extensions(request.extensions())?.require_scopes(&["todos:write"])?;
    ///     println!("for {:?}", claims.subject());
    ///     Ok(())
    /// }
    /// ```
    pub fn require_scopes(&self, scopes: &[&str]) -> Result<&Claims, Error> {
        let Some(claims) = &self.claims else {
            let message = "the request needs a token";
            return Err(Error::new(ErrorKind::MissingToken, message));
        };
        let granted: Vec<_> = claims.scopes().collect();
        let is_granted = |scope: &&str| granted.iter().any(|granted| granted == scope);
        if scopes.iter().all(is_granted) {
            return Ok(claims);
        }
        let message = "the token does not grant a scope that is needed here";
        // What is no scope could end the challenge's quoted text.
        Err(if scopes.iter().all(|scope| is_scope(scope)) {
            let needed = NeededScopes(scopes.join(" "));
            Error::with_source(ErrorKind::InsufficientScope, message, needed)
        } else {
            Error::new(ErrorKind::InsufficientScope, message)
        })
    }

    /// Returns whether the request carried a token, also one that was not accepted.
    pub fn token_sent(&self) -> bool {
        self.token_sent
    }
}
