//! One algorithm or key taken for another: RFC 8725 sections 2.1, 3.1 and 3.2, CVE-2015-9235 and its kin.

use jsonwebtoken::{Algorithm, EncodingKey};
use rolescope::auth::jwt::TokenError as E;

use super::forge::{self, ED25519, GOOD, P256, P384, PAIRS, RSA, SECRET, encode, sign};
use super::{Accept, Refuse, Table};

const SECTION: &str = "RFC 8725 3.1";

/// What an attacker may take for the secret: a public key in each form that it is handed around in.
fn forms(pair: forge::Pair) -> Vec<(&'static str, Vec<u8>)> {
    let pem = pair.public;
    let der = forge::der(pem);
    let body: String = pem.lines().filter(|line| !line.contains('-')).collect();
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let mut forms = vec![
        ("PEM", pem.into()),
        ("PEM, trimmed", pem.trim().into()),
        ("PEM with CRLF", pem.replace('\n', "\r\n").into()),
        ("PEM on one line", pem.replace('\n', "").into()),
        ("PEM with \\n", pem.replace('\n', "\\n").into()),
        ("PEM's base64", body.into()),
        ("DER", der.clone()),
        ("DER in hex", hex(&der).into()),
        ("raw", pair.raw()),
        ("raw in base64url", encode(&pair.raw()).into()),
        ("raw in hex", hex(&pair.raw()).into()),
        ("JWK", pair.jwk().into()),
        ("JWKS", format!(r#"{{"keys":[{}]}}"#, pair.jwk()).into()),
        ("nothing", Vec::new()),
    ];
    if pair.algorithm == Algorithm::RS256 {
        let pkcs1 = include_str!("../../keys/rsa2048.pkcs1.pem");
        let certificate = include_str!("../../keys/rsa2048.certificate.pem");
        forms.push(("PKCS#1 PEM", pkcs1.into()));
        forms.push(("PKCS#1 DER", forge::der(pkcs1)));
        forms.push(("certificate", certificate.into()));
        forms.push(("certificate DER", forge::der(certificate)));
    }
    forms
}

#[tokio::test]
async fn a_public_key_is_no_secret() {
    for pair in PAIRS {
        let mut alone = Table::new(pair.verifier());
        let mut beside_a_secret = Table::new(forge::everything());
        for (form, secret) in forms(pair) {
            let key = EncodingKey::from_secret(&secret);
            for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                let header = format!(r#"{{"alg":"{algorithm:?}","typ":"JWT"}}"#);
                let forged = sign(algorithm, &key, &header, GOOD.as_bytes());
                let name = format!("{algorithm:?} with {} as {form}", pair.name);
                alone.token(SECTION, &name, &forged, Refuse(E::AlgorithmNotAllowed));
                beside_a_secret.token(SECTION, &name, &forged, Refuse(E::BadSignature));
            }
        }
        alone.run().await;
        beside_a_secret.run().await;
    }
}

#[tokio::test]
async fn each_key_takes_its_own_algorithms_only() {
    let names = [
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
        "ES384", "EdDSA",
    ];
    for pair in PAIRS {
        let mut table = Table::new(pair.verifier());
        let mut all = Table::new(forge::everything());
        let own = format!("{:?}", pair.algorithm);
        for name in names {
            // Signed with the pair's first algorithm, and labelled with each.
            let token = pair.token(&format!(r#"{{"alg":"{name}"}}"#));
            let is_rsa = |name: &str| name.starts_with("RS") || name.starts_with("PS");
            let outcome = if name == own {
                Accept
            } else if is_rsa(name) && is_rsa(&own) {
                Refuse(E::BadSignature)
            } else {
                Refuse(E::AlgorithmNotAllowed)
            };
            let what = format!("{} signs {own} and says {name}", pair.name);
            table.token("RFC 8725 3.1", &what, &token, outcome);
            let outcome = if name == own {
                Accept
            } else {
                Refuse(E::BadSignature)
            };
            all.token("RFC 8725 3.1", &what, &token, outcome);
        }
        // Names that no key is for, though somebody has registered most of them.
        for name in [
            "ES512",
            "ES256K",
            "Ed25519",
            "Ed448",
            "ML-DSA-44",
            "RS1",
            "HS1",
            "A128KW",
            "dir",
            "RSA-OAEP",
        ] {
            let token = pair.token(&format!(r#"{{"alg":"{name}"}}"#));
            let what = format!("{} signs {own} and says {name}", pair.name);
            all.token(
                "RFC 7515 4.1.1",
                &what,
                &token,
                Refuse(E::AlgorithmNotAllowed),
            );
        }
        table.run().await;
        all.run().await;
    }
    // The same signature by PSS, and a key that was narrowed.
    let pss = sign(
        Algorithm::PS256,
        &RSA.signer(),
        r#"{"alg":"PS256"}"#,
        GOOD.as_bytes(),
    );
    let relabelled = sign(
        Algorithm::PS256,
        &RSA.signer(),
        r#"{"alg":"RS256"}"#,
        GOOD.as_bytes(),
    );
    let mut table = Table::new(RSA.verifier());
    table.token("RFC 7518 3.5", "PS256 by the same key", &pss, Accept);
    table.token(
        SECTION,
        "PS256 that says RS256",
        &relabelled,
        Refuse(E::BadSignature),
    );
    table.run().await;
    let narrowed = RSA
        .key()
        .with_algorithms([rolescope::auth::jwt::Algorithm::RS256]);
    let mut table = Table::new(forge::rules().key(narrowed.unwrap()).build().unwrap());
    table.token(
        SECTION,
        "PS256 where only RS256 is",
        &pss,
        Refuse(E::AlgorithmNotAllowed),
    );
    table.run().await;
}

#[tokio::test]
async fn one_keys_token_is_nothing_to_another() {
    let hs = forge::with_header(r#"{"alg":"HS256"}"#);
    for verifier in PAIRS {
        let mut table = Table::new(verifier.verifier());
        table.token(
            SECTION,
            "the secret's own token",
            &hs,
            Refuse(E::AlgorithmNotAllowed),
        );
        for signer in PAIRS {
            if signer.name == verifier.name {
                continue;
            }
            let token = signer.token(&format!(r#"{{"alg":"{:?}"}}"#, signer.algorithm));
            let what = format!("{}'s token for {}", signer.name, verifier.name);
            table.token(SECTION, &what, &token, Refuse(E::AlgorithmNotAllowed));
            let relabelled = signer.token(&format!(r#"{{"alg":"{:?}"}}"#, verifier.algorithm));
            table.token(
                SECTION,
                &format!("{what}, relabelled"),
                &relabelled,
                Refuse(E::BadSignature),
            );
        }
        table.run().await;
    }
    // A secret for one hash is for no other.
    let mut table = Table::new(forge::hmac().build().unwrap());
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let key = EncodingKey::from_secret(SECRET);
        let header = format!(r#"{{"alg":"{algorithm:?}"}}"#);
        let token = sign(algorithm, &key, &header, GOOD.as_bytes());
        table.token(SECTION, &header, &token, Refuse(E::AlgorithmNotAllowed));
    }
    table.run().await;
}

#[tokio::test]
async fn none_is_no_algorithm_however_it_is_written() {
    let unsigned = [
        "none",
        "None",
        "NONE",
        "nOnE",
        r"\u006eone",
        r"n\u006fn\u0065",
        r"\u004eONE",
    ];
    // To no reader are these the same.
    let unknown = [
        " none",
        "none ",
        r"none\u0000",
        r"none\n",
        "",
        "null",
        "nonee",
        "ｎｏｎｅ",
        "nοne",
        "HS256,none",
        "HS256 ",
        "hs256",
        "Hs256",
        "HS-256",
        "HMAC",
    ];
    for verifier in [forge::hmac().build().unwrap(), forge::everything()] {
        let mut table = Table::new(verifier);
        for (names, error) in [
            (&unsigned[..], E::Unsigned),
            (&unknown[..], E::AlgorithmNotAllowed),
        ] {
            for name in names {
                let header = format!(r#"{{"alg":"{name}","typ":"JWT"}}"#);
                let signed = forge::with_header(&header);
                let (text, _) = signed.rsplit_once('.').unwrap();
                let what = format!("alg {name:?}");
                table.token("RFC 8725 3.2", &what, &format!("{text}."), Refuse(error));
                table.token(
                    "RFC 8725 3.2",
                    &what,
                    &format!("{text}.AAAA"),
                    Refuse(error),
                );
                table.token(
                    "RFC 8725 3.2",
                    &format!("{what}, signed"),
                    &signed,
                    Refuse(error),
                );
                table.token(
                    "RFC 7515 7.1",
                    &format!("{what}, two parts"),
                    text,
                    Refuse(E::Malformed),
                );
            }
        }
        for value in [
            "null",
            "false",
            "0",
            "[]",
            "{}",
            r#"["none"]"#,
            r#"["HS256"]"#,
        ] {
            let token = forge::with_header(&format!(r#"{{"alg":{value}}}"#));
            table.token(
                "RFC 7515 4.1.1",
                &format!("alg {value}"),
                &token,
                Refuse(E::MalformedHeader),
            );
        }
        let token = forge::with_header(r#"{"typ":"JWT"}"#);
        table.token(
            "RFC 7515 4.1.1",
            "no alg",
            &token,
            Refuse(E::MalformedHeader),
        );
        let token = forge::with_header(r#"{"alg":"\u0048S256"}"#);
        table.token(
            "RFC 8259 7",
            "HS256 with an escape is HS256",
            &token,
            Accept,
        );
        table.run().await;
    }
    for pair in [P256, P384, ED25519] {
        let mut table = Table::new(pair.verifier());
        let token = pair.token(r#"{"alg":"none"}"#);
        table.token(
            "RFC 8725 3.2",
            "none with a public key",
            &token,
            Refuse(E::Unsigned),
        );
        table.run().await;
    }
}
