//! gRPC methods as closures from text to text, behind a socket, and a client that calls them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::http::{self, Request as HttpRequest, Response as HttpResponse};
use axum::routing::future::RouteFuture;
use futures_util::stream::{BoxStream, Stream};
use http::uri::PathAndQuery;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rolescope::RoleScopedConnection;
use tokio::net::TcpListener;
use tonic::client;
use tonic::metadata::MetadataValue;
use tonic::server::{Grpc, NamedService};
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tonic_web::GrpcWebClientLayer;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

use super::service::token;

pub(crate) type Answers = BoxStream<'static, Result<String, Status>>;

/// The methods of a service. Each message is a `google.protobuf.StringValue`.
#[derive(Clone, Default)]
pub(crate) struct Methods(Router);

impl From<Router> for Methods {
    fn from(router: Router) -> Self {
        Self(router)
    }
}

macro_rules! kind {
    ($(#[$doc:meta])* $name:ident, $request:ty, $response:ty) => {
        $(#[$doc])*
        pub(crate) fn $name<H, F>(self, path: &'static str, handler: H) -> Self
        where
            H: Fn(RoleScopedConnection, $request) -> F + Clone + Send + Sync + 'static,
            F: Future<Output = Result<$response, Status>> + Send + 'static,
        {
            let method = service_fn(move |request: HttpRequest<Body>| {
                let handler = handler.clone();
                let handler = service_fn(move |request: Request<$request>| {
                    let db = RoleScopedConnection::from_extensions(request.extensions());
                    let handler = handler.clone();
                    async move { Ok(Response::new(handler(db?, request.into_inner()).await?)) }
                });
                async move {
                    let codec = ProstCodec::<String, String>::default();
                    let response = Grpc::new(codec).$name(handler, request).await;
                    Ok::<_, Infallible>(response)
                }
            });
            Self(self.0.route_service(path, method))
        }
    };
}

impl Methods {
    kind!(unary, String, String);
    kind!(server_streaming, String, Answers);
    kind!(client_streaming, Streaming<String>, String);
    kind!(streaming, Streaming<String>, Answers);

    /// Serves them behind layers, over HTTP/2 and HTTP/1.1, for as long as the test's runtime lives.
    pub(crate) async fn serve<L, B>(self, layers: L) -> SocketAddr
    where
        L: Layer<Routes> + Clone + Send + 'static,
        L::Service: Service<
                HttpRequest<tonic::body::Body>,
                Response = HttpResponse<B>,
                Error = Infallible,
                Future: Send,
            > + Clone
            + Send
            + 'static,
        B: hyper::body::Body<Data = bytes::Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let (incoming, address) = listen().await;
        let server = Server::builder()
            .accept_http1(true)
            .layer(layers)
            .add_routes(Routes::from(self.0));
        tokio::spawn(server.serve_with_incoming(incoming));
        address
    }
}

impl NamedService for Methods {
    const NAME: &'static str = "t.T";
}

impl Service<HttpRequest<tonic::body::Body>> for Methods {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<tonic::body::Body>) -> Self::Future {
        self.0.call(request)
    }
}

pub(crate) async fn listen() -> (TcpIncoming, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    (TcpIncoming::from(listener), address)
}

/// Calls methods, with a token where it has claims.
#[derive(Clone)]
pub(crate) struct Caller {
    client: client::Grpc<Transport>,
    authorization: Option<String>,
}

type Transport =
    BoxCloneSyncService<HttpRequest<Outgoing>, HttpResponse<tonic::body::Body>, BoxError>;
type Outgoing = tonic::body::Body;

impl Caller {
    /// A client of gRPC.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let channel = Channel::from_shared(format!("http://{address}")).expect("a URL");
        let channel = channel.connect().await.expect("it listens");
        Self::over(address, channel.map_err(BoxError::from))
    }

    /// A client of gRPC-Web, over HTTP/1.1.
    pub(crate) fn web(address: SocketAddr) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let web = GrpcWebClientLayer::new().layer(client);
        let web = web.map_response(|response: HttpResponse<_>| response.map(Outgoing::new));
        Self::over(address, web.map_err(BoxError::from))
    }

    fn over<S>(address: SocketAddr, transport: S) -> Self
    where
        S: Service<
                HttpRequest<Outgoing>,
                Response = HttpResponse<Outgoing>,
                Error = BoxError,
                Future: Send,
            > + Clone
            + Send
            + Sync
            + 'static,
    {
        let origin = format!("http://{address}").parse().expect("a URL");
        Self {
            client: client::Grpc::with_origin(BoxCloneSyncService::new(transport), origin),
            authorization: None,
        }
    }

    pub(crate) fn claiming(&self, claims: &str) -> Self {
        self.saying(&format!("Bearer {}", token(claims)))
    }

    /// With this in the header `Authorization`.
    pub(crate) fn saying(&self, authorization: &str) -> Self {
        Self {
            client: self.client.clone(),
            authorization: Some(authorization.to_owned()),
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(value) = &self.authorization {
            let value = MetadataValue::try_from(value).expect("it can be a header");
            request.metadata_mut().insert("authorization", value);
        }
        request
    }

    async fn ready(&self) -> client::Grpc<Transport> {
        let mut client = self.client.clone();
        client.ready().await.expect("it is connected");
        client
    }

    pub(crate) async fn unary(&self, path: &'static str, message: &str) -> Result<String, Status> {
        let request = self.request(message.to_owned());
        self.send(path, request).await
    }

    /// Sends a request as it is.
    pub(crate) async fn send(
        &self,
        path: &'static str,
        request: Request<String>,
    ) -> Result<String, Status> {
        let path = PathAndQuery::from_static(path);
        let codec = ProstCodec::<String, String>::default();
        let response = self.ready().await.unary(request, path, codec).await?;
        Ok(response.into_inner())
    }

    pub(crate) async fn client_streaming(
        &self,
        path: &'static str,
        messages: impl Stream<Item = String> + Send + 'static,
    ) -> Result<String, Status> {
        let request = self.request(messages);
        let path = PathAndQuery::from_static(path);
        let codec = ProstCodec::<String, String>::default();
        let mut client = self.ready().await;
        let response = client.client_streaming(request, path, codec).await?;
        Ok(response.into_inner())
    }

    /// Calls a method that answers with a stream, with one message or several.
    pub(crate) async fn streaming(
        &self,
        path: &'static str,
        messages: impl Stream<Item = String> + Send + 'static,
    ) -> Result<Streaming<String>, Status> {
        let request = self.request(messages);
        let path = PathAndQuery::from_static(path);
        let codec = ProstCodec::<String, String>::default();
        let response = self.ready().await.streaming(request, path, codec).await?;
        Ok(response.into_inner())
    }
}
