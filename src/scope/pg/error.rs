//! The driver's errors as errors of this crate.

use tokio_postgres::Error as PgError;

use crate::error::{Error, ErrorKind};

impl From<PgError> for Error {
    fn from(error: PgError) -> Self {
        if error.as_db_error().is_some() {
            Self::with_source(
                ErrorKind::Database,
                "the database refused a statement",
                error,
            )
        } else if is_connection_error(&error) {
            Self::with_source(
                ErrorKind::ConnectionLost,
                "the connection to the database was lost",
                error,
            )
        } else {
            Self::with_source(
                ErrorKind::Statement,
                "a statement could not be sent or its answer not be read",
                error,
            )
        }
    }
}

/// Whether the driver lost the connection, as opposed to being used wrongly.
fn is_connection_error(error: &PgError) -> bool {
    use std::error::Error as _;

    error.is_closed()
        || error
            .source()
            .is_some_and(|source| source.is::<std::io::Error>())
}
