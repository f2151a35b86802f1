//! Which URLs keys are fetched from: https only, or http on this very machine.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use http::uri::Scheme;

use super::super::jwt::{FetchError, FetchErrorKind};

/// A URL that was checked. It is shown without its query.
#[derive(Clone)]
pub(super) struct KeyUrl(Uri);

impl KeyUrl {
    pub(super) fn parse(text: &str) -> Result<Self, FetchError> {
        let refused = |message: &str| FetchError::new(FetchErrorKind::Url, message);
        let uri: Uri = text.parse().map_err(|_| {
            refused(
                "the address of the keys is not a URL: is the variable set that it was read from?",
            )
        })?;
        let (Some(scheme), Some(authority), Some(host)) =
            (uri.scheme(), uri.authority(), uri.host())
        else {
            return Err(refused(
                "the address of the keys is not an absolute URL: begin it with https://",
            ));
        };
        // Said before the URL is shown.
        if authority.as_str().contains('@') {
            return Err(refused(
                "the URL of the keys has a user or a password in it: leave them out, or send them with a client of your own",
            ));
        }
        if *scheme != Scheme::HTTPS && *scheme != Scheme::HTTP {
            return Err(refused(
                "the URL of the keys is not one of HTTP: begin it with https://",
            ));
        }
        if *scheme == Scheme::HTTP && !is_loopback(host) {
            return Err(FetchError::new(
                FetchErrorKind::Url,
                format!(
                    "{}: keys are fetched by https only, and by http from this machine alone: whoever stands between could \
                     replace them",
                    Self(uri)
                ),
            ));
        }
        Ok(Self(uri))
    }

    /// Where the discovery document of an issuer is: OpenID Connect Discovery 1.0 section 4.1.
    pub(super) fn of_discovery(issuer: &str) -> Result<Self, FetchError> {
        if issuer.contains(['?', '#']) {
            return Err(FetchError::new(
                FetchErrorKind::Url,
                "an issuer is a URL without query and fragment: give it as it stands in the tokens' `iss`",
            ));
        }
        let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
        Self::parse(&format!("{issuer}/.well-known/openid-configuration"))
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.0
    }

    pub(super) fn is_https(&self) -> bool {
        self.0.scheme() == Some(&Scheme::HTTPS)
    }

    /// Where a redirect leads: to the same scheme, host and port, or nowhere.
    pub(super) fn redirected(&self, location: &str) -> Option<Self> {
        if location.starts_with('/') && !location.starts_with("//") {
            let base = self.0.clone().into_parts();
            let mut parts = http::uri::Parts::default();
            parts.scheme = base.scheme;
            parts.authority = base.authority;
            parts.path_and_query = Some(location.split('#').next()?.parse().ok()?);
            return Uri::from_parts(parts).ok().map(Self);
        }
        let next = Self::parse(location).ok()?;
        (next.origin() == self.origin()).then_some(next)
    }

    fn origin(&self) -> (bool, String, u16) {
        let is_https = self.is_https();
        let host = self.0.host().unwrap_or_default().to_ascii_lowercase();
        let port = self.0.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        (is_https, host, port)
    }

    /// Takes the query out of what somebody else says of this URL.
    pub(super) fn without_query(&self, text: &str) -> String {
        match self.0.query() {
            Some(query) if !query.is_empty() => text.replace(query, ".."),
            _ => text.to_owned(),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl fmt::Display for KeyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.scheme_str().unwrap_or_default();
        let authority = self.0.authority().map_or("", |a| a.as_str());
        write!(f, "{scheme}://{authority}{}", self.0.path())
    }
}

impl fmt::Debug for KeyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_loopback_pass() {
        for good in [
            "https://login.example/keys",
            "https://login.example:8443/keys?a=b",
            "HTTPS://login.example",
            "http://localhost:1/",
            "http://LOCALHOST/",
            "http://127.0.0.1/",
            "http://127.8.9.10:80/",
            "http://[::1]:8080/keys",
            "https://www.googleapis.com/robot/v1/metadata/x509/securetoken@system.gserviceaccount.com",
        ] {
            assert!(KeyUrl::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "keys",
            "/keys",
            "login.example",
            "login.example/keys",
            "ftp://login.example/keys",
            "file:///etc/passwd",
            "http://login.example/keys",
            "http://localhost.example/",
            "http://127.0.0.1.example/",
            "http://127.1/",
            "http://10.0.0.1/",
            "http://0.0.0.0/",
            "http://[::]/",
            "https://user@login.example/",
            "https://user:secret@login.example/",
            "http://localhost@login.example/",
            "http://login.example@localhost/",
            "https://login example/",
        ] {
            let error = KeyUrl::parse(bad).expect_err(bad);
            assert_eq!(error.kind(), FetchErrorKind::Url, "{bad}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_query_is_never_shown() {
        let url = KeyUrl::parse("https://login.example/keys?key=secret").unwrap();
        assert_eq!(url.to_string(), "https://login.example/keys");
        assert_eq!(format!("{url:?}"), "https://login.example/keys");
        let said = url.without_query("no answer of https://login.example/keys?key=secret");
        assert_eq!(said, "no answer of https://login.example/keys?..");
        let error = KeyUrl::parse("http://login.example/keys?key=secret").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn the_discovery_document_has_one_place() {
        let of = |issuer| KeyUrl::of_discovery(issuer).map(|url| url.to_string());
        for (issuer, place) in [
            (
                "https://a.example",
                "https://a.example/.well-known/openid-configuration",
            ),
            (
                "https://a.example/",
                "https://a.example/.well-known/openid-configuration",
            ),
            (
                "https://a.example/b",
                "https://a.example/b/.well-known/openid-configuration",
            ),
            (
                "https://a.example/b/",
                "https://a.example/b/.well-known/openid-configuration",
            ),
        ] {
            assert_eq!(of(issuer).unwrap(), place);
        }
        for bad in [
            "https://a.example?b",
            "https://a.example/#b",
            "a.example",
            "http://a.example",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_redirect_stays_where_it_is() {
        let url = KeyUrl::parse("https://login.example/a/keys?x=y").unwrap();
        let to = |location| url.redirected(location).map(|next| next.uri().to_string());
        for (location, next) in [
            ("/other", "https://login.example/other"),
            ("/other?z=1#f", "https://login.example/other?z=1"),
            ("https://login.example/b", "https://login.example/b"),
            ("https://LOGIN.example:443/b", "https://LOGIN.example:443/b"),
        ] {
            assert_eq!(to(location).as_deref(), Some(next));
        }
        for away in [
            "//evil.example/keys",
            "https://evil.example/keys",
            "https://login.example.evil.example/",
            "http://login.example/keys",
            "https://login.example:8443/keys",
            "https://user@login.example/keys",
            "https://login.example@evil.example/",
            "http://localhost/keys",
            "keys",
            "",
            "/a b",
        ] {
            assert_eq!(to(away), None, "{away}");
        }
    }
}
