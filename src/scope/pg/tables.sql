-- What requests may reach, and row-level security does not protect: one row for each finding, its number, its name and
-- the roles it is about. $1 is the right to become a role: SET from PostgreSQL 16 on, MEMBER before.
--
-- "requests" are the roles that requests may run as, "held" those whose rights they have so, PUBLIC among them. Superusers
-- are another problem's. What extensions brought along is theirs.
WITH RECURSIVE
requests AS MATERIALIZED (
    SELECT r.oid FROM pg_catalog.pg_roles r
    WHERE NOT r.rolsuper AND r.rolname <> session_user AND pg_catalog.pg_has_role(session_user, r.oid, $1)),
held AS MATERIALIZED (
    SELECT h.oid, pg_catalog.quote_ident(h.rolname) AS name FROM pg_catalog.pg_roles h
    WHERE h.oid IN (SELECT oid FROM requests)
    OR EXISTS (SELECT FROM requests r WHERE pg_catalog.pg_has_role(r.oid, h.oid, 'USAGE'))
    UNION ALL SELECT 0, 'PUBLIC'),
schemas AS MATERIALIZED (
    SELECT n.oid, n.nspname, EXISTS (
        SELECT FROM pg_catalog.aclexplode(coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))) a
        WHERE a.privilege_type = 'USAGE' AND a.grantee IN (SELECT oid FROM held)) AS is_open
    FROM pg_catalog.pg_namespace n
    WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'),
relations AS MATERIALIZED (
    SELECT c.oid, c.relkind, c.relrowsecurity AS rls, c.relforcerowsecurity AS forced,
        pg_catalog.format('%I.%I', n.nspname, c.relname) AS name,
        EXISTS (SELECT FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid) AS policies,
        (SELECT h.name FROM held h WHERE h.oid = c.relowner) AS owner,
        (SELECT pg_catalog.string_agg(DISTINCT h.name, ', ')
            FROM pg_catalog.aclexplode(c.relacl) a JOIN held h ON h.oid = a.grantee
            WHERE n.is_open AND a.privilege_type = 'TRUNCATE' AND a.grantee <> c.relowner) AS truncaters,
        (SELECT pg_catalog.string_agg(DISTINCT h.name, ', ') FROM (
            SELECT c.relacl AS acl WHERE c.relacl IS NOT NULL
            UNION ALL SELECT pg_catalog.acldefault('r', c.relowner) WHERE c.relacl IS NULL
            UNION ALL SELECT t.attacl FROM pg_catalog.pg_attribute t
                WHERE t.attrelid = c.oid AND NOT t.attisdropped AND t.attacl IS NOT NULL) acls,
            pg_catalog.aclexplode(acls.acl) a JOIN held h ON h.oid = a.grantee
            WHERE n.is_open AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')) AS grantees,
        EXISTS (SELECT FROM pg_catalog.pg_options_to_table(c.reloptions) o
            WHERE CASE o.option_name WHEN 'security_invoker' THEN o.option_value::pg_catalog.bool END) AS invoker
    FROM pg_catalog.pg_class c JOIN schemas n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend d
        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')),
uses AS MATERIALIZED (
    SELECT DISTINCT w.ev_class AS view, d.refobjid AS used
    FROM pg_catalog.pg_rewrite w JOIN pg_catalog.pg_depend d
        ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = w.oid
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> w.ev_class
    WHERE w.ev_type = '1'),
reads AS (
    SELECT view, used FROM uses
    UNION SELECT r.view, u.used FROM reads r JOIN uses u ON u.view = r.used),
found AS (
    SELECT 1 AS kind, name, grantees AS roles FROM relations WHERE rls AND NOT policies AND grantees IS NOT NULL
    UNION ALL SELECT 2, name, NULL FROM relations WHERE NOT rls AND policies
    UNION ALL SELECT 3, name, owner FROM relations WHERE rls AND NOT forced AND owner IS NOT NULL
    UNION ALL SELECT CASE relkind WHEN 'f' THEN 5 ELSE 4 END, name, grantees FROM relations
        WHERE relkind IN ('r', 'p', 'f') AND NOT rls AND NOT policies AND grantees IS NOT NULL
    UNION ALL SELECT CASE relkind WHEN 'm' THEN 7 ELSE 6 END, name, grantees FROM relations v
        WHERE relkind IN ('v', 'm') AND NOT invoker AND grantees IS NOT NULL AND EXISTS (
            SELECT FROM reads JOIN pg_catalog.pg_class t ON t.oid = reads.used
            WHERE reads.view = v.oid AND t.relrowsecurity)
    UNION ALL SELECT 8, name, truncaters FROM relations WHERE relkind IN ('r', 'p') AND rls AND truncaters IS NOT NULL
    UNION ALL SELECT 9, pg_catalog.format('%I.%I(%s)', n.nspname, p.proname,
            pg_catalog.pg_get_function_identity_arguments(p.oid)), pg_catalog.quote_ident(n.nspname)
        FROM pg_catalog.pg_proc p JOIN schemas n ON n.oid = p.pronamespace
        WHERE p.prosecdef AND n.is_open AND EXISTS (
            SELECT FROM pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) a
            WHERE a.grantee IN (SELECT oid FROM held))
        AND NOT EXISTS (SELECT FROM pg_catalog.unnest(p.proconfig) s WHERE s LIKE 'search\_path=%')
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_depend d
            WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e'))
SELECT kind, name, roles FROM found ORDER BY kind, name
