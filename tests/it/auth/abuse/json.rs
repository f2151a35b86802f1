//! Payloads that two readers could understand differently, or that PostgreSQL could not hold.

use rolescope::auth::jwt::TokenError as E;

use super::forge::{self, with_payload};
use super::{Accept, Refuse, Table};

const START: &str = r#""aud":"todos","exp":1700000060"#;

#[tokio::test]
async fn no_member_stands_twice() {
    let mut table = Table::new(forge::hmac().build().unwrap());
    let section = "RFC 7519 4, RFC 8725 3.8";
    for members in [
        r#""role":"web_user","role":"admin""#,
        r#""role":"admin","role":"admin""#,
        r#""role":"web_user","r\u006fle":"admin""#,
        r#""\u0072\u006f\u006c\u0065":"web_user","role":"admin""#,
        r#""a\/b":1,"a/b":2"#,
        r#""😀":1,"\ud83d\ude00":2"#,
        r#""exp":9999999999"#,
        r#""\u0065xp":9999999999"#,
        r#""aud":"todos""#,
        r#""x":{"a":1,"a":2}"#,
        r#""x":[{"y":[{"a":1,"\u0061":2}]}]"#,
        r#""":1,"":2"#,
    ] {
        let payload = format!("{{{START},{members}}}");
        table.token(
            section,
            members,
            &with_payload(payload.as_bytes()),
            Refuse(E::DuplicateMember),
        );
    }
    for members in [
        r#""role":"a","Role":"b","ROLE":"c""#,
        // é, composed and not: two names, to PostgreSQL as well.
        "\"\u{e9}\":1,\"e\u{301}\":2",
        r#""a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]"#,
        r#""a":1,"a ":2,"":3"#,
        r#""__proto__":{"role":"admin"},"constructor":1"#,
    ] {
        let payload = format!("{{{START},{members}}}");
        table.token(
            "RFC 8259 4",
            members,
            &with_payload(payload.as_bytes()),
            Accept,
        );
    }
    table.run().await;
}

#[tokio::test]
async fn a_payload_is_one_object_of_moderate_depth() {
    let mut table = Table::new(forge::hmac().build().unwrap());
    let malformed = Refuse(E::MalformedPayload);
    for payload in [
        "",
        " ",
        "null",
        "true",
        "1700000060",
        "\"x\"",
        "[]",
        r#"[{"exp":1700000060}]"#,
        "{",
        "}",
        "{}{}",
        "{} x",
        "{},",
        r#"{"exp":1700000060,}"#,
        "{'exp':1700000060}",
        "{exp:1700000060}",
        r#"{"exp":1700000060}/**/"#,
        "// x\n{}",
        r#"{"exp" 1700000060}"#,
        r#"{1:2}"#,
        r#"{"a":undefined}"#,
        "exp=1700000060",
        "<exp>1700000060</exp>",
    ] {
        table.token(
            "RFC 7519 7.2",
            payload,
            &with_payload(payload.as_bytes()),
            malformed,
        );
    }
    let whole = format!("{{{START}}}");
    let marked = format!("\u{feff}{whole}");
    table.token(
        "RFC 8259 8.1",
        "a byte order mark",
        &with_payload(marked.as_bytes()),
        malformed,
    );
    let wide: Vec<u8> = whole.encode_utf16().flat_map(u16::to_le_bytes).collect();
    // Well-formed UTF-8, but each second character is a NUL between the tokens of JSON.
    table.token("RFC 8259 8.1", "UTF-16", &with_payload(&wide), malformed);
    let spaced = format!(" \t\r\n{whole}\n");
    table.token(
        "RFC 8259 2",
        "white space around",
        &with_payload(spaced.as_bytes()),
        Accept,
    );
    let other_space = format!("\u{a0}{whole}");
    table.token(
        "RFC 8259 2",
        "another space around",
        &with_payload(other_space.as_bytes()),
        malformed,
    );
    for (depth, outcome) in [
        (30, Accept),
        (31, Accept),
        (32, malformed),
        (127, malformed),
        (128, malformed),
        (2000, malformed),
    ] {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            if depth * open.len() > 11_000 {
                continue;
            }
            let innermost = if open == "[" { "" } else { "1" };
            let deep = format!(
                "{{{START},\"x\":{}{innermost}{}}}",
                open.repeat(depth),
                close.repeat(depth)
            );
            let name = format!("{depth} of {open}");
            table.token("RFC 8259 9", &name, &with_payload(deep.as_bytes()), outcome);
        }
    }
    let open = format!("{{{START},\"x\":{}", "[".repeat(10_000));
    table.token(
        "RFC 8259 9",
        "10 000 of [ without end",
        &with_payload(open.as_bytes()),
        malformed,
    );
    let many: String = (0..1400).map(|number| format!(",\"{number}\":1")).collect();
    let many = format!("{{{START}{many}}}");
    table.token(
        "RFC 8259 9",
        "1400 members",
        &with_payload(many.as_bytes()),
        Accept,
    );
    table.run().await;
}

#[tokio::test]
async fn texts_are_unicode_and_have_no_nul() {
    let mut table = Table::new(forge::hmac().build().unwrap());
    for text in [r"\u0000", r"a\u0000b", r"\\\u0000"] {
        for payload in [
            format!(r#"{{{START},"x":"{text}"}}"#),
            format!(r#"{{{START},"{text}":1}}"#),
            format!(r#"{{{START},"x":[{{"y":"{text}"}}]}}"#),
            format!(r#"{{{START},"x":{{"{text}":1}}}}"#),
        ] {
            let section = "our rule: PostgreSQL has no U+0000";
            table.token(
                section,
                &payload,
                &with_payload(payload.as_bytes()),
                Refuse(E::NulCharacter),
            );
        }
    }
    for (text, outcome) in [
        (r"\\u0000", Accept),
        (r"\ud83d\ude00", Accept),
        (r"\uffff\ufffe", Accept),
        ("\u{202e}nimda", Accept),
        (r"\u0001\u001f", Accept),
        ("\u{7f}", Accept),
        (r"\ud83d", Refuse(E::MalformedPayload)),
        (r"\ude00", Refuse(E::MalformedPayload)),
        (r"\ude00\ud83d", Refuse(E::MalformedPayload)),
        (r"\ud83d\ud83d", Refuse(E::MalformedPayload)),
        (r"\u00", Refuse(E::MalformedPayload)),
        (r"\x00", Refuse(E::MalformedPayload)),
        (r"\'", Refuse(E::MalformedPayload)),
        ("\u{0}", Refuse(E::MalformedPayload)),
        ("\n", Refuse(E::MalformedPayload)),
        ("\u{1f}", Refuse(E::MalformedPayload)),
    ] {
        let section = "RFC 8259 7, 8.2";
        let value = format!("{{{START},\"x\":\"{text}\"}}");
        table.token(section, &value, &with_payload(value.as_bytes()), outcome);
        let name = format!("{{{START},\"{text}\":1}}");
        table.token(section, &name, &with_payload(name.as_bytes()), outcome);
        let nested = format!("{{{START},\"x\":[{{\"y\":[\"{text}\"]}}]}}");
        table.token(section, &nested, &with_payload(nested.as_bytes()), outcome);
    }
    for bytes in [
        b"\xff".as_slice(),
        b"\xc3",
        b"\xc0\x80",
        b"\xed\xa0\xbd\xed\xb8\x80",
        b"\xf4\x90\x80\x80",
        b"\xe0\x80\xaf",
        b"\xfe\xff",
    ] {
        let payload = [
            b"{\"aud\":\"todos\",\"exp\":1700000060,\"x\":\"",
            bytes,
            b"\"}",
        ]
        .concat();
        let what = format!("{}", bytes.escape_ascii());
        table.token(
            "RFC 7519 7.2, RFC 3629 3",
            &what,
            &with_payload(&payload),
            Refuse(E::Malformed),
        );
    }
    table.run().await;
}
