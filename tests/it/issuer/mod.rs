//! Tokens of one's own: keys, claims, the JWKS, and what SQL functions say.

#[cfg(all(feature = "axum", feature = "jwks-client"))]
mod jwks;
mod keys;
#[cfg(all(feature = "axum", feature = "postgres"))]
mod secrets;
#[cfg(all(feature = "axum", feature = "postgres"))]
mod sql;
mod tokens;

use rolescope::JwtVerifier;
use rolescope::auth::jwt::{Claims, TokenError};
use rolescope::issuer::{SigningKey, TokenIssuer};

/// 48 bytes.
const SECRET: &str = "a secret for tests only, of forty-eight bytes ..";

const URL: &str = "https://login.example";

/// An issuer of tokens for `todos`, as most tests want it.
fn issuer(key: SigningKey) -> TokenIssuer {
    let builder = TokenIssuer::builder(key).issuer(URL).audience("todos");
    builder.build().expect("the issuer is built")
}

/// What accepts that issuer's tokens.
fn verifier(issuer: &TokenIssuer) -> JwtVerifier {
    let builder = JwtVerifier::builder().issuer(URL).audience("todos");
    let builder = builder
        .keys(issuer.verifying_keys())
        .expect("there are keys");
    builder.build().expect("the verifier is built")
}

fn verify(issuer: &TokenIssuer, token: &str) -> Result<Claims, TokenError> {
    verifier(issuer).verify(token)
}
