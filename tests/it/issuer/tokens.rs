//! What is in a token, and which ones are not issued.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rolescope::JwtVerifier;
use rolescope::auth::jwt::{ManualClock, TokenError};
use rolescope::issuer::{
    BuildError, HasIssuer, IssueError, RefreshToken, RefreshTokenError, SigningKey, TokenIssuer,
};
use rolescope::issuer::{TokenIssuerBuilder, WantsIssuer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{SECRET, URL, verify};

const NOW: u64 = 1_800_000_000;

fn clock() -> ManualClock {
    ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
}

fn key() -> SigningKey {
    SigningKey::hs256(SECRET).expect("it is long enough")
}

fn builder() -> TokenIssuerBuilder<HasIssuer> {
    TokenIssuer::builder(key())
        .issuer(URL)
        .audience("todos")
        .clock(clock())
}

fn built(builder: TokenIssuerBuilder<HasIssuer>) -> TokenIssuer {
    builder.build().expect("the issuer is built")
}

fn part(token: &str, index: usize) -> String {
    let part = token.split('.').nth(index).expect("it has three parts");
    String::from_utf8(URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("text")
}

pub(super) fn header(token: &str) -> Value {
    serde_json::from_str(&part(token, 0)).expect("JSON")
}

fn payload(token: &str) -> Value {
    serde_json::from_str(&part(token, 1)).expect("JSON")
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).expect("JSON")
}

#[test]
fn what_the_claims_do_not_say_is_added() {
    let issuer = built(builder());
    let token = issuer
        .issue(json!({ "role": "web_user", "email": null }))
        .expect("it is issued");
    assert_eq!(
        header(token.as_str()),
        json!({ "alg": "HS256", "typ": "JWT" })
    );
    let payload = payload(token.as_str());
    assert_eq!(
        payload,
        json!({ "role": "web_user", "iss": URL, "aud": "todos", "iat": NOW, "exp": NOW + 300, "jti": payload["jti"] })
    );
    assert_eq!(payload["jti"], token.jwt_id());
    assert_eq!(
        URL_SAFE_NO_PAD
            .decode(token.jwt_id())
            .expect("base64url")
            .len(),
        16
    );
    assert_eq!(token.expires_in(), Duration::from_secs(300));
    assert_eq!(
        token.expires_at(),
        SystemTime::UNIX_EPOCH + Duration::from_secs(NOW + 300)
    );
    let again = issuer.issue(json!({})).expect("it is issued");
    assert_ne!(again.jwt_id(), token.jwt_id());

    let several = built(builder().audience("mail").lifetime(Duration::from_secs(60)));
    let token = several.issue(json!({})).expect("it is issued");
    assert_eq!(
        super::tokens::payload(token.as_str())["aud"],
        json!(["todos", "mail"])
    );
    assert_eq!(super::tokens::payload(token.as_str())["exp"], NOW + 60);
    assert_eq!(several.audiences().collect::<Vec<_>>(), ["todos", "mail"]);
    let nobody = built(TokenIssuer::builder(key()).issuer(URL).clock(clock()));
    let token = nobody.issue(json!({})).expect("it is issued");
    assert_eq!(super::tokens::payload(token.as_str()).get("aud"), None);
}

#[test]
fn what_the_claims_say_is_kept_to_the_letter() {
    let issuer = built(builder().audience("mail"));
    let claims = r#"{"n":12345678901234567890.1234567890,"exp":1800000001.5,"iat":1799999000,"aud":["mail"],
        "iss":"https://login.example","jti":"mine","deep":{"a":  null},"\u00e9":"\ud83d\ude00"}"#;
    let token = issuer.issue(raw(claims)).expect("it is issued");
    let payload = part(token.as_str(), 1);
    for kept in [
        r#""n":12345678901234567890.1234567890"#,
        r#""exp":1800000001.5"#,
        r#""iat":1799999000"#,
        r#""aud":["mail"]"#,
        r#""jti":"mine""#,
        r#""deep":{"a":  null}"#,
        r#""é":"\ud83d\ude00""#,
    ] {
        assert!(payload.contains(kept), "{kept} in {payload}");
    }
    assert_eq!(payload.matches("\"iss\"").count(), 1);
    assert_eq!(token.jwt_id(), "mine");
    assert_eq!(token.expires_in(), Duration::from_millis(1500));
    // A name that needs escapes keeps its meaning.
    let token = issuer.issue(json!({ "a\"\\\n": 1 })).expect("it is issued");
    assert_eq!(super::tokens::payload(token.as_str())["a\"\\\n"], 1);
}

/// A database's clock may be ahead of this one, and it rounds.
#[test]
fn a_token_may_live_half_a_minute_longer_than_the_longest() {
    for exp in [1_800_003_600_u64, 1_800_003_601, 1_800_003_630] {
        let token = built(builder()).issue(json!({ "exp": exp }));
        let token = token.expect("it is issued");
        assert_eq!(token.expires_in().as_secs(), exp - 1_800_000_000);
    }
}

#[test]
fn what_verifiers_would_refuse_is_not_issued() {
    use IssueError as E;
    use TokenError as T;
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(40), "]".repeat(40));
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(13_000));
    for (claims, error) in [
        ("null", E::NotAnObject),
        ("[]", E::NotAnObject),
        ("\"text\"", E::NotAnObject),
        ("1", E::NotAnObject),
        (r#"{"a":1,"a":2}"#, E::Refused(T::DuplicateMember)),
        (r#"{"a":1,"\u0061":2}"#, E::Refused(T::DuplicateMember)),
        (
            r#"{"exp":null,"exp":4102444800}"#,
            E::Refused(T::DuplicateMember),
        ),
        (r#"{"a":{"b":1,"b":2}}"#, E::Refused(T::DuplicateMember)),
        (r#"{"a":"\u0000"}"#, E::Refused(T::NulCharacter)),
        (r#"{"a":[{"\u0000":1}]}"#, E::Refused(T::NulCharacter)),
        (&deep, E::Refused(T::MalformedPayload)),
        (&long, E::TooLarge),
        (r#"{"exp":1800000000}"#, E::Refused(T::Expired)),
        (r#"{"exp":1799999990}"#, E::Refused(T::Expired)),
        (r#"{"exp":0}"#, E::Refused(T::Expired)),
        (r#"{"exp":-1}"#, E::Refused(T::Expired)),
        (r#"{"exp":1800003631}"#, E::TooLong),
        (r#"{"exp":9007199254740993}"#, E::TooLong),
        (r#"{"exp":1e300}"#, E::Refused(T::MalformedTime)),
        (r#"{"exp":"1800000100"}"#, E::Refused(T::MalformedTime)),
        (r#"{"exp":true}"#, E::Refused(T::MalformedTime)),
        (r#"{"iat":1800000100}"#, E::Refused(T::IssuedInFuture)),
        (r#"{"iat":"now"}"#, E::Refused(T::MalformedTime)),
        (r#"{"nbf":1800000100}"#, E::Refused(T::NotYetValid)),
        (
            r#"{"iss":"https://n33dle.example"}"#,
            E::Refused(T::WrongIssuer),
        ),
        (r#"{"iss":7}"#, E::Refused(T::WrongIssuer)),
        (r#"{"aud":"mail"}"#, E::Refused(T::WrongAudience)),
        (r#"{"aud":["todos","mail"]}"#, E::Refused(T::WrongAudience)),
        (r#"{"aud":[]}"#, E::Refused(T::WrongAudience)),
        (r#"{"aud":{"todos":1}}"#, E::Refused(T::MalformedAudience)),
        (r#"{"jti":7}"#, E::MalformedJwtId),
        (r#"{"jti":""}"#, E::MalformedJwtId),
    ] {
        let issued = built(builder()).issue(raw(claims));
        let refused = issued.expect_err(claims);
        assert_eq!(refused, error, "{claims}");
        assert!(!refused.to_string().contains("n33dle"), "{refused}");
        let as_error = rolescope::Error::from(refused);
        assert_eq!(as_error.status(), 500);
    }
    // As long as may be.
    for claims in [
        r#"{"exp":1800003600}"#,
        r#"{"iat":1800000020}"#,
        r#"{"aud":"todos"}"#,
    ] {
        built(builder()).issue(raw(claims)).expect(claims);
    }
    let nobody = built(TokenIssuer::builder(key()).issuer(URL).clock(clock()));
    let refused = nobody
        .issue(json!({ "aud": "todos" }))
        .expect_err("nobody is meant");
    assert_eq!(refused, E::Refused(T::UnexpectedAudience));
}

#[test]
fn what_cannot_be_serialized_is_an_error_that_does_not_tell_it() {
    struct Broken;
    impl serde::Serialize for Broken {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("n33dle"))
        }
    }
    let error = built(builder())
        .issue(Broken)
        .expect_err("it cannot be serialized");
    assert_eq!(error, IssueError::NotAnObject);
    assert!(!format!("{error} {error:?}").contains("n33dle"));
}

/// The longest token that verifiers look at is the longest that is issued.
#[test]
fn a_token_is_as_long_as_verifiers_accept() {
    let issuer = super::issuer(key());
    let mut longest = 0;
    for length in 12_000..12_200 {
        match issuer.issue(json!({ "a": "x".repeat(length) })) {
            Ok(token) => {
                assert!(verify(&issuer, token.as_str()).is_ok());
                longest = token.as_str().len();
            }
            Err(error) => {
                assert_eq!(error, IssueError::TooLarge);
                assert!(longest > 16 * 1024 - 4, "{longest}");
                return;
            }
        }
    }
    panic!("they are all issued");
}

#[test]
fn access_tokens_are_as_rfc_9068_has_them() {
    let issuer = TokenIssuer::builder(key())
        .access_tokens()
        .audience("todos")
        .issuer(URL);
    let issuer = built(issuer);
    let whole = json!({ "sub": "alice", "client_id": "page" });
    let token = issuer.issue(&whole).expect("it is issued");
    assert_eq!(header(token.as_str())["typ"], "at+jwt");
    let verifier = JwtVerifier::builder()
        .keys(issuer.verifying_keys())
        .expect("keys");
    let verifier = verifier.issuer(URL).audience("todos").access_tokens_only();
    assert!(
        verifier
            .build()
            .expect("it is built")
            .verify(token.as_str())
            .is_ok()
    );
    for less in [
        json!({ "sub": "alice" }),
        json!({ "client_id": "page" }),
        json!({ "sub": 7, "client_id": "page" }),
    ] {
        let error = issuer.issue(&less).expect_err("something is missing");
        assert_eq!(
            error,
            IssueError::Refused(TokenError::MissingClaim),
            "{less}"
        );
    }
    let nobody = TokenIssuer::builder(key()).access_tokens().issuer(URL);
    assert_eq!(
        nobody.build().expect_err("no audience"),
        BuildError::NoAudience
    );
}

#[test]
fn an_issuer_that_could_not_work_is_not_built() {
    use BuildError as E;
    let seconds = Duration::from_secs;
    let twice = || SigningKey::random_ed25519("k1").expect("a key");
    let start: fn() -> TokenIssuerBuilder<WantsIssuer> = || TokenIssuer::builder(key());
    for (builder, error) in [
        (start().issuer(""), E::EmptyName),
        (start().issuer(URL).audience(""), E::EmptyName),
        (
            TokenIssuer::builder(key().with_id("")).issuer(URL),
            E::EmptyName,
        ),
        (
            start().also_publish(key().with_id("")).issuer(URL),
            E::EmptyName,
        ),
        (
            TokenIssuer::builder(twice())
                .also_publish(twice())
                .issuer(URL),
            E::DuplicateKeyId,
        ),
        (
            start()
                .also_publish(twice())
                .also_publish(twice())
                .issuer(URL),
            E::DuplicateKeyId,
        ),
        (start().issuer(URL).lifetime(Duration::ZERO), E::Lifetime),
        (
            start().issuer(URL).lifetime(Duration::from_millis(999)),
            E::Lifetime,
        ),
        (start().issuer(URL).lifetime(seconds(3601)), E::Lifetime),
        (start().issuer(URL).max_lifetime(seconds(299)), E::Lifetime),
        (
            start().issuer(URL).max_lifetime(seconds(86_401)),
            E::MaxLifetime,
        ),
        (
            start()
                .issuer(URL)
                .max_lifetime(Duration::MAX)
                .lifetime(Duration::MAX),
            E::MaxLifetime,
        ),
        (
            start().issuer(URL).jwks_max_age(seconds(86_401)),
            E::JwksMaxAge,
        ),
    ] {
        let shown = format!("{builder:?}");
        assert_eq!(builder.build().expect_err(&shown), error);
    }
    // Two secrets without an id are tried one after the other.
    let other = SigningKey::hs256([7; 32]).expect("a secret");
    let both = start()
        .also_publish(other.clone())
        .issuer(URL)
        .audience("todos")
        .build()
        .expect("it is built");
    let token = super::issuer(other).issue(json!({})).expect("it is issued");
    assert!(verify(&both, token.as_str()).is_ok());
}

#[test]
fn a_refresh_token_is_256_random_bits_and_nothing_else() {
    let token = RefreshToken::random().expect("there is randomness");
    assert_eq!(token.as_str().len(), 43);
    assert_ne!(
        RefreshToken::random().expect("there is randomness").hash(),
        token.hash()
    );
    let parsed = RefreshToken::parse(token.as_str()).expect("it is one");
    assert_eq!(
        (parsed.as_str(), parsed.hash()),
        (token.as_str(), token.hash())
    );
    // FIPS 180-4, by another implementation: printf %s AAA..A | sha256sum
    let zeros = RefreshToken::parse(&"A".repeat(43)).expect("it is of that form");
    assert_eq!(zeros.hash()[..4], [0x0f, 0x00, 0x73, 0x85]);
    let good = token.as_str();
    for bad in [
        "",
        &good[1..],
        &format!("{good}A"),
        &format!("{good}="),
        &format!(" {good}"),
        &format!("{good}\n"),
        &"+".repeat(43),
        &"B".repeat(43),
        &"é".repeat(21),
        &"\0".repeat(43),
        SECRET,
    ] {
        let error = RefreshToken::parse(bad).expect_err(bad);
        assert_eq!(error, RefreshTokenError::Malformed);
    }
}
