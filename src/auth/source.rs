//! Where the token comes from.

use std::borrow::Cow;
use std::fmt;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;

/// Holds a token that nobody has verified yet.
///
/// It is a secret: `Debug` does not show it, and it can be neither printed nor cloned.
///
/// ```compile_fail,E0277
/// fn leak(token: &rolescope::auth::Token<'_>) {
///     println!("{token}");
/// }
/// ```
pub struct Token<'r>(Cow<'r, str>);

impl<'r> Token<'r> {
    /// Creates a token from a request's text.
    pub fn new(text: impl Into<Cow<'r, str>>) -> Self {
        Self(text.into())
    }

    pub(super) fn from_bytes(bytes: &'r [u8]) -> Result<Self, TokenSourceError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(text)),
            Err(_) => Err(TokenSourceError::Malformed),
        }
    }

    /// Returns the token's text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token([REDACTED])")
    }
}

/// Says why a request's token could not be taken from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenSourceError {
    /// There is more than one token, or more than one place that could hold it. 400.
    Ambiguous,
    /// There is something in the token's place, and it is no text. 401.
    Malformed,
}

impl fmt::Display for TokenSourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ambiguous => "the request has more than one token",
            Self::Malformed => "the token is not text",
        })
    }
}

impl std::error::Error for TokenSourceError {}

/// Takes the token from a request.
///
/// [`Bearer`](super::Bearer) is the default. [`Header`], [`Cookie`] and [`Query`] are there for clients that cannot send
/// an `Authorization` header. A pair of sources is a source: a request that has a token in both is refused.
///
/// A token in the path would be readable to all SQL of the request, as `request.path`, and stand in access logs.
///
/// # Examples
///
/// ```
/// use http::request::Parts;
/// use rolescope::auth::{Token, TokenSource, TokenSourceError};
///
/// /// What a layer further out has put into the request's extensions.
/// #[derive(Clone)]
/// struct SessionToken(String);
///
/// struct FromSession;
///
/// impl TokenSource for FromSession {
///     fn token<'r>(&self, request: &'r Parts) -> Result<Option<Token<'r>>, TokenSourceError> {
///         let session = request.extensions.get::<SessionToken>();
///         Ok(session.map(|session| Token::new(session.0.as_str())))
///     }
/// }
/// ```
pub trait TokenSource: Send + Sync + 'static {
    /// Returns the token, or `None` where the request is anonymous.
    ///
    /// # Errors
    ///
    /// The request has more than one token, or one that is no text.
    fn token<'r>(&self, request: &'r Parts) -> Result<Option<Token<'r>>, TokenSourceError>;

    /// Returns the headers that may carry a token, once, when the layer is made. Defaults to none.
    ///
    /// They are marked as sensitive in each request, as is `Authorization`.
    fn headers(&self) -> Vec<HeaderName> {
        Vec::new()
    }
}

/// Takes the token from a header of another name, which has nothing else in it.
///
/// Some proxies put a token of their own there, such as `Cf-Access-Jwt-Assertion`. Caches treat answers to requests with
/// an `Authorization` header as private, and know nothing of other headers: add `Vary`, or `Cache-Control: private`.
#[derive(Clone, Debug)]
pub struct Header(HeaderName);

impl Header {
    /// Creates a source that reads the header `name`.
    pub fn new(name: HeaderName) -> Self {
        Self(name)
    }
}

impl TokenSource for Header {
    fn token<'r>(&self, request: &'r Parts) -> Result<Option<Token<'r>>, TokenSourceError> {
        match single(&request.headers, &self.0)? {
            None => Ok(None),
            Some(value) => Token::from_bytes(value.as_bytes().trim_ascii()).map(Some),
        }
    }

    fn headers(&self) -> Vec<HeaderName> {
        vec![self.0.clone()]
    }
}

/// Takes the token from a cookie.
///
/// **Cross-site request forgery.** A browser sends cookies along with requests that another site makes it send. Set the
/// cookie `SameSite=Strict` or `Lax`, `HttpOnly` and `Secure`, let no GET change anything, and check the request's
/// origin, by `tower_http::csrf` for example.
///
/// A name with the prefix `__Host-` keeps sibling domains from planting one. Two cookies of the name are refused. Add
/// `Vary: Cookie` or `Cache-Control: private` to what a cache may see.
#[derive(Clone, Debug)]
pub struct Cookie(Cow<'static, str>);

impl Cookie {
    /// Creates a source that reads the cookie `name`.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self(name.into())
    }
}

impl TokenSource for Cookie {
    fn token<'r>(&self, request: &'r Parts) -> Result<Option<Token<'r>>, TokenSourceError> {
        let cookies = request
            .headers
            .get_all(header::COOKIE)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'))
            .filter_map(|pair| value_of(pair.trim_ascii(), &self.0));
        at_most_one(cookies)?.map(Token::from_bytes).transpose()
    }

    fn headers(&self) -> Vec<HeaderName> {
        vec![header::COOKIE]
    }
}

/// Takes the token from a parameter of the query: RFC 6750 section 2.3 has `access_token`.
///
/// **URIs end up in logs**, of this service and of each proxy, in the browser's history and in `Referer` headers. RFC
/// 6750 says not to, "unless it is impossible to transport the access token in the "Authorization" request header
/// field". It is so for `EventSource` and for `WebSocket` in browsers: issue tokens that live for seconds only. Answer
/// with `Cache-Control: private`. Two parameters of the name are refused.
#[derive(Clone, Debug)]
pub struct Query(Cow<'static, str>);

impl Query {
    /// Creates a source that reads the parameter `name`.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self(name.into())
    }
}

impl TokenSource for Query {
    fn token<'r>(&self, request: &'r Parts) -> Result<Option<Token<'r>>, TokenSourceError> {
        let query = request.uri.query().unwrap_or_default();
        // No character of a token needs percent-encoding. One that is encoded anyway fails as garbage.
        let values = query
            .split('&')
            .filter_map(|pair| value_of(pair.as_bytes(), &self.0));
        at_most_one(values)?.map(Token::from_bytes).transpose()
    }
}

impl<A: TokenSource, B: TokenSource> TokenSource for (A, B) {
    fn token<'r>(&self, request: &'r Parts) -> Result<Option<Token<'r>>, TokenSourceError> {
        match (self.0.token(request)?, self.1.token(request)?) {
            // RFC 6750 section 2: "Clients MUST NOT use more than one method to transmit the token in each request."
            (Some(_), Some(_)) => Err(TokenSourceError::Ambiguous),
            (token, None) | (None, token) => Ok(token),
        }
    }

    fn headers(&self) -> Vec<HeaderName> {
        [self.0.headers(), self.1.headers()].concat()
    }
}

/// Returns the only value of a header.
pub(super) fn single<'r>(
    headers: &'r HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'r HeaderValue>, TokenSourceError> {
    at_most_one(headers.get_all(name).iter())
}

fn at_most_one<T>(mut values: impl Iterator<Item = T>) -> Result<Option<T>, TokenSourceError> {
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(TokenSourceError::Ambiguous),
        (value, None) => Ok(value),
    }
}

/// Returns the value of a `name=value` pair of this name.
fn value_of<'r>(pair: &'r [u8], name: &str) -> Option<&'r [u8]> {
    let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
    let unquoted = value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""));
    Some(unquoted.unwrap_or(value))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use http::Request;

    type Found = Result<Option<String>, TokenSourceError>;

    fn found(source: &impl TokenSource, uri: &str, headers: &[(&str, &str)]) -> Found {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Ok(source.token(&parts)?.map(|token| token.expose().to_owned()))
    }

    fn some(text: &str) -> Found {
        Ok(Some(text.to_owned()))
    }

    #[test]
    fn a_cookie_is_found_by_its_exact_name() {
        let source = Cookie::new("token");
        let rows: &[(&[(&str, &str)], Found)] = &[
            (&[], Ok(None)),
            (&[("cookie", "a=b; token=x.y.z; c=d")], some("x.y.z")),
            (
                &[("cookie", "a=b"), ("cookie", "token=x.y.z")],
                some("x.y.z"),
            ),
            (&[("cookie", "token=\"x.y.z\"")], some("x.y.z")),
            (&[("cookie", "token=")], some("")),
            (
                &[("cookie", "Token=x; xtoken=y; tokenx=z; token")],
                Ok(None),
            ),
            (&[("authorization", "Bearer x.y.z")], Ok(None)),
            (
                &[("cookie", "token=x; token=y")],
                Err(TokenSourceError::Ambiguous),
            ),
            (
                &[("cookie", "token=x"), ("cookie", "token=x")],
                Err(TokenSourceError::Ambiguous),
            ),
        ];
        for (headers, expected) in rows {
            assert_eq!(found(&source, "/", headers), *expected, "{headers:?}");
        }
    }

    #[test]
    fn a_query_parameter_is_found_by_its_exact_name() {
        let source = Query::new("access_token");
        let rows: &[(&str, Found)] = &[
            ("/", Ok(None)),
            ("/?", Ok(None)),
            ("/?a=b", Ok(None)),
            ("/?a=b&access_token=x.y.z", some("x.y.z")),
            ("/?access_token=%FF", some("%FF")),
            ("/?access_token", Ok(None)),
            ("/?access_token=", some("")),
            ("/?Access_Token=x", Ok(None)),
            (
                "/?access_token=x&access_token=y",
                Err(TokenSourceError::Ambiguous),
            ),
        ];
        for (uri, expected) in rows {
            assert_eq!(found(&source, uri, &[]), *expected, "{uri}");
        }
    }

    #[test]
    fn another_header_has_nothing_but_the_token() {
        let source = Header::new(HeaderName::from_static("x-token"));
        assert_eq!(found(&source, "/", &[("x-token", "x.y.z")]), some("x.y.z"));
        assert_eq!(
            found(&source, "/", &[("authorization", "Bearer x")]),
            Ok(None)
        );
        assert_eq!(
            found(&source, "/", &[("x-token", "x"), ("x-token", "x")]),
            Err(TokenSourceError::Ambiguous)
        );
    }

    #[test]
    fn two_sources_with_a_token_each_are_refused() {
        let source = (super::super::Bearer, Cookie::new("token"));
        let header = ("authorization", "Bearer x");
        let cookie = ("cookie", "token=y");
        assert_eq!(found(&source, "/", &[]), Ok(None));
        assert_eq!(found(&source, "/", &[header]), some("x"));
        assert_eq!(found(&source, "/", &[cookie]), some("y"));
        assert_eq!(
            found(&source, "/", &[header, cookie]),
            Err(TokenSourceError::Ambiguous)
        );
    }

    #[test]
    fn debug_hides_the_token() {
        assert_eq!(format!("{:?}", Token::new("x.y.z")), "Token([REDACTED])");
    }
}
