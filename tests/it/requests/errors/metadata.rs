//! A privilege that a stranger lacks is answered by asking for a token, and by saying where tokens are to be had.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use rolescope::{Error, ErrorKind, RoleScopeLayer, RoleScopedConnection};
use tower::ServiceExt;

use crate::support;
use crate::support::service;

#[tokio::test]
async fn a_denied_stranger_is_told_where_tokens_are_to_be_had() {
    let database = support::database().await;
    database.execute("CREATE TABLE for_nobody ()").await;
    let handler = async |db: RoleScopedConnection| -> Result<(), Error> {
        db.query("SELECT FROM for_nobody", &[]).await.map(drop)
    };
    let auth = service::auth().resource_metadata("https://api.example/metadata");
    let app = Router::new()
        .route("/", get(handler))
        .layer(RoleScopeLayer::new(database.pool().await))
        .layer(auth.expect("it is a URL"));
    let request = Request::get("/");
    let request = request.body(Body::empty()).expect("a request");
    let response = app.oneshot(request).await.expect("a response");
    let kind = response.extensions().get::<Error>().map(Error::kind);
    assert_eq!(
        (response.status().as_u16(), kind),
        (401, Some(ErrorKind::Database))
    );
    let challenge = &response.headers()["www-authenticate"];
    assert_eq!(
        challenge,
        "Bearer resource_metadata=\"https://api.example/metadata\""
    );
}
