-- Row-level security by views, for what takes no policies: foreign tables, materialized views, views, tables of others.
--
-- Run it after roles.sql, in the same database, as a superuser, with names of your choice for the roles:
--
--     psql --set ON_ERROR_STOP=1 --set owner=view_owner --set web_user=web_user \
--         --file simulated_row_level_security.sql postgres://postgres@localhost/app
--
-- It makes `owner`, as whom views and triggers reach the tables, and whom no request ever runs as. `web_user` is there
-- already. A token says {"role": "web_user", "tenant": "acme", "sub": "alice"}.
--
-- The tables are ordinary ones here, so that the file runs anywhere. What it does with them works for all of those.

CREATE ROLE :"owner" NOLOGIN;

CREATE OR REPLACE FUNCTION jwt_claim(name text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('request.jwt.claims', true), '')::json ->> name;

-- 1. The tables stand where no role of a request may look. Nothing in this schema is ever granted to anybody.
CREATE SCHEMA private AUTHORIZATION :"owner";

CREATE TABLE private.notes (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL,
    owner  text NOT NULL,
    slug   text NOT NULL,
    body   text NOT NULL,
    UNIQUE (tenant, owner, slug)
);
CREATE TABLE private.people (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL,
    name   text NOT NULL,
    UNIQUE (tenant, name)
);
CREATE TABLE private.salaries (
    person bigint PRIMARY KEY REFERENCES private.people ON DELETE CASCADE,
    amount int NOT NULL
);
CREATE MATERIALIZED VIEW private.payroll AS
    SELECT p.tenant, sum(s.amount) AS total FROM private.people p JOIN private.salaries s ON s.person = p.id
    GROUP BY p.tenant;

ALTER TABLE private.notes OWNER TO :"owner";
ALTER TABLE private.people OWNER TO :"owner";
ALTER TABLE private.salaries OWNER TO :"owner";
ALTER MATERIALIZED VIEW private.payroll OWNER TO :"owner";

-- 2. One table, each person's own rows: a view that PostgreSQL can write through by itself.
-- security_barrier: no condition of the caller's is asked about a row before the view's own has let it through.
-- CHECK OPTION: what is written must be visible through the view.
CREATE VIEW notes WITH (security_barrier = true) AS
    SELECT id, tenant, owner, slug, body FROM private.notes
    WHERE tenant = (SELECT jwt_claim('tenant')) AND owner = (SELECT jwt_claim('sub'))
    WITH CASCADED CHECK OPTION;
ALTER VIEW notes ALTER COLUMN tenant SET DEFAULT jwt_claim('tenant');
ALTER VIEW notes ALTER COLUMN owner SET DEFAULT jwt_claim('sub');
ALTER VIEW notes OWNER TO :"owner";
-- INSERT has no `id`: ON CONFLICT DO UPDATE finds the row with the same key past the view's condition, and whoever could
-- choose the key would take another's row. The other key of the table has tenant and owner in it.
GRANT SELECT, INSERT (tenant, owner, slug, body), UPDATE (slug, body), DELETE ON notes TO :"web_user";

-- 3. What can only be read, a tenant's row of a materialized view.
CREATE VIEW payroll WITH (security_barrier = true) AS
    SELECT total FROM private.payroll
    WHERE tenant = (SELECT jwt_claim('tenant'));
ALTER VIEW payroll OWNER TO :"owner";
GRANT SELECT ON payroll TO :"web_user";

-- 4. Two tables joined, per tenant: triggers write in place of PostgreSQL. There is no CHECK OPTION here, so they check.
CREATE VIEW staff WITH (security_barrier = true) AS
    SELECT p.id, p.tenant, p.name, s.amount AS salary
    FROM private.people p JOIN private.salaries s ON s.person = p.id
    WHERE p.tenant = (SELECT jwt_claim('tenant'));
ALTER VIEW staff ALTER COLUMN tenant SET DEFAULT jwt_claim('tenant');
ALTER VIEW staff OWNER TO :"owner";

-- It runs as the owner (SECURITY DEFINER), who may write, and with a search_path that the caller cannot choose. In it
-- current_user is the owner: ask claims, or current_setting('role').
-- NEW is what the caller wants, so it must be checked. OLD was seen through the view, but nobody locked it: each statement
-- asks for its tenant again, or it would write to a row that has moved to another one meanwhile.
CREATE FUNCTION private.write_staff() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP <> 'DELETE' AND (NEW.tenant = public.jwt_claim('tenant')) IS NOT TRUE THEN
        RAISE EXCEPTION 'the new row is not of your tenant' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF TG_OP = 'INSERT' THEN
        INSERT INTO private.people (tenant, name) VALUES (NEW.tenant, NEW.name) RETURNING people.id INTO NEW.id;
        INSERT INTO private.salaries (person, amount) VALUES (NEW.id, NEW.salary);
        RETURN NEW;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        UPDATE private.people SET tenant = NEW.tenant, name = NEW.name WHERE people.id = OLD.id AND tenant = OLD.tenant;
    ELSE
        DELETE FROM private.people WHERE people.id = OLD.id AND tenant = OLD.tenant;
    END IF;
    -- Not counted as changed, as it is where policies hide a row.
    IF NOT FOUND THEN RETURN NULL; END IF;
    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
    UPDATE private.salaries SET amount = NEW.salary WHERE person = OLD.id;
    NEW.id := OLD.id;
    RETURN NEW;
END $$;
ALTER FUNCTION private.write_staff() OWNER TO :"owner";
CREATE TRIGGER write_staff INSTEAD OF INSERT OR UPDATE OR DELETE ON staff
    FOR EACH ROW EXECUTE FUNCTION private.write_staff();
GRANT SELECT, INSERT, UPDATE, DELETE ON staff TO :"web_user";
