//! A sign-in that has begun, remembered by the person's browser alone: any instance of the service can end it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oauth2::{CsrfToken, PkceCodeVerifier};
use sha2::{Digest, Sha256};

/// How long a person may take at GitHub.
pub(crate) const LIFETIME: Duration = Duration::from_secs(600);

/// A secret that only one browser knows: when it began, and 256 random bits.
///
/// `state` and the PKCE verifier are hashes of it. So whoever sees a `state`, which is part of addresses, can make neither
/// the cookie nor the verifier, and an answer of GitHub's is good in the browser that has asked for it and in no other.
pub(crate) struct Attempt {
    secret: String,
}

impl Attempt {
    pub(crate) fn begin(now: SystemTime) -> Self {
        let random = CsrfToken::new_random_len(32).into_secret();
        Self {
            secret: format!("{}.{random}", seconds(now)),
        }
    }

    /// Returns the one that a browser's cookie remembers and that `state` belongs to, unless it is too old.
    pub(crate) fn resume(secret: &str, state: &str, now: SystemTime) -> Option<Self> {
        let this = Self {
            secret: secret.to_owned(),
        };
        let began: u64 = secret.split_once('.')?.0.parse().ok()?;
        let in_time = seconds(now).abs_diff(began) <= LIFETIME.as_secs();
        // Compared by their hashes, in constant time as far as it matters.
        (in_time && this.state() == CsrfToken::new(state.to_owned())).then_some(this)
    }

    /// What the browser remembers.
    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }

    pub(crate) fn state(&self) -> CsrfToken {
        CsrfToken::new(URL_SAFE_NO_PAD.encode(self.hash("state")))
    }

    pub(crate) fn verifier(&self) -> PkceCodeVerifier {
        PkceCodeVerifier::new(URL_SAFE_NO_PAD.encode(self.hash("verifier")))
    }

    /// What the database remembers, so that it is used once.
    pub(crate) fn mark(&self) -> [u8; 32] {
        self.hash("mark")
    }

    fn hash(&self, what: &str) -> [u8; 32] {
        Sha256::digest(format!("{what}:{}", self.secret)).into()
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// A cookie of the service: never seen by scripts, and on https bound to this very host (`__Host-`), so that no neighbour
/// on a subdomain can plant one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cookie {
    pub(super) name: &'static str,
    pub(super) https: bool,
    /// `Lax` where the browser is to send it when it comes back from another site, `Strict` where not.
    pub(super) same_site: &'static str,
    pub(super) lifetime: Duration,
}

impl Cookie {
    /// Returns its value in a request. Two of the name are none: one of them somebody else has planted.
    pub(super) fn of<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        let name = self.full_name();
        let cookies = headers.get_all(COOKIE).iter();
        let pairs = cookies.filter_map(|value| value.to_str().ok());
        let pairs = pairs.flat_map(|value| value.split(';'));
        let mut values =
            pairs.filter_map(|pair| pair.trim().split_once('=').filter(|(n, _)| *n == name));
        let (_, value) = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// The header that sets it.
    pub(super) fn set(&self, value: &str) -> String {
        self.header(value, self.lifetime.as_secs())
    }

    /// The header that removes it.
    pub(super) fn remove(&self) -> String {
        self.header("", 0)
    }

    fn full_name(&self) -> String {
        let prefix = if self.https { "__Host-" } else { "" };
        format!("{prefix}{}", self.name)
    }

    fn header(&self, value: &str, seconds: u64) -> String {
        let Self { same_site, .. } = self;
        let secure = if self.https { "; Secure" } else { "" };
        let name = self.full_name();
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite={same_site}{secure}")
    }
}
