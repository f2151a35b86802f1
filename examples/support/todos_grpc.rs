//! `todos.proto` in Rust, as short as it can be by hand. In a service of yours `tonic-prost-build` generates all of this,
//! and needs `protoc` for it.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use http::uri::PathAndQuery;
use tonic::body::Body;
use tonic::client;
use tonic::server::{Grpc, NamedService};
use tonic::transport::Channel;
use tonic::{IntoStreamingRequest, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ListRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct NewTodo {
    #[prost(string, tag = "1")]
    pub(crate) task: String,
    #[prost(string, optional, tag = "2")]
    pub(crate) owner: Option<String>,
    #[prost(bool, tag = "3")]
    pub(crate) public: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Todo {
    #[prost(int64, tag = "1")]
    pub(crate) id: i64,
    #[prost(string, tag = "2")]
    pub(crate) owner: String,
    #[prost(string, tag = "3")]
    pub(crate) task: String,
    #[prost(bool, tag = "4")]
    pub(crate) public: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Added {
    #[prost(int64, tag = "1")]
    pub(crate) count: i64,
}

pub(crate) const LIST: &str = "/todos.Todos/List";
pub(crate) const ADD: &str = "/todos.Todos/Add";
pub(crate) const ADD_ALL: &str = "/todos.Todos/AddAll";
pub(crate) const ADD_EACH: &str = "/todos.Todos/AddEach";

/// The stream of a response.
pub(crate) type Todos = BoxStream<'static, Result<Todo, Status>>;

/// What the server does.
pub(crate) trait TodosService: Send + Sync + 'static {
    fn list(
        &self,
        request: Request<ListRequest>,
    ) -> impl Future<Output = Result<Response<Todos>, Status>> + Send;

    fn add(
        &self,
        request: Request<NewTodo>,
    ) -> impl Future<Output = Result<Response<Todo>, Status>> + Send;

    fn add_all(
        &self,
        request: Request<Streaming<NewTodo>>,
    ) -> impl Future<Output = Result<Response<Added>, Status>> + Send;

    fn add_each(
        &self,
        request: Request<Streaming<NewTodo>>,
    ) -> impl Future<Output = Result<Response<Todos>, Status>> + Send;
}

/// Finds the function of a request.
#[derive(Debug)]
pub(crate) struct TodosServer<T>(Arc<T>);

impl<T> TodosServer<T> {
    pub(crate) fn new(service: T) -> Self {
        Self(Arc::new(service))
    }
}

impl<T> Clone for TodosServer<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> NamedService for TodosServer<T> {
    const NAME: &'static str = "todos.Todos";
}

/// Makes a function of the service into one that tonic can call.
macro_rules! method {
    ($server:expr, $name:ident) => {{
        let service = Arc::clone(&$server);
        service_fn(move |request| {
            let service = Arc::clone(&service);
            async move { service.$name(request).await }
        })
    }};
}

impl<T: TodosService> Service<http::Request<Body>> for TodosServer<T> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let server = Arc::clone(&self.0);
        Box::pin(async move {
            let response = match request.uri().path() {
                LIST => {
                    let mut grpc = Grpc::new(ProstCodec::default());
                    grpc.server_streaming(method!(server, list), request).await
                }
                ADD => {
                    let mut grpc = Grpc::new(ProstCodec::default());
                    grpc.unary(method!(server, add), request).await
                }
                ADD_ALL => {
                    let mut grpc = Grpc::new(ProstCodec::default());
                    grpc.client_streaming(method!(server, add_all), request)
                        .await
                }
                ADD_EACH => {
                    let mut grpc = Grpc::new(ProstCodec::default());
                    grpc.streaming(method!(server, add_each), request).await
                }
                _ => Status::unimplemented("no such method").into_http(),
            };
            Ok(response)
        })
    }
}

/// Calls the server.
#[derive(Clone, Debug)]
pub(crate) struct TodosClient(client::Grpc<Channel>);

impl TodosClient {
    pub(crate) fn new(channel: Channel) -> Self {
        Self(client::Grpc::new(channel))
    }

    async fn ready(&mut self) -> Result<&mut client::Grpc<Channel>, Status> {
        let ready = self.0.ready().await;
        ready.map_err(|e| Status::unavailable(e.to_string()))?;
        Ok(&mut self.0)
    }

    pub(crate) async fn list(
        &mut self,
        request: Request<ListRequest>,
    ) -> Result<Response<Streaming<Todo>>, Status> {
        let path = PathAndQuery::from_static(LIST);
        let grpc = self.ready().await?;
        grpc.server_streaming(request, path, ProstCodec::default())
            .await
    }

    pub(crate) async fn add(
        &mut self,
        request: Request<NewTodo>,
    ) -> Result<Response<Todo>, Status> {
        let path = PathAndQuery::from_static(ADD);
        let grpc = self.ready().await?;
        grpc.unary(request, path, ProstCodec::default()).await
    }

    pub(crate) async fn add_all(
        &mut self,
        request: impl IntoStreamingRequest<Message = NewTodo>,
    ) -> Result<Response<Added>, Status> {
        let path = PathAndQuery::from_static(ADD_ALL);
        let grpc = self.ready().await?;
        grpc.client_streaming(
            request.into_streaming_request(),
            path,
            ProstCodec::default(),
        )
        .await
    }

    pub(crate) async fn add_each(
        &mut self,
        request: impl IntoStreamingRequest<Message = NewTodo>,
    ) -> Result<Response<Streaming<Todo>>, Status> {
        let path = PathAndQuery::from_static(ADD_EACH);
        let grpc = self.ready().await?;
        grpc.streaming(
            request.into_streaming_request(),
            path,
            ProstCodec::default(),
        )
        .await
    }
}
