//! Looks at what requests may reach: is it protected by row-level security?

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::setup::{SetupProblem, SetupProblemKind as Kind};

/// One query, so that all of it is of one moment. The catalogs are readable for every role.
const FIND: &str = include_str!("tables.sql");

/// Finds what is wrong with tables, views and functions, sorted by kind and name.
pub(super) async fn problems(
    client: &Client,
    becoming: &str,
    version: i32,
) -> Result<Vec<SetupProblem>, tokio_postgres::Error> {
    let rows = client.query_typed(FIND, &[(&becoming, Type::TEXT)]).await?;
    rows.iter()
        .map(|row| {
            let name: &str = row.try_get(1)?;
            let roles: Option<&str> = row.try_get(2)?;
            let (kind, text) = said(row.try_get(0)?, name, roles.unwrap_or_default(), version);
            Ok(SetupProblem::new(kind, name, text))
        })
        .collect()
}

/// What a finding is called, and how it is cured.
fn said(found: i32, name: &str, roles: &str, version: i32) -> (Kind, String) {
    let revoke = format!("REVOKE ALL ON {name} FROM {roles};");
    match found {
        1 => (
            Kind::RlsWithoutPolicies,
            format!(
                "{name} is granted to {roles} and has row-level security, but no policy, so that they see nothing: \
                 CREATE POLICY .. ON {name} ..; or {revoke}"
            ),
        ),
        2 => (
            Kind::PoliciesWithoutRls,
            format!(
                "{name} has policies that do not count, since row-level security is not enabled: \
                 ALTER TABLE {name} ENABLE ROW LEVEL SECURITY;"
            ),
        ),
        3 => (
            Kind::OwnerNotForced,
            format!(
                "{name} belongs to {roles}, whose rights requests may have, and policies do not bind an owner: \
                 ALTER TABLE {name} FORCE ROW LEVEL SECURITY; or ALTER TABLE {name} OWNER TO another role"
            ),
        ),
        4 => (
            Kind::TableWithoutRls,
            format!(
                "{name} is granted to {roles} and has no row-level security, so that they see every row: \
                 ALTER TABLE {name} ENABLE ROW LEVEL SECURITY; and a policy, or {revoke}"
            ),
        ),
        5 => (
            Kind::TableWithoutRls,
            format!(
                "{name} is granted to {roles} and a foreign table, which cannot have row-level security: {revoke}"
            ),
        ),
        6 if version >= 150_000 => (
            Kind::ViewBypassesRls,
            format!(
                "the view {name}, granted to {roles}, shows what its owner may see of tables with row-level security: \
                 ALTER VIEW {name} SET (security_invoker = true); or {revoke}"
            ),
        ),
        6 => (
            Kind::ViewBypassesRls,
            format!(
                "the view {name}, granted to {roles}, shows what its owner may see of tables with row-level security, \
                 and PostgreSQL 14 has no security_invoker: {revoke}"
            ),
        ),
        7 => (
            Kind::ViewBypassesRls,
            format!(
                "the materialized view {name}, granted to {roles}, shows rows of tables with row-level security, \
                 and cannot have any itself: {revoke}"
            ),
        ),
        8 => (
            Kind::TruncateGranted,
            format!(
                "{name} has row-level security, which TRUNCATE does not obey, and {roles} may TRUNCATE it: \
                 REVOKE TRUNCATE ON {name} FROM {roles};"
            ),
        ),
        _ => (
            Kind::DefinerWithoutSearchPath,
            format!(
                "{name} is SECURITY DEFINER, and whoever calls it chooses its search_path: \
                 ALTER ROUTINE {name} SET search_path = {roles}, pg_temp;"
            ),
        ),
    }
}
