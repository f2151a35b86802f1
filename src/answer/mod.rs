//! The one table from errors to what the client is told, and what the operator is told besides.

#[cfg(feature = "postgres")]
mod sqlstate;

use std::borrow::Cow;
use std::error::Error as StdError;

use http::{HeaderMap, HeaderValue, StatusCode, header};
#[cfg(feature = "postgres")]
use tokio_postgres::error::DbError;

use crate::error::{Error, ErrorKind, NeededScopes, chain};

/// What the client is told: a row of the one table.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) grpc_code: i32,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

/// The members of an error response's JSON body.
#[derive(serde::Serialize)]
pub(crate) struct Body {
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: Cow<'static, str>,
    pub(crate) details: Option<String>,
    pub(crate) hint: Option<String>,
}

impl Error {
    /// The one table from errors to answers.
    pub(crate) fn answer(&self) -> Answer {
        use ErrorKind as K;
        match self.kind() {
            K::InvalidRequest => self.own_words(StatusCode::BAD_REQUEST, 16).challenge(self),
            K::MissingToken | K::InvalidToken => {
                self.own_words(StatusCode::UNAUTHORIZED, 16).challenge(self)
            }
            K::InsufficientScope => self.own_words(StatusCode::FORBIDDEN, 7).challenge(self),
            K::NoRole | K::RoleRefused => self.own_words(StatusCode::FORBIDDEN, 7),
            #[cfg(feature = "postgres")]
            K::Database => self.database_answer(),
            #[cfg(not(feature = "postgres"))]
            K::Database => self.internal(),
            K::Statement
            | K::TransactionAborted
            | K::StreamOpen
            | K::ScopeLeft
            | K::Finished
            | K::MissingLayer => self.internal(),
            K::CommitUnknown => self.says(
                StatusCode::INTERNAL_SERVER_ERROR,
                2,
                "the connection to the database was lost while it committed: it is unknown whether the change was stored",
            ),
            K::KeysUnavailable
            | K::RevocationsUnavailable
            | K::ConnectionLost
            | K::Unavailable
            | K::PoolExhausted | K::PoolClosed => {
                self.unavailable(14)
            }
        }
    }

    #[cfg(feature = "postgres")]
    fn database_answer(&self) -> Answer {
        let Some(db) = self.as_db_error() else {
            return self.internal();
        };
        let answer = match sqlstate::status(db, self.has_token_sent()) {
            sqlstate::Status::Ours(status) if status.is_server_error() => self.fault(db, status),
            sqlstate::Status::Ours(status) => Answer {
                status,
                grpc_code: sqlstate::grpc_code(db.code(), status),
                headers: HeaderMap::new(),
                body: Body {
                    code: Cow::Owned(db.code().code().to_owned()),
                    message: Cow::Owned(db.message().to_owned()),
                    details: db.detail().map(str::to_owned),
                    hint: db.hint().map(str::to_owned),
                },
            },
            sqlstate::Status::Raised(raised) if raised.status.is_server_error() => {
                let mut answer = self.fault(db, raised.status);
                answer.headers.extend(raised.headers);
                answer
            }
            sqlstate::Status::Raised(answer) => *answer,
        };
        // RFC 9110 15.5.2: no 401 without a challenge.
        if answer.status == StatusCode::UNAUTHORIZED
            && !answer.headers.contains_key(header::WWW_AUTHENTICATE)
        {
            answer.challenge(self)
        } else {
            answer
        }
    }

    /// An answer that says nothing of what the database said.
    #[cfg(feature = "postgres")]
    fn fault(&self, db: &DbError, status: StatusCode) -> Answer {
        let grpc_code = sqlstate::grpc_code(db.code(), status);
        match status {
            StatusCode::SERVICE_UNAVAILABLE => self.unavailable(grpc_code),
            StatusCode::GATEWAY_TIMEOUT => {
                self.says(status, grpc_code, "the database took too long")
            }
            _ => self.says(status, grpc_code, "internal server error"),
        }
    }

    fn own_words(&self, status: StatusCode, grpc_code: i32) -> Answer {
        self.says(status, grpc_code, self.message().clone())
    }

    fn internal(&self) -> Answer {
        self.says(
            StatusCode::INTERNAL_SERVER_ERROR,
            13,
            "internal server error",
        )
    }

    fn unavailable(&self, grpc_code: i32) -> Answer {
        self.says(
            StatusCode::SERVICE_UNAVAILABLE,
            grpc_code,
            "the database cannot serve this request now: try again",
        )
        .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    fn says(
        &self,
        status: StatusCode,
        grpc_code: i32,
        message: impl Into<Cow<'static, str>>,
    ) -> Answer {
        Answer {
            status,
            grpc_code,
            headers: HeaderMap::new(),
            body: Body {
                code: Cow::Borrowed(self.kind().as_str()),
                message: message.into(),
                details: None,
                hint: None,
            },
        }
    }

    /// Tells the operator of a failure that is not the client's: once for each response.
    pub(crate) fn report(&self, answer: &Answer) {
        if let (ErrorKind::NoRole | ErrorKind::RoleRefused, Some(cause)) =
            (self.kind(), self.reason())
        {
            // The client is not told which it is. Whoever set the roles up must be able to find out.
            tracing::warn!(kind = self.kind().as_str(), cause, "{self}");
        }
        if !answer.status.is_server_error() {
            return;
        }
        #[cfg(feature = "postgres")]
        if let Some(db) = self.as_db_error() {
            tracing::error!(
                kind = self.kind().as_str(),
                status = answer.status.as_u16(),
                sqlstate = db.code().code(),
                cause = sqlstate::operator_text(db),
                cure = sqlstate::cure(db.code()),
                "{self}"
            );
            return;
        }
        tracing::error!(
            kind = self.kind().as_str(),
            status = answer.status.as_u16(),
            cause = self.source().map(chain),
            "{self}"
        );
    }
}

impl Answer {
    /// Asks for a token, as RFC 6750 section 3 has it.
    fn challenge(self, error: &Error) -> Self {
        use ErrorKind as K;
        let mut text = match error.kind() {
            K::InvalidRequest | K::InvalidToken | K::InsufficientScope => format!(
                "Bearer error=\"{}\", error_description=\"{}\"",
                error.kind().as_str(),
                error.message()
            ),
            _ => "Bearer".to_owned(),
        };
        if let Some(NeededScopes(scopes)) = error.source_as() {
            text = format!("{text}, scope=\"{scopes}\"");
        }
        let value =
            HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
        self.header(header::WWW_AUTHENTICATE, value)
    }

    fn header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }
}
