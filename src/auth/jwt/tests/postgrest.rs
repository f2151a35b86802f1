//! PostgREST's rules of tokens, and where this crate differs on purpose.

use super::*;

/// What PostgREST 14 does with a token, from its source and by trying, and where this crate differs on purpose.
#[test]
fn postgrest_token_rules() {
    const SAME: &str = "";
    let plain = without_exp();
    let with_aud = builder()
        .audience("me")
        .dangerous()
        .accept_missing_exp()
        .build()
        .unwrap();
    let strict = builder().build().unwrap();
    let with_id = JwtVerifier::builder().key(Key::hs256(SECRET).unwrap().with_id("k"));
    let with_id = with_id.dangerous().accept_missing_exp().build().unwrap();
    let claim = |text: String| hs256(&format!("{{{text}}}"));
    let header = |text: &str| with_header(text, "{}");
    let offset = |name: &str, by: i64| claim(format!(r#""{name}":{}"#, NOW.cast_signed() + by));

    // What it is, our verifier, the token, whether PostgREST takes it, and why we do not do the same.
    let rows: Vec<(&str, &JwtVerifier, String, bool, &str)> = vec![
        ("empty", &plain, String::new(), false, SAME),
        ("two parts", &plain, "a.b".into(), false, SAME),
        ("five parts", &plain, "a.b.c.d.e".into(), false, SAME),
        (
            "bad signature",
            &plain,
            format!("{}A", &claim(String::new())[..63]),
            false,
            SAME,
        ),
        ("alg none", &plain, header(r#"{"alg":"none"}"#), false, SAME),
        (
            "alg in lower case",
            &plain,
            header(r#"{"alg":"hs256"}"#),
            false,
            SAME,
        ),
        (
            "alg without a key",
            &plain,
            header(r#"{"alg":"RS256"}"#),
            false,
            SAME,
        ),
        (
            "HS512 with a text secret",
            &plain,
            header(r#"{"alg":"HS512"}"#),
            false,
            SAME,
        ),
        (
            "kid is no string",
            &plain,
            header(r#"{"alg":"HS256","kid":1}"#),
            false,
            SAME,
        ),
        (
            "typ is no string",
            &plain,
            header(r#"{"alg":"HS256","typ":1}"#),
            false,
            SAME,
        ),
        (
            "any typ",
            &plain,
            header(r#"{"alg":"HS256","typ":"x"}"#),
            true,
            "RFC 8725 3.11: a token of another kind",
        ),
        (
            "enc",
            &plain,
            header(r#"{"alg":"HS256","enc":"A128GCM"}"#),
            false,
            SAME,
        ),
        (
            "crit",
            &plain,
            header(r#"{"alg":"HS256","crit":["x"],"x":1}"#),
            true,
            "RFC 7515 4.1.11",
        ),
        (
            "b64",
            &plain,
            header(r#"{"alg":"HS256","b64":false}"#),
            true,
            "RFC 7797 asks for crit, and crit is refused",
        ),
        (
            "same kid",
            &with_id,
            header(r#"{"alg":"HS256","kid":"k"}"#),
            true,
            SAME,
        ),
        (
            "another kid",
            &with_id,
            header(r#"{"alg":"HS256","kid":"l"}"#),
            false,
            SAME,
        ),
        (
            "no kid, the key has one",
            &with_id,
            header(r#"{"alg":"HS256"}"#),
            true,
            SAME,
        ),
        (
            "kid, the key has none",
            &plain,
            header(r#"{"alg":"HS256","kid":"k"}"#),
            false,
            "a PEM or a secret cannot say an id",
        ),
        ("payload is an array", &plain, hs256("[]"), false, SAME),
        ("payload is not JSON", &plain, hs256("{"), false, SAME),
        (
            "no exp",
            &strict,
            claim(String::new()),
            true,
            "a token for ever is asked for by name: accept_missing_exp",
        ),
        (
            "no exp, asked for",
            &plain,
            claim(String::new()),
            true,
            SAME,
        ),
        ("exp 29 s ago", &plain, offset("exp", -29), true, SAME),
        (
            "exp 30 s ago",
            &plain,
            offset("exp", -30),
            true,
            "RFC 7519 4.1.4: refused \"on or after\"",
        ),
        ("exp 31 s ago", &plain, offset("exp", -31), false, SAME),
        ("nbf in 30 s", &plain, offset("nbf", 30), true, SAME),
        ("nbf in 31 s", &plain, offset("nbf", 31), false, SAME),
        ("iat in 30 s", &plain, offset("iat", 30), true, SAME),
        ("iat in 31 s", &plain, offset("iat", 31), false, SAME),
        (
            "exp is null",
            &plain,
            claim(r#""exp":null"#.into()),
            true,
            "null is not a date",
        ),
        (
            "nbf is null",
            &plain,
            claim(r#""nbf":null"#.into()),
            true,
            "null is not a date",
        ),
        (
            "exp is a string",
            &plain,
            claim(format!(r#""exp":"{}""#, NOW + 60)),
            false,
            SAME,
        ),
        (
            "exp with a fraction",
            &plain,
            claim(format!(r#""exp":{}.5"#, NOW + 1000)),
            false,
            "RFC 7519 2: fractions are allowed",
        ),
        (
            "exp x.0",
            &plain,
            claim(format!(r#""exp":{}.0"#, NOW + 1000)),
            true,
            SAME,
        ),
        (
            "far nbf with a fraction",
            &plain,
            claim(format!(r#""nbf":{}.5"#, NOW + 1000)),
            true,
            "a fraction is not 0",
        ),
        (
            "exp over int64",
            &plain,
            claim(r#""exp":99999999999999999999"#.into()),
            false,
            SAME,
        ),
        (
            "aud, none configured",
            &plain,
            claim(r#""aud":"me""#.into()),
            true,
            "RFC 7519 4.1.3; any_audience accepts it",
        ),
        (
            "aud is a number",
            &plain,
            claim(r#""aud":42"#.into()),
            false,
            SAME,
        ),
        (
            "aud matches",
            &with_aud,
            claim(r#""aud":"me""#.into()),
            true,
            SAME,
        ),
        (
            "aud array matches",
            &with_aud,
            claim(r#""aud":["you","me"]"#.into()),
            true,
            SAME,
        ),
        (
            "aud of another",
            &with_aud,
            claim(r#""aud":"you""#.into()),
            false,
            SAME,
        ),
        (
            "aud is empty text",
            &with_aud,
            claim(r#""aud":"""#.into()),
            false,
            SAME,
        ),
        (
            "aud missing",
            &with_aud,
            claim(String::new()),
            true,
            "a token for anybody is not for us",
        ),
        (
            "aud is null",
            &with_aud,
            claim(r#""aud":null"#.into()),
            true,
            "null is not an audience",
        ),
        (
            "aud is an empty array",
            &with_aud,
            claim(r#""aud":[]"#.into()),
            true,
            "a token for nobody is not for us",
        ),
        (
            "sub is a number",
            &plain,
            claim(r#""sub":7"#.into()),
            true,
            SAME,
        ),
        (
            "duplicate members",
            &plain,
            claim(r#""role":"a","role":"b""#.into()),
            true,
            "two readers, two roles",
        ),
        (
            "NUL in the role",
            &plain,
            claim(r#""role":"a\u0000b""#.into()),
            true,
            "it would cut the role's name",
        ),
    ];
    for (name, verifier, token, postgrest, difference) in rows {
        let ours = verify(verifier, &token);
        let same = ours.is_ok() == postgrest;
        assert_eq!(
            same,
            difference == SAME,
            "{name}: {ours:?}, PostgREST accepts: {postgrest}"
        );
    }
}
