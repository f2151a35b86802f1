//! What a handler's statements run as, and what they can read.

use axum::Router;
use axum::routing::get;
use rolescope::{Error, RoleScopedConnection};

use crate::support::database;
use crate::support::service::{self, post, service};

const WHO: &str = "SELECT concat_ws(' ', current_user, session_user, \
    current_setting('request.jwt.claims'), current_setting('request.method'), current_setting('request.path'), \
    current_setting('transaction_read_only'))";

async fn who(db: RoleScopedConnection) -> Result<String, Error> {
    db.query_one_scalar(WHO, &[]).await
}

fn app() -> Router {
    Router::new().route("/who", get(who).post(who))
}

#[tokio::test]
async fn a_token_runs_as_its_role_and_nobody_as_the_anonymous_one() {
    let database = database().await;
    let app = service(&database.pool().await, app());
    let claims = r#"{"role":"web_user","sub":"alice","n":12345678901234567890123}"#;
    assert_eq!(
        service::get(&app, "/who", Some(claims)).await.ok(),
        "web_user authenticator {\"exp\":4102444800,\"role\":\"web_user\",\"sub\":\"alice\",\
         \"n\":12345678901234567890123} GET /who on"
    );
    assert_eq!(
        post(&app, "/who", None).await.ok(),
        r#"anon authenticator {"role":"anon"} POST /who off"#
    );
}
