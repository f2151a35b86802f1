//! Who sends the request: a tower service of the user's, without its types.

use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;

use bytes::{Buf, Bytes};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Body;
use tower::Service;

pub(super) type BoxError = Box<dyn StdError + Send + Sync>;
pub(super) type Answer = Response<UnsyncBoxBody<Bytes, BodyError>>;
pub(super) type Answering = Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>>;

/// A box by itself is no error that a box could be made of.
#[derive(Debug)]
pub(super) struct BodyError(BoxError);

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for BodyError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

pub(super) trait Client: Send + Sync {
    fn send(&self, request: Request<Empty<Bytes>>) -> Answering;
}

pub(super) struct OfService<S>(pub(super) S);

impl<S, B> Client for OfService<S>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    fn send(&self, request: Request<Empty<Bytes>>) -> Answering {
        let mut service = self.0.clone();
        Box::pin(async move {
            poll_fn(|cx| service.poll_ready(cx))
                .await
                .map_err(Into::into)?;
            let response = service.call(request).await.map_err(Into::into)?;
            Ok(response.map(|body| {
                let whole = |mut data: B::Data| data.copy_to_bytes(data.remaining());
                body.map_frame(move |frame| frame.map_data(whole))
                    .map_err(|error| BodyError(error.into()))
                    .boxed_unsync()
            }))
        })
    }
}

/// All that an error says, from the outermost on.
pub(super) fn reasons(error: &BoxError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(reason) = source {
        let said = reason.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = reason.source();
    }
    text
}
