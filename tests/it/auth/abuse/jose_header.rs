//! What a token's header asks for: keys that it brings along, ids that are paths, extensions, other kinds of tokens.

use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::{KeyPair, PublicKeyData};
use rolescope::auth::jwt::{Key, TokenError as E};

use super::forge::{self, GOOD, P256, SECRET, encode, sign, with_header, with_secret};
use super::{Accept, Refuse, Table};

const ATTACKERS: &[u8] = b"the attacker's own secret, which is as long as anybody could wish for";

/// Hears of every connection that somebody makes.
struct Listener(std::net::TcpListener);

impl Listener {
    fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.0.local_addr().unwrap())
    }

    #[track_caller]
    fn has_heard_nothing(&self) {
        // The kernel has it in its queue as soon as a connection is made.
        let error = self.0.accept().expect_err("a token named this address");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
}

#[test]
fn the_listener_hears() {
    let listener = Listener::start();
    listener.has_heard_nothing();
    let _stream = std::net::TcpStream::connect(listener.0.local_addr().unwrap()).unwrap();
    assert!(listener.0.accept().is_ok());
}

#[tokio::test]
async fn keys_that_a_token_brings_or_names_are_not_looked_at() {
    let listener = Listener::start();
    let certificate = include_str!("../../keys/p256.certificate.pem");
    let certificate: String = certificate
        .lines()
        .filter(|line| !line.contains('-'))
        .collect();
    let oct = format!(
        r#"{{"kty":"oct","alg":"HS256","kid":"2026","k":"{}"}}"#,
        encode(ATTACKERS)
    );
    let members = [
        format!(r#""jwk":{oct}"#),
        format!(r#""jwk":"{}""#, encode(oct.as_bytes())),
        format!(r#""jwk":{{"keys":[{oct}]}}"#),
        format!(r#""jku":"{}""#, listener.url("jwks.json")),
        format!(r#""jku":["{}"]"#, listener.url("jwks.json")),
        format!(r#""x5u":"{}""#, listener.url("chain.pem")),
        format!(r#""iss":"{}""#, listener.url("")),
        format!(r#""kid":"{}""#, listener.url("key")),
        format!(r#""jku":"{}","kid":"2026""#, listener.url("jwks.json")),
        format!(
            r#""jku":"{}","x5u":"{}","jwk":{oct}"#,
            listener.url("a"),
            listener.url("b")
        ),
        format!(r#""x5c":["{certificate}"]"#),
        r#""x5t":"AAAA","x5t#S256":"AAAA""#.to_owned(),
        format!(r#""epk":{oct},"apu":"AA""#),
        format!(
            r#""jku":"file:///dev/null","url":"{}","nonce":"x""#,
            listener.url("acme")
        ),
    ];
    let mut table = Table::new(forge::hmac().build().unwrap());
    for members in members {
        let header = format!(r#"{{"alg":"HS256",{members}}}"#);
        let forged = with_secret(ATTACKERS, &header, GOOD.as_bytes());
        table.token("RFC 8725 3.10", &members, &forged, Refuse(E::BadSignature));
        // They do no harm either where the signature is good.
        table.token(
            "RFC 7515 4.1.2-4.1.8",
            &members,
            &with_header(&header),
            Accept,
        );
    }
    let claims = format!(
        r#"{{"aud":"todos","exp":1700000060,"iss":"{0}","jku":"{0}","cnf":{{"jku":"{0}"}},"_claim_sources":{{"a":{{"endpoint":"{0}"}}}}}}"#,
        listener.url("issuer"),
    );
    let token = forge::with_payload(claims.as_bytes());
    table.token("RFC 7519 4.1.1", "addresses in claims", &token, Accept);
    table.run().await;

    // A key pair of the attacker's, of the same kind and by the same name.
    let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let (x, y) = pair.der_bytes()[1..].split_at(32);
    let signer = EncodingKey::from_ec_der(&pair.serialize_der());
    let jwk = format!(
        r#"{{"kty":"EC","crv":"P-256","kid":"2026","use":"sig","alg":"ES256","x":"{}","y":"{}"}}"#,
        encode(x),
        encode(y)
    );
    let theirs = Key::from_jwk(&jwk).unwrap();
    let header = format!(r#"{{"alg":"ES256","kid":"2026","jwk":{jwk}}}"#);
    let forged = sign(Algorithm::ES256, &signer, &header, GOOD.as_bytes());
    let mut table = Table::new(
        forge::rules()
            .key(P256.key().with_id("2026"))
            .build()
            .unwrap(),
    );
    table.token(
        "RFC 8725 3.10",
        "jwk of the key's kind and id",
        &forged,
        Refuse(E::BadSignature),
    );
    table.run().await;
    let mut table = Table::new(forge::rules().key(theirs).build().unwrap());
    table.token(
        "RFC 7515 5.2",
        "the same token where that key is known",
        &forged,
        Accept,
    );
    table.run().await;
    listener.has_heard_nothing();
}

#[tokio::test]
async fn a_key_id_is_a_name_and_nothing_else() {
    let with_id = || Key::hs256(SECRET).unwrap().with_id("2026");
    let mut table = Table::new(forge::rules().key(with_id()).build().unwrap());
    let long = "k".repeat(8000);
    let unknown = [
        "",
        " ",
        "2026 ",
        " 2026",
        "2027",
        "٢٠٢٦",
        "２０２６",
        "../../../../../dev/null",
        "/dev/null",
        "file:///dev/null",
        r"C:\\NUL",
        r"2026\u0000",
        r"\u0000",
        r"2026\u0000.pem",
        "2026' OR '1'='1",
        "' UNION SELECT 'AA' --",
        "2026; DROP TABLE keys",
        "$(id)",
        "|id",
        "`id`",
        "{{7*7}}",
        "${jndi:ldap://127.0.0.1/a}",
        "http://127.0.0.1:1/key",
        "__proto__",
        "constructor",
        "null",
        "*",
        "%32026",
        "2026\u{301}",
        &long,
    ];
    for id in unknown {
        let header = format!(r#"{{"alg":"HS256","kid":"{id}"}}"#);
        let what = format!("kid {:.40}", id);
        // With the empty secret that /dev/null has, with the id as secret, and with the real one.
        for secret in [b"".as_slice(), b"\0", id.as_bytes(), SECRET] {
            let token = with_secret(secret, &header, GOOD.as_bytes());
            table.token(
                "RFC 7515 4.1.4, RFC 8725 3.10",
                &what,
                &token,
                Refuse(E::UnknownKey),
            );
        }
    }
    for value in ["null", "2026", "[\"2026\"]", "{\"2026\":1}", "true", "[]"] {
        let token = with_header(&format!(r#"{{"alg":"HS256","kid":{value}}}"#));
        let what = format!("kid {value}");
        table.token("RFC 7515 4.1.4", &what, &token, Refuse(E::MalformedHeader));
    }
    for twice in [
        r#"{"alg":"HS256","kid":"2026","kid":"2026"}"#,
        r#"{"alg":"HS256","kid":"x","kid":"2026"}"#,
        r#"{"kid":"2026","alg":"HS256","\u006bid":"x"}"#,
    ] {
        table.token(
            "RFC 7515 4",
            twice,
            &with_header(twice),
            Refuse(E::MalformedHeader),
        );
    }
    table.token(
        "RFC 8259 7",
        "its id with an escape",
        &with_header(r#"{"alg":"HS256","kid":"\u0032026"}"#),
        Accept,
    );
    table.token(
        "RFC 7515 4.1.4",
        "no kid",
        &with_header(r#"{"alg":"HS256"}"#),
        Accept,
    );
    table.run().await;

    // A key without id answers to every id, but never for a key that has it.
    let secret = b"another secret of thirty-two bytes";
    let keys = [with_id(), Key::hs256(secret).unwrap()];
    let mut table = Table::new(forge::rules().keys(keys).unwrap().build().unwrap());
    let token = |kid: &str, secret: &[u8]| {
        with_secret(
            secret,
            &format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#),
            GOOD.as_bytes(),
        )
    };
    table.token(
        "RFC 7515 4.1.4",
        "unknown id, key without id",
        &token("x", secret),
        Accept,
    );
    table.token(
        "RFC 7515 4.1.4",
        "unknown id, key with id",
        &token("x", SECRET),
        Refuse(E::BadSignature),
    );
    table.token(
        "RFC 7515 4.1.4",
        "known id, key without id",
        &token("2026", secret),
        Refuse(E::BadSignature),
    );
    table.run().await;
}

#[tokio::test]
async fn what_a_header_asks_for_and_nobody_does_is_refused() {
    let mut table = Table::new(forge::hmac().build().unwrap());
    for members in [
        r#""crit":["exp"],"exp":1"#,
        r#""crit":["http://example.invalid/UNDEFINED"],"http://example.invalid/UNDEFINED":true"#,
        r#""crit":["alg"]"#,
        r#""crit":[]"#,
        r#""crit":null"#,
        r#""crit":"b64""#,
        r#""\u0063rit":["x"],"x":1"#,
        r#""crit":["b64"],"b64":false"#,
        r#""b64":false"#,
        r#""b64":true"#,
        r#""zip":"DEF""#,
        r#""enc":"A256GCM""#,
        r#""enc":null"#,
    ] {
        let token = with_header(&format!(r#"{{"alg":"HS256",{members}}}"#));
        let section = "RFC 7515 4.1.11, RFC 7797 6, RFC 7516 4.1";
        table.token(section, members, &token, Refuse(E::UnsupportedHeader));
    }
    // RFC 7797: the payload as it is, and signed as it is.
    let header = encode(br#"{"alg":"HS256","b64":false,"crit":["b64"]}"#);
    for payload in ["todos", "$02"] {
        let signed = format!("{header}.{payload}");
        let signature =
            forge::signature(Algorithm::HS256, &EncodingKey::from_secret(SECRET), &signed);
        let token = format!("{signed}.{}", encode(&signature));
        table.token(
            "RFC 7797 6",
            "an unencoded payload",
            &token,
            Refuse(E::UnsupportedHeader),
        );
    }
    for (header, outcome) in [
        (r#"{"alg":"HS256","typ":1}"#, Refuse(E::MalformedHeader)),
        (r#"{"alg":"HS256","typ":null}"#, Refuse(E::MalformedHeader)),
        (
            r#"{"alg":"HS256","typ":["JWT"]}"#,
            Refuse(E::MalformedHeader),
        ),
        (r#"{"alg":"HS256","typ":"JWT","cty":"JWT"}"#, Accept),
        (r#"{"alg":"HS256","typ":"at+jwt"}"#, Accept),
        (r#"{"alg":"HS256","CRIT":["x"],"Alg":"none"}"#, Accept),
    ] {
        table.token(
            "RFC 7515 4.1.9, 4.1.10",
            header,
            &with_header(header),
            outcome,
        );
    }
    for header in [
        "",
        "{",
        "[]",
        "null",
        "\"HS256\"",
        "{}{}",
        "\u{feff}{\"alg\":\"HS256\"}",
        r#"{"alg":"HS256",}"#,
        r#"{'alg':'HS256'}"#,
        r#"{"alg":"HS256"}x"#,
        r#"{"alg":"HS256" "typ":"JWT"}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","\u0061lg":"none"}"#,
        r#"{"alg":"HS256","x":1,"x":2}"#,
        r#"{"alg":"\ud800"}"#,
        r#"{"alg":"HS256","kid":"\udc00"}"#,
        "{\"alg\":\"HS256\u{1}\"}",
    ] {
        table.token(
            "RFC 7515 4, RFC 8725 3.8",
            header,
            &with_header(header),
            Refuse(E::MalformedHeader),
        );
    }
    let deep = format!(
        r#"{{"alg":"HS256","x":{}{}}}"#,
        "[".repeat(4000),
        "]".repeat(4000)
    );
    table.token(
        "RFC 8259 9",
        "a deep header that nobody reads",
        &with_header(&deep),
        Accept,
    );
    let open = format!(r#"{{"alg":"HS256","x":{}"#, "[".repeat(8000));
    table.token(
        "RFC 8259 9",
        "a deep header without end",
        &with_header(&open),
        Refuse(E::MalformedHeader),
    );
    table.run().await;
}

#[tokio::test]
async fn tokens_of_another_kind_are_refused() {
    let good = with_header(r#"{"alg":"HS256"}"#);
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = *parts else {
        panic!()
    };
    let mut table = Table::new(forge::everything());
    // RFC 7516 appendix A.1: four dots.
    let jwe = format!(
        "{}.AAAA.AAAA.AAAA.AAAA",
        encode(br#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#)
    );
    table.token("RFC 7516 7.1", "JWE", &jwe, Refuse(E::Malformed));
    let direct = format!(
        "{}..AAAA.AAAA.AAAA",
        encode(br#"{"alg":"dir","enc":"A128CBC-HS256"}"#)
    );
    table.token(
        "RFC 7516 7.1",
        "JWE without a key",
        &direct,
        Refuse(E::Malformed),
    );
    let three = with_header(r#"{"alg":"dir","enc":"A256GCM"}"#);
    table.token(
        "RFC 7516 4.1.2",
        "a JWE's header",
        &three,
        Refuse(E::UnsupportedHeader),
    );
    let flattened =
        format!(r#"{{"payload":"{payload}","protected":"{header}","signature":"{signature}"}}"#);
    let general = format!(
        r#"{{"payload":"{payload}","signatures":[{{"protected":"{header}","signature":"{signature}"}}]}}"#
    );
    for json in [flattened, general] {
        table.token(
            "RFC 7519 3, RFC 7515 7.2",
            "JSON serialization",
            &json,
            Refuse(E::Malformed),
        );
        table.token(
            "RFC 7515 7.2",
            "the same in base64",
            &encode(json.as_bytes()),
            Refuse(E::Malformed),
        );
        let around = format!("{}.{}.{}", encode(json.as_bytes()), payload, signature);
        table.token(
            "RFC 7515 7.2",
            "the same as a header",
            &around,
            Refuse(E::MalformedHeader),
        );
    }
    for cty in ["", r#","cty":"JWT""#] {
        let nested = with_secret(
            SECRET,
            &format!(r#"{{"alg":"HS256"{cty}}}"#),
            good.as_bytes(),
        );
        table.token(
            "RFC 7519 5.2",
            "a token in a token",
            &nested,
            Refuse(E::MalformedPayload),
        );
    }
    let quoted = with_secret(
        SECRET,
        r#"{"alg":"HS256"}"#,
        format!("\"{good}\"").as_bytes(),
    );
    table.token(
        "RFC 7519 5.2",
        "a token as JSON in a token",
        &quoted,
        Refuse(E::MalformedPayload),
    );
    // SD-JWT: what follows the token is not signed.
    table.token(
        "RFC 9901 4",
        "SD-JWT",
        &format!("{good}~"),
        Refuse(E::Malformed),
    );
    let disclosure = encode(br#"["salt","role","admin"]"#);
    table.token(
        "RFC 9901 4",
        "SD-JWT with a disclosure",
        &format!("{good}~{disclosure}~"),
        Refuse(E::Malformed),
    );
    table.run().await;
}
