//! What a payload must say at a given time. Pure: the time is an argument.

use std::time::{Duration, SystemTime};

use super::claims::{Registered, text};
use super::error::TokenError;
use super::json::{self, Member};
use super::kinds::Kinds;
use super::revocations::Revocations;

#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) audiences: Vec<String>,
    pub(super) any_audience: bool,
    pub(super) issuers: Vec<String>,
    pub(super) required: Vec<String>,
    pub(super) kinds: Kinds,
    pub(super) revocations: Option<Revocations>,
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
            kinds: Kinds::default(),
            revocations: None,
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
            issuer_checked: !self.issuers.is_empty(),
        };
        self.check_time(&registered, now)?;
        self.check_audience(&registered)?;
        self.check_issuer(&registered, members)?;
        for name in &self.required {
            if matches!(json::find(members, name), None | Some("null")) {
                return Err(TokenError::MissingClaim);
            }
        }
        self.kinds.check_claims(members)?;
        Ok(registered)
    }

    /// Checks what time alone changes. It is the first thing that is checked of claims that are well-formed, so that a
    /// token from the cache is refused for the same reason.
    pub(super) fn check_time(
        &self,
        claims: &Registered,
        now: SystemTime,
    ) -> Result<(), TokenError> {
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

/// Reads a `NumericDate`: a JSON number, possibly with a fraction. Any other JSON value is no number to Rust either.
fn time(members: &[Member<'_>], name: &str) -> Result<Option<SystemTime>, TokenError> {
    let Some(text) = json::find(members, name) else {
        return Ok(None);
    };
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use TokenError as E;

    type Checked = Result<(), TokenError>;

    const NOW: i64 = 1_700_000_000;

    fn check_at(rules: &Rules, payload: &str, now: SystemTime) -> Result<(), TokenError> {
        let members = json::unambiguous_object(payload).unwrap();
        rules.check(&members, now).map(drop)
    }

    fn check(rules: &Rules, payload: &str) -> Result<(), TokenError> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW.unsigned_abs());
        check_at(rules, payload, now)
    }

    fn no_exp() -> Rules {
        Rules {
            accept_missing_exp: true,
            ..Rules::default()
        }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn times_are_checked_to_the_second_with_leeway() {
        // The claim, its distance from now, and what becomes of it with a leeway of 0 and of 30 seconds.
        let rows: &[(&str, i64, Checked, Checked)] = &[
            ("exp", 1, Ok(()), Ok(())),
            ("exp", 0, Err(E::Expired), Ok(())),
            ("exp", -1, Err(E::Expired), Ok(())),
            ("exp", -29, Err(E::Expired), Ok(())),
            ("exp", -30, Err(E::Expired), Err(E::Expired)),
            ("exp", -31, Err(E::Expired), Err(E::Expired)),
            ("nbf", -1, Ok(()), Ok(())),
            ("nbf", 0, Ok(()), Ok(())),
            ("nbf", 1, Err(E::NotYetValid), Ok(())),
            ("nbf", 30, Err(E::NotYetValid), Ok(())),
            ("nbf", 31, Err(E::NotYetValid), Err(E::NotYetValid)),
            ("iat", -1, Ok(()), Ok(())),
            ("iat", 0, Ok(()), Ok(())),
            ("iat", 1, Err(E::IssuedInFuture), Ok(())),
            ("iat", 30, Err(E::IssuedInFuture), Ok(())),
            ("iat", 31, Err(E::IssuedInFuture), Err(E::IssuedInFuture)),
        ];
        for (claim, offset, strict, lenient) in rows {
            let payload = format!(r#"{{"{claim}":{}}}"#, NOW + offset);
            let no_leeway = Rules {
                leeway: Duration::ZERO,
                ..no_exp()
            };
            assert_eq!(
                check(&no_leeway, &payload),
                *strict,
                "{claim} {offset}, no leeway"
            );
            assert_eq!(
                check(&no_exp(), &payload),
                *lenient,
                "{claim} {offset}, 30 s"
            );
        }
    }

    #[test]
    fn times_are_numbers() {
        let rows: &[(&str, Checked)] = &[
            ("1700000030", Ok(())),
            ("1700000030.0", Ok(())),
            ("1.70000003e9", Ok(())),
            ("1699999970.5", Ok(())),
            ("1699999969.5", Err(E::Expired)),
            ("0", Err(E::Expired)),
            ("-0", Err(E::Expired)),
            ("-1", Err(E::Expired)),
            ("-1.5e3", Err(E::Expired)),
            // As far before 1970 as now is behind it, and further.
            ("-1700000060", Err(E::Expired)),
            ("-4102444800", Err(E::Expired)),
            ("-4102444800.5", Err(E::Expired)),
            ("9999999999", Ok(())),
            ("1e30", Err(E::MalformedTime)),
            ("-1e30", Err(E::MalformedTime)),
            ("1e999", Err(E::MalformedTime)),
            ("99999999999999999999", Err(E::MalformedTime)),
            ("-9223372036854775809", Err(E::Expired)),
            ("null", Err(E::MalformedTime)),
            ("true", Err(E::MalformedTime)),
            (r#""1700000030""#, Err(E::MalformedTime)),
            (r#""inf""#, Err(E::MalformedTime)),
            ("[1700000030]", Err(E::MalformedTime)),
            ("{}", Err(E::MalformedTime)),
        ];
        for (value, expected) in rows {
            assert_eq!(
                check(&Rules::default(), &format!(r#"{{"exp":{value}}}"#)),
                *expected,
                "{value}"
            );
        }
        for claim in ["nbf", "iat"] {
            let payload = format!(r#"{{"{claim}":"1"}}"#);
            assert_eq!(check(&no_exp(), &payload), Err(E::MalformedTime), "{claim}");
        }
    }

    #[test]
    fn a_fraction_of_a_second_counts() {
        let half = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_500);
        let rules = Rules {
            leeway: Duration::ZERO,
            ..no_exp()
        };
        assert_eq!(check_at(&rules, r#"{"exp":1700000000.75}"#, half), Ok(()));
        assert_eq!(
            check_at(&rules, r#"{"exp":1700000000.5}"#, half),
            Err(E::Expired)
        );
        assert_eq!(check_at(&rules, r#"{"nbf":1700000000.5}"#, half), Ok(()));
        assert_eq!(
            check_at(&rules, r#"{"nbf":1700000000.75}"#, half),
            Err(E::NotYetValid)
        );
    }

    #[test]
    fn exp_is_required_unless_said_otherwise() {
        assert_eq!(check(&Rules::default(), "{}"), Err(E::MissingExpiry));
        assert_eq!(check(&no_exp(), "{}"), Ok(()));
        assert_eq!(check(&no_exp(), r#"{"exp":1}"#), Err(E::Expired));
    }

    #[test]
    fn the_audience_is_checked_both_ways() {
        let none = no_exp();
        let any = Rules {
            any_audience: true,
            ..no_exp()
        };
        let two = Rules {
            audiences: names(&["a", "b"]),
            ..no_exp()
        };
        let rows: &[(&str, Checked, Checked, Checked)] = &[
            ("{}", Ok(()), Ok(()), Err(E::MissingAudience)),
            (r#"{"aud":"a"}"#, Err(E::UnexpectedAudience), Ok(()), Ok(())),
            (r#"{"aud":"b"}"#, Err(E::UnexpectedAudience), Ok(()), Ok(())),
            (
                r#"{"aud":"\u0061"}"#,
                Err(E::UnexpectedAudience),
                Ok(()),
                Ok(()),
            ),
            (
                r#"{"aud":"A"}"#,
                Err(E::UnexpectedAudience),
                Ok(()),
                Err(E::WrongAudience),
            ),
            (
                r#"{"aud":""}"#,
                Err(E::UnexpectedAudience),
                Ok(()),
                Err(E::WrongAudience),
            ),
            (
                r#"{"aud":["x","b"]}"#,
                Err(E::UnexpectedAudience),
                Ok(()),
                Ok(()),
            ),
            (
                r#"{"aud":["x"]}"#,
                Err(E::UnexpectedAudience),
                Ok(()),
                Err(E::WrongAudience),
            ),
            (
                r#"{"aud":[]}"#,
                Err(E::UnexpectedAudience),
                Ok(()),
                Err(E::WrongAudience),
            ),
        ];
        for (payload, with_none, with_any, with_two) in rows {
            assert_eq!(check(&none, payload), *with_none, "{payload}, none");
            assert_eq!(check(&any, payload), *with_any, "{payload}, any");
            assert_eq!(check(&two, payload), *with_two, "{payload}, two");
        }
        for malformed in [
            "42",
            "null",
            "true",
            "{}",
            r#"["a",1]"#,
            r#"[["a"]]"#,
            r#"{"a":1}"#,
        ] {
            let payload = format!(r#"{{"aud":{malformed}}}"#);
            for rules in [&none, &any, &two] {
                assert_eq!(
                    check(rules, &payload),
                    Err(E::MalformedAudience),
                    "{payload}"
                );
            }
        }
    }

    #[test]
    fn the_issuer_is_one_of_those_configured() {
        let any = no_exp();
        let two = Rules {
            issuers: names(&["https://a", "https://b"]),
            ..no_exp()
        };
        let rows: &[(&str, Checked)] = &[
            ("{}", Err(E::MissingIssuer)),
            (r#"{"iss":"https://a"}"#, Ok(())),
            (r#"{"iss":"https:\/\/b"}"#, Ok(())),
            (r#"{"iss":"https://a/"}"#, Err(E::WrongIssuer)),
            (r#"{"iss":""}"#, Err(E::WrongIssuer)),
            (r#"{"iss":null}"#, Err(E::WrongIssuer)),
            (r#"{"iss":["https://a"]}"#, Err(E::WrongIssuer)),
            (r#"{"iss":{}}"#, Err(E::WrongIssuer)),
        ];
        for (payload, expected) in rows {
            assert_eq!(check(&two, payload), *expected, "{payload}");
            assert_eq!(check(&any, payload), Ok(()), "{payload}");
        }
    }

    #[test]
    fn required_claims_are_there_and_not_null() {
        let rules = Rules {
            required: names(&["role"]),
            ..no_exp()
        };
        assert_eq!(check(&rules, r#"{"role":"a"}"#), Ok(()));
        assert_eq!(check(&rules, r#"{"role":0}"#), Ok(()));
        assert_eq!(check(&rules, r#"{"role":null}"#), Err(E::MissingClaim));
        assert_eq!(check(&rules, r#"{"Role":"a"}"#), Err(E::MissingClaim));
    }
}
