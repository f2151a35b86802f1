//! Claims of the wrong type, and of the wrong second.

use std::time::Duration;

use rolescope::auth::jwt::TokenError as E;

use super::forge::{self, NOW, with_payload};
use super::{Accept, Outcome, Refuse, Table};

/// What JSON has besides the types that a claim may have.
const ODD: [&str; 8] = [
    "null",
    "true",
    "false",
    "{}",
    "[]",
    "[[]]",
    r#"{"a":1}"#,
    r#"[null]"#,
];

fn row(table: &mut Table, section: &'static str, payload: &str, outcome: Outcome) {
    table.token(section, payload, &with_payload(payload.as_bytes()), outcome);
}

#[tokio::test]
async fn times_are_numbers_and_of_this_age() {
    let mut table = Table::new(forge::hmac().build().unwrap());
    let texts = [
        r#""""#,
        r#""1700000060""#,
        r#""2033-05-18T03:33:20Z""#,
        r#""Infinity""#,
        r#""NaN""#,
        r#""1e9""#,
    ];
    for claim in ["exp", "nbf", "iat"] {
        let section = "RFC 7519 4.1.4-4.1.6, 2 (NumericDate)";
        let base = if claim == "exp" {
            ""
        } else {
            r#""exp":1700000060,"#
        };
        for value in ODD.iter().chain(&texts) {
            let payload = format!(r#"{{"aud":"todos",{base}"{claim}":{value}}}"#);
            row(&mut table, section, &payload, Refuse(E::MalformedTime));
        }
        // Whether it counts as passed decides what becomes of a number.
        let (past, future) = match claim {
            "exp" => (Refuse(E::Expired), Accept),
            "nbf" => (Accept, Refuse(E::NotYetValid)),
            _ => (Accept, Refuse(E::IssuedInFuture)),
        };
        let malformed = Refuse(E::MalformedTime);
        for (value, outcome) in [
            ("0", past),
            ("-0", past),
            ("-0.0", past),
            ("-1", past),
            ("-1700000060", past),
            ("-1e9", past),
            ("1e0", past),
            ("1e-400", past),
            ("1.7e9", if claim == "exp" { Accept } else { past }),
            ("1700000060.5", future),
            ("17000000605e-1", future),
            ("253402300799", future),
            // Milliseconds, which are far in the future.
            ("1700000060000", future),
            ("9007199254740993", future),
            ("9223372036854775807", future),
            ("-9223372036854775808", past),
            ("9223372036854775808", malformed),
            ("18446744073709551615", malformed),
            ("18446744073709551616", malformed),
            ("340282366920938463463374607431768211456", malformed),
            ("1e18", future),
            ("1e19", malformed),
            ("1e308", malformed),
            ("1e309", malformed),
            ("-1e309", malformed),
        ] {
            let payload = format!(r#"{{"aud":"todos",{base}"{claim}":{value}}}"#);
            row(&mut table, section, &payload, outcome);
        }
        for value in [
            "01",
            "+1",
            "1.",
            ".5",
            "0x7fffffff",
            "1_000",
            "NaN",
            "Infinity",
            "-",
            "1e",
            "1700000060n",
        ] {
            let payload = format!(r#"{{"aud":"todos",{base}"{claim}":{value}}}"#);
            row(
                &mut table,
                "RFC 8259 6",
                &payload,
                Refuse(E::MalformedPayload),
            );
        }
    }
    for payload in [
        r#"{"aud":"todos"}"#,
        r#"{"aud":"todos","Exp":1700000060}"#,
        r#"{"aud":"todos","exp ":1700000060}"#,
    ] {
        row(
            &mut table,
            "RFC 7519 4.1.4, 10.1.1",
            payload,
            Refuse(E::MissingExpiry),
        );
    }
    table.run().await;
}

#[tokio::test]
async fn times_are_kept_to_the_second() {
    for leeway in [0, 1, 30, 600] {
        let verifier = forge::hmac()
            .leeway(Duration::from_secs(leeway))
            .build()
            .unwrap();
        let mut table = Table::new(verifier);
        for (offset, exp, later) in [(-1, false, true), (0, false, true), (1, true, false)] {
            // The last second in which the token is good, one before, and one after.
            let exp_at = NOW.saturating_add_signed(offset) - leeway;
            let payload = format!(r#"{{"aud":"todos","exp":{exp_at}}}"#);
            let outcome = if exp { Accept } else { Refuse(E::Expired) };
            row(&mut table, "RFC 7519 4.1.4", &payload, outcome);
            let at = NOW.saturating_add_signed(offset) + leeway;
            for (claim, error) in [("nbf", E::NotYetValid), ("iat", E::IssuedInFuture)] {
                let payload = format!(r#"{{"aud":"todos","exp":1700009999,"{claim}":{at}}}"#);
                let outcome = if later { Accept } else { Refuse(error) };
                row(&mut table, "RFC 7519 4.1.5, 4.1.6", &payload, outcome);
            }
        }
        table.run().await;
    }
}

#[tokio::test]
async fn the_audience_is_a_string_or_strings() {
    let mut table = Table::new(forge::hmac().build().unwrap());
    let mut unconfigured = {
        let rules = rolescope::JwtVerifier::builder()
            .hs256(forge::SECRET)
            .unwrap();
        let now = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
        Table::new(rules.clock(move || now).build().unwrap())
    };
    let wrong = Refuse(E::WrongAudience);
    let malformed = Refuse(E::MalformedAudience);
    for (value, outcome) in [
        (r#""todos""#, Accept),
        (r#"["todos"]"#, Accept),
        (r#"["others","todos"]"#, Accept),
        (r#""\u0074odos""#, Accept),
        ("[]", wrong),
        (r#""""#, wrong),
        (r#""Todos""#, wrong),
        (r#""todos ""#, wrong),
        (r#""todo""#, wrong),
        (r#""todoss""#, wrong),
        (r#""todos,others""#, wrong),
        (r#""*""#, wrong),
        (r#""https://todos""#, wrong),
        (r#"["todos\u0301"]"#, wrong),
        ("null", malformed),
        ("true", malformed),
        ("0", malformed),
        ("{}", malformed),
        (r#"{"0":"todos"}"#, malformed),
        (r#"["todos",null]"#, malformed),
        (r#"["todos",1]"#, malformed),
        (r#"[["todos"]]"#, malformed),
    ] {
        let payload = format!(r#"{{"exp":1700000060,"aud":{value}}}"#);
        row(&mut table, "RFC 7519 4.1.3", &payload, outcome);
        let outcome = if outcome == malformed {
            malformed
        } else {
            Refuse(E::UnexpectedAudience)
        };
        row(&mut unconfigured, "RFC 7519 4.1.3", &payload, outcome);
    }
    row(
        &mut table,
        "RFC 7519 4.1.3",
        r#"{"exp":1700000060}"#,
        Refuse(E::MissingAudience),
    );
    row(
        &mut table,
        "RFC 7519 10.1.1",
        r#"{"exp":1700000060,"AUD":"todos"}"#,
        Refuse(E::MissingAudience),
    );
    row(
        &mut unconfigured,
        "RFC 7519 4.1.3",
        r#"{"exp":1700000060}"#,
        Accept,
    );
    table.run().await;
    unconfigured.run().await;
}

#[tokio::test]
async fn the_issuer_is_one_of_those_that_are_known() {
    let verifier = forge::hmac()
        .issuer("https://login.example")
        .require_claim("sub");
    let mut table = Table::new(verifier.build().unwrap());
    let start = r#""aud":"todos","exp":1700000060"#;
    let section = "RFC 7519 4.1.1";
    for (value, outcome) in [
        (r#""https://login.example""#, Accept),
        (r#""https:\/\/login.example""#, Accept),
        (r#""https://login.example/""#, Refuse(E::WrongIssuer)),
        (r#""HTTPS://LOGIN.EXAMPLE""#, Refuse(E::WrongIssuer)),
        (
            r#""https://login.example.evil.example""#,
            Refuse(E::WrongIssuer),
        ),
        (
            r#""https://login.example@evil.example""#,
            Refuse(E::WrongIssuer),
        ),
        (r#""https://login\u2024example""#, Refuse(E::WrongIssuer)),
        (r#""""#, Refuse(E::WrongIssuer)),
        ("1", Refuse(E::WrongIssuer)),
        (r#"["https://login.example"]"#, Refuse(E::WrongIssuer)),
    ] {
        row(
            &mut table,
            section,
            &format!(r#"{{{start},"sub":"a","iss":{value}}}"#),
            outcome,
        );
    }
    for value in ODD {
        row(
            &mut table,
            section,
            &format!(r#"{{{start},"sub":"a","iss":{value}}}"#),
            Refuse(E::WrongIssuer),
        );
    }
    row(
        &mut table,
        section,
        &format!(r#"{{{start},"sub":"a"}}"#),
        Refuse(E::MissingIssuer),
    );
    let known = r#""iss":"https://login.example""#;
    row(
        &mut table,
        "our rule: required",
        &format!("{{{start},{known}}}"),
        Refuse(E::MissingClaim),
    );
    row(
        &mut table,
        "our rule: required",
        &format!(r#"{{{start},{known},"sub":null}}"#),
        Refuse(E::MissingClaim),
    );
    row(
        &mut table,
        "our rule: required",
        &format!(r#"{{{start},{known},"Sub":"a"}}"#),
        Refuse(E::MissingClaim),
    );
    table.run().await;
}

/// What no rule reads may be anything; it arrives as it was signed.
#[tokio::test]
async fn other_claims_are_passed_on_to_the_letter() {
    let mut table = Table::new(forge::hmac().build().unwrap());
    let numbers = [
        "18446744073709551617",
        "0.1000",
        "1E+2",
        "-0",
        "1e999",
        "1e-999",
        "9007199254740993",
        "123456789012345678901234567890.5",
    ];
    for claim in ["sub", "jti", "iss", "role", "https://example.com/x"] {
        for value in ODD.iter().chain(&numbers) {
            let payload = format!(r#"{{"aud":"todos","exp":1700000060,"{claim}": {value} }}"#);
            row(&mut table, "RFC 7519 4, RFC 8259 6", &payload, Accept);
        }
    }
    table.run().await;
}
