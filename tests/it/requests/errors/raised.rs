//! Answers that a function in the database makes: `PTxyz` and `PGRST`.

use super::{app, ask_anybody, check, header, prepared_database, server_error};
use crate::support::events::Recorder;

fn raise(state: &str, message: &str, detail: &str) -> String {
    format!("SELECT raise('{state}', '{message}', '{detail}')")
}

#[tokio::test]
async fn pt_codes_are_a_status_of_400_to_599() {
    let database = prepared_database().await;
    let app = app(&database.pool().await);
    let recorder = Recorder::start();
    for (status, grpc) in [
        (400, 3),
        (401, 16),
        (402, 3),
        (403, 7),
        (404, 5),
        (405, 12),
        (408, 4),
        (409, 10),
        (410, 5),
        (412, 9),
        (418, 3),
        (429, 8),
        (499, 3),
    ] {
        let reply = ask_anybody(&app, &format!("SELECT raise('PT{status}')")).await;
        check(&reply, &recorder, status, grpc, &format!("PT{status}"));
        assert_eq!(reply.json()["message"], "needle m");
        assert_eq!(reply.json()["details"], "needle d");
        assert_eq!(reply.json()["hint"], "needle h");
    }
    // PostgREST passes on the text of these, too.
    for (status, grpc) in [(500, 13), (501, 12), (503, 14), (504, 4), (599, 13)] {
        let reply = ask_anybody(&app, &format!("SELECT raise('PT{status}')")).await;
        check(&reply, &recorder, status, grpc, "database_error");
    }
    // PostgREST takes any number: with 200 an error would look like a success, and 999 is no status.
    for code in [
        "PT200", "PT302", "PT399", "PT600", "PT999", "PT40A", "PT000", "PT040", "PTABC",
    ] {
        let reply = ask_anybody(&app, &format!("SELECT raise('{code}')")).await;
        check(&reply, &recorder, 500, 13, "database_error");
    }
}

#[tokio::test]
async fn pgrst_says_status_body_and_headers() {
    let database = prepared_database().await;
    let app = app(&database.pool().await);
    let recorder = Recorder::start();
    let reply = ask_anybody(
        &app,
        &raise(
            "PGRST",
            r#"{"code":"E42","message":"pay first","details":"d","hint":"h"}"#,
            r#"{"status":402,"headers":{"Location":"/pay","retry-after":"120"}}"#,
        ),
    )
    .await;
    assert_eq!(reply.status, 402);
    assert_eq!(
        reply.json(),
        serde_json::json!({ "code": "E42", "message": "pay first", "details": "d", "hint": "h" })
    );
    assert_eq!(header(&reply, "location"), Some("/pay"));
    assert_eq!(header(&reply, "retry-after"), Some("120"));
    assert!(recorder.errors().is_empty());

    let reply = ask_anybody(
        &app,
        &raise(
            "PGRST",
            r#"{"code":"E","message":"m"}"#,
            r#"{"status":404,"headers":{}}"#,
        ),
    )
    .await;
    check(&reply, &recorder, 404, 5, "E");
    assert_eq!(reply.json()["details"], serde_json::Value::Null);
}

/// PostgREST passes on every header. Here a function cannot set a cookie, break the framing or widen CORS.
#[tokio::test]
async fn pgrst_headers_pass_an_allow_list() {
    let database = prepared_database().await;
    let app = app(&database.pool().await);
    let detail = r#"{"status":409,"headers":{
        "Allow":"GET","Cache-Control":"no-store","Content-Language":"en","ETag":"\"1\"","Link":"</a>","Location":"/a",
        "Retry-After":"2","Vary":"Accept","WWW-Authenticate":"Bearer realm=\"a\"",
        "Set-Cookie":"a=b","Content-Length":"1","Content-Type":"text/html","Transfer-Encoding":"chunked",
        "Connection":"close","Access-Control-Allow-Origin":"*","X-Powered-By":"a","grpc-status":"0","":"a","a b":"a"}}"#;
    let reply = ask_anybody(
        &app,
        &raise("PGRST", r#"{"code":"E","message":"m"}"#, detail),
    )
    .await;
    assert_eq!(reply.status, 409);
    let mut names: Vec<_> = reply.headers.keys().map(|name| name.as_str()).collect();
    names.retain(|name| *name != "content-length");
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "allow",
            "cache-control",
            "content-language",
            "content-type",
            "etag",
            "link",
            "location",
            "retry-after",
            "vary",
            "www-authenticate",
        ]
    );
    assert_eq!(header(&reply, "content-type"), Some("application/json"));
    assert_ne!(header(&reply, "content-length"), Some("1"));

    for headers in [
        r#"{"Location":"/a\r\nSet-Cookie: a=b"}"#,
        r#"{"Location":["/a"]}"#,
        r#"{"Location":1}"#,
    ] {
        let detail = format!(r#"{{"status":409,"headers":{headers}}}"#);
        let reply = ask_anybody(
            &app,
            &raise("PGRST", r#"{"code":"E","message":"m"}"#, &detail),
        )
        .await;
        assert_eq!(reply.status, 409, "{headers}");
        assert_eq!(header(&reply, "location"), None, "{headers}");
        assert_eq!(header(&reply, "set-cookie"), None, "{headers}");
    }
}

/// A 401 needs a challenge (RFC 9110 15.5.2), whoever made it.
#[tokio::test]
async fn a_raised_401_has_a_challenge_its_own_or_ours() {
    let database = prepared_database().await;
    let app = app(&database.pool().await);
    let message = r#"{"code":"E","message":"m"}"#;
    for (detail, challenge) in [
        (r#"{"status":401,"headers":{}}"#, Some("Bearer")),
        (
            r#"{"status":401,"headers":{"WWW-Authenticate":"Basic realm=\"a\""}}"#,
            Some("Basic realm=\"a\""),
        ),
        (r#"{"status":403,"headers":{}}"#, None),
    ] {
        let reply = ask_anybody(&app, &raise("PGRST", message, detail)).await;
        assert_eq!(header(&reply, "www-authenticate"), challenge, "{detail}");
    }
}

/// The words stay inside: PostgREST passes them on. The headers do not come from a table.
#[tokio::test]
async fn a_raised_5xx_keeps_its_headers_and_loses_its_words() {
    let database = prepared_database().await;
    let app = app(&database.pool().await);
    let message = r#"{"code":"needle","message":"needle","details":"needle","hint":"needle"}"#;
    for (detail, status, retry_after) in [
        (r#"{"status":500,"headers":{}}"#, 500, None),
        (r#"{"status":503,"headers":{}}"#, 503, Some("1")),
        (
            r#"{"status":503,"headers":{"Retry-After":"30"}}"#,
            503,
            Some("30"),
        ),
        (
            r#"{"status":502,"headers":{"Retry-After":"30","Set-Cookie":"a=b"}}"#,
            502,
            Some("30"),
        ),
    ] {
        let recorder = Recorder::start();
        let reply = ask_anybody(&app, &raise("PGRST", message, detail)).await;
        assert_eq!(reply.status.as_u16(), status, "{detail}");
        assert_eq!(
            reply.json(),
            server_error(status, "database_error"),
            "{detail}"
        );
        assert_eq!(header(&reply, "retry-after"), retry_after, "{detail}");
        assert_eq!(
            reply.headers.get_all("retry-after").iter().count(),
            usize::from(retry_after.is_some())
        );
        assert_eq!(header(&reply, "set-cookie"), None);
        assert_eq!(recorder.errors().len(), 1, "{detail}");
    }
}

#[tokio::test]
async fn a_malformed_pgrst_is_the_services_fault() {
    let database = prepared_database().await;
    let app = app(&database.pool().await);
    let recorder = Recorder::start();
    let good = r#"{"code":"E","message":"m"}"#;
    for (message, detail) in [
        ("", r#"{"status":404,"headers":{}}"#),
        ("not json", r#"{"status":404,"headers":{}}"#),
        (r#"{"message":"m"}"#, r#"{"status":404,"headers":{}}"#),
        (r#"{"code":"E"}"#, r#"{"status":404,"headers":{}}"#),
        (
            r#"{"code":1,"message":"m"}"#,
            r#"{"status":404,"headers":{}}"#,
        ),
        (r#"["E","m"]"#, r#"{"status":404,"headers":[]}"#),
        (good, ""),
        (good, "not json"),
        (good, r#"{"headers":{}}"#),
        (good, r#"{"status":404}"#),
        (good, r#"{"status":404,"headers":[]}"#),
        (good, r#"{"status":"404","headers":{}}"#),
        (good, r#"{"status":404.5,"headers":{}}"#),
        (good, r#"{"status":-404,"headers":{}}"#),
        (good, r#"{"status":65936,"headers":{}}"#),
        (good, r#"{"status":200,"headers":{}}"#),
        (good, r#"{"status":302,"headers":{"Location":"/"}}"#),
        (good, r#"{"status":600,"headers":{}}"#),
        (good, r#"{"status":999,"headers":{}}"#),
    ] {
        let reply = ask_anybody(&app, &raise("PGRST", message, detail)).await;
        check(&reply, &recorder, 500, 13, "database_error");
        assert_eq!(header(&reply, "location"), None);
    }
    // Without any DETAIL.
    let reply = ask_anybody(&app, &format!("SELECT raise('PGRST', '{good}')")).await;
    check(&reply, &recorder, 500, 13, "database_error");
}
