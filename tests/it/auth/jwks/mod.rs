//! Keys that are fetched: from an issuer in this process where the time has to be set, and over sockets.

mod documents;
#[cfg(feature = "jwks-client")]
mod faults;
mod issuer;
mod life;
mod rotation;
#[cfg(feature = "jwks-client")]
mod server;
mod waiting;

use std::time::Duration;

use rolescope::JwtVerifier;
use rolescope::auth::jwks::HasKeySource;
use rolescope::auth::jwt::{BuildError, FetchErrorKind, JwtVerifierBuilder, TokenError};

use issuer::{Issuer, Signer, jwks};

/// Nothing listens there, and nothing needs to.
const URL: &str = "https://login.example/keys";

fn builder(issuer: &Issuer) -> JwtVerifierBuilder<HasKeySource> {
    let builder = JwtVerifier::builder().jwks_url(URL).unwrap();
    builder.fetch_with(issuer.clone())
}

async fn verifier(issuer: &Issuer) -> JwtVerifier {
    builder(issuer).build().await.unwrap()
}

fn kind(error: BuildError) -> FetchErrorKind {
    match error {
        BuildError::Fetch(error) => error.kind(),
        error => panic!("{error:?}"),
    }
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn outcome(verifier: &JwtVerifier, token: &str) -> Result<(), TokenError> {
    verifier.verify(token).map(drop)
}

async fn fresh(verifier: &JwtVerifier, token: &str) -> Result<(), TokenError> {
    verifier.verify_fresh(token).await.map(drop)
}
