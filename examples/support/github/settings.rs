//! Where GitHub is, and who the service is there.

use std::fmt;
use std::time::Duration;

use oauth2::url::{Host, Url};

/// Where a sign-in begins; GitHub sends people back to `/callback` below it.
pub(crate) const PATH: &str = "/auth/github";

/// What a sign-in with GitHub needs to know. GitHub's own addresses are the default.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    /// Where browsers reach the service, without a path.
    pub(crate) service: Url,
    /// The path of the service that a browser is shown when it has signed in. Nothing in a request has a say in it.
    pub(crate) page: String,
    pub(crate) authorize_url: Url,
    pub(crate) token_url: Url,
    /// What `/user` and `/user/emails` stand below of.
    pub(crate) api_url: Url,
    /// How long one answer of GitHub's may take.
    pub(crate) timeout: Duration,
}

impl Settings {
    /// Reads `GITHUB_CLIENT_ID` and `GITHUB_CLIENT_SECRET`, and for GitHub Enterprise Server or another provider of its kind
    /// `GITHUB_AUTHORIZE_URL`, `GITHUB_TOKEN_URL` and `GITHUB_API_URL`.
    ///
    /// # Errors
    ///
    /// The text says which one is missing or wrong, and what to do about it.
    pub(crate) fn read(
        service: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let service = address("the service's address", service)?;
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let needed = |name: &str| {
            variable(name).ok_or_else(|| {
                format!(
                    "{name} is not set: register the service at https://github.com/settings/applications/new with \
                     the callback URL {}, and set it to what GitHub shows",
                    callback(&service)
                )
            })
        };
        let url = |name: &str, default: &str| {
            address(name, &variable(name).unwrap_or_else(|| default.to_owned()))
        };
        Ok(Self {
            client_id: needed("GITHUB_CLIENT_ID")?,
            client_secret: needed("GITHUB_CLIENT_SECRET")?,
            page: "/".to_owned(),
            authorize_url: url(
                "GITHUB_AUTHORIZE_URL",
                "https://github.com/login/oauth/authorize",
            )?,
            token_url: url(
                "GITHUB_TOKEN_URL",
                "https://github.com/login/oauth/access_token",
            )?,
            api_url: url("GITHUB_API_URL", "https://api.github.com")?,
            timeout: Duration::from_secs(10),
            service,
        })
    }

    /// Where GitHub sends people back to: the callback URL to register.
    pub(crate) fn callback(&self) -> Url {
        callback(&self.service)
    }

    pub(super) fn is_https(&self) -> bool {
        self.service.scheme() == "https"
    }

    /// Checks what could send a person or a secret astray.
    pub(super) fn check(&self) -> Result<(), String> {
        for (name, url) in [
            ("the service's address", &self.service),
            ("GITHUB_AUTHORIZE_URL", &self.authorize_url),
            ("GITHUB_TOKEN_URL", &self.token_url),
            ("GITHUB_API_URL", &self.api_url),
        ] {
            check(name, url)?;
        }
        let page = &self.page;
        let is_plain = page.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
        if !page.starts_with('/') || page.starts_with("//") || !is_plain {
            return Err(format!(
                "the page {page:?} is no path of this service: begin it with one /"
            ));
        }
        Ok(())
    }
}

fn callback(service: &Url) -> Url {
    let mut url = service.clone();
    url.set_path(&format!("{PATH}/callback"));
    url
}

fn address(name: &str, text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| format!("{name} {text:?} is no URL: {e}"))?;
    check(name, &url)?;
    Ok(url)
}

/// Codes, tokens and the client's secret travel there: nobody may read along.
fn check(name: &str, url: &Url) -> Result<(), String> {
    let on_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && on_loopback) {
        return Err(format!(
            "{name} {url} is not safe: use https (http is for loopback alone)"
        ));
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(format!(
            "{name}: leave out the user name, the password and the #fragment"
        ));
    }
    Ok(())
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("client_id", &self.client_id)
            .field("service", &self.service.as_str())
            .field("authorize_url", &self.authorize_url.as_str())
            .field("token_url", &self.token_url.as_str())
            .field("api_url", &self.api_url.as_str())
            .finish_non_exhaustive()
    }
}
