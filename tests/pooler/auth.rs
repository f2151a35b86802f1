//! What the shared support needs of the tests of authentication.

#[path = "../it/auth/mint.rs"]
pub(crate) mod mint;
