//! Which kinds of tokens are accepted.

use super::*;
use TokenError as E;

const ISSUER: &str = "https://login.example";

/// A header, with or without a `typ`.
fn header(typ: Option<&str>) -> String {
    match typ {
        None => r#"{"alg":"HS256"}"#.to_owned(),
        Some(typ) => format!(r#"{{"alg":"HS256","typ":"{typ}"}}"#),
    }
}

#[test]
fn a_token_of_another_kind_is_refused() {
    let plain = without_exp();
    let events = builder()
        .token_type("secevent+jwt")
        .token_type("application/Logout+JWT");
    let events = events.dangerous().accept_missing_exp().build().unwrap();
    let (yes, no) = (Ok(()), Err(E::WrongType));
    for (typ, of_plain, of_events) in [
        (None, yes, no),
        (Some("JWT"), yes, no),
        (Some("jwt"), yes, no),
        (Some("application/jwt"), yes, no),
        (Some("JOSE"), yes, no),
        (Some("at+jwt"), yes, no),
        (Some("application/at+JWT"), yes, no),
        (Some("secevent+jwt"), no, yes),
        (Some("application/SecEvent+jwt"), no, yes),
        (Some("logout+jwt"), no, yes),
        (Some("dpop+jwt"), no, no),
        (Some("okta-internal-at+jwt"), no, no),
        (Some("kb+jwt"), no, no),
        (Some("passport"), no, no),
        (Some("JOSE+JSON"), no, no),
        (Some(""), no, no),
        (Some("JWT "), no, no),
        (Some("application/application/jwt"), no, no),
        (Some("application/x/jwt"), no, no),
    ] {
        let token = with_header(&header(typ), "{}");
        assert_eq!(verify(&plain, &token), of_plain, "{typ:?}");
        assert_eq!(verify(&events, &token), of_events, "{typ:?}");
    }
}

#[test]
fn the_signature_comes_first() {
    let token = with_header(&header(Some("logout+jwt")), "{}");
    let forged = format!("{}AAA", &token[..token.len() - 3]);
    assert_eq!(verify(&without_exp(), &forged), Err(E::BadSignature));
}

#[test]
fn access_tokens_are_those_of_rfc_9068() {
    let verifier = builder()
        .issuer(ISSUER)
        .audience("todos")
        .access_tokens_only();
    let verifier = verifier.build().unwrap();
    let members = [
        ("iss", format!(r#""{ISSUER}""#)),
        ("exp", (NOW + 3600).to_string()),
        ("aud", r#"["todos"]"#.to_owned()),
        ("sub", r#""17""#.to_owned()),
        ("client_id", r#""app""#.to_owned()),
        ("iat", NOW.to_string()),
        ("jti", r#""x""#.to_owned()),
    ];
    // All members, one of which says something else, or is left out.
    let payload = |changed: &str, value: Option<&str>| {
        let members = members.iter().filter_map(|(name, good)| {
            let value = if *name == changed { value? } else { good };
            Some(format!(r#""{name}":{value}"#))
        });
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    };
    let good = payload("", None);
    for typ in [
        "at+jwt",
        "application/at+jwt",
        "AT+JWT",
        "Application/At+Jwt",
    ] {
        assert_eq!(
            verify(&verifier, &with_header(&header(Some(typ)), &good)),
            Ok(()),
            "{typ}"
        );
    }
    for typ in [
        None,
        Some("JWT"),
        Some("at"),
        Some("at+jwt+x"),
        Some("application/x-at+jwt"),
    ] {
        let refused = verify(&verifier, &with_header(&header(typ), &good));
        assert_eq!(refused, Err(E::NotAnAccessToken), "{typ:?}");
    }
    let access = header(Some("at+jwt"));
    for (name, reason) in [
        ("iss", E::MissingIssuer),
        ("exp", E::MissingExpiry),
        ("aud", E::MissingAudience),
        ("sub", E::MissingClaim),
        ("client_id", E::MissingClaim),
        ("iat", E::MissingClaim),
        ("jti", E::MissingClaim),
    ] {
        let token = with_header(&access, &payload(name, None));
        assert_eq!(verify(&verifier, &token), Err(reason), "{name}");
    }
    for name in ["sub", "client_id", "jti"] {
        for value in ["17", "null", r#""""#, "[]", r#"["app"]"#] {
            let token = with_header(&access, &payload(name, Some(value)));
            assert_eq!(
                verify(&verifier, &token),
                Err(E::MissingClaim),
                "{name} {value}"
            );
        }
    }
}

#[test]
fn access_tokens_need_somebody_to_come_from_and_to_go_to() {
    let only = || builder().access_tokens_only();
    for rules in [
        only(),
        only().issuer(ISSUER),
        only().audience("todos"),
        only().issuer(ISSUER).any_audience(),
    ] {
        assert_eq!(
            rules.build().unwrap_err(),
            BuildError::UncheckedAccessTokens
        );
    }
    // Also where nothing demands `exp` by itself.
    let rules = only()
        .issuer(ISSUER)
        .audience("todos")
        .dangerous()
        .accept_missing_exp();
    let payload = format!(
        r#"{{"iss":"{ISSUER}","aud":"todos","sub":"1","client_id":"a","jti":"x","iat":{NOW}}}"#
    );
    let token = with_header(&header(Some("at+jwt")), &payload);
    assert_eq!(
        verify(&rules.build().unwrap(), &token),
        Err(E::MissingClaim)
    );
}

#[test]
fn claims_have_the_required_values() {
    let verifier = builder()
        .require_claim_value("client_id", "app")
        .require_claim_value("token_use", "access")
        .require_claim_value("client_id", "cli");
    let verifier = verifier.dangerous().accept_missing_exp().build().unwrap();
    for (payload, outcome) in [
        (r#"{"client_id":"app","token_use":"access"}"#, Ok(())),
        (r#"{"client_id":"cli","token_use":["id","access"]}"#, Ok(())),
        (
            r#"{"client_id":"\u0061pp","token_use":["\u0061ccess"]}"#,
            Ok(()),
        ),
        (r#"{"client_id":"app"}"#, Err(E::MissingClaim)),
        (
            r#"{"client_id":null,"token_use":"access"}"#,
            Err(E::MissingClaim),
        ),
        (
            r#"{"client_id":"App","token_use":"access"}"#,
            Err(E::WrongClaimValue),
        ),
        (
            r#"{"client_id":"app ","token_use":"access"}"#,
            Err(E::WrongClaimValue),
        ),
        (
            r#"{"client_id":"app cli","token_use":"access"}"#,
            Err(E::WrongClaimValue),
        ),
        (
            r#"{"client_id":"app","token_use":"id"}"#,
            Err(E::WrongClaimValue),
        ),
        (
            r#"{"client_id":"app","token_use":[]}"#,
            Err(E::WrongClaimValue),
        ),
        (
            r#"{"client_id":"app","token_use":["access",1]}"#,
            Err(E::WrongClaimValue),
        ),
        (
            r#"{"client_id":"app","token_use":[["access"]]}"#,
            Err(E::WrongClaimValue),
        ),
        (
            r#"{"client_id":"app","token_use":{"access":1}}"#,
            Err(E::WrongClaimValue),
        ),
        (
            r#"{"client_id":"app","token_use":1}"#,
            Err(E::WrongClaimValue),
        ),
    ] {
        assert_eq!(verify(&verifier, &hs256(payload)), outcome, "{payload}");
    }
}

#[test]
fn a_rule_that_says_nothing_is_not_built() {
    for rules in [
        builder().token_type(""),
        builder().token_type("application/"),
        builder().require_claim_value("", "x"),
        builder().require_claim_value("tid", ""),
    ] {
        assert_eq!(rules.build().unwrap_err(), BuildError::EmptyName);
    }
}

#[test]
fn scopes_are_read_as_providers_write_them() {
    for (payload, expected) in [
        (
            r#"{"scope":"todos:read todos:write"}"#,
            &["todos:read", "todos:write"][..],
        ),
        (r#"{"scope":" a  b "}"#, &["a", "b"]),
        (r#"{"scope":"a\u0020b"}"#, &["a", "b"]),
        (r#"{"scope":""}"#, &[]),
        (r#"{"scope":["a","b"]}"#, &["a", "b"]),
        (r#"{"scp":"a b"}"#, &["a", "b"]),
        (r#"{"scp":["a","b"]}"#, &["a", "b"]),
        // An element is one scope, and a scope has no space.
        (r#"{"scp":["a b"]}"#, &["a b"]),
        // What RFC 8693 registers counts, and not both.
        (r#"{"scope":"a","scp":"b"}"#, &["a"]),
        (r#"{"scope":7,"scp":"b"}"#, &[]),
        (r#"{"scope":null,"scp":"b"}"#, &[]),
        (r#"{"scope":["a",7]}"#, &[]),
        (r#"{"scope":{"a":true}}"#, &[]),
        (r#"{"Scope":"a"}"#, &[]),
        ("{}", &[]),
    ] {
        let claims = testing::claims(payload);
        assert_eq!(claims.scopes().collect::<Vec<_>>(), expected, "{payload}");
    }
}
