//! COPY that the server refuses before it has read any data, or that nobody can end.

use super::{SCHEMA, anon};
use crate::requests::scope::cancel::until;
use crate::support::database;
use crate::support::proxy::within;

#[tokio::test]
async fn a_copy_the_wrong_way_round_keeps_no_backend() {
    let database = database().await;
    database.execute(SCHEMA).await;
    let pool = database.pool_of_one().await;
    let db = anon(&pool);
    let error = within(db.copy_out("COPY t FROM STDIN")).await;
    error.expect_err("the server waits for data");
    drop(db);
    drop(pool);
    until(&database, "query LIKE 'COPY%'", 0).await;
}
