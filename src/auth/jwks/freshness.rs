//! For how long a response is fresh: RFC 9111.

use std::time::Duration;

use http::{HeaderMap, header};

/// The time that is left of what `Cache-Control` gives. `None` where it says nothing of it.
pub(super) fn of(headers: &HeaderMap) -> Option<Duration> {
    let age = headers.get(header::AGE).and_then(|age| age.to_str().ok());
    let age: u64 = age.and_then(|age| age.trim().parse().ok()).unwrap_or(0);
    let mut found = None;
    for value in headers.get_all(header::CACHE_CONTROL) {
        let Ok(value) = value.to_str() else { continue };
        for directive in value.split(',') {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            let name = name.trim();
            if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
                return Some(Duration::ZERO);
            }
            if name.eq_ignore_ascii_case("max-age") && found.is_none() {
                found = seconds(argument.trim().trim_matches('"'));
            }
        }
    }
    let left = found?.saturating_sub(age);
    Some(Duration::from_secs(left))
}

/// What is larger than can be counted to is as good as for ever: section 1.2.2.
fn seconds(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn cache_control_is_read_as_rfc_9111_has_it() {
        for (values, age, expected) in [
            (&[][..], None, None),
            (&["public"], None, None),
            (&["max-age"], None, None),
            (&["max-age=-1"], None, None),
            (&["max-age=x"], None, None),
            (&["s-maxage=60"], None, None),
            (&["max-age=60"], None, Some(60)),
            (
                &["Public, MAX-AGE=\"60\" , must-revalidate"],
                None,
                Some(60),
            ),
            (&["public", "max-age=60"], None, Some(60)),
            (&["max-age=60, max-age=90"], None, Some(60)),
            (&["max-age=60"], Some("20"), Some(40)),
            (&["max-age=60"], Some("90"), Some(0)),
            (&["max-age=60"], Some("x"), Some(60)),
            (&["max-age=99999999999999999999999"], None, Some(u64::MAX)),
            (&["max-age=60, no-cache"], None, Some(0)),
            (&["no-store"], None, Some(0)),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CACHE_CONTROL, value.parse().unwrap());
            }
            if let Some(age) = age {
                headers.insert(header::AGE, age.parse().unwrap());
            }
            assert_eq!(
                of(&headers),
                expected.map(Duration::from_secs),
                "{values:?}"
            );
        }
    }
}
