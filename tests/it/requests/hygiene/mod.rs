//! What a request leaves on its session, the next one, of another role, neither sees nor inherits: one row for each thing,
//! done in every way that the API has.

mod later;
mod planted;
mod rows;
mod ways;

use rolescope::{RoleName, RoleScope, RoleScopedConnection, RoleScopedPool};

use crate::support::{Database, database};

pub(super) fn scope(role: &str) -> RoleScope {
    RoleScope::for_role(RoleName::parse(role).expect("a good name"))
}

/// All that a session can carry over, from the server's own views: what no row of the table names shows too.
///
/// A function, since `lastval()` can only be asked for where its error can be caught.
const TRACES: &str = "
    CREATE FUNCTION traces() RETURNS text LANGUAGE plpgsql AS $$
    DECLARE
        last text := 'none';
        current text := 'none';
    BEGIN
        BEGIN last := lastval(); EXCEPTION WHEN object_not_in_prerequisite_state THEN END;
        BEGIN current := currval('public.numbers'); EXCEPTION WHEN object_not_in_prerequisite_state THEN END;
        RETURN concat_ws(E'\\n',
            'login ' || session_user,
            'sequences ' || last || ' ' || current,
            'custom settings ' || concat_ws(', ', nullif(current_setting('app.kept', true), ''),
                nullif(current_setting('request.jwt.claims', true), ''),
                nullif(current_setting('request.jwt.claim.sub', true), ''),
                nullif(current_setting('request.headers', true), '')),
            'settings ' || (SELECT string_agg(concat_ws('=', name, setting, reset_val), ' ' ORDER BY name)
                FROM pg_settings WHERE source NOT IN ('default', 'configuration file', 'command line', 'override')),
            'all settings ' || (SELECT md5(string_agg(concat_ws('=', name, setting, reset_val), ' ' ORDER BY name))
                FROM pg_settings),
            'prepared ' || (SELECT string_agg(name, ' ') FROM pg_prepared_statements WHERE from_sql AND name <> 'rolescope_end'),
            'cursors ' || (SELECT string_agg(name, ' ') FROM pg_cursors WHERE is_holdable),
            'advisory locks ' || (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
            'other locks ' || (SELECT string_agg(concat_ws(' ', locktype, relation::regclass, mode), ', ' ORDER BY relation)
                FROM pg_locks WHERE pid = pg_backend_pid() AND mode ~ 'Exclusive' AND locktype <> 'virtualxid'),
            'channels ' || (SELECT string_agg(channel, ' ') FROM pg_listening_channels() AS channel),
            'temporary objects ' || (SELECT count(*) FROM pg_depend
                WHERE refclassid = 'pg_namespace'::regclass AND refobjid = pg_my_temp_schema()));
    END $$;";

/// A database in which requests may leave as much as roles can be let to.
async fn permissive() -> Database {
    let database = database().await;
    let name = database.name();
    let sql = format!(
        "GRANT TEMPORARY ON DATABASE {name} TO PUBLIC;
         CREATE SCHEMA other; GRANT USAGE, CREATE ON SCHEMA other TO PUBLIC;
         CREATE SEQUENCE numbers; GRANT ALL ON numbers TO PUBLIC;
         CREATE TABLE t (x int); GRANT ALL ON t TO PUBLIC; INSERT INTO t VALUES (1);
         {TRACES}"
    );
    database.execute(&sql).await;
    database
}

async fn traces_of(db: &RoleScopedConnection) -> String {
    db.query_typed_one("SELECT public.traces()", &[])
        .await
        .expect("the traces can be read")
        .get(0)
}

/// What the next request finds, with its backend: one of another role, which reads and writes.
async fn next(pool: &RoleScopedPool) -> (String, i32) {
    let db = pool.begin(&scope("author"));
    let found = traces_of(&db).await;
    let process = db
        .query_one_scalar("SELECT pg_backend_pid() WHERE current_user = 'author'", &[])
        .await
        .expect("it is the role that it should be");
    db.execute("INSERT INTO t VALUES (2)", &[])
        .await
        .expect("it may write");
    db.rollback().await.expect("it is rolled back");
    (found, process)
}

/// What is there while no transaction of a request runs, with the role that the session rests in. The session is closed
/// after that.
async fn at_rest(pool: &RoleScopedPool) -> String {
    let db = pool.begin(&scope("author"));
    db.batch_execute("COMMIT").await.expect("it runs");
    let role: String = db
        .query_one_scalar("SELECT current_user::text", &[])
        .await
        .expect("it runs");
    format!("rests as {role}\n{}", traces_of(&db).await)
}
