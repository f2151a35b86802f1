//! What the database refuses is said with its cure, at the start and later.

use super::*;
use crate::support::events::Recorder;

async fn refusal(builder: RevocationListenerBuilder) -> String {
    let refused = within(builder.build()).await;
    refused.expect_err("it is refused").to_string()
}

#[tokio::test]
async fn what_cannot_be_read_at_the_start_is_an_error_that_names_the_cure() {
    let (database, admin) = prepared().await;
    let url = database.url("authenticator");
    let missing = "make the function that the query calls, as examples/sql/sessions.sql does";
    let shape = "it returns three columns (claim text, value text, issued_before timestamptz)";
    for (query, expected) in [
        ("SELECT * FROM nowhere.at_all()", missing),
        ("SELECT * FROM basic_auth.nothing()", missing),
        ("SELECT * FROM basic_auth.nothing", missing),
        ("SELECT no_column FROM basic_auth.revoked_tokens()", missing),
        (
            "SELECT * FROM basic_auth.revoked",
            "GRANT EXECUTE ON FUNCTION to the login role itself",
        ),
        ("SELECT 'jti', 'x'", shape),
        ("SELECT 'jti', 'x', now(), 1", shape),
        (
            "SELECT 'jti', gen_random_uuid(), now()",
            "returns (text, uuid, timestamptz)",
        ),
        ("SELECT 'jti', 'x', now()::timestamp", shape),
        ("SELECT 'jti', $1::text, now()", "has 1 parameters"),
        ("SELECT NULL::text, 'x', now()", "must not return NULL"),
        ("SELECT 'jti', NULL::text, now()", "must not return NULL"),
        (
            "SELECT 'jti', 'x', now() WHERE 1 / 0 = 1",
            "division by zero",
        ),
        ("not SQL", "syntax error"),
        (
            "SELECT n::text, 'x', NULL::timestamptz FROM generate_series(1, 17) n",
            "16 different claims",
        ),
        (
            "SELECT 'jti', n::text, NULL::timestamptz FROM generate_series(1, 101) n",
            "more than 100 revocations",
        ),
    ] {
        let text = refusal(patient(&url).query(query).max_entries(100)).await;
        assert!(text.contains(expected), "{query}: {text}");
    }
    let slow = "SELECT 'jti', 'x', now() FROM pg_sleep(3600)";
    let slow = patient(&url).query(slow).answer_timeout(STALE);
    let text = refusal(slow).await;
    // Theirs or ours, whichever was first.
    assert!(text.contains("took longer than"), "{text}");

    run(
        &admin,
        "REVOKE EXECUTE ON FUNCTION basic_auth.revoked_tokens() FROM authenticator",
    )
    .await;
    let text = refusal(patient(&url)).await;
    assert!(
        text.contains("GRANT EXECUTE ON FUNCTION to the login role itself"),
        "{text}"
    );

    let text = refusal(patient(&url).channel("x".repeat(64))).await;
    assert!(text.contains("cannot be the name of a channel"), "{text}");
    let text = refusal(patient(&url).max_staleness(OFTEN)).await;
    assert!(text.contains("is longer than its heartbeat"), "{text}");
    let text = refusal(patient(&url).heartbeat(Duration::ZERO)).await;
    assert!(text.contains("longer than nothing"), "{text}");
    // Nothing goes on in the database, not even what was given up.
    within(async {
        while sessions(&admin).await > 0 {
            tokio::time::sleep(OFTEN).await;
        }
    })
    .await;
}

/// Each is one event, and not one for each attempt; the next one is of what follows from it.
#[tokio::test]
async fn what_cannot_be_read_later_is_told_once_and_makes_the_set_stale() {
    let recorder = Recorder::start();
    let (database, admin) = prepared().await;
    let builder = listener(&database.url("authenticator"));
    let builder = builder.heartbeat(OFTEN).reread_interval(2 * OFTEN);
    let builder = builder.max_backoff(OFTEN).max_staleness(STALE);
    let listener = listening(builder).await;
    let app = app(listener.revocations());
    becomes(&app, "one", 200).await;
    for (take, give, cure) in [
        (
            "REVOKE EXECUTE ON FUNCTION basic_auth.revoked_tokens() FROM authenticator",
            "GRANT EXECUTE ON FUNCTION basic_auth.revoked_tokens() TO authenticator",
            "permission denied for function revoked_tokens: GRANT USAGE ON SCHEMA and GRANT EXECUTE ON FUNCTION",
        ),
        (
            "ALTER FUNCTION basic_auth.revoked_tokens() RENAME TO nothing",
            "ALTER FUNCTION basic_auth.nothing() RENAME TO revoked_tokens",
            "make the function that the query calls",
        ),
        (
            "INSERT INTO basic_auth.revoked VALUES (NULL, 'x')",
            "DELETE FROM basic_auth.revoked WHERE claim IS NULL",
            "must not return NULL",
        ),
    ] {
        recorder.take();
        run(&admin, take).await;
        becomes(&app, "one", 503).await;
        let stale = "it is not known any more what is revoked: tokens are answered 503 until it is";
        let mut errors = Vec::new();
        within(async {
            // Until the listener has noticed as well.
            while !errors.iter().any(|error| error == stale) {
                tokio::time::sleep(OFTEN).await;
                let new = recorder.errors();
                errors.extend(
                    new.iter()
                        .filter(|line| line.get("kind").is_none())
                        .map(|line| line.message().to_owned()),
                );
            }
        })
        .await;
        let reasons: Vec<_> = errors.iter().filter(|error| *error != stale).collect();
        assert!(
            reasons.len() == 1 && reasons[0].contains(cure),
            "{take}: {errors:#?}"
        );
        run(&admin, give).await;
        becomes(&app, "one", 200).await;
        assert_eq!(listener.revocations().status().last_error, None);
    }
}
