-- Row-level security for several tenants: every person sees and changes what is theirs or shared, inside one tenant.
--
-- Run it after roles.sql, in the same database, as a superuser, with names of your choice for the roles:
--
--     psql --set ON_ERROR_STOP=1 --set owner=app_owner --set anon=anon --set web_user=web_user --set auditor=auditor \
--         --file row_level_security.sql postgres://postgres@localhost/app
--
-- It makes `owner`, whom no request ever runs as. The other roles are there already, and granted to the authenticator.
-- A token says {"role": "web_user", "tenant": "acme", "sub": "alice"}.

CREATE ROLE :"owner" NOLOGIN;

-- A claim of the request, or NULL where there is none: no request, no token, no such claim. Its body is bound when it is
-- made, so that no search_path of a caller changes what it does.
CREATE OR REPLACE FUNCTION jwt_claim(name text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('request.jwt.claims', true), '')::json ->> name;

CREATE TABLE projects (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL DEFAULT jwt_claim('tenant'),
    owner  text NOT NULL DEFAULT jwt_claim('sub'),
    slug   text NOT NULL,
    shared boolean NOT NULL DEFAULT false,
    -- A constraint sees all rows. UNIQUE (slug) would tell every tenant which names the others use.
    UNIQUE (tenant, slug),
    UNIQUE (tenant, id)
);

CREATE TABLE tasks (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant  text NOT NULL DEFAULT jwt_claim('tenant'),
    project bigint NOT NULL,
    title   text NOT NULL,
    -- So does a foreign key. REFERENCES projects (id) would hang tasks on, and tell the existence of, others' projects.
    FOREIGN KEY (tenant, project) REFERENCES projects (tenant, id) ON DELETE CASCADE
);

-- Policies look for the rows of a tenant and of an owner: without indexes every statement reads the whole table.
CREATE INDEX ON projects (tenant, owner);
CREATE INDEX ON tasks (tenant, project);

ALTER TABLE projects OWNER TO :"owner";
ALTER TABLE tasks OWNER TO :"owner";

-- 1. Policies apply to all roles but superusers, those with BYPASSRLS, and the owner; FORCE makes them apply to the owner,
-- and so to what runs as the owner: SECURITY DEFINER functions and views.
ALTER TABLE projects ENABLE ROW LEVEL SECURITY;
ALTER TABLE projects FORCE ROW LEVEL SECURITY;
ALTER TABLE tasks ENABLE ROW LEVEL SECURITY;
ALTER TABLE tasks FORCE ROW LEVEL SECURITY;

-- 2. Restrictive policies are joined by AND with all others. This one holds for every role and every command, whatever
-- permissive policies are added later. WITH CHECK is about the row as it is afterwards: nothing is moved to a tenant.
CREATE POLICY tenant ON projects AS RESTRICTIVE
    USING (tenant = (SELECT jwt_claim('tenant')))
    WITH CHECK (tenant = (SELECT jwt_claim('tenant')));
CREATE POLICY tenant ON tasks AS RESTRICTIVE
    USING (tenant = (SELECT jwt_claim('tenant')))
    WITH CHECK (tenant = (SELECT jwt_claim('tenant')));

-- 3. Permissive policies are joined by OR. With restrictive ones alone nobody sees a row.
CREATE POLICY own ON projects TO :"web_user"
    USING (owner = (SELECT jwt_claim('sub')))
    WITH CHECK (owner = (SELECT jwt_claim('sub')));
CREATE POLICY shared ON projects FOR SELECT TO :"web_user"
    USING (shared);
-- Colleagues edit what is shared, and it stays shared.
CREATE POLICY edit_shared ON projects FOR UPDATE TO :"web_user"
    USING (shared)
    WITH CHECK (shared);
CREATE POLICY everything ON projects FOR SELECT TO :"auditor", :"owner"
    USING (true);

-- 4. A policy may ask another table, whose policies apply: here the tasks of a project that the caller sees.
CREATE POLICY of_projects ON tasks TO :"web_user", :"auditor", :"owner"
    USING (EXISTS (SELECT FROM projects p WHERE p.id = tasks.project))
    WITH CHECK (EXISTS (SELECT FROM projects p WHERE p.id = tasks.project));

-- 5. Policies narrow what is granted. Never GRANT ALL: TRUNCATE asks no policy, REFERENCES tells which keys exist, and
-- TRIGGER has others' statements run one's code.
-- `owner` cannot be updated. No policy can compare a row with what it was: the USING of one and the WITH CHECK of another
-- are enough for an UPDATE, so colleagues would take a shared row by `edit_shared` and `own`.
GRANT SELECT, INSERT (tenant, owner, slug, shared), UPDATE (tenant, slug, shared), DELETE ON projects TO :"web_user";
GRANT SELECT, INSERT (project, title), UPDATE (title), DELETE ON tasks TO :"web_user";
GRANT SELECT ON projects, tasks TO :"auditor";

-- 6. A function that says more than its caller may see: how many projects the tenant has. It runs as the owner, and by FORCE
-- the policies for the owner apply.
CREATE FUNCTION project_count() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    RETURN (SELECT count(*) FROM projects);
ALTER FUNCTION project_count() OWNER TO :"owner";
REVOKE EXECUTE ON FUNCTION project_count() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION project_count() TO :"web_user";

-- 7. What reads like a view, and runs as its caller, on every version: a function is SECURITY INVOKER unless it says else.
-- From PostgreSQL 15 on a view can be that, too: security_invoker.sql.
CREATE FUNCTION shared_projects() RETURNS SETOF projects LANGUAGE sql STABLE
    BEGIN ATOMIC SELECT * FROM projects WHERE shared; END;
