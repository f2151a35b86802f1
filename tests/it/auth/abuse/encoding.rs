//! One token has one spelling: RFC 7515 section 2, RFC 4648 sections 3.2, 3.3 and 3.5.

use rolescope::auth::jwt::TokenError as E;

use super::forge::{self, GOOD, encode, with_header, with_payload};
use super::{Accept, NotHttp, Refuse, Table};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Sets the bits that a last character has to spare.
fn with_stray_bits(part: &str) -> Option<String> {
    let spare = match part.len() % 4 {
        2 => 4,
        3 => 2,
        _ => return None,
    };
    let (rest, last) = part.split_at(part.len() - 1);
    let value = ALPHABET
        .iter()
        .position(|known| *known == last.as_bytes()[0])
        .unwrap();
    assert_eq!(value & ((1 << spare) - 1), 0);
    Some(format!("{rest}{}", char::from(ALPHABET[value | 1])))
}

#[tokio::test]
async fn each_part_has_one_spelling() {
    // With `-` and `_` in each part, and with bits to spare.
    let payload = r#"{"aud":"todos","exp":1700000060,"x":"~~~???>>>ÿÿ"}"#;
    let header = r#"{"alg":"HS256","x":"~~~???>>>ÿÿÿ"}"#;
    let good = forge::with_secret(forge::SECRET, header, payload.as_bytes());
    let parts: Vec<&str> = good.split('.').collect();
    assert!(
        parts[..2]
            .iter()
            .all(|part| part.contains('-') && part.contains('_')),
        "{good}"
    );
    let mut table = Table::new(forge::hmac().build().unwrap());
    table.token("RFC 7515 2", "as it was signed", &good, Accept);
    let mut spare = 0;
    for at in 0..3 {
        let changed = |part: String| {
            let mut parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
            parts[at] = part;
            if at < 2 {
                // Whoever spells it so has signed it so.
                let signed = format!("{}.{}", parts[0], parts[1]);
                let key = jsonwebtoken::EncodingKey::from_secret(forge::SECRET);
                let signature = forge::signature(jsonwebtoken::Algorithm::HS256, &key, &signed);
                parts[2] = encode(&signature);
            }
            parts.join(".")
        };
        let part = parts[at];
        let middle = part.len() / 2;
        let (start, end) = part.split_at(middle);
        let padding = "=".repeat((4 - part.len() % 4) % 4);
        let spellings = [
            ("padding", format!("{part}{padding}="), E::Malformed),
            (
                "the right padding",
                format!("{part}{padding}"),
                E::Malformed,
            ),
            ("padding, encoded", format!("{part}%3D"), E::Malformed),
            (
                "the other alphabet",
                part.replace('-', "+").replace('_', "/"),
                E::Malformed,
            ),
            ("a space", format!("{start} {end}"), E::Malformed),
            ("a tab", format!("{start}\t{end}"), E::Malformed),
            ("a trailing space", format!("{part} "), E::Malformed),
            (
                "a full-width letter",
                format!("{start}Ａ{end}"),
                E::Malformed,
            ),
            (
                "a zero-width space",
                format!("{start}\u{200b}{end}"),
                E::Malformed,
            ),
            ("a soft hyphen", format!("{start}\u{ad}{end}"), E::Malformed),
            ("a byte order mark", format!("\u{feff}{part}"), E::Malformed),
            ("a comment", format!("{part}#x"), E::Malformed),
            ("a quote", format!("\"{part}\""), E::Malformed),
            ("an escape", format!("{start}\\{end}"), E::Malformed),
            (
                "percent-encoded",
                part.replacen(&part[..1], "%65", 1),
                E::Malformed,
            ),
            (
                "base64 once more",
                encode(part.as_bytes()),
                [E::MalformedHeader, E::MalformedPayload, E::BadSignature][at],
            ),
        ];
        for (name, spelling, error) in spellings {
            if spelling == part {
                continue;
            }
            let token = changed(spelling);
            // At a token's end white space is the header's, and no part of it.
            let outcome = if token.trim_end() == good {
                Accept
            } else {
                Refuse(error)
            };
            table.token(
                "RFC 4648 3.2, 3.3",
                &format!("{name} in part {at}"),
                &token,
                outcome,
            );
        }
        if let Some(stray) = with_stray_bits(part) {
            spare += 1;
            let what = format!("stray bits in part {at}");
            table.token("RFC 4648 3.5", &what, &changed(stray), Refuse(E::Malformed));
        }
    }
    assert!(spare > 0);
    table.run().await;
}

#[tokio::test]
async fn a_token_has_three_parts() {
    let good = with_payload(GOOD.as_bytes());
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = *parts else {
        panic!()
    };
    let mut table = Table::new(forge::hmac().build().unwrap());
    let section = "RFC 7515 7.1";
    for (name, token, error) in [
        ("nothing but dots", "..".to_owned(), E::MalformedHeader),
        ("one dot", ".".to_owned(), E::Malformed),
        ("four dots", "....".to_owned(), E::Malformed),
        ("a header", header.to_owned(), E::Malformed),
        ("no signature", format!("{header}.{payload}"), E::Malformed),
        (
            "an empty signature",
            format!("{header}.{payload}."),
            E::BadSignature,
        ),
        (
            "an empty payload",
            format!("{header}..{signature}"),
            E::BadSignature,
        ),
        (
            "an empty header",
            format!(".{payload}.{signature}"),
            E::MalformedHeader,
        ),
        ("a part more", format!("{good}.{signature}"), E::Malformed),
        ("an empty part more", format!("{good}."), E::Malformed),
        ("an empty part before", format!(".{good}"), E::Malformed),
        ("twice", format!("{good}.{good}"), E::Malformed),
        ("twice with a space", format!("{good} {good}"), E::Malformed),
        ("twice with a comma", format!("{good},{good}"), E::Malformed),
        ("another dot", good.replace('.', "。"), E::Malformed),
        ("a dot, encoded", good.replace('.', "%2E"), E::Malformed),
        ("in quotes", format!("\"{good}\""), E::Malformed),
        ("in angle brackets", format!("<{good}>"), E::Malformed),
        (
            "the parts turned",
            format!("{payload}.{header}.{signature}"),
            E::MalformedHeader,
        ),
    ] {
        table.token(section, name, &token, Refuse(error));
    }
    let null = [
        b"authorization: Bearer ".as_slice(),
        header.as_bytes(),
        b"\0",
    ]
    .concat();
    table.lines("RFC 9110 5.5", "a NUL", &[&null], NotHttp);
    let escape = format!("authorization: Bearer {header}\u{1b}[0m");
    table.lines(
        "RFC 9110 5.5",
        "an escape character",
        &[escape.as_bytes()],
        NotHttp,
    );
    table.run().await;
}

#[tokio::test]
async fn a_token_of_16_kib_is_looked_at_and_no_larger_one() {
    let section = "RFC 8725 3.11, 16 KiB are ours";
    let mut table = Table::new(forge::hmac().build().unwrap());
    let padded = |spaces: usize| with_payload(format!("{GOOD}{}", " ".repeat(spaces)).as_bytes());
    let at = |length: usize| {
        let spaces = (0..20_000).rev().find(|spaces| {
            let payload = GOOD.len() + spaces;
            // Header, payload, signature, two dots.
            20 + payload / 3 * 4 + [0, 2, 3][payload % 3] + 43 + 2 <= length
        });
        let token = padded(spaces.unwrap());
        assert!(length - token.len() < 2, "{}", token.len());
        token
    };
    let largest = at(16 * 1024);
    assert_eq!(largest.len(), 16 * 1024);
    table.token(section, "16 KiB", &largest, Accept);
    table.token(section, "16 KiB - 1", &at(16 * 1024 - 1), Accept);
    table.token(
        section,
        "16 KiB + 1",
        &format!("{largest}A"),
        Refuse(E::TooLarge),
    );
    let signed = at(16 * 1024 + 3);
    assert!(signed.len() > 16 * 1024);
    table.token(
        section,
        "over 16 KiB and signed well",
        &signed,
        Refuse(E::TooLarge),
    );
    table.token(section, "100 kB", &"a".repeat(100_000), Refuse(E::TooLarge));
    table.token(
        section,
        "100 kB of dots",
        &".".repeat(100_000),
        Refuse(E::TooLarge),
    );
    table.token(
        section,
        "16 KiB of dots",
        &".".repeat(16 * 1024),
        Refuse(E::Malformed),
    );
    let alg = "H".repeat(13_000);
    let token = with_header(&format!(r#"{{"alg":"{alg}"}}"#));
    table.token(section, "an alg of 13 kB", &token, Refuse(E::TooLarge));
    let alg = "H".repeat(11_000);
    let token = with_header(&format!(r#"{{"alg":"{alg}"}}"#));
    table.token(
        section,
        "an alg of 11 kB",
        &token,
        Refuse(E::AlgorithmNotAllowed),
    );
    table.run().await;
}
