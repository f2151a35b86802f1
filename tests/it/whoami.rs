//! `examples/whoami.rs` on the command lines of its users.

use std::fs;
use std::net::TcpListener;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::crypto::aws_lc;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use crate::support::example::Example;
use crate::support::files::TemporaryDirectory;
use crate::support::{Database, database};

const SECRET: &str = "a secret of thirty-two bytes at least";

/// `{"role":"jdoe123"}`, signed with the secret `secret`.
const SEED: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJyb2xlIjoiamRvZTEyMyJ9.X_ZeWSS9qsKDCDczv8C-GE2fccrPQjOh_ALMZJa5jsU";

const ED25519: &str = include_str!("keys/ed25519.private.pem");

fn start(database: &Database, arguments: &str) -> Example {
    Example::start(&mut command(&database.url("authenticator"), arguments))
}

fn command(url: &str, arguments: &str) -> std::process::Command {
    let mut command = Example::command("whoami");
    command
        .args([url, "--port", "0"])
        .args(arguments.split_whitespace());
    command
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("it is after 1970").as_secs()
}

fn token(secret: &str, claims: &Value) -> String {
    sign(
        Algorithm::HS256,
        &EncodingKey::from_secret(secret.as_bytes()),
        claims,
    )
}

fn sign(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    let header = json!({ "alg": format!("{algorithm:?}"), "typ": "JWT" });
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let signer = (aws_lc::DEFAULT_PROVIDER.signer_factory)(&algorithm, key).expect("the key fits");
    let signature = signer
        .try_sign(message.as_bytes())
        .expect("it can be signed");
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn whoami_first_seed_word_for_word() {
    let database = database().await;
    let refused = Example::fail(&mut command(
        &database.url("authenticator"),
        "--anonymous anon --jwt-secret secret",
    ));
    assert!(
        refused.starts_with("error: the HMAC secret has 6 bytes and HS256 needs 32: "),
        "{refused}"
    );
    assert!(
        refused.ends_with("here that is `--short-secret accept`\n"),
        "{refused}"
    );

    let strict = start(
        &database,
        "--anonymous anon --jwt-secret secret --short-secret accept",
    );
    let answer = strict.get(Some(SEED));
    assert_eq!(
        (answer.status, &answer.body["code"]),
        (401, &json!("invalid_token"))
    );

    let seed = start(
        &database,
        "--anonymous anon --jwt-secret secret --short-secret accept --missing-exp accept",
    );
    let answer = seed.get(Some(SEED));
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        json!({
            "outcome": "verified",
            "current_user": "jdoe123",
            "session_user": "authenticator",
            "claims": r#"{"role":"jdoe123"}"#,
        })
    );
    assert_eq!(seed.get(None).body, anonymous());

    // "If no JWT is present, or if it is invalid, or if it does not contain the role claim".
    let older_rule = start(
        &database,
        "--anonymous anon --jwt-secret secret --short-secret accept --missing-exp accept --invalid-token anonymous",
    );
    let forged = SEED.replace("X_Ze", "Y_Ze");
    assert_eq!(seed.get(Some(&forged)).status, 401);
    assert_eq!(older_rule.get(Some(&forged)).body, anonymous());
    let without_role = older_rule.get(Some(&token("secret", &json!({ "sub": "x" }))));
    assert_eq!(
        without_role.body,
        json!({
            "outcome": "verified",
            "current_user": "anon",
            "session_user": "authenticator",
            "claims": r#"{"sub":"x"}"#,
        })
    );
}

#[tokio::test]
async fn whoami_second_seed_word_for_word_but_for_its_exp_which_is_past() {
    let database = database().await;
    let example = start(
        &database,
        &format!("--anonymous anon --jwt-secret-base64 {}", base64(SECRET)),
    );
    let mut claims = json!({ "role": "user_role", "user_id": "123", "exp": 1516239022 });
    assert_eq!(example.get(Some(&token(SECRET, &claims))).status, 401);
    claims["exp"] = json!(now() + 60);
    let answer = example.get(Some(&token(SECRET, &claims)));
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        json!({
            "outcome": "verified",
            "current_user": "user_role",
            "session_user": "authenticator",
            "claims": claims.to_string(),
        })
    );
}

#[tokio::test]
async fn whoami_takes_keys_of_every_kind_at_once() {
    let database = database().await;
    let files = TemporaryDirectory::new("keys");
    let pem = files.path().join("key.pem");
    fs::write(&pem, include_str!("keys/ed25519.spki.pem")).expect("it can be written");
    let jwk = files.path().join("key.jwk");
    let secrets: Vec<_> = (0..4).map(|i| format!("{SECRET}, number {i}")).collect();
    let as_jwk = |secret: &str| json!({ "kty": "oct", "k": base64url(secret), "alg": "HS256" });
    fs::write(&jwk, as_jwk(&secrets[2]).to_string()).expect("it can be written");
    let jwks = files.path().join("keys.jwks");
    fs::write(&jwks, json!({ "keys": [as_jwk(&secrets[3])] }).to_string())
        .expect("it can be written");

    let mut command = command(&database.url("authenticator"), "");
    command.args(["--jwt-secret", &secrets[0], "--jwt-secret", SECRET]);
    command.args(["--jwt-secret-base64", &base64(&secrets[1])]);
    command.args([
        "--jwt-key".as_ref(),
        pem.as_os_str(),
        "--jwt-key".as_ref(),
        jwk.as_os_str(),
    ]);
    command.args(["--jwks".as_ref(), jwks.as_os_str()]);
    let example = Example::start(&mut command);

    let claims = json!({ "role": "author", "exp": now() + 60 });
    let der: String = ED25519
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    let key = EncodingKey::from_ed_der(&STANDARD.decode(der).expect("it is base64"));
    let mut tokens = vec![
        sign(Algorithm::EdDSA, &key, &claims),
        token(SECRET, &claims),
    ];
    tokens.extend(secrets.iter().map(|secret| token(secret, &claims)));
    for token in &tokens {
        let answer = example.get(Some(token));
        assert_eq!(
            (answer.status, &answer.body["current_user"]),
            (200, &json!("author"))
        );
    }
    assert_eq!(
        example
            .get(Some(&token("another secret of thirty-two bytes", &claims)))
            .status,
        401
    );
}

#[tokio::test]
async fn whoami_checks_audience_and_issuer_and_finds_the_role_where_it_is_told() {
    let database = database().await;
    let flags = "--audience a --audience b --issuer i --issuer j --role-claim .realm.roles[0]";
    let mut command = command(&database.url("authenticator"), flags);
    let example = Example::start(command.args(["--jwt-secret", SECRET]));
    let claims = |aud: &str, iss: &str| json!({ "aud": aud, "iss": iss, "exp": now() + 60, "realm": { "roles": ["author"] } });
    for (aud, iss, status) in [
        ("a", "i", 200),
        ("b", "j", 200),
        ("c", "i", 401),
        ("a", "k", 401),
    ] {
        let answer = example.get(Some(&token(SECRET, &claims(aud, iss))));
        assert_eq!(answer.status, status, "{aud} {iss}");
    }
    let other =
        json!({ "aud": "a", "iss": "i", "exp": now() + 60, "realm": { "roles": ["not_granted"] } });
    assert_eq!(example.get(Some(&token(SECRET, &other))).status, 403);
    // There is no anonymous role.
    assert_eq!(example.get(None).status, 401);
}

#[tokio::test]
async fn whoami_ends_when_told() {
    let database = database().await;
    let mut example = Example::start(
        command(&database.url("authenticator"), "--anonymous anon").args(["--jwt-secret", SECRET]),
    );
    assert_eq!(example.get(None).body, anonymous());
    assert!(example.end_with("TERM").success());
}

#[tokio::test]
async fn whoami_names_the_cure_when_it_cannot_start() {
    let database = database().await;
    let url = database.url("authenticator");
    let error = Example::fail(&mut command(&url, "--anonymous anon"));
    assert_eq!(
        error,
        "error: there is no key to verify tokens with: give at least one of --jwt-secret, --jwt-secret-base64, \
         --jwt-key, --jwks, --jwks-url and --oidc-issuer\n"
    );

    let error = Example::fail(&mut command(&url, "--jwt-key /nowhere"));
    assert_eq!(
        error,
        "error: --jwt-key /nowhere: No such file or directory (os error 2)\n"
    );

    let error = Example::fail(command(&url, "--role-claim .a[").args(["--jwt-secret", SECRET]));
    assert!(error.starts_with("error: --role-claim: "), "{error}");

    let error = Example::fail(command(&url, "--anonymous nobody").args(["--jwt-secret", SECRET]));
    assert!(
        error.starts_with("error: ") && error.contains("nobody"),
        "{error}"
    );

    let closed = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let nowhere = format!(
        "postgres://authenticator@{}/app",
        closed.local_addr().expect("it is bound")
    );
    drop(closed);
    let error = Example::fail(command(&nowhere, "--anonymous anon").args(["--jwt-secret", SECRET]));
    assert!(error.contains("Connection refused"), "{error}");
}

fn anonymous() -> Value {
    json!({
        "outcome": "anonymous",
        "current_user": "anon",
        "session_user": "authenticator",
        "claims": r#"{"role":"anon"}"#,
    })
}

fn base64(text: &str) -> String {
    STANDARD.encode(text)
}

fn base64url(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}
