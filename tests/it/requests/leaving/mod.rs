//! Requests that nobody waits for any more, at any moment, and what they leave to the next.

mod polls;
mod sockets;
mod storm;

use rolescope::{Error, RoleName, RoleScope, RoleScopedConnection, RoleScopedPool};

use crate::support::Database;

/// All that a request can leave on a session, as the first statement of the next one sees it.
const TRACES: &str = "
    SELECT concat_ws(' ', current_user, current_setting('request.jwt.claims'),
        nullif(current_setting('app.kept', true), ''),
        nullif(current_setting('search_path'), '\"$user\", public'),
        (SELECT string_agg(objid::text, ',') FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
        (SELECT string_agg(name, ',') FROM pg_cursors WHERE name <> ''),
        (SELECT string_agg(c, ',') FROM pg_listening_channels() c),
        (SELECT string_agg(relname, ',') FROM pg_class WHERE relnamespace = pg_my_temp_schema()),
        (SELECT string_agg(name, ',') FROM pg_prepared_statements WHERE from_sql AND name <> 'rolescope_end'))";

/// Leaves what [`TRACES`] shows.
const LEAVE_TRACES: &str = "
    SET app.kept = 'kept'; SET search_path = public, pg_temp; SELECT pg_advisory_lock_shared(7);
    DECLARE held CURSOR WITH HOLD FOR SELECT 1; LISTEN heard; CREATE TEMPORARY TABLE temporary (x int)";

async fn traces(db: &RoleScopedConnection) -> Result<String, Error> {
    db.query_one_scalar(TRACES, &[]).await
}

fn begin(pool: &RoleScopedPool, role: &str) -> RoleScopedConnection {
    pool.begin(&RoleScope::for_role(
        RoleName::parse(role).expect("a good name"),
    ))
}

/// Says that whoever comes next, another role, sees nothing of the last request.
async fn next_is_clean(pool: &RoleScopedPool, after: &str) {
    let seen = traces(&begin(pool, "anon")).await;
    let seen = seen.unwrap_or_else(|error| panic!("{after}: {error:?}"));
    assert_eq!(seen, r#"anon {"role":"anon"}"#, "{after}");
}

/// Lets `web_user` make temporary tables.
async fn grant_temporary(database: &Database) {
    let name = database.name();
    let grant = format!("GRANT TEMPORARY ON DATABASE {name} TO web_user, author, jdoe123");
    database.execute(&grant).await;
}
