//! The vectors of project Wycheproof: keys as this crate loads them, and the signature check behind every token. Their messages
//! are no tokens, so that this is the only way that they can go.

use ::wycheproof::{
    TestResult, ecdsa, eddsa, mac, rsa_pkcs1_verify as pkcs1, rsa_pss_verify as pss,
};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::signature;
use super::*;

/// What was found: how many signatures were accepted and refused.
#[derive(Debug, Default, PartialEq)]
struct Count {
    accepted: usize,
    refused: usize,
}

impl Count {
    #[track_caller]
    fn check(
        &mut self,
        key: &Key,
        algorithm: Algorithm,
        (message, signed): (&[u8], &[u8]),
        (expected, what): (TestResult, &str),
    ) {
        let backend = signature::backend().unwrap();
        let verifies = signature::verifies(
            backend,
            algorithm,
            key.decoding(),
            message,
            &signed.to_vec(),
        );
        match expected {
            TestResult::Valid => assert!(verifies, "{algorithm} {what}"),
            TestResult::Invalid => assert!(!verifies, "{algorithm} {what}"),
            // Such as an old form of padding: whichever it is, nothing that is forged.
            TestResult::Acceptable => {}
        }
        if verifies {
            self.accepted += 1;
        } else {
            self.refused += 1;
        }
    }
}

/// Loads a group's key in both forms, and verifies every second test with each.
macro_rules! verify {
    ($module:ident, $name:ident, $algorithm:ident) => {{
        let mut count = Count::default();
        let set = $module::TestSet::load($module::TestName::$name).unwrap();
        for group in set.test_groups {
            let key = Key::from_der(&group.der).unwrap();
            let pem = Key::from_pem(&group.pem).unwrap();
            for test in group.tests {
                let what = format!("{} {}", test.tc_id, test.comment);
                let pair = (&test.msg[..], &test.sig[..]);
                let key = if test.tc_id % 2 == 0 { &key } else { &pem };
                count.check(key, Algorithm::$algorithm, pair, (test.result, &what));
            }
        }
        assert!(count.accepted > 0 && count.refused > 0, "{count:?}");
    }};
}

#[test]
fn ecdsa_signatures() {
    verify!(ecdsa, EcdsaSecp256r1Sha256P1363, ES256);
    verify!(ecdsa, EcdsaSecp384r1Sha384P1363, ES384);
    // In DER, which JWS does not have: none of them is accepted.
    for (name, algorithm) in [
        (ecdsa::TestName::EcdsaSecp256r1Sha256, Algorithm::ES256),
        (ecdsa::TestName::EcdsaSecp384r1Sha384, Algorithm::ES384),
    ] {
        let mut count = Count::default();
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            let key = Key::from_der(&group.der).unwrap();
            for test in group.tests {
                let what = format!("{} {}", test.tc_id, test.comment);
                let pair = (&test.msg[..], &test.sig[..]);
                count.check(&key, algorithm, pair, (TestResult::Invalid, &what));
            }
        }
        assert!(count.refused > 400, "{count:?}");
    }
}

#[test]
fn eddsa_signatures() {
    verify!(eddsa, Ed25519, EdDSA);
}

#[test]
fn rsa_signatures() {
    verify!(pkcs1, Rsa2048Sha256, RS256);
    verify!(pkcs1, Rsa2048Sha384, RS384);
    verify!(pkcs1, Rsa2048Sha512, RS512);
}

#[test]
fn rsa_pss_signatures() {
    verify!(pss, RsaPss2048Sha256Mgf1SaltLen32, PS256);
    verify!(pss, RsaPss2048Sha384Mgf1SaltLen48, PS384);
    verify!(pss, RsaPss4096Sha512Mgf1SaltLen64, PS512);
}

/// RFC 7518 section 3.5: "The size of the salt value is the same size as the hash function output."
#[test]
fn pss_salts_of_another_length_are_refused() {
    let other_length = pss::TestName::RsaPss2048Sha256Mgf1SaltLen0;
    let other_mask = pss::TestName::RsaPss2048Sha256Mgf1Sha1_20;
    for name in [other_length, other_mask] {
        let mut count = Count::default();
        for group in pss::TestSet::load(name).unwrap().test_groups {
            let key = Key::from_der(&group.der).unwrap();
            for test in group.tests {
                let what = format!("{} {}", test.tc_id, test.comment);
                let pair = (&test.msg[..], &test.sig[..]);
                // What is changed there is as RFC 7518 has it.
                let changed = name == other_length && test.comment == "s_len changed to 32";
                let expected = if changed {
                    TestResult::Valid
                } else {
                    TestResult::Invalid
                };
                count.check(&key, Algorithm::PS256, pair, (expected, &what));
            }
        }
        assert!(count.refused > 0, "{count:?}");
    }
}

#[test]
fn hmacs() {
    for (name, algorithm, length) in [
        (mac::TestName::HmacSha256, Algorithm::HS256, 32),
        (mac::TestName::HmacSha384, Algorithm::HS384, 48),
        (mac::TestName::HmacSha512, Algorithm::HS512, 64),
    ] {
        let mut count = Count::default();
        for group in mac::TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let secret = STANDARD.encode(&test.key[..]);
                let key = Key::hmac_base64(algorithm, &secret).unwrap();
                // A tag that is cut is a good one there, and none in a JWS.
                let whole = test.tag.len() == length;
                let expected = if whole {
                    test.result
                } else {
                    TestResult::Invalid
                };
                let what = format!("{} {}", test.tc_id, test.comment);
                count.check(&key, algorithm, (&test.msg, &test.tag), (expected, &what));
            }
        }
        assert!(count.accepted > 0 && count.refused > 0, "{count:?}");
    }
}
