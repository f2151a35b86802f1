-- The three roles of a service: one that logs in, one for callers without a token, one for callers with a token.
--
-- Run it in the service's database, as a superuser or as a role with CREATEROLE. Roles belong to the whole server: in
-- further databases run it from the first REVOKE on.
--
--     psql --set ON_ERROR_STOP=1 --file roles.sql postgres://postgres@localhost/app
--
-- Then give `authenticator` a password (`\password authenticator`) or a line in pg_hba.conf.

-- It has no rights but to become the others. NOINHERIT: without a switch it can do nothing that they can do.
CREATE ROLE authenticator NOINHERIT LOGIN;
CREATE ROLE anon NOLOGIN;
CREATE ROLE author NOLOGIN;

GRANT anon, author TO authenticator;

-- The role in which the service's sessions rest. RoleScopedPool asks for it when it connects; behind a connection pooler
-- that refuses startup options this line does it.
ALTER ROLE authenticator SET role = 'anon';

-- What every role could do only because of a default, nobody needs to serve requests.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
DO $$ BEGIN EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database()); END $$;

-- A role sees a schema's tables only with USAGE; what it may do with each table, the table's own GRANTs say.
GRANT USAGE ON SCHEMA public TO anon, author;
