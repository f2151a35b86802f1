//! What a role may see and do.

use serde::Serialize;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSqlOwned, ToSql};

use crate::error::Error;
use crate::role::{RoleName, RoleScope};
use crate::scope::{RoleScopedConnection, RoleScopedPool};

type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Starts what runs statements as `role`, as a request with a token of that role would. See [`AsRole`].
///
/// # Panics
///
/// No role can have that name.
pub fn as_role(pool: &RoleScopedPool, role: &str) -> AsRole {
    let role = RoleName::parse(role).unwrap_or_else(|error| panic!("{error}"));
    AsRole {
        pool: pool.clone(),
        scope: RoleScope::for_role(role),
    }
}

/// Runs statements as a role, each in a transaction of its own that is always rolled back.
///
/// Policies read the claims that it was given, to which `role` is added where they do not have it. Several statements in one
/// transaction are for [`rolled_back`](Self::rolled_back).
///
/// # Examples
///
/// ```no_run
/// # async fn example(pool: rolescope::RoleScopedPool) {
/// use rolescope::testing::as_role;
/// use serde_json::json;
///
/// let alice = as_role(&pool, "web_user").claims(json!({ "sub": "alice" }));
/// let tasks: Vec<String> = alice.sees("SELECT task FROM todos", &[]).await;
/// assert_eq!(tasks, ["water the plants"]);
/// as_role(&pool, "anon").is_denied("INSERT INTO todos (task) VALUES ('vandalize')", &[]).await;
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "it runs nothing by itself"]
pub struct AsRole {
    pool: RoleScopedPool,
    scope: RoleScope,
}

impl AsRole {
    /// Sets the claims: whatever serializes to a JSON object.
    ///
    /// # Panics
    ///
    /// They are not ones that a token could have: see [`RoleScope::with_claims`].
    pub fn claims(mut self, claims: impl Serialize) -> Self {
        let mut claims = serde_json::to_value(claims).expect("claims can be serialized");
        if let Value::Object(claims) = &mut claims {
            let role = self.scope.role().as_str();
            claims.entry("role").or_insert(role.into());
        }
        let scope = self.scope.with_claims(&claims.to_string());
        self.scope = scope.unwrap_or_else(|error| panic!("{error}: {claims}"));
        self
    }

    /// Returns the rows of a query, or its error.
    ///
    /// # Errors
    ///
    /// Those of [`RoleScopedConnection::query`].
    ///
    /// # Cancel safety
    ///
    /// What was begun is rolled back.
    pub async fn query(&self, sql: &str, params: Parameters<'_>) -> Result<Vec<Row>, Error> {
        self.rolled_back(async |db| db.query(sql, params).await)
            .await
    }

    /// Returns the first column of what the role sees.
    ///
    /// # Panics
    ///
    /// The query fails.
    ///
    /// # Cancel safety
    ///
    /// What was begun is rolled back.
    pub async fn sees<T: FromSqlOwned>(&self, sql: &str, params: Parameters<'_>) -> Vec<T> {
        let rows = self
            .rolled_back(async |db| db.query_scalar(sql, params).await)
            .await;
        rows.unwrap_or_else(|error| self.fail(sql, &error))
    }

    /// Returns how many rows the role changes.
    ///
    /// # Panics
    ///
    /// The statement fails.
    ///
    /// # Cancel safety
    ///
    /// What was begun is rolled back.
    pub async fn changes(&self, sql: &str, params: Parameters<'_>) -> u64 {
        let changed = self
            .rolled_back(async |db| db.execute(sql, params).await)
            .await;
        changed.unwrap_or_else(|error| self.fail(sql, &error))
    }

    /// Sees to it that PostgreSQL denies the statement: a privilege is missing, or a policy is not satisfied (SQLSTATE 42501).
    ///
    /// A policy that only hides rows denies nothing: for that see what [`sees`](Self::sees) and [`changes`](Self::changes) do
    /// not return.
    ///
    /// # Panics
    ///
    /// It is not denied, or fails for another reason.
    ///
    /// # Cancel safety
    ///
    /// What was begun is rolled back.
    pub async fn is_denied(&self, sql: &str, params: Parameters<'_>) {
        let role = self.scope.role();
        let done = self
            .rolled_back(async |db| db.execute(sql, params).await)
            .await;
        match done {
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {}
            Err(error) => self.fail(sql, &error),
            Ok(rows) => panic!("{role} may do this, to {rows} rows: {sql}"),
        }
    }

    /// Runs what `work` does in one transaction, which is rolled back.
    ///
    /// # Panics
    ///
    /// The transaction cannot be rolled back.
    ///
    /// # Cancel safety
    ///
    /// What was begun is rolled back.
    pub async fn rolled_back<T>(&self, work: impl AsyncFnOnce(&RoleScopedConnection) -> T) -> T {
        let db = self.pool.begin(&self.scope);
        let result = work(&db).await;
        if let Err(error) = db.rollback().await {
            panic!("it cannot be rolled back: {error}");
        }
        result
    }

    fn fail(&self, sql: &str, error: &Error) -> ! {
        let role = self.scope.role();
        let cause = error.as_db_error().map(ToString::to_string);
        let cause = cause.unwrap_or_else(|| error.to_string());
        panic!("as {role}: {cause}: {sql}")
    }
}
