//! Row-level security, real and simulated: `examples/sql/{row_level_security,security_invoker,simulated_row_level_security}.sql`
//! with the tokens of persons in two tenants, and what is open where a line of that SQL is missing.

mod chapter;
mod guards;
mod real;
mod simulated;

use axum::Router;
use axum::http::Method;
use axum::routing::post;
use rolescope::{Error, RoleScopedConnection};

use crate::support::proxy::within;
use crate::support::service::{self, service};
use crate::support::{Database, database};

const REAL: &str = include_str!("../../../examples/sql/row_level_security.sql");
const INVOKER: &str = include_str!("../../../examples/sql/security_invoker.sql");
const SIMULATED: &str = include_str!("../../../examples/sql/simulated_row_level_security.sql");

/// Projects of two persons of `acme` and one of `umbrella`, each with a private and a shared one, and a task.
const PROJECTS: &str = "
    INSERT INTO projects (tenant, owner, slug, shared) VALUES
        ('acme', 'alice', 'a1', false), ('acme', 'alice', 'a2', true),
        ('acme', 'bob', 'b1', false), ('acme', 'bob', 'b2', true),
        ('umbrella', 'eve', 'e1', false), ('umbrella', 'eve', 'e2', true);
    INSERT INTO tasks (tenant, project, title) SELECT tenant, id, slug || '-task' FROM projects ORDER BY id;";

/// Notes of the same persons, and one member of the staff of each tenant.
const NOTES: &str = "
    INSERT INTO private.notes (tenant, owner, slug, body) VALUES
        ('acme', 'alice', 'n1', 'of alice'), ('acme', 'bob', 'n1', 'secret of bob'), ('umbrella', 'eve', 'n1', 'secret of eve');
    INSERT INTO private.people (tenant, name) VALUES ('acme', 'ann'), ('umbrella', 'secret una');
    INSERT INTO private.salaries VALUES (1, 100), (2, 666);
    REFRESH MATERIALIZED VIEW private.payroll;";

/// Functions that any role may call, and that PostgreSQL calls first because they are cheap. They tell what they see of others.
/// Statistics, so that the plans are those of a database in use: no index for two rows.
const CHEAP: &str = "
    CREATE FUNCTION cheap(seen text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$
    BEGIN
        IF seen ~ '^(b1|e|secret)' THEN RAISE EXCEPTION 'seen: %', seen; END IF;
        RETURN true;
    END $$;
    CREATE FUNCTION cheap(seen bigint) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$
    BEGIN
        IF seen = 666 THEN RAISE EXCEPTION 'seen: %', seen; END IF;
        RETURN true;
    END $$;
    ANALYZE;";

const ALICE: Option<&str> = Some(r#"{"role":"web_user","tenant":"acme","sub":"alice"}"#);
const BOB: Option<&str> = Some(r#"{"role":"web_user","tenant":"acme","sub":"bob"}"#);
const EVE: Option<&str> = Some(r#"{"role":"web_user","tenant":"umbrella","sub":"eve"}"#);
/// Somebody whose token names no tenant.
const NOBODY: Option<&str> = Some(r#"{"role":"web_user","sub":"alice"}"#);
const AUDITOR: Option<&str> = Some(r#"{"role":"user_role","tenant":"acme","sub":"alice"}"#);
const ANONYMOUS: Option<&str> = None;

/// What stands between statements of one request.
const THEN: &str = ";;";

/// Names its roles. Roles belong to the whole server, and tests share it: the owner is named after the database.
fn named(sql: &str, database: &Database) -> String {
    let owner = format!("owner_of_{}", database.name());
    sql.replace(r#":"owner""#, &owner)
        .replace(r#":"anon""#, "anon")
        .replace(r#":"web_user""#, "web_user")
        .replace(r#":"auditor""#, "user_role")
}

/// A service on a database, that runs what it is sent and keeps nothing of it.
struct Tenants {
    database: Database,
    app: Router,
}

impl Tenants {
    async fn new(sql: &[&str]) -> Self {
        let database = database().await;
        for sql in sql {
            database.execute(&named(sql, &database)).await;
        }
        let pool = database.pool_builder().max_size(2).check_tables(false);
        let pool = pool.build().await.expect("the pool is built");
        let app = service(&pool, Router::new().route("/", post(run_and_roll_back)));
        Self { database, app }
    }

    /// Runs statements, apart by [`THEN`], in one transaction that is rolled back. Returns the first column of the last one,
    /// or how it was refused.
    async fn ask(&self, claims: Option<&str>, sql: &str) -> String {
        let token = claims.map(|claims| format!("Bearer {}", service::token(claims)));
        let mut request = service::request(Method::POST, "/", token.as_deref().as_slice());
        *request.body_mut() = sql.to_owned().into();
        let reply = within(service::send(&self.app, request)).await;
        match reply.error.as_ref() {
            None => reply.ok(),
            Some(error) => {
                let error = error
                    .as_db_error()
                    .unwrap_or_else(|| panic!("{sql}: {error}"));
                let detail = error.detail().map(|detail| format!("; {detail}"));
                let (code, detail) = (error.code().code(), detail.unwrap_or_default());
                format!("{code} {}{detail}", error.message())
            }
        }
    }

    /// Runs rows of who asks what, with what is answered: rows in full, a refusal by how it begins.
    async fn check(&self, rows: &[(Option<&str>, &str, &str)]) {
        for (claims, sql, expected) in rows {
            let found = self.ask(*claims, sql).await;
            assert!(
                is(&found, expected),
                "{claims:?}: {sql}\n{found:?}, not {expected:?}"
            );
        }
    }

    async fn version(&self) -> i32 {
        let version = "SELECT current_setting('server_version_num')::int / 10000";
        let admin = self.database.admin().await;
        admin
            .query_one_scalar(version, &[])
            .await
            .expect("a number")
    }
}

/// Whether something was answered so.
fn is(found: &str, expected: &str) -> bool {
    // It begins with an SQLSTATE, as no row here does.
    let is_refusal = expected.len() >= 5
        && expected[..5]
            .bytes()
            .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
    match is_refusal {
        true => found.starts_with(expected),
        false => found == expected,
    }
}

async fn run_and_roll_back(db: RoleScopedConnection, sql: String) -> Result<String, Error> {
    let mut rows = Vec::new();
    for statement in sql.split(THEN) {
        rows = db.query(statement, &[]).await?;
    }
    let column: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    db.rollback().await?;
    Ok(column.join(", "))
}

/// Replaces a piece of SQL that stands in it so often.
fn without(sql: &str, times: usize, piece: &str, other: &str) -> String {
    assert_eq!(sql.matches(piece).count(), times, "{piece}");
    sql.replace(piece, other)
}
