//! An [`Error`] as a `tonic::Status`.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use http::Response;
use tonic::{Code, Status};

use crate::error::Error;

/// Makes the status that tells a gRPC client of an error, and reports it to the operator where it is the server's fault.
///
/// Code and message are those that the layers answer with. The error itself stays among the status' sources, and the layers
/// of this crate put it into the response's extensions.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "postgres")] {
/// use rolescope::RoleScopedConnection;
/// use tonic::{Request, Response, Status};
///
/// async fn count(request: Request<()>) -> Result<Response<i64>, Status> {
///     let db = RoleScopedConnection::from_extensions(request.extensions())?;
///     Ok(Response::new(db.query_one_scalar("SELECT count(*) FROM todos", &[]).await?))
/// }
/// # }
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let answer = error.answer();
        error.report(&answer);
        let mut status = Self::new(Code::from_i32(answer.grpc_code), answer.body.message);
        status.set_source(Arc::new(Cause(error)));
        status
    }
}

/// Puts the error that a handler's status was made of where layers further out look for it.
pub(crate) fn with_error<B>(mut response: Response<B>) -> Response<B> {
    let extensions = response.extensions_mut();
    let cause = extensions.get::<Status>().and_then(StdError::source);
    if let Some(Cause(error)) = cause.and_then(<dyn StdError>::downcast_ref) {
        let error = error.clone();
        extensions.insert(error);
    }
    response
}

/// Stands between a status and its error, since tonic writes the `Debug` of the source into the status' `Display`. That of
/// the error has all that the database said.
struct Cause(Error);

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0.kind().as_str(), f)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}
