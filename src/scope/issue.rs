//! Tokens whose claims a SQL function says.

use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::connection::{Parameters, RoleScopedConnection};
use crate::auth::jwt::json;
use crate::error::{Error, ErrorKind};
use crate::issuer::{IssuedToken, TokenIssuer};
use crate::role::RoleName;

/// What comes before the handler's statement. It is evaluated once, and must have one column and one row at most.
const BEFORE: &str = "WITH call (claims) AS MATERIALIZED (SELECT (\n";

/// Whether requests can run as `named.role`: whether that is the login role, and whether this may become it. NULL where there is no
/// such role. `SET` is a way to have a role from 16 on.
macro_rules! role_checks {
    () => {
        "pg_catalog.quote_ident(role) OPERATOR(pg_catalog.=) pg_catalog.quote_ident(session_user::pg_catalog.text),
    pg_catalog.pg_has_role(session_user, CASE WHEN role OPERATOR(pg_catalog.<>) ''
        THEN pg_catalog.to_regrole(pg_catalog.quote_ident(role))::pg_catalog.oid END, CASE
        WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4 OPERATOR(pg_catalog.>=) 160000
        THEN 'SET' ELSE 'MEMBER' END)"
    };
}

/// What follows it: the type of the claims and the one below all domains, the claims, and what is to be known of their role.
/// `->>` fails where any text in the claims has an escape that it cannot decode, so it is not tried where there are escapes.
const AFTER: &str = concat!(
    "
)), issued AS MATERIALIZED (
    SELECT pg_catalog.to_json(call.claims) AS claims, call.claims IS NULL AS is_null, pg_catalog.pg_typeof(call.claims) AS type,
        pg_catalog.pg_typeof(coalesce(call.claims, NULL)) AS base
    FROM call
), named AS MATERIALIZED (
    SELECT issued.*, CASE WHEN pg_catalog.strpos(
            pg_catalog.replace(claims::pg_catalog.text, pg_catalog.repeat(pg_catalog.chr(92), 2), ''),
            pg_catalog.chr(92) OPERATOR(pg_catalog.||) 'u') OPERATOR(pg_catalog.=) 0
        THEN claims OPERATOR(pg_catalog.->>) 'role' END AS role
    FROM issued
)
SELECT t.typname::pg_catalog.text, b.typname::pg_catalog.text, b.typtype OPERATOR(pg_catalog.=) 'c', named.is_null,
    named.claims::pg_catalog.text, named.role IS NOT NULL,
    ",
    role_checks!(),
    "
FROM named
JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) named.type::pg_catalog.oid
JOIN pg_catalog.pg_type b ON b.oid OPERATOR(pg_catalog.=) named.base::pg_catalog.oid"
);

/// What is to be known of a role by itself.
const ROLE: &str = concat!(
    "SELECT ",
    role_checks!(),
    " FROM (SELECT $1::pg_catalog.text) AS named (role)"
);

/// How the name of a type of claims ends.
const SUFFIX: &str = "jwt_claims";

impl RoleScopedConnection {
    /// Runs a statement that returns claims, as the request's role, and issues a token with them.
    ///
    /// The statement is a SELECT of one column: `SELECT login($1, $2)`. The name of its type ends in `jwt_claims`, in whatever
    /// schema: a composite type, or a domain over one. Its fields become the claims, as `to_json` writes them; fields that
    /// are NULL are left out. One of them is `role`, which later requests run as; [`TokenIssuer::issue`] says what is made of
    /// `exp` and the like, and adds what is missing.
    ///
    /// `None` is a refusal: the statement returned no row, NULL, or a row whose fields are all NULL. The transaction is as
    /// good as before, and what the function has written is stored by a [`commit`](Self::commit) only, since the answer will
    /// be a 401: a login that failed must leave its trace, or nobody limits them.
    ///
    /// It takes as many round trips as [`query_one`](Self::query_one), and one more where a text in the claims has an escape of
    /// JSON's in it, such as a control character: then the role is asked for by itself. The type's name is looked up in the
    /// statement, which is prepared once: a type that was dropped and made anew is never taken for the one before.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query); [`ErrorKind::Statement`], a 500, where
    ///
    /// - the statement has several columns or rows, or its type another name;
    /// - `role` is NULL while other fields are not, no role can have that name, it is not there, it is the role that the pool
    ///   logs in as, or was not granted to that one;
    /// - the issuer refuses the claims.
    ///
    /// # Cancel safety
    ///
    /// See [the type](Self#cancel-safety).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(
    /// #     db: rolescope::RoleScopedConnection, issuer: rolescope::issuer::TokenIssuer, email: &str, password: &str,
    /// # ) -> Result<http::Response<String>, rolescope::Error> {
    /// let token = db.issue_token(&issuer, "SELECT login($1, $2)", &[&email, &password]).await?;
    /// Ok(match token {
    ///     Some(token) => http::Response::new(token.into_string()),
    ///     None => {
    ///         // The trace of a failed login stays, though the answer is a 401.
    ///         db.commit().await?;
    ///         let mut response = http::Response::new(String::new());
    ///         *response.status_mut() = http::StatusCode::UNAUTHORIZED;
    ///         response
    ///     }
    /// })
    /// # }
    /// ```
    pub async fn issue_token(
        &self,
        issuer: &TokenIssuer,
        sql: &str,
        params: Parameters<'_>,
    ) -> Result<Option<IssuedToken>, Error> {
        let sql = format!("{BEFORE}{sql}{AFTER}");
        let row = self.query_one(&sql, params).await.map_err(explain)?;
        let Some(claims) = claims(&row)? else {
            return Ok(None);
        };
        let role = role(claims)?;
        let is_checked: bool = row.try_get(5)?;
        if is_checked {
            check_role(&role, row.try_get(6)?, row.try_get(7)?)?;
        } else {
            let row = self.query_one(ROLE, &[&role.as_str()]).await?;
            check_role(&role, row.try_get(0)?, row.try_get(1)?)?;
        }
        Ok(Some(issuer.issue_json(claims)?))
    }
}

/// Returns the claims, or `None` where there are none.
fn claims(row: &Row) -> Result<Option<&str>, Error> {
    let name: &str = row.try_get(0)?;
    // Of a domain, that of the type below all domains.
    let base: &str = row.try_get(1)?;
    let is_composite: bool = row.try_get(2)?;
    if !is_composite || !(name.ends_with(SUFFIX) || base.ends_with(SUFFIX)) {
        return Err(refused(format!(
            "issue_token: the statement returns the type `{name}`, and not a composite type whose name ends in `{SUFFIX}`: \
             say `SELECT login(..)` with a function that RETURNS such a type"
        )));
    }
    let is_null: bool = row.try_get(3)?;
    Ok(if is_null { None } else { row.try_get(4)? })
}

/// Returns the role that requests with these claims would run as.
fn role(claims: &str) -> Result<RoleName, Error> {
    let members = json::object(claims).unwrap_or_default();
    let role = json::find(&members, "role").and_then(json::string);
    let role = role.ok_or_else(|| {
        refused(
            "issue_token: the claims have no `role`, or it is NULL or no text: the function must say which role requests with \
             the token run as, or return NULL to refuse",
        )
    })?;
    RoleName::parse(&role).map_err(|error| {
        refused(format!(
            "issue_token: the claim `role` names no role: {error}"
        ))
    })
}

fn check_role(
    role: &RoleName,
    is_login: Option<bool>,
    may_become: Option<bool>,
) -> Result<(), Error> {
    let why = match (is_login, may_become) {
        (Some(true), _) => "is the one that the pool logs in as, and no request may run as it",
        (_, None) => "does not exist: names are case-sensitive there",
        (_, Some(false)) => "was not granted to the role that the pool logs in as: GRANT it",
        (_, Some(true)) => return Ok(()),
    };
    Err(refused(format!(
        "issue_token: the role \"{role}\" in the claims {why}"
    )))
}

/// What PostgreSQL says of a statement that is not one column, or of several rows, is about what surrounds it here.
fn explain(error: Error) -> Error {
    // It comes from within the function.
    if error
        .as_db_error()
        .is_some_and(|error| error.where_().is_some())
    {
        return error;
    }
    let message = match error.code() {
        Some(code) if *code == SqlState::CARDINALITY_VIOLATION => {
            "issue_token: the statement returned several rows, and one row is one token"
        }
        Some(code) if *code == SqlState::SYNTAX_ERROR => {
            "issue_token: the statement is not a SELECT of one column: say `SELECT login(..)`, not `SELECT * FROM login(..)`, \
             and without a semicolon"
        }
        _ => return error,
    };
    Error::with_source(ErrorKind::Statement, message, error)
}

fn refused(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Statement, message)
}
