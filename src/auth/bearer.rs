//! The `Authorization` header → the token: RFC 6750 section 2.1.

use http::header;
use http::request::Parts;

use super::source::{Token, TokenSource, TokenSourceError, single};

/// Takes the token from `Authorization: Bearer ..`. This is where a token comes from unless said otherwise.
///
/// The scheme may be in any case. Another scheme is no token; two headers are refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bearer;

impl TokenSource for Bearer {
    fn token<'r>(&self, request: &'r Parts) -> Result<Option<Token<'r>>, TokenSourceError> {
        match single(&request.headers, &header::AUTHORIZATION)? {
            None => Ok(None),
            Some(value) => parse(value.as_bytes()),
        }
    }
}

fn parse(value: &[u8]) -> Result<Option<Token<'_>>, TokenSourceError> {
    let value = trim(value);
    let end = value.iter().position(is_space).unwrap_or(value.len());
    let (scheme, token) = value.split_at(end);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(None);
    }
    Token::from_bytes(trim(token)).map(Some)
}

fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = value
        && is_space(first)
    {
        value = rest;
    }
    while let [rest @ .., last] = value
        && is_space(last)
    {
        value = rest;
    }
    value
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_as_rfc_6750_has_it() {
        use TokenSourceError::Malformed;
        type Found = Result<Option<&'static str>, TokenSourceError>;
        let rows: &[(&[u8], Found)] = &[
            (b"Bearer a.b.c", Ok(Some("a.b.c"))),
            (b"bearer a.b.c", Ok(Some("a.b.c"))),
            (b"BEARER a.b.c", Ok(Some("a.b.c"))),
            (b"bEaReR\ta.b.c", Ok(Some("a.b.c"))),
            (b"  Bearer    a.b.c  ", Ok(Some("a.b.c"))),
            (b"Bearer a b", Ok(Some("a b"))),
            (b"Bearer a, Bearer b", Ok(Some("a, Bearer b"))),
            (b"Bearer", Ok(Some(""))),
            (b"Bearer   ", Ok(Some(""))),
            (b"Bearer \xff", Err(Malformed)),
            (b"Bearer \xc3\xbc", Ok(Some("\u{fc}"))),
            (b"", Ok(None)),
            (b"   ", Ok(None)),
            (b"a.b.c", Ok(None)),
            (b"Bearertoken", Ok(None)),
            (b"Basic Bearer", Ok(None)),
            (b"\xff\xff", Ok(None)),
            (b"\xff Bearer a.b.c", Ok(None)),
        ];
        for (value, expected) in rows {
            let found = parse(value);
            let found = found
                .as_ref()
                .map(|token| token.as_ref().map(Token::expose));
            assert_eq!(
                found,
                expected.as_ref().map(|token| *token),
                "{}",
                value.escape_ascii()
            );
        }
    }
}
