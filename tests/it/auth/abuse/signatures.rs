//! Signatures cut, extended, written another way, and made of numbers that no signer makes.

use jsonwebtoken::Algorithm;
use rolescope::auth::jwt::TokenError as E;

use super::forge::{self, ED25519, GOOD, P256, P384, PAIRS, Pair, RSA, encode, with_header};
use super::{Accept, Refuse, Table};

/// SEC 2, sections 2.4.2 and 2.5.1: the orders of P-256 and P-384.
const N256: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
const N384: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";
/// RFC 8032 section 5.1: the order of Ed25519's base point, its least byte first.
const L: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

/// Subtracts one number from another, their greatest bytes first.
fn minus(from: &[u8], number: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let digits = from.iter().zip(number).rev();
    let mut difference: Vec<u8> = digits
        .map(|(a, b)| {
            let digit = i16::from(*a) - i16::from(*b) - borrow;
            borrow = i16::from(digit < 0);
            digit as u8
        })
        .collect();
    difference.reverse();
    difference
}

/// Adds two numbers, their least bytes first.
fn plus(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let digits = a.iter().zip(b);
    digits
        .map(|(a, b)| {
            let digit = u16::from(*a) + u16::from(*b) + carry;
            carry = digit >> 8;
            digit as u8
        })
        .collect()
}

/// The sum's lowest digits: as many as the two have.
fn plus_modulus(signature: &[u8], modulus: &[u8]) -> Vec<u8> {
    let reversed = |number: &[u8]| number.iter().rev().copied().collect::<Vec<_>>();
    reversed(&plus(&reversed(signature), &reversed(modulus)))
}

fn der_integer(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let number = &number[zeros..];
    let sign: &[u8] = if number.first().is_none_or(|first| *first >= 0x80) {
        &[0]
    } else {
        &[]
    };
    let content = [sign, number].concat();
    [&[2, content.len() as u8], &*content].concat()
}

fn der_signature(r: &[u8], s: &[u8]) -> Vec<u8> {
    let content = [der_integer(r), der_integer(s)].concat();
    [&[0x30, content.len() as u8], &*content].concat()
}

/// A token of the pair in two: its text, and its signature's bytes.
fn signed(pair: Pair) -> (String, Vec<u8>) {
    signed_as(pair, GOOD)
}

fn signed_as(pair: Pair, payload: &str) -> (String, Vec<u8>) {
    let header = format!(r#"{{"alg":"{:?}"}}"#, pair.algorithm);
    let text = format!(
        "{}.{}",
        encode(header.as_bytes()),
        encode(payload.as_bytes())
    );
    let signature = forge::signature(pair.algorithm, &pair.signer(), &text);
    (text, signature)
}

#[tokio::test]
async fn ecdsa_signatures_have_one_form_and_no_zeros() {
    for (pair, order) in [(P256, N256), (P384, N384)] {
        let order = bytes(order);
        let (text, signature) = signed(pair);
        let (r, s) = signature.split_at(order.len());
        let zero = vec![0; order.len()];
        let one = [&zero[1..], &[1]].concat();
        let mirrored = minus(&order, s);
        let below = minus(&order, &one);
        let above = vec![0xff; order.len()];
        let mut table = Table::new(pair.verifier());
        let mut row = |section, name: &str, signature: Vec<u8>, outcome| {
            let token = format!("{text}.{}", encode(&signature));
            table.token(section, &format!("{}: {name}", pair.name), &token, outcome);
        };
        row("RFC 7518 3.4", "as it was made", signature.clone(), Accept);
        // Anybody can make the one of the other: it is over the same text, and opens nothing that was shut.
        row("RFC 7518 3.4", "n - s", [r, &mirrored].concat(), Accept);
        let bad = Refuse(E::BadSignature);
        for (name, signature) in [
            ("DER", der_signature(r, s)),
            ("DER in the length of the other form", {
                let mut der = der_signature(r, s);
                der.resize(signature.len(), 0);
                der
            }),
            ("s before r", [s, r].concat()),
            ("r twice", [r, r].concat()),
            (
                "without its last byte",
                signature[..signature.len() - 1].to_vec(),
            ),
            ("without its first byte", signature[1..].to_vec()),
            ("a byte more", [&*signature, &[0]].concat()),
            ("a byte before", [&[0], &*signature].concat()),
            ("a zero before each half", [&[0], r, &[0], s].concat()),
            ("r alone", r.to_vec()),
            ("twice", [&*signature, &*signature].concat()),
            (
                "in hex",
                signature
                    .iter()
                    .flat_map(|byte| format!("{byte:02x}").into_bytes())
                    .collect(),
            ),
        ] {
            row("RFC 7518 3.4", name, signature, bad);
        }
        // CVE-2022-21449 took the first of these for good.
        let numbers = [
            ("0", &zero),
            ("1", &one),
            ("n", &order),
            ("n - 1", &below),
            ("2^k - 1", &above),
        ];
        for (name_of_r, forged_r) in numbers {
            let name = format!("r = {name_of_r}");
            row("CVE-2022-21449", &name, [forged_r, s].concat(), bad);
            row(
                "CVE-2022-21449",
                &format!("s = {name_of_r}"),
                [r, forged_r].concat(),
                bad,
            );
            for (name_of_s, forged_s) in numbers {
                let name = format!("{name}, s = {name_of_s}");
                row(
                    "CVE-2022-21449",
                    &name,
                    [&**forged_r, &**forged_s].concat(),
                    bad,
                );
            }
        }
        table.run().await;
    }
}

#[tokio::test]
async fn ed25519_signatures_are_not_malleable() {
    let (text, signature) = signed(ED25519);
    let (r, s) = signature.split_at(32);
    let mut table = Table::new(ED25519.verifier());
    let identity = [&[1], [0; 31].as_slice()].concat();
    let negated: Vec<u8> = {
        let mut r = r.to_vec();
        r[31] ^= 0x80;
        r
    };
    let mut row = |name: &str, signature: Vec<u8>, outcome| {
        let token = format!("{text}.{}", encode(&signature));
        table.token("RFC 8032 5.1.7, 8.4", name, &token, outcome);
    };
    row("as it was made", signature.clone(), Accept);
    let bad = Refuse(E::BadSignature);
    for (name, signature) in [
        ("S + L", [r, &plus(s, &bytes(L))].concat()),
        ("S = 0", [r, &[0; 32]].concat()),
        ("S = L", [r, &bytes(L)].concat()),
        (
            "R is the identity, S = 0",
            [&identity, [0; 32].as_slice()].concat(),
        ),
        ("R with the other sign", [&negated, s].concat()),
        (
            "S's highest bit set",
            [r, &s[..31], &[s[31] | 0x80]].concat(),
        ),
        ("zeros", vec![0; 64]),
        ("halves turned", [s, r].concat()),
        ("a byte less", signature[..63].to_vec()),
        ("a byte more", [&*signature, &[0]].concat()),
        ("with its key", [&*signature, &*ED25519.raw()].concat()),
    ] {
        row(name, signature, bad);
    }
    table.run().await;
}

#[tokio::test]
async fn rsa_signatures_are_as_long_as_their_key() {
    let modulus = RSA.raw();
    let mut table = Table::new(RSA.verifier());
    for algorithm in [Algorithm::RS256, Algorithm::PS256] {
        let pair = Pair { algorithm, ..RSA };
        let (text, signature) = signed(pair);
        let mut row = |name: &str, signature: Vec<u8>, outcome| {
            let token = format!("{text}.{}", encode(&signature));
            table.token(
                "RFC 8017 8.1.2, 8.2.2",
                &format!("{algorithm:?}: {name}"),
                &token,
                outcome,
            );
        };
        row("as it was made", signature.clone(), Accept);
        let sum = plus_modulus(&signature, &modulus);
        let bad = Refuse(E::BadSignature);
        for (name, signature) in [
            ("a zero before", [&[0], &*signature].concat()),
            ("a zero behind", [&*signature, &[0]].concat()),
            ("a byte less", signature[1..].to_vec()),
            ("s + n with its carry", [&[1], &*sum].concat()),
            ("s + n without it", sum),
            ("n - s", minus(&modulus, &signature)),
            ("0", vec![0; 256]),
            ("1", [&[0; 255], [1].as_slice()].concat()),
            ("n", modulus.clone()),
            (
                "n - 1",
                minus(&modulus, &[&[0; 255], [1].as_slice()].concat()),
            ),
            ("nothing", Vec::new()),
            ("twice", [&*signature, &*signature].concat()),
        ] {
            row(name, signature, bad);
        }
    }
    table.run().await;
}

/// The same number modulo n, and as long: only its size tells it from the signature.
#[tokio::test]
async fn rsa_signatures_are_less_than_their_modulus() {
    let modulus = RSA.raw();
    let mut table = Table::new(RSA.verifier());
    for algorithm in [Algorithm::RS256, Algorithm::PS256] {
        let pair = Pair { algorithm, ..RSA };
        let mut found = 0;
        for id in 0..1000 {
            let payload = format!("{},\"jti\":\"{id}\"}}", &GOOD[..GOOD.len() - 1]);
            let (text, signature) = signed_as(pair, &payload);
            let sum = plus_modulus(&signature, &modulus);
            // Else it does not fit into as many bytes.
            if sum > modulus {
                let rule = "RFC 8017 5.2.2";
                let token = format!("{text}.{}", encode(&signature));
                table.token(rule, &format!("{algorithm:?}: s"), &token, Accept);
                let token = format!("{text}.{}", encode(&sum));
                let bad = Refuse(E::BadSignature);
                table.token(rule, &format!("{algorithm:?}: s + n"), &token, bad);
                found += 1;
            }
            if found == 3 {
                break;
            }
        }
        assert_eq!(found, 3);
    }
    table.run().await;
}

#[tokio::test]
async fn hmacs_are_whole() {
    let good = with_header(r#"{"alg":"HS256"}"#);
    let (text, signature) = good.rsplit_once('.').unwrap();
    let other = forge::with_payload(br#"{"aud":"todos","exp":1700000060,"sub":"eve"}"#);
    let (_, of_other) = other.rsplit_once('.').unwrap();
    let signer = jsonwebtoken::EncodingKey::from_secret(forge::SECRET);
    let whole = forge::signature(Algorithm::HS256, &signer, text);
    assert_eq!(encode(&whole), signature);
    let mut table = Table::new(forge::everything());
    for length in [0, 1, 4, 10, 16, 20, 31] {
        // RFC 2104 section 5 allows to cut an HMAC, and JWA does not.
        let token = format!("{text}.{}", encode(&whole[..length]));
        table.token(
            "RFC 7518 3.2",
            &format!("{length} bytes"),
            &token,
            Refuse(E::BadSignature),
        );
    }
    for (name, signature) in [
        ("of another token", of_other.to_owned()),
        ("a byte more", encode(&[&*whole, &[0]].concat())),
        ("zeros", encode(&[0; 32])),
        (
            "of HS512",
            encode(&forge::signature(Algorithm::HS512, &signer, text)),
        ),
        (
            "of the payload alone",
            encode(&forge::signature(Algorithm::HS256, &signer, GOOD)),
        ),
        (
            "of the text and its dot",
            encode(&forge::signature(
                Algorithm::HS256,
                &signer,
                &format!("{text}."),
            )),
        ),
        ("of the text with an empty secret", {
            let empty = jsonwebtoken::EncodingKey::from_secret(b"");
            encode(&forge::signature(Algorithm::HS256, &empty, text))
        }),
    ] {
        let token = format!("{text}.{signature}");
        table.token("RFC 7518 3.2", name, &token, Refuse(E::BadSignature));
    }
    table.run().await;
}

/// Every pair's token with the text of one and the signature of another.
#[tokio::test]
async fn a_signature_belongs_to_its_text() {
    let mut table = Table::new(forge::everything());
    let tokens = PAIRS.map(signed);
    for (text, _) in &tokens {
        for (other, signature) in &tokens {
            let token = format!("{text}.{}", encode(signature));
            let outcome = if text == other {
                Accept
            } else {
                Refuse(E::BadSignature)
            };
            table.token("RFC 7515 5.2", &token, &token, outcome);
        }
    }
    table.run().await;
}
