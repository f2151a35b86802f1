-- A view that runs as its caller, so that the caller's policies hold: for PostgreSQL 15 and later.
--
-- Run it after row_level_security.sql, with the same names for the roles:
--
--     psql --set ON_ERROR_STOP=1 --set owner=app_owner --set web_user=web_user \
--         --file security_invoker.sql postgres://postgres@localhost/app
--
-- Without security_invoker a view reads its tables as its owner, with the owner's grants and the owner's policies: where
-- that is a superuser, or the owner of tables without FORCE, everybody reads everything through it.

CREATE VIEW project_list WITH (security_invoker = true) AS
    SELECT p.slug, p.owner, count(t.id) AS tasks
    FROM projects p LEFT JOIN tasks t ON t.project = p.id
    GROUP BY p.id;
ALTER VIEW project_list OWNER TO :"owner";
GRANT SELECT ON project_list TO :"web_user";
