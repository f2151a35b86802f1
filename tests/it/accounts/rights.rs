//! What roles may do with all of it, and what they try to get more.

use super::{
    Accounts, BASIC_AUTH, PASSWORD, SESSIONS, claim, claims, login, refresh, scalar, sqlstate,
};

const ROLES: [&str; 6] = [
    "anon",
    "web_user",
    "author",
    "jdoe123",
    "not_granted",
    "resting",
];

impl Accounts {
    fn everybody(&self) -> Vec<&str> {
        let more = ["authenticator", self.mailer.as_str()];
        ROLES.into_iter().chain(more).collect()
    }
}

#[tokio::test]
async fn accounts_no_role_reads_or_writes_a_column() {
    let accounts = Accounts::new().await;
    accounts.user("alice@example.com").await;
    let admin = accounts.database.admin().await;
    let columns = admin
        .query(
            "SELECT a.attrelid::regclass::text, a.attname::text, a.attnum > 0 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
             WHERE c.relnamespace = 'basic_auth'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p', 'f') AND NOT a.attisdropped",
            &[],
        )
        .await
        .expect("it answers");
    assert!(columns.len() > 100, "{}", columns.len());
    for role in accounts.everybody() {
        let become_it = format!("SET ROLE {role}");
        admin.batch_execute(&become_it).await.expect("it may");
        for row in &columns {
            let (table, column): (&str, &str) = (row.get(0), row.get(1));
            let reading = format!("SELECT {column} FROM {table}");
            let writing = [
                format!("UPDATE {table} SET {column} = DEFAULT"),
                format!("INSERT INTO {table} ({column}) VALUES (DEFAULT)"),
                format!("COPY {table} ({column}) TO STDOUT"),
            ];
            let writing = if row.get(2) { &writing[..] } else { &[] };
            for sql in writing.iter().chain([&reading]) {
                let refused = admin.batch_execute(sql).await;
                assert_eq!(sqlstate(refused), "42501", "{role}: {sql}");
            }
        }
        admin.batch_execute("RESET ROLE").await.expect("it may");
    }
    let granted = "SELECT count(*)::text FROM pg_roles r, pg_class c
        WHERE c.relnamespace = 'basic_auth'::regnamespace AND c.relkind = 'r' AND NOT r.rolsuper AND r.oid <> c.relowner
            AND (has_table_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
                OR has_any_column_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES'))
            AND NOT pg_has_role(r.oid, 'pg_read_all_data', 'MEMBER') AND NOT pg_has_role(r.oid, 'pg_write_all_data', 'MEMBER')";
    assert_eq!(accounts.ask(granted).await, "0");
}

#[tokio::test]
async fn accounts_each_function_is_for_those_who_are_named() {
    let accounts = Accounts::new().await;
    let admin = accounts.database.admin().await;
    let rows = admin
        .query(
            "SELECT p.proname::text, coalesce(string_agg(CASE r.rolname WHEN $1 THEN 'mailer' ELSE r.rolname END, ' ' ORDER BY r.rolname), '')
             FROM pg_proc p JOIN pg_roles o ON o.oid = p.proowner AND o.rolname = $2
             LEFT JOIN pg_roles r ON r.rolname <> $2 AND NOT r.rolsuper AND has_function_privilege(r.oid, p.oid, 'EXECUTE')
             GROUP BY p.oid, p.proname HAVING count(r.oid) > 0 ORDER BY 1",
            &[&accounts.mailer, &accounts.accounts],
        )
        .await
        .expect("it answers");
    let granted: Vec<(&str, &str)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(
        granted,
        [
            ("clean_up", "mailer"),
            ("login", "anon"),
            ("logout", "web_user"),
            ("logout_everywhere", "web_user"),
            ("mail_sent", "mailer"),
            ("refresh", "anon"),
            ("request_password_reset", "anon"),
            ("reset_password", "anon"),
            ("revoke_session", "web_user"),
            ("revoked_tokens", "authenticator"),
            ("sessions", "web_user"),
            ("signup", "anon"),
            ("take_mails", "mailer"),
            ("verify_email", "anon"),
        ]
    );
    // Whatever is added later is for nobody, too.
    let later = format!(
        "SET ROLE {}; CREATE FUNCTION basic_auth.later() RETURNS int LANGUAGE sql AS 'SELECT 1'; RESET ROLE",
        accounts.accounts
    );
    accounts.execute(&later).await;
    let allowed =
        "SELECT has_function_privilege('authenticator', 'basic_auth.later()', 'EXECUTE')::text";
    assert_eq!(accounts.ask(allowed).await, "false");
}

/// One call of it with a cost of 31 would keep a processor for a day, past all limits.
#[tokio::test]
async fn accounts_nobody_hashes_but_the_functions() {
    let accounts = Accounts::new().await;
    let schema =
        "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'pgcrypto'";
    let schema = accounts.ask(schema).await;
    let admin = accounts.database.admin().await;
    let sql = format!("SELECT {schema}.crypt('', {schema}.gen_salt('bf', 4))");
    admin.batch_execute(&sql).await.expect("it hashes");
    for role in accounts.everybody() {
        let become_it = format!("SET ROLE {role}");
        admin.batch_execute(&become_it).await.expect("it may");
        let refused = admin.batch_execute(&sql).await;
        assert_eq!(sqlstate(refused), "42501", "{role}");
        admin.batch_execute("RESET ROLE").await.expect("it may");
    }
}

#[tokio::test]
async fn accounts_functions_run_as_somebody_who_is_no_superuser_with_a_fixed_path() {
    let accounts = Accounts::new().await;
    let admin = accounts.database.admin().await;
    // Every function, since one that is not SECURITY DEFINER is called by one that is.
    let unsafe_ones = "SELECT coalesce(string_agg(p.oid::regprocedure::text, ' '), '') FROM pg_proc p JOIN pg_roles o ON o.oid = p.proowner
        WHERE (o.rolname = $1 OR p.pronamespace = 'basic_auth'::regnamespace OR p.prosecdef AND p.pronamespace = 'public'::regnamespace)
            AND (o.rolname <> $1 OR 'search_path=pg_catalog, pg_temp' <> ALL (coalesce(p.proconfig, '{}')))";
    let row = admin.query_one(unsafe_ones, &[&accounts.accounts]).await;
    assert_eq!(row.expect("it answers").get::<_, &str>(0), "");
    let rights = format!(
        "SELECT concat(rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication,
             has_schema_privilege(oid, 'public', 'CREATE'),
             (SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member
              WHERE m.roleid = o.oid AND NOT r.rolsuper))
         FROM pg_roles o WHERE rolname = '{}'",
        accounts.accounts
    );
    assert_eq!(accounts.ask(&rights).await, "fffffff0");
}

#[tokio::test]
async fn accounts_a_callers_own_objects_are_not_used() {
    let accounts = Accounts::new().await;
    accounts.user("alice@example.com").await;
    let database = accounts.database.name();
    accounts
        .execute(&format!(
            "GRANT TEMPORARY ON DATABASE {database} TO anon, web_user;
             CREATE SCHEMA evil; GRANT CREATE, USAGE ON SCHEMA evil TO anon, web_user;
             GRANT EXECUTE ON FUNCTION sessions, logout, revoke_session TO anon"
        ))
        .await;
    let evil = accounts.anon().await;
    // Tables and types of pg_temp are found before all others, unless the path says otherwise; functions and operators where
    // a path names their schema first.
    let mut sql = String::new();
    for table in [
        "users",
        "sessions",
        "settings",
        "limits",
        "attempts",
        "pg_roles",
        "refresh_tokens",
        "access_tokens",
    ] {
        sql += &format!("CREATE TEMP TABLE {table} (id int);");
    }
    for name in [
        "text",
        "uuid",
        "bytea",
        "inet",
        "regrole",
        "jwt_claims",
        "name",
        "json",
        "timestamptz",
    ] {
        sql += &format!("CREATE DOMAIN pg_temp.{name} AS pg_catalog.int4 CHECK (false);");
    }
    let stolen = "CREATE FUNCTION evil.trap() RETURNS pg_catalog.bool LANGUAGE plpgsql AS
            'BEGIN RAISE EXCEPTION ''taken over: %'', current_user; END';
        DO $d$ DECLARE f pg_catalog.record; BEGIN
            FOR f IN SELECT p.proname, pg_catalog.format_type(p.prorettype, NULL) AS returns,
                    (SELECT pg_catalog.string_agg('pg_catalog.' || pg_catalog.quote_ident(t.typname), ', ' ORDER BY a.place)
                     FROM pg_catalog.unnest(p.proargtypes::pg_catalog.oid[]) WITH ORDINALITY AS a (type, place)
                     JOIN pg_catalog.pg_type t ON t.oid = a.type) AS args
                FROM pg_catalog.pg_proc p
                WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND p.prokind = 'f' AND NOT p.proretset
                    AND p.proname IN ('now', 'lower', 'sha256', 'convert_to', 'encode', 'length', 'left', 'host', 'family', 'network',
                        'set_masklen', 'clock_timestamp', 'pg_has_role', 'repeat', 'lpad', 'translate', 'gen_random_uuid',
                        'date_trunc', 'ceil')
                    AND NOT EXISTS (SELECT FROM pg_catalog.unnest(p.proargtypes::pg_catalog.oid[]) a (type)
                        JOIN pg_catalog.pg_type t ON t.oid = a.type WHERE t.typtype = 'p')
            LOOP
                EXECUTE pg_catalog.format('CREATE FUNCTION evil.%I(%s) RETURNS pg_catalog.%s LANGUAGE plpgsql AS %L', f.proname, f.args,
                    (SELECT pg_catalog.quote_ident(t.typname) FROM pg_catalog.pg_type t WHERE t.oid = f.returns::pg_catalog.regtype),
                    'BEGIN PERFORM evil.trap(); RETURN NULL; END');
            END LOOP;
            FOR f IN SELECT t.typname AS type, o.name FROM pg_catalog.pg_type t,
                    (VALUES ('='), ('<>'), ('<'), ('<='), ('>'), ('>='), ('||'), ('~')) AS o (name)
                WHERE t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace
                    AND t.typname IN ('text', 'uuid', 'bytea', 'timestamptz', 'inet', 'int4', 'name', 'interval')
            LOOP
                EXECUTE pg_catalog.format('CREATE OR REPLACE FUNCTION evil.op(l pg_catalog.%I, r pg_catalog.%I) RETURNS pg_catalog.bool
                    LANGUAGE sql AS %L', f.type, f.type, 'SELECT evil.trap()');
                EXECUTE pg_catalog.format('CREATE OPERATOR evil.%s (FUNCTION = evil.op, LEFTARG = pg_catalog.%I, RIGHTARG = pg_catalog.%I)',
                    f.name, f.type, f.type);
            END LOOP;
        END $d$";
    evil.batch_execute(stolen).await.expect("it may");
    evil.batch_execute(&sql).await.expect("it may");
    evil.batch_execute("SET search_path = pg_temp, evil, pg_catalog, public")
        .await
        .expect("it may");
    // The traps are there.
    assert_eq!(
        sqlstate(
            evil.batch_execute("SELECT lower('A'::pg_catalog.text)")
                .await
        ),
        "P0001"
    );
    assert_eq!(
        sqlstate(
            evil.batch_execute("SELECT 'a'::pg_catalog.text = 'b'::pg_catalog.text")
                .await
        ),
        "P0001"
    );
    assert_eq!(
        sqlstate(evil.batch_execute("SELECT 1::pg_temp.uuid").await),
        "23514"
    );

    let found = login(&evil, "alice@example.com", PASSWORD, "r1").await;
    let found = found.expect("nothing is taken over").expect("it is her");
    assert_eq!(
        login(&evil, "alice@example.com", "wrong", "r")
            .await
            .expect("nothing"),
        None
    );
    let again = refresh(&evil, "r1", "r2")
        .await
        .expect("nothing is taken over");
    assert!(again.is_some());
    let set = format!("SET request.jwt.claims = '{found}'");
    evil.batch_execute(&set).await.expect("it may");
    for sql in [
        "SELECT FROM public.sessions()",
        "SELECT public.revoke_session('00000000-0000-0000-0000-000000000000')",
        "SELECT public.logout()",
        "SELECT public.signup('bob@example.com', 'a password of bob')",
        "SELECT public.request_password_reset('alice@example.com')",
    ] {
        evil.batch_execute(sql)
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }
    let mails = accounts.mails().await;
    for (sql, (_, _, token)) in [
        "SELECT public.verify_email($1)",
        "SELECT public.reset_password($1, 'another long password')",
    ]
    .into_iter()
    .zip(&mails)
    {
        let row = evil.query_one(sql, &[token]).await;
        assert!(
            row.unwrap_or_else(|e| panic!("{sql}: {e:?}"))
                .get::<_, bool>(0)
        );
    }
}

#[tokio::test]
async fn accounts_no_row_gives_a_role_that_is_not_for_users() {
    let accounts = Accounts::new().await;
    let unique = accounts.database.name().to_owned();
    accounts
        .execute(&format!(
            "CREATE ROLE {unique}_root SUPERUSER; CREATE ROLE {unique}_bypass BYPASSRLS; CREATE ROLE {unique}_maker CREATEROLE;
             CREATE ROLE {unique}_member IN ROLE {}; CREATE ROLE {unique}_good;
             GRANT {unique}_bypass, {unique}_maker, {unique}_member, {unique}_good TO authenticator;
             INSERT INTO basic_auth.roles VALUES ('postgres'), ('authenticator'), ('not_granted'), ('nobody_here'),
                 ('{unique}_root'), ('{unique}_bypass'), ('{unique}_maker'), ('{unique}_member'), ('{unique}_good')",
            accounts.accounts
        ))
        .await;
    accounts.user("alice@example.com").await;
    let admin = accounts.database.admin().await;
    let set = async |role: &str| {
        let sql = "UPDATE basic_auth.users SET role = $1";
        admin.execute(sql, &[&role]).await
    };
    // Not in the table: whatever is granted to the authenticator, such as the role that sends the mails.
    for role in ["anon", "author", &accounts.mailer, "", "none"] {
        assert_eq!(sqlstate(set(role).await), "23503", "{role}");
    }
    assert_eq!(sqlstate(set(&accounts.accounts).await), "42501");
    assert_eq!(sqlstate(set("nobody_here").await), "23503");
    for role in ["postgres", "authenticator", "not_granted"] {
        assert_eq!(sqlstate(set(role).await), "42501", "{role}");
    }
    for role in ["root", "bypass", "maker", "member"] {
        assert_eq!(
            sqlstate(set(&format!("{unique}_{role}")).await),
            "42501",
            "{role}"
        );
    }
    set(&format!("{unique}_good")).await.expect("it is one");
    set("web_user").await.expect("it is one");
    // A role of its own cannot be asked for.
    let anon = accounts.anon().await;
    let call = "SELECT signup('m@example.com', 'correct horse battery', role => 'author')";
    assert_eq!(sqlstate(anon.batch_execute(call).await), "42883");
    accounts.execute(&format!("UPDATE basic_auth.users SET role = 'web_user'; DROP ROLE {unique}_root, {unique}_bypass, {unique}_maker, {unique}_member, {unique}_good")).await;
}

#[tokio::test]
async fn accounts_start_session_is_for_functions_of_the_owner_only() {
    let accounts = Accounts::new().await;
    let id = accounts.user("alice@example.com").await;
    for role in accounts.everybody() {
        let admin = accounts.database.admin().await;
        admin
            .batch_execute(&format!("SET ROLE {role}"))
            .await
            .expect("it may");
        let call = format!("basic_auth.start_session('{id}', sha256('r'))");
        let refused = claims(&admin, &call, &[]).await;
        assert_eq!(sqlstate(refused), "42501", "{role}");
    }
}

#[tokio::test]
async fn accounts_all_of_it_works_in_a_hardened_database() {
    let accounts = Accounts::new().await;
    accounts
        .execute(include_str!("../../../examples/sql/hardening.sql"))
        .await;
    accounts.user("alice@example.com").await;
    let anon = accounts.anon().await;
    let claims = login(&anon, "alice@example.com", PASSWORD, "r1").await;
    let claims = claims.expect("it answers").expect("it is her");
    assert_eq!(
        login(&anon, "alice@example.com", "wrong", "r")
            .await
            .expect("it answers"),
        None
    );
    assert!(
        refresh(&anon, "r1", "r2")
            .await
            .expect("it answers")
            .is_some()
    );
    anon.batch_execute("SELECT request_password_reset('alice@example.com')")
        .await
        .expect("it may");
    assert_eq!(accounts.mails().await.len(), 1);
    let caller = accounts.session("web_user").await;
    caller
        .batch_execute(&format!("SET request.jwt.claims = '{claims}'"))
        .await
        .expect("it may");
    assert_eq!(
        scalar(&caller, "SELECT id::text FROM sessions()")
            .await
            .expect("one"),
        claim(&claims, "sid")
    );
    caller
        .batch_execute("SELECT logout_everywhere()")
        .await
        .expect("it may");
    assert_eq!(accounts.revoked().await.len(), 2);
}

#[test]
fn accounts_no_secret_is_in_a_message_of_notify() {
    for sql in [BASIC_AUTH, SESSIONS] {
        let code = sql
            .lines()
            .filter(|line| !line.trim_start().starts_with("--"));
        for line in code.filter(|line| line.to_lowercase().contains("notify")) {
            let line = line.trim();
            let bare = ["NOTIFY basic_auth_mail;", "NOTIFY rolescope_revocations;"];
            assert!(bare.contains(&line), "{line}");
        }
    }
}
