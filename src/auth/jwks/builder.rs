//! The builder of a verifier whose keys are fetched.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Body;
use tokio::runtime::Handle;
use tower::Service;

use super::super::jwt::{
    Algorithm, BuildError, FetchError, HasKey, JwtVerifier, JwtVerifierBuilder, KeyState, Keys,
    sealed,
};
use super::client::{BoxError, Client, OfService};
use super::fetcher::{Fetcher, Place};
use super::schedule::Times;
use super::source::RemoteKeys;
use super::url::KeyUrl;

/// Says that a [`JwtVerifierBuilder`] knows where to fetch its keys, and can be built.
pub struct HasKeySource {
    place: Place,
    client: Option<Box<dyn Client>>,
    algorithms: Option<Vec<Algorithm>>,
    times: Times,
}

impl sealed::Sealed for HasKeySource {}

impl KeyState for HasKeySource {
    type WithKey = Self;

    fn with_key(self) -> Self {
        self
    }
}

impl HasKeySource {
    fn new(place: Place) -> Self {
        Self {
            place,
            client: None,
            algorithms: None,
            times: Times::default(),
        }
    }

    fn fetcher(self) -> Result<Fetcher, BuildError> {
        if let Some(algorithms) = &self.algorithms
            && !algorithms.iter().any(|one| one.is_for_public_keys())
        {
            return Err(BuildError::NoAlgorithm);
        }
        let client = match self.client {
            Some(client) => client,
            None => default_client()?,
        };
        Ok(Fetcher::new(self.place, client, self.algorithms))
    }
}

#[cfg(feature = "jwks-client")]
fn default_client() -> Result<Box<dyn Client>, BuildError> {
    Ok(super::default_client::client()?)
}

#[cfg(not(feature = "jwks-client"))]
fn default_client() -> Result<Box<dyn Client>, BuildError> {
    Err(BuildError::NoClient)
}

/// Keys that are fetched. See [`jwks`](super) for when, and for what happens where that fails.
#[cfg_attr(docsrs, doc(cfg(feature = "jwks")))]
impl<State: KeyState<WithKey = HasKey>> JwtVerifierBuilder<State> {
    /// Fetches the keys from a JWKS.
    ///
    /// # Errors
    ///
    /// The URL is not one of https (or of http on loopback), or has a password in it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn verifier() -> Result<rolescope::JwtVerifier, rolescope::auth::jwt::BuildError> {
    /// rolescope::JwtVerifier::builder()
    ///     .jwks_url("https://login.example/.well-known/jwks.json")?
    ///     .issuer("https://login.example/")
    ///     .audience("todos")
    ///     .build()
    ///     .await
    /// # }
    /// ```
    pub fn jwks_url(self, url: &str) -> Result<JwtVerifierBuilder<HasKeySource>, FetchError> {
        let place = Place::Jwks(KeyUrl::parse(url)?);
        Ok(self.map_state(|_| HasKeySource::new(place)))
    }

    /// Fetches the keys of an OpenID provider, and accepts tokens of this [`issuer`](Self::issuer).
    ///
    /// Its discovery document says where the keys are, and is fetched again with the keys. The `issuer` in it must be the
    /// same in every byte, as must the tokens' `iss`.
    ///
    /// # Errors
    ///
    /// The issuer is not a URL of https (or of http on loopback), or has a password, a query or a fragment in it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn verifier() -> Result<rolescope::JwtVerifier, rolescope::auth::jwt::BuildError> {
    /// rolescope::JwtVerifier::builder()
    ///     .oidc_issuer("https://login.example/realms/todos")?
    ///     .audience("todos")
    ///     .build()
    ///     .await
    /// # }
    /// ```
    pub fn oidc_issuer(self, issuer: &str) -> Result<JwtVerifierBuilder<HasKeySource>, FetchError> {
        let place = Place::Oidc {
            issuer: issuer.to_owned(),
            discovery: KeyUrl::of_discovery(issuer)?,
        };
        let named = self.issuer(issuer);
        Ok(named.map_state(|_| HasKeySource::new(place)))
    }

    /// Fetches the keys from a JSON object that has a certificate as PEM for each key id, as Firebase publishes them.
    ///
    /// # Errors
    ///
    /// The URL is not one of https (or of http on loopback), or has a password in it.
    pub fn x509_url(self, url: &str) -> Result<JwtVerifierBuilder<HasKeySource>, FetchError> {
        let place = Place::X509Map(KeyUrl::parse(url)?);
        Ok(self.map_state(|_| HasKeySource::new(place)))
    }
}

/// How keys are fetched.
#[cfg_attr(docsrs, doc(cfg(feature = "jwks")))]
impl JwtVerifierBuilder<HasKeySource> {
    /// Fetches with this HTTP client: a tower service. Defaults to hyper with rustls and the system's roots.
    ///
    /// It sends one request with each call, and need not follow redirects, decompress, or watch size and time. One that does
    /// follow redirects decides by itself where they may lead.
    pub fn fetch_with<S, B>(self, client: S) -> Self
    where
        S: Service<Request<Empty<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        self.map_state(|state| HasKeySource {
            client: Some(Box::new(OfService(client))),
            ..state
        })
    }

    /// Sets for how long fetched keys are used while they cannot be fetched again, from the last success on. Defaults to 24
    /// hours; 2 minutes are the least.
    pub fn max_key_age(self, age: Duration) -> Self {
        self.map_state(|mut state| {
            state.times.max_age = age;
            state
        })
    }

    /// Sets after which time keys are fetched again where the response has no `Cache-Control` with a `max-age`. Defaults to 5
    /// minutes; it is 1 minute at least, 24 hours and half of [`max_key_age`](Self::max_key_age) at most.
    pub fn refresh_interval(self, interval: Duration) -> Self {
        self.map_state(|mut state| {
            state.times.interval = interval;
            state
        })
    }

    /// Uses fetched keys with these algorithms only. Defaults to all that fit a key, or the one that its `alg` names.
    ///
    /// Keys that are for none of them are left out.
    pub fn algorithms(self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        let algorithms = algorithms.into_iter().collect();
        self.map_state(|state| HasKeySource {
            algorithms: Some(algorithms),
            ..state
        })
    }

    /// Fetches the keys and builds the verifier. Both need a tokio runtime, which the verifier's keys live as long as.
    ///
    /// # Errors
    ///
    /// Those of the builder of fixed keys; the keys could not be fetched; there is no tokio runtime or no client.
    ///
    /// # Cancel safety
    ///
    /// Nothing is left behind.
    pub async fn build(self) -> Result<JwtVerifier, BuildError> {
        self.check()?;
        let runtime = Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let (rest, state) = self.split();
        let times = state.times;
        let mut fetcher = state.fetcher()?;
        let first = fetcher.fetch().await?;
        let keys = RemoteKeys::start(&runtime, fetcher, Some(first), rest.fixed(), times);
        rest.finish(Keys::Changing(keys))
    }

    /// Builds the verifier, and fetches the keys meanwhile: a service can start before its issuer does.
    ///
    /// Tokens wait for the first fetch. Where it fails they are answered 503 until one succeeds.
    ///
    /// # Errors
    ///
    /// Those of the builder of fixed keys; there is no tokio runtime or no client.
    pub fn build_lazy(self) -> Result<JwtVerifier, BuildError> {
        self.check()?;
        let runtime = Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let (rest, state) = self.split();
        let times = state.times;
        let fetcher = state.fetcher()?;
        let keys: Arc<RemoteKeys> = RemoteKeys::start(&runtime, fetcher, None, rest.fixed(), times);
        rest.finish(Keys::Changing(keys))
    }
}

impl fmt::Debug for HasKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HasKeySource")
            .field("place", &self.place)
            .field("algorithms", &self.algorithms)
            .field("times", &self.times)
            .finish_non_exhaustive()
    }
}
