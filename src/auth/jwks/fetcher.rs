//! From where the keys are to the keys.

use std::sync::Arc;
use std::time::Duration;

use super::super::jwt::{Algorithm, FetchError, FetchErrorKind, Key, json};
use super::client::Client;
use super::get::{Document, failed, get};
use super::url::KeyUrl;

/// From the connection to the last byte, of both documents where there are two.
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_KEYS: usize = 1000;

/// Where the keys are, and in which form.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Jwks(KeyUrl),
    X509Map(KeyUrl),
    Oidc { issuer: String, discovery: KeyUrl },
}

impl Place {
    pub(super) fn url(&self) -> &KeyUrl {
        match self {
            Self::Jwks(url) | Self::X509Map(url) => url,
            Self::Oidc { discovery, .. } => discovery,
        }
    }
}

pub(super) struct Fetcher {
    place: Place,
    client: Box<dyn Client>,
    algorithms: Option<Vec<Algorithm>>,
    last: Option<Last>,
}

/// What was fetched before, so that keys which did not change are known for it.
struct Last {
    text: String,
    keys: Arc<[Key]>,
}

pub(super) struct Fetched {
    /// The same allocation where the keys are the same as before.
    pub(super) keys: Arc<[Key]>,
    pub(super) fresh: Option<Duration>,
}

impl Fetcher {
    pub(super) fn new(
        place: Place,
        client: Box<dyn Client>,
        algorithms: Option<Vec<Algorithm>>,
    ) -> Self {
        Self {
            place,
            client,
            algorithms,
            last: None,
        }
    }

    pub(super) fn url(&self) -> &KeyUrl {
        self.place.url()
    }

    pub(super) async fn fetch(&mut self) -> Result<Fetched, FetchError> {
        let document = tokio::time::timeout(TIMEOUT, self.document()).await;
        let document = document.map_err(|_| {
            failed(
                self.url(),
                FetchErrorKind::Timeout,
                "it took longer than 5 seconds",
            )
        })??;
        let keys = self.keys(&document)?;
        self.last = Some(Last {
            text: document.text,
            keys: Arc::clone(&keys),
        });
        Ok(Fetched {
            keys,
            fresh: document.fresh,
        })
    }

    async fn document(&self) -> Result<Document, FetchError> {
        let client = &*self.client;
        match &self.place {
            Place::Jwks(url) | Place::X509Map(url) => get(client, url).await,
            Place::Oidc { issuer, discovery } => {
                let document = get(client, discovery).await?;
                let url = jwks_uri(&document, issuer)?;
                if discovery.is_https() && !url.is_https() {
                    return Err(document.is_not(
                        FetchErrorKind::Url,
                        "its `jwks_uri` is not https, though the issuer is",
                    ));
                }
                get(client, &url).await
            }
        }
    }

    fn keys(&self, document: &Document) -> Result<Arc<[Key]>, FetchError> {
        if let Some(last) = &self.last
            && last.text == document.text
        {
            return Ok(Arc::clone(&last.keys));
        }
        let read = match self.place {
            Place::X509Map(_) => Key::from_x509_map(&document.text),
            _ => Key::from_jwks(&document.text),
        };
        let read = read.map_err(|error| {
            use super::super::jwt::KeyErrorKind as E;
            let kind = match error.kind() {
                E::NoKey => FetchErrorKind::NoKey,
                _ => FetchErrorKind::Malformed,
            };
            document.is_not(kind, &error.to_string())
        })?;
        let keys: Vec<Key> = read
            .into_iter()
            .filter_map(|key| self.usable(key))
            .collect();
        if keys.is_empty() {
            return Err(document.is_not(
                FetchErrorKind::NoKey,
                "no public key is for an algorithm that is accepted",
            ));
        }
        if keys.len() > MAX_KEYS {
            return Err(document.is_not(
                FetchErrorKind::TooManyKeys,
                "there are more than 1000 usable keys",
            ));
        }
        if let Some(last) = &self.last
            && are_same(&last.keys, &keys)
        {
            return Ok(Arc::clone(&last.keys));
        }
        Ok(keys.into())
    }

    fn usable(&self, key: Key) -> Option<Key> {
        if !key.is_public() {
            tracing::warn!(
                url = %self.url(),
                "skipped a secret among the published keys: everybody who can read it could sign with it"
            );
            return None;
        }
        match &self.algorithms {
            None => Some(key),
            Some(algorithms) => key.narrowed(algorithms),
        }
    }
}

/// Whether these are the same keys, in whatever order.
fn are_same(one: &[Key], other: &[Key]) -> bool {
    let all_in = |some: &[Key], others: &[Key]| {
        some.iter()
            .all(|key| others.iter().any(|other| key.is_same(other)))
    };
    one.len() == other.len() && all_in(one, other) && all_in(other, one)
}

/// Reads a discovery document: OpenID Connect Discovery 1.0 section 4.3.
fn jwks_uri(document: &Document, issuer: &str) -> Result<KeyUrl, FetchError> {
    let malformed = |message| document.is_not(FetchErrorKind::Malformed, message);
    let members = json::object(&document.text).map_err(|_| {
        malformed("the discovery document is not a JSON object, or has the same member twice")
    })?;
    let text = |name| json::find(&members, name).and_then(json::string);
    let named =
        text("issuer").ok_or_else(|| malformed("the discovery document has no `issuer`"))?;
    if *named != *issuer {
        return Err(document.is_not(
            FetchErrorKind::WrongIssuer,
            "the `issuer` of the discovery document is not the one that was asked for, to the letter: compare the slash at \
             the end",
        ));
    }
    let uri =
        text("jwks_uri").ok_or_else(|| malformed("the discovery document has no `jwks_uri`"))?;
    KeyUrl::parse(&uri)
}
