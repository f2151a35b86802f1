//! What a challenge says besides its error: where the service's metadata is, as RFC 9728 section 5.1 has it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use http::{HeaderValue, Response, Uri, header};

/// The URL of a service's protected resource metadata.
#[derive(Clone, Debug)]
pub(super) struct ResourceMetadata(Arc<str>);

/// Says that a text cannot be the URL of a service's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceMetadataError(());

impl ResourceMetadata {
    pub(super) fn parse(url: &str) -> Result<Self, ResourceMetadataError> {
        // RFC 3986 has none of these, and two of them would end the quoted text that the URL stands in. A fragment is
        // nothing that is fetched.
        let is_fit = |byte: u8| byte.is_ascii_graphic() && !br#""\<>^`{|}#"#.contains(&byte);
        let uri: Option<Uri> = url.bytes().all(is_fit).then(|| url.parse().ok()).flatten();
        let accepted = uri.is_some_and(|uri| {
            let host = uri.host().unwrap_or_default();
            let has_user = uri
                .authority()
                .is_none_or(|whole| whole.as_str().contains('@'));
            let is_secure = match uri.scheme_str() {
                Some("https") => true,
                Some("http") => is_loopback(host),
                _ => false,
            };
            !host.is_empty() && !has_user && is_secure
        });
        if accepted {
            Ok(Self(url.into()))
        } else {
            Err(ResourceMetadataError(()))
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Names the metadata in each Bearer challenge of a response.
pub(super) fn complete<B>(
    mut response: Response<B>,
    metadata: &Option<ResourceMetadata>,
) -> Response<B> {
    let Some(ResourceMetadata(url)) = metadata else {
        return response;
    };
    if let header::Entry::Occupied(mut challenges) =
        response.headers_mut().entry(header::WWW_AUTHENTICATE)
    {
        for value in challenges.iter_mut() {
            let completed = value
                .to_str()
                .ok()
                .and_then(|text| with_metadata(text, url));
            if let Some(Ok(completed)) = completed.map(HeaderValue::try_from) {
                *value = completed;
            }
        }
    }
    response
}

/// Adds the parameter to each Bearer challenge of a list that has none, right behind the scheme's name.
fn with_metadata(challenges: &str, url: &str) -> Option<String> {
    let mut completed = String::with_capacity(challenges.len() + url.len() + 24);
    let mut parts = parts(challenges).peekable();
    let mut found = false;
    while let Some(part) = parts.next() {
        if !completed.is_empty() {
            completed.push(',');
        }
        let text = part.trim_start();
        let Some(rest) = parameters(text).filter(|_| is_bearer(text)) else {
            completed.push_str(part);
            continue;
        };
        completed.push_str(&part[..part.len() - text.len() + "Bearer".len()]);
        // Its parameters go on until the next challenge.
        let mut all = vec![rest];
        while let Some(next) = parts.next_if(|next| parameters(next.trim_start()).is_none()) {
            all.push(next);
        }
        let has_metadata = |parameter: &&str| {
            let (name, _) = parameter.split_once('=').unwrap_or_default();
            name.trim().eq_ignore_ascii_case("resource_metadata")
        };
        if !all.iter().any(has_metadata) {
            found = true;
            completed.push_str(&format!(" resource_metadata=\"{url}\""));
            if !rest.trim().is_empty() {
                completed.push(',');
            }
        }
        completed.push_str(&all.join(","));
    }
    found.then_some(completed)
}

fn is_bearer(challenge: &str) -> bool {
    let scheme = challenge.split([' ', '\t']).next();
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer"))
}

/// Returns what follows the scheme where a challenge begins, and `None` for a further parameter of the one before.
fn parameters(part: &str) -> Option<&str> {
    let end = part.find([' ', '\t', '=']).unwrap_or(part.len());
    let (scheme, rest) = part.split_at(end);
    let begins = !scheme.is_empty() && !rest.trim_start().starts_with('=');
    begins.then_some(rest)
}

/// Splits at the commas that stand outside of quotes.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |letter| {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return letter == ',' && !quoted,
        }
        false
    })
}

impl fmt::Display for ResourceMetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the URL of the resource metadata is not one: give an absolute https URL (or http on loopback) without \
             user, fragment and quotes",
        )
    }
}

impl StdError for ResourceMetadataError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_checked() {
        for url in [
            "https://api.example/.well-known/oauth-protected-resource",
            "HTTPS://api.example:8443/meta?tenant=a",
            "http://localhost:3000/meta",
            "http://127.0.0.1/meta",
            "http://[::1]:3000/meta",
        ] {
            let parsed = ResourceMetadata::parse(url).expect(url);
            assert_eq!(&*parsed.0, url);
        }
        for url in [
            "",
            "/.well-known/oauth-protected-resource",
            "api.example",
            "api.example:443",
            "http://api.example/meta",
            "http://localhost.example/meta",
            "ftp://api.example/meta",
            "https:///meta",
            "https://user@api.example/meta",
            "https://api.example/meta#x",
            "https://api.example/\"meta",
            "https://api.example/\\meta",
            "https://api.example/meta x",
            "https://api.example/méta",
            "https://api.example/meta\r\nx: y",
        ] {
            assert!(ResourceMetadata::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn each_bearer_challenge_names_the_metadata_once() {
        let added = r#"resource_metadata="https://a/m""#;
        for (challenges, expected) in [
            ("Bearer", format!("Bearer {added}")),
            ("bearer ", format!("bearer {added} ")),
            (
                r#"Bearer error="x", scope="a, b""#,
                format!(r#"Bearer {added}, error="x", scope="a, b""#),
            ),
            (
                r#"Basic realm="x, Bearer", Bearer, Digest qop="auth""#,
                format!(r#"Basic realm="x, Bearer", Bearer {added}, Digest qop="auth""#),
            ),
            (
                r#"Basic realm="a\"b, Bearer", charset="UTF-8", Bearer realm="y""#,
                format!(
                    r#"Basic realm="a\"b, Bearer", charset="UTF-8", Bearer {added}, realm="y""#
                ),
            ),
            (
                "Bearer, Bearer realm=\"x\"",
                format!("Bearer {added}, Bearer {added}, realm=\"x\""),
            ),
        ] {
            assert_eq!(with_metadata(challenges, "https://a/m"), Some(expected));
        }
        for other in [
            "",
            "Basic realm=\"Bearer\"",
            "Basic realm=\"x, Bearer\"",
            "Basic realm=\"x, Bearer y\"",
            r#"Basic realm="a\", Bearer y""#,
            "BearerX realm=\"x\"",
            "Basic Bearer=\"x\"",
            r#"Bearer resource_metadata="https://b/n""#,
            r#"Bearer error="x", Resource_Metadata = "https://b/n""#,
        ] {
            assert_eq!(with_metadata(other, "https://a/m"), None, "{other}");
        }
    }
}
