//! No key, token or claim is in a `Debug`, an error, or a log.

use rolescope::issuer::{RefreshToken, SigningKey, TokenIssuer};
use rolescope::role::RoleName;
use rolescope::{ErrorKind, RoleScope};
use serde_json::json;

use super::URL;
use crate::support::database;
use crate::support::events::Recorder;

const NEEDLE: &str = "n33dle";

#[tokio::test]
async fn nothing_that_is_secret_is_shown_or_logged() {
    let recorder = Recorder::start();
    let secret = format!("{NEEDLE} and a secret of thirty-two bytes or more");
    let pem = include_str!("../keys/p256.private.pem");
    let key = SigningKey::hs256(&secret).expect("a secret");
    let pair = SigningKey::pem("k1", pem).expect("a key");
    let builder = TokenIssuer::builder(key.clone())
        .also_publish(pair.clone())
        .issuer(URL);
    let mut shown = vec![format!("{key:?} {pair:?} {builder:?} {builder:#?}")];
    let issuer = builder.build().expect("it is built");
    let token = issuer
        .issue(json!({ "sub": NEEDLE, "jti": NEEDLE }))
        .expect("it is issued");
    let refresh = RefreshToken::random().expect("there is randomness");
    shown.push(format!(
        "{issuer:?} {issuer:#?} {token:?} {token:#?} {refresh:?} {:?}",
        issuer.jwks_service()
    ));
    shown.push(format!("{:?}", issuer.verifying_keys()));
    for claims in [
        json!([NEEDLE]),
        json!({ "exp": NEEDLE }),
        json!({ "iss": NEEDLE }),
        json!({ "a": NEEDLE.repeat(3000) }),
    ] {
        let error = issuer.issue(claims).expect_err("it is refused");
        shown.push(format!(
            "{error} {error:?} {:?}",
            rolescope::Error::from(error)
        ));
    }
    for text in [
        format!("{NEEDLE}{{"),
        format!("-----BEGIN {NEEDLE}-----\n{NEEDLE}\n-----END {NEEDLE}-----"),
    ] {
        let error = SigningKey::pem("k1", &text).expect_err("it is no key");
        shown.push(format!("{error} {error:?}"));
        let error = SigningKey::hs256(&text).expect_err("it is no secret");
        shown.push(format!("{error} {error:?}"));
        let error = RefreshToken::parse(&text).expect_err("it is none");
        shown.push(format!("{error} {error:?}"));
    }

    let database = database().await;
    database
        .execute(
            "CREATE TYPE jwt_claims AS (role text, sub text);
             CREATE FUNCTION f(role text, sub text) RETURNS jwt_claims LANGUAGE sql AS $$ SELECT role, sub $$",
        )
        .await;
    let pool = database.pool().await;
    let sql = "SELECT f($1, $2)";
    for (role, is_issued) in [
        (Some("web_user"), true),
        (None, false),
        (Some("none"), false),
    ] {
        let db = pool.begin(&RoleScope::for_role(
            RoleName::parse("anon").expect("a name"),
        ));
        let issued = db.issue_token(&issuer, sql, &[&role, &NEEDLE]).await;
        db.rollback().await.expect("it is rolled back");
        shown.push(format!("{db:?} {issued:?}"));
        match issued {
            Ok(token) => assert!(token.is_some() && is_issued),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Statement);
                let response: http::Response<Vec<u8>> = error.to_response();
                shown.push(format!("{:?} {:?}", response.headers(), response.body()));
            }
        }
    }
    let logged = recorder.take();
    let mut lines: Vec<String> = logged.iter().map(|line| format!("{line:?}")).collect();
    // What the driver logs of parameters at its own level is its own; this crate hides them.
    lines.extend(shown);
    let private: Vec<&str> = pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    for line in &lines {
        assert!(!line.contains(NEEDLE), "{line}");
        assert!(
            !line.contains(token.as_str()) && !line.contains(refresh.as_str()),
            "{line}"
        );
        assert!(!private.iter().any(|part| line.contains(part)), "{line}");
    }
}
