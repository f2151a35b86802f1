//! SQLSTATE → HTTP status and gRPC code.
//!
//! The SQL is the service's own, not the client's: a statement that names a missing table is a bug in the service (500),
//! not a missing resource. <https://www.postgresql.org/docs/current/errcodes-appendix.html>

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use tokio_postgres::error::{DbError, ErrorPosition, SqlState};

use super::{Answer, Body};

/// What a database error becomes.
pub(super) enum Status {
    /// A status of our choice, with PostgreSQL's own words below 500.
    Ours(StatusCode),
    /// A function raised the whole answer, SQLSTATE `PTxyz` or `PGRST`. From 500 on its body is not for the client.
    Raised(Box<Answer>),
}

/// Response headers that a function may set by raising `PGRST`.
const RAISED_HEADERS: [&str; 9] = [
    "allow",
    "cache-control",
    "content-language",
    "etag",
    "link",
    "location",
    "retry-after",
    "vary",
    "www-authenticate",
];

pub(super) fn status(error: &DbError, token_sent: bool) -> Status {
    let code = error.code().code();
    if let Some(digits) = code.strip_prefix("PT") {
        return raised_status(digits, error);
    }
    if code == "PGRST" {
        return raised_answer(error);
    }
    Status::Ours(ours(error, token_sent))
}

fn ours(error: &DbError, token_sent: bool) -> StatusCode {
    const BAD_REQUEST: StatusCode = StatusCode::BAD_REQUEST;
    const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;
    const FORBIDDEN: StatusCode = StatusCode::FORBIDDEN;
    const CONFLICT: StatusCode = StatusCode::CONFLICT;
    const INTERNAL: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
    const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
    const TIMEOUT: StatusCode = StatusCode::GATEWAY_TIMEOUT;

    let code = error.code().code();
    match code {
        "23503" | "23505" => CONFLICT,
        "21000" if error.message().ends_with("requires a WHERE clause") => BAD_REQUEST,
        "21000" => INTERNAL,
        "25P03" | "40001" | "40P01" | "55P03" | "57P01" | "57P02" | "57P03" => UNAVAILABLE,
        "42501" if token_sent => FORBIDDEN,
        "42501" => UNAUTHORIZED,
        "25P04" | "57014" => TIMEOUT,
        "P0001" => BAD_REQUEST,
        _ => match code.get(..2).unwrap_or_default() {
            "08" | "53" => UNAVAILABLE,
            "0L" | "0P" | "28" => FORBIDDEN,
            "09" | "0A" | "25" | "26" | "2D" | "34" | "38" | "39" | "3B" | "3F" | "40" | "42"
            | "54" | "55" | "57" | "58" | "F0" | "HV" | "P0" | "XX" => INTERNAL,
            _ => BAD_REQUEST,
        },
    }
}

/// The gRPC code for a database error that is answered with `status`.
pub(super) fn grpc_code(code: &SqlState, status: StatusCode) -> i32 {
    match code.code() {
        "23505" => 6,
        "23503" => 9,
        "40001" | "40P01" => 10,
        "53100" | "53200" | "53300" | "53400" => 8,
        _ => grpc_code_of(status),
    }
}

fn grpc_code_of(status: StatusCode) -> i32 {
    match status.as_u16() {
        401 => 16,
        403 => 7,
        404 | 410 => 5,
        408 | 504 => 4,
        409 => 10,
        412 => 9,
        429 => 8,
        405 | 501 => 12,
        503 => 14,
        400..=499 => 3,
        _ => 13,
    }
}

/// `RAISE SQLSTATE 'PT404'`: the status in the code, PostgreSQL's words in the body.
fn raised_status(digits: &str, error: &DbError) -> Status {
    let Some(status) = error_status(digits) else {
        return Status::Ours(StatusCode::INTERNAL_SERVER_ERROR);
    };
    if status.is_server_error() {
        return Status::Ours(status);
    }
    Status::Raised(Box::new(Answer {
        status,
        grpc_code: grpc_code_of(status),
        headers: HeaderMap::new(),
        body: Body {
            code: Cow::Owned(error.code().code().to_owned()),
            message: Cow::Owned(error.message().to_owned()),
            details: error.detail().map(str::to_owned),
            hint: error.hint().map(str::to_owned),
        },
    }))
}

#[derive(Deserialize)]
struct RaisedMessage {
    code: String,
    message: String,
    details: Option<String>,
    hint: Option<String>,
}

#[derive(Deserialize)]
struct RaisedDetail {
    status: u16,
    headers: serde_json::Map<String, serde_json::Value>,
}

/// `RAISE SQLSTATE 'PGRST' USING MESSAGE = '{"code", ..}', DETAIL = '{"status", "headers"}'`.
fn raised_answer(error: &DbError) -> Status {
    let broken = Status::Ours(StatusCode::INTERNAL_SERVER_ERROR);
    let Ok(message) = serde_json::from_str::<RaisedMessage>(error.message()) else {
        return broken;
    };
    let Ok(detail) = serde_json::from_str::<RaisedDetail>(error.detail().unwrap_or_default())
    else {
        return broken;
    };
    let Some(status) = error_status(&detail.status.to_string()) else {
        return broken;
    };
    let mut headers = HeaderMap::new();
    for (name, value) in &detail.headers {
        let name = name.to_ascii_lowercase();
        if !RAISED_HEADERS.contains(&name.as_str()) {
            continue;
        }
        if let (Ok(name), Some(Ok(value))) = (
            HeaderName::try_from(name),
            value.as_str().map(HeaderValue::from_str),
        ) {
            headers.append(name, value);
        }
    }
    Status::Raised(Box::new(Answer {
        status,
        grpc_code: grpc_code_of(status),
        headers,
        body: Body {
            code: Cow::Owned(message.code),
            message: Cow::Owned(message.message),
            details: message.details,
            hint: message.hint,
        },
    }))
}

/// A raised status counts only where it says that the request failed.
fn error_status(digits: &str) -> Option<StatusCode> {
    let number: u16 = digits.parse().ok()?;
    if !(400..=599).contains(&number) {
        return None;
    }
    StatusCode::from_u16(number).ok()
}

/// What the log may say of an error: not the messages that can be made of a bound value.
pub(super) fn operator_text(error: &DbError) -> Option<&str> {
    let placed = matches!(error.position(), Some(ErrorPosition::Original(_)));
    may_be_logged(error.code().code(), placed, error.where_().is_some()).then(|| error.message())
}

/// Whether the message of an error is PostgreSQL's own, as far as its code tells, its place in the statement's text
/// (`placed`), and whether it came up `within` something else: a function can raise every code, with words of its own.
fn may_be_logged(code: &str, placed: bool, within: bool) -> bool {
    match code.get(..2).unwrap_or_default() {
        _ if within => false,
        "08" | "25" | "26" | "28" | "2D" | "34" | "3B" | "40" | "53" | "55" | "57" => true,
        // It quotes the statement where it has a place there. Else it may quote what `to_tsquery($1)`, `$1::regclass`
        // or a function's EXECUTE were given.
        "0A" | "3F" | "42" | "58" => placed || code == "42P17",
        _ => false,
    }
}

/// What the operator can do about an error that is the service's own.
pub(super) fn cure(code: &SqlState) -> Option<&'static str> {
    Some(match code.code() {
        "25006" => {
            "the request's transaction is READ ONLY, as for every GET, HEAD and OPTIONS: \
             put AccessMode::ReadWrite on the route, or write in a POST handler"
        }
        "25P02" => {
            "an earlier statement of this request failed and its error was ignored: \
             return it, or guard the statement with a savepoint"
        }
        "26000" | "42P05" => {
            "something dropped or planted prepared statements in this session: \
             no SQL of the service may run PREPARE, DEALLOCATE or DISCARD, \
             and of a connection pooler before PostgreSQL the pool must know (RoleScopedPoolBuilder::pooler)"
        }
        "3F000" | "42883" | "42P01" | "42703" => {
            "the handler's SQL names what does not exist, or what the role's search_path does not reach: \
             write the schema's name"
        }
        "40001" | "40P01" => "the client may send the request again",
        "53300" => "raise max_connections or lower the pool's max_size",
        "57014" => "a timeout or a cancel request ended the statement",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_postgresqls_own_words_are_logged() {
        for code in [
            "08006", "25006", "26000", "40001", "40P01", "53300", "55P03", "57014",
        ] {
            assert!(may_be_logged(code, false, false), "{code}");
            assert!(!may_be_logged(code, false, true), "{code} by a function");
        }
        for code in ["0A000", "3F000", "42601", "42P01", "58P01"] {
            assert!(may_be_logged(code, true, false), "{code} in the statement");
            assert!(!may_be_logged(code, false, false), "{code} in a value");
            assert!(!may_be_logged(code, true, true), "{code} by a function");
        }
        for code in [
            "", "22P02", "23505", "38000", "39004", "54000", "F0000", "HV000", "P0001", "P0004",
            "PT500", "PGRST", "XX000",
        ] {
            assert!(!may_be_logged(code, true, false), "{code}");
        }
    }
}
