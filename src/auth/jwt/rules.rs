//! What a payload must say at a given time. Pure: the time is an argument.

use std::time::{Duration, SystemTime};

use super::claims::{Registered, text};
use super::error::TokenError;
use super::json::{self, Member};

#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) audiences: Vec<String>,
    pub(super) any_audience: bool,
    pub(super) issuers: Vec<String>,
    pub(super) required: Vec<String>,
    pub(super) leeway: Duration,
    pub(super) accept_missing_exp: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            audiences: Vec::new(),
            any_audience: false,
            issuers: Vec::new(),
            required: Vec::new(),
            leeway: Duration::from_secs(30),
            accept_missing_exp: false,
        }
    }
}

impl Rules {
    /// Checks a payload's claims as of `now`, and returns those that RFC 7519 gives a meaning to.
    pub(super) fn check(
        &self,
        members: &[Member<'_>],
        now: SystemTime,
    ) -> Result<Registered, TokenError> {
        let registered = Registered {
            issuer: text(members, "iss"),
            subject: text(members, "sub"),
            audience: audience(members)?,
            expires_at: time(members, "exp")?,
            not_before: time(members, "nbf")?,
            issued_at: time(members, "iat")?,
            jwt_id: text(members, "jti"),
        };
        self.check_time(&registered, now)?;
        self.check_audience(&registered)?;
        self.check_issuer(&registered, members)?;
        for name in &self.required {
            if matches!(json::find(members, name), None | Some("null")) {
                return Err(TokenError::MissingClaim);
            }
        }
        Ok(registered)
    }

    fn check_time(&self, claims: &Registered, now: SystemTime) -> Result<(), TokenError> {
        // A sum that overflows is later than any clock shows.
        let passed = |time: SystemTime| time.checked_add(self.leeway).is_some_and(|end| end <= now);
        let future = |time: SystemTime| now.checked_add(self.leeway).is_some_and(|end| time > end);
        match claims.expires_at {
            None if !self.accept_missing_exp => return Err(TokenError::MissingExpiry),
            Some(expires_at) if passed(expires_at) => return Err(TokenError::Expired),
            _ => {}
        }
        if claims.not_before.is_some_and(future) {
            return Err(TokenError::NotYetValid);
        }
        if claims.issued_at.is_some_and(future) {
            return Err(TokenError::IssuedInFuture);
        }
        Ok(())
    }

    fn check_audience(&self, claims: &Registered) -> Result<(), TokenError> {
        if self.any_audience {
            return Ok(());
        }
        match &claims.audience {
            None if self.audiences.is_empty() => Ok(()),
            None => Err(TokenError::MissingAudience),
            // RFC 7519 section 4.1.3: "If the principal processing the claim does not identify itself with a value in
            // the "aud" claim when this claim is present, then the JWT MUST be rejected."
            Some(_) if self.audiences.is_empty() => Err(TokenError::UnexpectedAudience),
            Some(present) if present.iter().any(|value| contains(&self.audiences, value)) => Ok(()),
            Some(_) => Err(TokenError::WrongAudience),
        }
    }

    fn check_issuer(&self, claims: &Registered, members: &[Member<'_>]) -> Result<(), TokenError> {
        if self.issuers.is_empty() {
            return Ok(());
        }
        match &claims.issuer {
            Some(issuer) if contains(&self.issuers, issuer) => Ok(()),
            None if json::find(members, "iss").is_none() => Err(TokenError::MissingIssuer),
            _ => Err(TokenError::WrongIssuer),
        }
    }
}

fn contains(known: &[String], value: &str) -> bool {
    known.iter().any(|known| known == value)
}

fn audience(members: &[Member<'_>]) -> Result<Option<Vec<Box<str>>>, TokenError> {
    let Some(value) = json::find(members, "aud") else {
        return Ok(None);
    };
    if let Some(one) = json::string(value) {
        return Ok(Some(vec![one.into()]));
    }
    let many = json::strings(value).ok_or(TokenError::MalformedAudience)?;
    Ok(Some(many.into_iter().map(Into::into).collect()))
}

/// Reads a `NumericDate`: a JSON number, possibly with a fraction.
fn time(members: &[Member<'_>], name: &str) -> Result<Option<SystemTime>, TokenError> {
    let Some(text) = json::find(members, name) else {
        return Ok(None);
    };
    // Rust's own parser takes "inf" and "NaN" for numbers, JSON does not.
    if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Err(TokenError::MalformedTime);
    }
    match text.parse::<i64>() {
        Ok(seconds) => since_epoch(seconds < 0, Duration::from_secs(seconds.unsigned_abs())),
        Err(_) => text
            .parse::<f64>()
            .ok()
            .and_then(|seconds| Some((seconds, Duration::try_from_secs_f64(seconds.abs()).ok()?)))
            .and_then(|(seconds, distance)| since_epoch(seconds < 0.0, distance)),
    }
    .map(Some)
    .ok_or(TokenError::MalformedTime)
}

fn since_epoch(before: bool, distance: Duration) -> Option<SystemTime> {
    if before {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    }
}
