//! The header that carries the token: RFC 6750 section 2.1, RFC 9110 sections 5.3, 5.5 and 11.6.2.

use rolescope::auth::jwt::TokenError as E;

use super::forge::{self, with_header};
use super::{Accept, Ambiguous, Anonymous, NotHttp, Refuse, Table};

#[tokio::test]
async fn one_header_has_one_token() {
    let good = with_header(r#"{"alg":"HS256"}"#);
    let mut table = Table::new(forge::hmac().build().unwrap());
    let bearer =
        |before: &str, after: &str| format!("authorization: {before}{good}{after}").into_bytes();
    let basic = b"authorization: Basic YTpi".as_slice();
    let empty = b"authorization:".as_slice();
    let one = bearer("Bearer ", "");

    // The scheme, in any case, and white space.
    for before in [
        "Bearer ",
        "bearer ",
        "BEARER ",
        "bEaReR ",
        "Bearer\t",
        "Bearer  \t  ",
        "  \tBearer ",
    ] {
        table.lines("RFC 9110 11.1", before, &[&bearer(before, "")], Accept);
        table.lines("RFC 9110 5.5", before, &[&bearer(before, " \t ")], Accept);
    }
    for name in ["Authorization", "AUTHORIZATION", "aUtHoRiZaTiOn"] {
        let line = format!("{name}: Bearer {good}");
        table.lines("RFC 9110 5.1", name, &[line.as_bytes()], Accept);
    }

    // Other schemes are no token, and neither is anything that only looks like the scheme.
    for before in [
        "",
        "Bearer",
        "Bearer:",
        "Bearer=",
        "Bearer,",
        "Bearer\u{a0}",
        "\u{a0}Bearer ",
        "Bearer\u{2003}",
        "Ｂearer ",
        "Вearer ",
        "Bearers ",
        "Bear er ",
        "\"Bearer\" ",
        "Basic ",
        "Digest ",
        "DPoP ",
        "Token ",
        "JWT ",
        "MAC ",
        "Basic Bearer ",
        ", Bearer ",
        "Basic YTpi, Bearer ",
        "Negotiate,Bearer ",
    ] {
        table.lines("RFC 9110 11.6.2", before, &[&bearer(before, "")], Anonymous);
    }
    for line in [
        "authorization:",
        "authorization:  \t",
        "authorization: Basic",
        "authorization: ,",
    ] {
        table.lines("RFC 9110 5.5", line, &[line.as_bytes()], Anonymous);
    }
    table.lines("RFC 9110 11.6.2", "no header", &[], Anonymous);
    table.lines(
        "RFC 9110 5.5",
        "bytes that are no text",
        &[b"authorization: \xff\xfe\xc3\x28"],
        Anonymous,
    );
    for name in [
        "proxy-authorization",
        "x-authorization",
        "x-forwarded-authorization",
        "x-access-token",
        "cookie",
        "authorization_",
    ] {
        let line = format!("{name}: Bearer {good}");
        table.lines("RFC 6750 2", name, &[line.as_bytes()], Anonymous);
    }

    // A scheme without a token, or with more than one.
    for line in [
        "authorization: Bearer",
        "authorization: bearer",
        "authorization: Bearer \t ",
    ] {
        table.lines("RFC 6750 2.1", line, &[line.as_bytes()], Refuse(E::Empty));
    }
    for (before, after) in [
        ("Bearer ", ", Basic YTpi"),
        ("Bearer ", ","),
        ("Bearer ,", ""),
        ("Bearer ", " x"),
        ("Bearer x ", ""),
        ("Bearer Bearer ", ""),
        ("Bearer token=", ""),
        ("Bearer \"", "\""),
        ("Bearer ", ";"),
        ("Bearer ", "; realm=x"),
        ("Bearer ", "\u{a0}"),
        ("Bearer \u{feff}", ""),
        ("Bearer ", "="),
    ] {
        let what = format!("{before}..{after}");
        table.lines(
            "RFC 6750 2.1, RFC 9110 5.6.1",
            &what,
            &[&bearer(before, after)],
            Refuse(E::Malformed),
        );
    }
    let twice = bearer("Bearer ", &format!(", Bearer {good}"));
    table.lines(
        "RFC 9110 5.6.1",
        "two in one header",
        &[&twice],
        Refuse(E::Malformed),
    );
    for bytes in [
        b"\xff".as_slice(),
        b"\xc3\x28",
        b"\xed\xa0\x80",
        b"a.b.\x80",
        b"\xc3\xbc.\xc3\xbc.\xc3\xbc",
    ] {
        let line = [b"authorization: Bearer ".as_slice(), bytes].concat();
        let what = format!("{}", bytes.escape_ascii());
        table.lines("RFC 9110 5.5", &what, &[&line], Refuse(E::Malformed));
    }

    // Two headers, whichever they are.
    let other = bearer("bearer ", "");
    for (name, lines) in [
        ("the same twice", vec![&*one, &*one]),
        ("two spellings", vec![&*one, &*other]),
        ("Basic first", vec![basic, &*one]),
        ("Basic last", vec![&*one, basic]),
        ("an empty one first", vec![empty, &*one]),
        ("an empty one last", vec![&*one, empty]),
        ("two empty ones", vec![empty, empty]),
        (
            "with others between",
            vec![&*one, b"x: y", b"Authorization: Basic YTpi"],
        ),
        ("a hundredfold", vec![&*one; 90]),
    ] {
        table.lines("RFC 9110 5.3, RFC 6750 3.1", name, &lines, Ambiguous);
    }

    // What the HTTP server does not let through.
    for (name, line) in [
        ("a folded line", bearer("Bearer\r\n ", "")),
        ("a bare line feed", b"authorization: Bearer a\nx".to_vec()),
        (
            "a bare carriage return",
            b"authorization: Bearer a\rb".to_vec(),
        ),
        ("a NUL", b"authorization: Bearer a\0b".to_vec()),
        (
            "a space before the colon",
            format!("authorization : Bearer {good}").into_bytes(),
        ),
        ("no colon", b"authorization Bearer".to_vec()),
    ] {
        table.lines("RFC 9112 5, 5.1, 5.2", name, &[&line], NotHttp);
    }
    table.run().await;
}
