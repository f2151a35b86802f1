//! What is a key and what is not.

mod files;
mod jwk;
mod secrets;

use base64::Engine;
use base64::engine::general_purpose as alphabets;

use super::super::testing::{SECRET, base64, der, key_file};
use super::KeyErrorKind as Kind;
use super::*;

const RSA: &str = key_file!("rsa2048.spki");

#[track_caller]
fn refused(key: Result<Key, KeyError>, kind: Kind, what: &str) {
    match key {
        Ok(key) => panic!("{what}: accepted as {key:?}"),
        Err(error) => assert_eq!(error.kind(), kind, "{what}: {error}"),
    }
}

fn number(key: &Key) -> (&[u8], &[u8]) {
    match key.decoding.kind() {
        jsonwebtoken::DecodingKeyKind::RsaModulusExponent { n, e } => (n, e),
        jsonwebtoken::DecodingKeyKind::SecretOrDer(bytes) => (bytes, &[]),
    }
}
