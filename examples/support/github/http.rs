//! Requests to GitHub: over https, within a time, and no answer larger than such answers are.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::header::{HeaderValue, USER_AGENT};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};

/// GitHub's answers have a few kilobytes: a person has few addresses.
const LARGEST: usize = 256 * 1024;

/// An HTTP client that follows no redirect, so that a secret goes where it was meant to go. `oauth2` takes it as its own.
#[derive(Clone, Debug)]
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum HttpError {
    TimedOut,
    TooLarge,
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

impl Http {
    pub(super) fn new(timeout: Duration) -> Result<Self, String> {
        let provider = CryptoProvider::get_default()
            .cloned()
            .unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)
            .map_err(|e| format!("no root certificates: {e}; install them (ca-certificates)"))?;
        // Plain http is for loopback, which `Settings` has seen to.
        let connector = tls.https_or_http().enable_http1().build();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            timeout,
        })
    }

    pub(super) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = tokio::time::timeout(self.timeout, self.exchange(request)).await;
        answer.unwrap_or(Err(HttpError::TimedOut))
    }

    async fn exchange(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        // GitHub refuses requests without one.
        let agent = HeaderValue::from_static("rolescope-example");
        request.headers_mut().insert(USER_AGENT, agent);
        let request = request.map(|body| Full::new(Bytes::from(body)));
        let response = self.client.request(request).await;
        let (parts, body) = response
            .map_err(|e| HttpError::Failed(e.into()))?
            .into_parts();
        let body = Limited::new(body, LARGEST).collect().await.map_err(|e| {
            if e.is::<LengthLimitError>() {
                HttpError::TooLarge
            } else {
                HttpError::Failed(e)
            }
        })?;
        Ok(HttpResponse::from_parts(parts, body.to_bytes().to_vec()))
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("no answer in time"),
            Self::TooLarge => f.write_str("an answer that is too large"),
            Self::Failed(error) => {
                let causes = std::iter::successors(error.source(), |cause| cause.source());
                write!(f, "{error}")?;
                causes
                    .into_iter()
                    .try_for_each(|cause| write!(f, ": {cause}"))
            }
        }
    }
}

impl std::error::Error for HttpError {}
