//! What an issuer may send, and what is made of it.

use std::io;

use bytes::Bytes;
use futures_util::stream;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;

use super::issuer::{Answer, body, json, redirect, with_header};
use super::*;

const ISSUER: &str = "https://login.example/realms/todos";
const DISCOVERY: &str = "/realms/todos/.well-known/openid-configuration";

async fn load(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Result<(), BuildError> {
    let issuer = Issuer::new([]);
    issuer.answers(answer);
    builder(&issuer).build().await.map(drop)
}

async fn failure(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> FetchErrorKind {
    kind(load(answer).await.expect_err("it is no key set"))
}

#[tokio::test(start_paused = true)]
async fn what_is_no_key_set_is_refused() {
    use FetchErrorKind as E;
    let good = jwks([&Signer::new("1")]);
    for (text, expected) in [
        ("", E::Malformed),
        ("<!doctype html><title>Sign in</title>", E::Malformed),
        ("[]", E::Malformed),
        ("{}", E::Malformed),
        (r#"{"keys":{}}"#, E::Malformed),
        (r#"{"keys":[]}"#, E::NoKey),
        (r#"{"keys":[{"kty":"EC"}]}"#, E::NoKey),
        (&good[..good.len() - 1], E::Malformed),
    ] {
        let text = text.to_owned();
        assert_eq!(failure(move |_| json(&text)).await, expected);
    }
    let html = load(|_| with_header("content-type", "text/html", "<html>")).await;
    let said = html.unwrap_err().to_string();
    assert!(said.contains("text/html") && said.contains(URL), "{said}");
    assert_eq!(
        failure(|_| Ok(Response::new(body(&b"\xff"[..])))).await,
        E::Malformed
    );
    for status in [201, 204, 304, 401, 404, 500, 503] {
        let (text, status) = (good.clone(), StatusCode::from_u16(status).unwrap());
        let answer = move |_: &str| {
            let mut response = Response::new(body(text.clone()));
            *response.status_mut() = status;
            Ok(response)
        };
        assert_eq!(failure(answer).await, E::Status, "{status}");
    }
    for encoding in ["gzip", "br", "deflate", "x"] {
        let text = good.clone();
        let answer = move |_: &str| with_header("content-encoding", encoding, &text);
        assert_eq!(failure(answer).await, E::Encoding);
    }
    let answer = move |_: &str| with_header("content-encoding", "Identity", &good);
    load(answer).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_body_has_a_mebibyte_at_most() {
    let good = jwks([&Signer::new("1")]);
    let padded = |length: usize| {
        let text = format!("{good}{}", " ".repeat(length - good.len()));
        move |_: &str| json(&text)
    };
    load(padded(1 << 20)).await.unwrap();
    assert_eq!(
        failure(padded((1 << 20) + 1)).await,
        FetchErrorKind::TooLarge
    );
    // One that never ends.
    let endless = |_: &str| {
        let block = || Ok::<_, io::Error>(Frame::data(Bytes::from_static(&[b' '; 65_536])));
        let body = StreamBody::new(stream::repeat_with(block)).boxed_unsync();
        Ok(Response::new(body))
    };
    assert_eq!(failure(endless).await, FetchErrorKind::TooLarge);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_takes_five_seconds_at_most() {
    let good = jwks([&Signer::new("1")]);
    let trickle = |every: u64| {
        let text = Bytes::from(good.clone());
        move |_: &str| {
            let bytes = stream::unfold(text.clone(), move |mut rest| async move {
                if rest.is_empty() {
                    return None;
                }
                tokio::time::sleep(Duration::from_millis(every)).await;
                Some((Ok::<_, io::Error>(Frame::data(rest.split_to(1))), rest))
            });
            Ok(Response::new(StreamBody::new(bytes).boxed_unsync()))
        }
    };
    let begun = tokio::time::Instant::now();
    assert_eq!(failure(trickle(1000)).await, FetchErrorKind::Timeout);
    assert_eq!(begun.elapsed().as_secs(), 5);
    load(trickle(20)).await.unwrap();

    let issuer = Issuer::new([]);
    issuer.hold();
    let error = builder(&issuer).build().await.unwrap_err();
    assert_eq!(kind(error), FetchErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn one_bad_key_is_skipped() {
    let (one, two) = (Signer::new("1"), Signer::new("2"));
    let text = jwks([&one, &two]).replacen('[', r#"[{"kty":"OKP","crv":"Ed25519","x":"AA"},7,"#, 1);
    let issuer = Issuer::new([]);
    issuer.answers(move |_| json(&text));
    let verifier = verifier(&issuer).await;
    assert_eq!(outcome(&verifier, &one.token()), Ok(()));
    assert_eq!(outcome(&verifier, &two.token()), Ok(()));
}

/// As many copies of one key, each with an id of its own.
fn copies(signer: &Signer, number: usize) -> String {
    let key = |id| {
        signer
            .jwk()
            .replace(r#""use":"sig","kid":"1""#, &format!(r#""kid":"{id}""#))
    };
    let keys: Vec<String> = (0..number).map(key).collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

#[tokio::test(start_paused = true)]
async fn a_set_has_a_thousand_keys_at_most() {
    let signer = Signer::new("1");
    let (most, more, many) = (
        copies(&signer, 1000),
        copies(&signer, 1001),
        copies(&signer, 10_000),
    );
    assert!(many.len() < 1 << 20);
    let issuer = Issuer::new([]);
    issuer.answers(move |_| json(&most));
    let verifier = verifier(&issuer).await;
    assert_eq!(outcome(&verifier, &signer.token()), Ok(()));
    assert_eq!(
        failure(move |_| json(&more)).await,
        FetchErrorKind::TooManyKeys
    );

    // What was good before is used on.
    issuer.answers(move |_| json(&many));
    seconds(301).await;
    assert_eq!(issuer.fetches(), 2);
    assert_eq!(outcome(&verifier, &signer.token()), Ok(()));
    let keys = verifier.key_status().remove(0);
    assert!(keys.is_ready && keys.last_error.unwrap().contains("more than 1000"));
}

#[tokio::test(start_paused = true)]
async fn an_empty_set_takes_no_key_away() {
    let signer = Signer::new("1");
    let issuer = Issuer::new([&signer]);
    let verifier = verifier(&issuer).await;
    issuer.publishes([]);
    seconds(301).await;
    assert_eq!(outcome(&verifier, &signer.token()), Ok(()));
    assert!(verifier.key_status()[0].last_error.is_some());
}

#[tokio::test(start_paused = true)]
async fn redirects_stay_on_the_host() {
    let good = jwks([&Signer::new("1")]);
    for (steps, expected) in [(3, None), (4, Some(FetchErrorKind::Redirect))] {
        let good = good.clone();
        let chain = move |path: &str| match path.len() - "/keys".len() {
            step if step == steps => json(&good),
            step if step % 2 == 0 => redirect(&format!("{path}x")),
            _ => redirect(&format!("https://login.example{path}x")),
        };
        assert_eq!(load(chain).await.err().map(kind), expected);
    }
    for away in [
        "https://evil.example/keys",
        "//evil.example/keys",
        "http://login.example/keys",
        "http://127.0.0.1/keys",
        "https://login.example:444/keys",
        "",
    ] {
        assert_eq!(
            failure(move |_| redirect(away)).await,
            FetchErrorKind::Redirect,
            "{away}"
        );
    }
}

async fn discover(document: &str) -> Result<JwtVerifier, BuildError> {
    let signer = Signer::new("1");
    let issuer = Issuer::new([]);
    let (document, keys) = (document.to_owned(), jwks([&signer]));
    issuer.answers(move |path| match path {
        DISCOVERY => json(&document),
        "/certs" => json(&keys),
        path => panic!("{path}"),
    });
    let builder = JwtVerifier::builder().oidc_issuer(ISSUER).unwrap();
    let verifier = builder.fetch_with(issuer.clone()).build().await?;
    assert_eq!(issuer.fetches(), 2);
    let token = signer.token_with(&format!(r#","iss":"{ISSUER}""#));
    assert_eq!(outcome(&verifier, &token), Ok(()));
    let other = signer.token_with(&format!(r#","iss":"{ISSUER}/""#));
    assert_eq!(outcome(&verifier, &other), Err(TokenError::WrongIssuer));
    assert_eq!(
        outcome(&verifier, &signer.token()),
        Err(TokenError::MissingIssuer)
    );
    Ok(verifier)
}

#[tokio::test(start_paused = true)]
async fn a_discovery_document_is_its_issuers_own() {
    use FetchErrorKind as E;
    let of =
        |issuer: &str, uri: &str| format!(r#"{{"issuer":"{issuer}","x":1,"jwks_uri":"{uri}"}}"#);
    let certs = "https://login.example/certs";
    let verifier = discover(&of(ISSUER, certs)).await.unwrap();
    assert_eq!(verifier.key_status()[0].issuers, [ISSUER]);
    discover(&of(ISSUER, "https://keys.example/certs"))
        .await
        .unwrap();
    for (document, expected) in [
        (of(&format!("{ISSUER}/"), certs), E::WrongIssuer),
        (
            of("https://LOGIN.example/realms/todos", certs),
            E::WrongIssuer,
        ),
        (of("https://evil.example", certs), E::WrongIssuer),
        (of(ISSUER, "http://login.example/certs"), E::Url),
        (of(ISSUER, "http://localhost/certs"), E::Url),
        (of(ISSUER, "/certs"), E::Url),
        (format!(r#"{{"issuer":"{ISSUER}"}}"#), E::Malformed),
        (format!(r#"{{"jwks_uri":"{certs}"}}"#), E::Malformed),
        (
            format!(r#"{{"issuer":["{ISSUER}"],"jwks_uri":"{certs}"}}"#),
            E::Malformed,
        ),
        ("<html>".to_owned(), E::Malformed),
    ] {
        let error = discover(&document).await.expect_err(&document);
        assert_eq!(kind(error), expected, "{document}");
    }
}

#[tokio::test(start_paused = true)]
async fn certificates_are_loaded_as_firebase_has_them() {
    let certificate = include_str!("../../keys/rsa2048.certificate.pem");
    let certificate = certificate.replace('\n', "\\n");
    let issuer = Issuer::new([]);
    let text = format!(r#"{{"bad":"x","1":"{certificate}"}}"#);
    issuer.answers(move |_| json(&text));
    let load = || {
        let builder = JwtVerifier::builder().x509_url(URL).unwrap();
        builder.fetch_with(issuer.clone()).build()
    };
    let verifier = load().await.unwrap();
    let signer = include_bytes!("../../keys/rsa2048.private.pem");
    let key = jsonwebtoken::EncodingKey::from_rsa_pem(signer).unwrap();
    let token = |id: &str| {
        let header = format!(r#"{{"alg":"RS256","kid":"{id}"}}"#);
        let signed = [header.as_bytes(), br#"{"exp":4102444800}"#]
            .map(issuer::base64)
            .join(".");
        let provider = &crate::auth::mint::DEFAULT_PROVIDER;
        let signer = (provider.signer_factory)(&jsonwebtoken::Algorithm::RS256, &key).unwrap();
        let signature = signer.try_sign(signed.as_bytes()).unwrap();
        format!("{signed}.{}", issuer::base64(&signature))
    };
    assert_eq!(outcome(&verifier, &token("1")), Ok(()));
    assert_eq!(outcome(&verifier, &token("2")), Err(TokenError::UnknownKey));
    for (text, expected) in [
        (r#"{"bad":"x"}"#, FetchErrorKind::NoKey),
        (r#"{"keys":[]}"#, FetchErrorKind::NoKey),
        ("[]", FetchErrorKind::Malformed),
    ] {
        issuer.answers(|_| json(text));
        assert_eq!(kind(load().await.unwrap_err()), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn no_query_is_told_to_anybody() {
    let issuer = Issuer::new([]);
    issuer.answers(|_| {
        Err(io::Error::other(
            "no answer of https://login.example/keys?key=hidden",
        ))
    });
    let builder = JwtVerifier::builder().jwks_url("https://login.example/keys?key=hidden");
    let builder = builder.unwrap().fetch_with(issuer.clone());
    assert!(!format!("{builder:?}").contains("hidden"));
    let verifier = builder.build_lazy().unwrap();
    seconds(1).await;
    assert!(!format!("{verifier:?}").contains("hidden"));
    let error = verifier.key_status().remove(0).last_error.unwrap();
    assert!(
        error.contains("no answer of") && !error.contains("hidden"),
        "{error}"
    );
}
