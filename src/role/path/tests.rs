use super::*;

const CLAIMS: &str = r#"{
    "role": "web_user",
    "https://example.com/role": "by_url",
    ".dot": "by_dot",
    "a": {"b": "deep", "b c": "spaced", "é1": "accent", "$x@_": "signs", "": "empty name"},
    "realm_access": {"roles": [7, null, "offline", ["nested"], "app_reader", "app_editor", "web"]},
    "none": null, "yes": true, "no": false, "number": -1.5e3, "list": ["x"], "object": {"x": 1},
    "escaped": "a\"b\u00e9\n", "key\u0041": "escaped key"
}"#;

#[track_caller]
fn select(path: &str, claims: &str) -> Result<Option<String>, RoleClaimError> {
    RolePath::parse(path)
        .unwrap_or_else(|error| panic!("{path:?}: {error}"))
        .select(claims)
}

#[track_caller]
fn assert_table(table: &[(&str, Option<&str>)]) {
    for (path, expected) in table {
        let found = select(path, CLAIMS).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(found.as_deref(), *expected, "{path}");
    }
}

#[test]
fn a_plain_name_is_a_top_level_member() {
    assert_table(&[
        ("role", Some("web_user")),
        ("https://example.com/role", Some("by_url")),
        ("escaped", Some("a\"bé\n")),
        ("keyA", Some("escaped key")),
        ("rol", None),
        ("Role", None),
        ("a.b", None),
        ("realm_access.roles[4]", None),
    ]);
}

#[test]
fn steps_lead_to_members_and_elements() {
    assert_table(&[
        (".role", Some("web_user")),
        (".\"role\"", Some("web_user")),
        (".\"https://example.com/role\"", Some("by_url")),
        (".\".dot\"", Some("by_dot")),
        (".a.b", Some("deep")),
        (".a.\"b c\"", Some("spaced")),
        (".a.é1", Some("accent")),
        (".a.$x@_", Some("signs")),
        (".a.\"\"", Some("empty name")),
        (".realm_access.roles[4]", Some("app_reader")),
        (".realm_access.roles[3][0]", Some("nested")),
        (".realm_access.roles[007]", None),
        (".realm_access.roles.0", None),
        (".a[0]", None),
        (".a.b.c", None),
        (".none.x", None),
        (".x.y.z", None),
    ]);
}

#[test]
fn every_filter_takes_the_first_string_that_it_accepts() {
    assert_table(&[
        (".realm_access.roles[?(@ == \"web\")]", Some("web")),
        (".realm_access.roles[?(@ == \"we\")]", None),
        (
            ".realm_access.roles[?(@ != \"offline\")]",
            Some("app_reader"),
        ),
        (".realm_access.roles[?(@ != \"x\")]", Some("offline")),
        (".realm_access.roles[?(@ ^== \"app_\")]", Some("app_reader")),
        (".realm_access.roles[?(@ ^== \"reader\")]", None),
        (
            ".realm_access.roles[?(@ ==^ \"editor\")]",
            Some("app_editor"),
        ),
        (".realm_access.roles[?(@ ==^ \"app_\")]", None),
        (".realm_access.roles[?(@ *== \"_ed\")]", Some("app_editor")),
        (".realm_access.roles[?(@ *== \"zz\")]", None),
        (".realm_access.roles[?(@==\"web\")]", Some("web")),
        (".realm_access.roles[?(@   ==^   \"eb\")]", Some("web")),
        (".role[?(@ == \"web_user\")]", None),
        (".a[?(@ == \"deep\")]", None),
    ]);
}

#[test]
fn a_dollar_begins_an_rfc_9535_query() {
    assert_table(&[
        ("$.role", Some("web_user")),
        ("$['https://example.com/role']", Some("by_url")),
        ("$.a.b", Some("deep")),
        ("$.a['b c']", Some("spaced")),
        ("$.realm_access.roles[-1]", Some("web")),
        ("$.realm_access.roles[?@ == 'web']", Some("web")),
        ("$.realm_access.roles[?(@ == \"web\")]", Some("web")),
        (
            "$.realm_access.roles[?search(@, '^app_e')]",
            Some("app_editor"),
        ),
        ("$..roles[5]", Some("app_editor")),
        ("$.realm_access.roles[9]", None),
        ("$['[[[[[[[[[[']", None),
    ]);
    // Its `!=` is true of values that are no strings, unlike PostgREST's.
    assert_eq!(
        select("$.realm_access.roles[?@ != 'web']", CLAIMS),
        Err(RoleClaimError::NotAString { found: "a number" })
    );
}

#[test]
fn what_is_not_a_string_is_never_a_role() {
    for (member, found) in [
        ("none", "null"),
        ("yes", "a boolean"),
        ("no", "a boolean"),
        ("number", "a number"),
        ("list", "an array"),
        ("object", "an object"),
    ] {
        for path in [
            member.to_owned(),
            format!(".{member}"),
            format!("$.{member}"),
            format!("$['{member}']"),
        ] {
            assert_eq!(
                select(&path, CLAIMS),
                Err(RoleClaimError::NotAString { found }),
                "{path}"
            );
        }
    }
    for (path, found) in [
        (".realm_access.roles[0]", "a number"),
        (".realm_access.roles[1]", "null"),
        (".realm_access", "an object"),
        ("$.realm_access.roles[*]", "a number"),
    ] {
        assert_eq!(
            select(path, CLAIMS),
            Err(RoleClaimError::NotAString { found }),
            "{path}"
        );
    }
}

#[test]
fn claims_that_cannot_be_read_have_no_role() {
    for claims in [
        "",
        "null",
        "[]",
        "\"role\"",
        "{\"role\":\"x\"",
        "{\"role\":\"x\"} {}",
        "{\"role\":\"x\\ud800\"}",
        "{\"role\":}",
    ] {
        for path in ["role", ".role", "$.role", ".role[0]", "$['role']"] {
            assert_eq!(
                select(path, claims),
                Err(RoleClaimError::Malformed),
                "{path} in {claims}"
            );
        }
    }
    let twice = r#"{"role":"a","x":1,"\u0072ole":"b"}"#;
    assert_eq!(select("role", twice), Err(RoleClaimError::Malformed));
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    assert_eq!(select(".a[0]", &deep), Err(RoleClaimError::Malformed));
    assert_eq!(select("role", &deep), Ok(None));
}

#[test]
fn an_error_says_where_and_what_was_expected() {
    for (path, position, expected) in [
        ("", 0, "the name of a claim, or a path"),
        (" role", 0, "without space around it"),
        ("role\n", 4, "without space around it"),
        ("  ", 0, "without space around it"),
        ("[0]", 0, "claims are an object"),
        ("[?(@ == \"x\")]", 0, "claims are an object"),
        (".", 1, "a name"),
        ("..a", 1, "a name"),
        (".[0]", 1, "a name"),
        (".-", 1, "a name"),
        (".some-name", 5, ".\"some-name\""),
        (".a b", 2, "`.`, `[` or the end"),
        (".a]", 2, "`.`, `[` or the end"),
        (".é(", 3, "`.`, `[` or the end"),
        (".\"a\"b", 4, "`.`, `[` or the end"),
        (".\"a", 3, "a closing `\"`"),
        (".a[", 3, "digits"),
        (".a[]", 3, "digits"),
        (".a[x]", 3, "digits"),
        (".a[-1]", 3, "digits"),
        (".a[1", 4, "a digit or `]`"),
        (".a[1x]", 4, "a digit or `]`"),
        (".a[99999999999999999999]", 3, "a smaller index"),
        (".a[?(@", 6, "`^==`"),
        (".a[?(@ = \"x\")]", 7, "`^==`"),
        (".a[?(@ < \"x\")]", 7, "`^==`"),
        (".a[?(@ == x)]", 10, "a text in `\"`"),
        (".a[?(@ == 'x')]", 10, "a text in `\"`"),
        (".a[?(@ == \"x)]", 14, "a closing `\"`"),
        (".a[?(@ == \"x\"]", 13, "`)]`"),
        (".a[?(@ == \"x\") ]", 13, "`)]`"),
        (".a[?(@ == \"x\")].b", 15, "the end"),
        (".a[?(@ == \"x\")][?(@ == \"x\")]", 15, "the end"),
        ("$", 1, "the way to a claim"),
        ("$.", 2, "RFC 9535"),
        ("$role", 1, "RFC 9535"),
        ("$.role ", 6, "RFC 9535"),
        ("$.some-name", 6, "['some-name']"),
        ("$['a", 4, "closing quote"),
        ("$['\\u", 5, "closing quote"),
        ("$['\\ud83d\\u", 11, "closing quote"),
        ("$['\\u']", 5, "RFC 9535"),
        ("$.it's", 6, "closing quote"),
        ("$.a[?nosuch(@)]", 5, "RFC 9535"),
    ] {
        let error = RolePath::parse(path).expect_err(path);
        let text = error.to_string();
        assert!(text.contains(expected), "{path:?}: {text}");
        assert!(text.contains(&format!("at byte {}:", error.position())));
        // Where inside of a bad query, the RFC 9535 crate decides.
        if !path.starts_with("$['") && !path.starts_with("$.a") {
            assert_eq!(error.position(), position, "{path:?}: {text}");
        }
    }
}

#[test]
fn a_path_is_of_bounded_size() {
    let longest = format!(".{}", "a".repeat(1023));
    assert!(RolePath::parse(&longest).is_ok());
    for longer in [format!("{longest}a"), "a".repeat(1025), "[".repeat(1 << 20)] {
        assert_eq!(
            RolePath::parse(&longer)
                .map_err(|error| error.position())
                .err(),
            Some(1024)
        );
    }
    let nested = |depth| format!("$.a{}{}", "[?@".repeat(depth), "]".repeat(depth));
    assert!(RolePath::parse(&nested(8)).is_ok());
    let error = RolePath::parse(&nested(9)).expect_err("too deep");
    assert!(error.to_string().contains("eight brackets"), "{error}");
}

#[test]
fn display_and_debug_show_the_text() {
    let path = RolePath::parse(".a[0]").expect("a path");
    assert_eq!(path.to_string(), ".a[0]");
    assert_eq!(format!("{path:?}"), "RolePath(\".a[0]\")");
    assert_eq!(RolePath::default().to_string(), "role");
    assert_eq!(
        RolePath::default().select(CLAIMS),
        Ok(Some("web_user".to_owned()))
    );
}

/// Neither reading a path nor following it panics, whatever the text.
#[test]
fn random_texts_never_panic() {
    const PIECES: &[&str] = &[
        "$",
        ".",
        "..",
        "[",
        "]",
        "(",
        ")",
        "?",
        "@",
        "\"",
        "'",
        "\\",
        "==",
        "!=",
        "^==",
        "==^",
        "*==",
        "*",
        ":",
        ",",
        "-",
        "0",
        "1",
        "9007199254740991",
        "&&",
        "||",
        "!",
        "<",
        " ",
        "a",
        "role",
        "realm_access",
        "roles",
        "é",
        "\u{10ffff}",
        "\0",
        "[?(@ == \"web\")]",
        "[?@",
        "length(",
        "count(",
        "search(@,'",
        "\\u",
        "\\ud800",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).expect("31 bits") % below
    };
    let mut read = 0;
    for round in 0..20_000 {
        let text = if round % 2 == 0 {
            let bytes: Vec<u8> = (0..random(40))
                .map(|_| u8::try_from(random(256)).expect("a byte"))
                .collect();
            let first = ["", "$", ".", "["][random(4)];
            format!("{first}{}", String::from_utf8_lossy(&bytes))
        } else {
            let first = ["", "$", ".", "$.a", ".a"][random(5)];
            (0..random(12)).fold(first.to_owned(), |text, _| {
                text + PIECES[random(PIECES.len())]
            })
        };
        match RolePath::parse(&text) {
            Ok(path) => {
                read += 1;
                let _ = path.select(CLAIMS);
                let _ = path.select(&text);
            }
            Err(error) => assert!(error.position() <= text.len(), "{text:?}: {error}"),
        }
    }
    assert!(read > 1_000, "only {read} texts were paths");
}
