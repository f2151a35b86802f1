//! Connections that have their statements prepared when they are made.

use bb8_postgres::{PostgresConnectionManager, bb8};
use tokio_postgres::{Client, Error, NoTls, Statement};

use crate::database::{LIST, SET};

pub(super) const SWITCH: &str = "\
    SELECT set_config('role', $1, true), set_config('request.jwt.claims', $2, true), \
           set_config('request.method', $3, true), set_config('request.path', $4, true)";

pub(super) type Pool = bb8::Pool<Manager>;

pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) switch: Statement,
    pub(super) list: Statement,
    pub(super) set: Statement,
}

pub(super) struct Manager {
    inner: PostgresConnectionManager<NoTls>,
    /// SQL that each session starts with.
    start: String,
}

impl bb8::ManageConnection for Manager {
    type Connection = Connection;
    type Error = Error;

    async fn connect(&self) -> Result<Connection, Error> {
        let client = self.inner.connect().await?;
        client.batch_execute(&self.start).await?;
        Ok(Connection {
            switch: client.prepare(SWITCH).await?,
            list: client.prepare(LIST).await?,
            set: client.prepare(SET).await?,
            client,
        })
    }

    async fn is_valid(&self, connection: &mut Connection) -> Result<(), Error> {
        self.inner.is_valid(&mut connection.client).await
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        self.inner.has_broken(&mut connection.client)
    }
}

/// A pool that does not ask a connection whether it is still there: its next statement tells.
pub(super) async fn pool(url: &str, start: String, size: u32) -> Result<Pool, String> {
    let inner =
        PostgresConnectionManager::new_from_stringlike(url, NoTls).map_err(|e| e.to_string())?;
    bb8::Pool::builder()
        .max_size(size)
        .test_on_check_out(false)
        .build(Manager { inner, start })
        .await
        .map_err(|e| e.to_string())
}
