//! Why keys could not be fetched.

use std::fmt;

/// Says why keys could not be fetched, and how to cure it.
///
/// It never shows the user information or the query of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchError {
    kind: FetchErrorKind,
    message: String,
}

/// Tells the reasons apart for which keys could not be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FetchErrorKind {
    /// The URL is not one that keys are fetched from: not https, or with a password in it.
    Url,
    /// The HTTP client cannot be made: the system has no root certificates, for example.
    Client,
    /// There was no connection, no TLS, or no whole response.
    Transport,
    /// The whole of it took longer than 5 seconds.
    Timeout,
    /// The status was none of 200 and a redirect.
    Status,
    /// There were more than three redirects, or one led to another scheme, host or port.
    Redirect,
    /// The body is compressed, which was not asked for.
    Encoding,
    /// The body has more than 1 MiB.
    TooLarge,
    /// The body is not JSON, or not the document that it should be: HTML, for example.
    Malformed,
    /// The discovery document is another issuer's.
    WrongIssuer,
    /// There is no usable key.
    NoKey,
    /// There are more than 1000 usable keys.
    TooManyKeys,
    /// The task that fetches has ended with its runtime.
    Ended,
}

impl FetchError {
    #[cfg_attr(
        not(feature = "jwks"),
        expect(dead_code, reason = "nothing is fetched")
    )]
    pub(crate) fn new(kind: FetchErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// Returns the reason.
    pub fn kind(&self) -> FetchErrorKind {
        self.kind
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for FetchError {}
