-- What stock PostgreSQL lets every role do inside its session, and requests do not need.
--
-- The service's SQL is trusted: rolescope keeps a request's rows from other callers, but SQL that a caller has managed to
-- put into a statement runs inside the session of the authenticator, who may become every role. This takes away the ways
-- out that an *expression* has (`SELECT set_config('role', ..)`, a function of one's own), and what one caller can do to
-- others. It cannot take away whole statements: SET ROLE, RESET ROLE, COMMIT are open to whoever can send them.
--
-- Roles belong to the whole server. Once for it, as a superuser:
--
--     CREATE ROLE resting NOLOGIN;
--     GRANT resting TO authenticator;
--
-- Then, in each database, as a superuser, and as often as you like:
--
--     psql --set ON_ERROR_STOP=1 --file hardening.sql postgres://postgres@localhost/app
--
-- and in the service `RoleScopedPool::builder(url)?.anonymous_role("anon").resting_role("resting")`.
--
-- It is for PostgreSQL 14 and later. Each part stands by itself: leave out what costs you too much, but keep the first two
-- together. Run it again after a restore: pg_dump leaves some of it out. On servers that others run, where nobody is a
-- superuser, the parts about pg_catalog and languages end in warnings and change nothing.

-- 1. Sessions rest in a role that owns nothing and is granted nothing.
-- Closes: whatever follows a stray COMMIT or ROLLBACK runs with the anonymous role's rights.
-- Costs: nothing; the pool must be told its name, see above.
DO $$ BEGIN
    EXECUTE format('ALTER ROLE authenticator IN DATABASE %I SET role = ''resting''', current_database());
END $$;

-- 2. Only the switch calls set_config: it runs as the resting role, or as the authenticator where role settings are on.
-- Closes: `set_config('role', ..)`, forged claims and left settings in any expression, by which a spliced SELECT would do.
-- Costs: your own SQL says SET LOCAL in place of set_config, or calls a function that you grant.
REVOKE EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) TO resting, authenticator;

-- 3. No temporary objects.
-- Closes: tables that hide permanent ones from the request's own later statements, code in pg_temp, and disk without quota.
-- Costs: roles that need them get GRANT TEMPORARY.
DO $$ BEGIN
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
END $$;

-- 4. No objects in the schema that everybody's search_path has. From PostgreSQL 15 on new databases have it so.
-- Closes: functions and operators that other roles call in place of those that they mean.
-- Costs: nothing at run time; migrations run as an owner.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

-- 5. No code of one's own. Functions that exist can be called as before.
-- Closes: DO blocks, in which text is executed as SQL; functions in any schema where a role may create.
-- Costs: roles that create functions, such as those of migrations, get GRANT USAGE ON LANGUAGE.
REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC;
REVOKE USAGE ON LANGUAGE sql FROM PUBLIC;

-- 6. The functions of pg_catalog below. They differ between versions, so each name stands for all of its signatures.
-- pg_advisory_unlock_all is not among them: the reset of a session calls it, as the request's role or as the resting one.
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN
        SELECT p.oid FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = ANY (ARRAY[
            -- Closes: locks that other roles' requests wait for, and a lock table filled for the whole server.
            -- Costs: services that use advisory locks grant the ones that they use.
            'pg_advisory_lock', 'pg_advisory_lock_shared', 'pg_advisory_xact_lock', 'pg_advisory_xact_lock_shared',
            'pg_try_advisory_lock', 'pg_try_advisory_lock_shared',
            'pg_try_advisory_xact_lock', 'pg_try_advisory_xact_lock_shared',
            'pg_advisory_unlock', 'pg_advisory_unlock_shared',
            -- Closes: messages to whoever listens, in an expression. Costs: triggers that call it run as an owner, or say NOTIFY.
            'pg_notify',
            -- Closes: storage and a channel between roles that no row-level security sees; before PostgreSQL 16 also in a
            -- READ ONLY transaction. Costs: large objects.
            'lo_creat', 'lo_create', 'lo_from_bytea', 'lo_open', 'lo_close', 'loread', 'lowrite', 'lo_get', 'lo_put',
            'lo_lseek', 'lo_lseek64', 'lo_tell', 'lo_tell64', 'lo_truncate', 'lo_truncate64', 'lo_unlink',
            -- Closes: the cheapest way to hold a connection of the pool, and to tell by time what cannot be read. A
            -- statement_timeout is needed all the same. Costs: nothing.
            'pg_sleep', 'pg_sleep_for', 'pg_sleep_until',
            -- Closes: after SET ROLE NONE the authenticator could end the sessions of all of its pools. Costs: nothing.
            'pg_cancel_backend', 'pg_terminate_backend',
            -- Closes: text written to the WAL without a table. Costs: logical decoding messages of your own.
            'pg_logical_emit_message',
            -- Closes: what random() gives the session's next requests could be told in advance; no reset undoes it.
            -- Costs: nothing.
            'setseed'
        ])
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
    END LOOP;
END $$;

-- 7. Extensions whose functions leave the session, where there are any.
-- Closes: a connection of another session, with another role, outside of the request's transaction; it outlives the reset.
-- Costs: the roles that use it are granted it.
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN
        SELECT p.oid FROM pg_catalog.pg_proc p
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
        JOIN pg_catalog.pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
        WHERE e.extname IN ('dblink', 'pg_background')
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
    END LOOP;
END $$;
