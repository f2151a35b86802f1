-- The soak's database. What a row says of its writer comes from the database (`by_..`, which nobody may set), and stands
-- beside what the client asked for (`asked_..`).

CREATE ROLE authenticator NOINHERIT LOGIN;
CREATE ROLE anon NOLOGIN;
CREATE ROLE clerks NOLOGIN;
CREATE ROLE clerk_0 NOLOGIN IN ROLE clerks;
CREATE ROLE clerk_1 NOLOGIN IN ROLE clerks;
CREATE ROLE clerk_2 NOLOGIN IN ROLE clerks;
CREATE ROLE clerk_3 NOLOGIN IN ROLE clerks;
CREATE ROLE clerk_4 NOLOGIN IN ROLE clerks;
CREATE ROLE clerk_5 NOLOGIN IN ROLE clerks;
CREATE ROLE clerk_6 NOLOGIN IN ROLE clerks;
CREATE ROLE clerk_7 NOLOGIN IN ROLE clerks;
GRANT anon, clerk_0, clerk_1, clerk_2, clerk_3, clerk_4, clerk_5, clerk_6, clerk_7 TO authenticator;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

CREATE TABLE parents (id bigint PRIMARY KEY);

CREATE TABLE notes (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request      bigint NOT NULL,
    part         int NOT NULL CHECK (part >= 0),
    asked_role   text NOT NULL,
    asked_sub    text NOT NULL,
    asked_tenant int NOT NULL,
    parent       bigint REFERENCES parents DEFERRABLE INITIALLY DEFERRED,
    by_role      name NOT NULL DEFAULT current_user,
    by_sub       text NOT NULL DEFAULT (nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub'),
    by_tenant    int NOT NULL DEFAULT (nullif(current_setting('request.jwt.claims', true), '')::json ->> 'tenant')::int
);
CREATE INDEX ON notes (by_tenant, by_role, id);

ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON notes TO clerks
    USING (by_role = current_user AND by_tenant = asked_tenant AND by_tenant =
        (SELECT (nullif(current_setting('request.jwt.claims', true), '')::json ->> 'tenant')::int));
GRANT SELECT ON notes TO anon, clerks;
GRANT INSERT (request, part, asked_role, asked_sub, asked_tenant, parent) ON notes TO clerks;

CREATE TABLE secrets (id bigint);

-- So that there is something to see from the start, for the planner too.
INSERT INTO notes (request, part, asked_role, asked_sub, asked_tenant, by_role, by_sub, by_tenant)
    SELECT -1, 0, role, sub, tenant, role, sub, tenant
    FROM generate_series(0, 7) r, generate_series(0, 199) tenant, generate_series(1, 5),
        LATERAL (SELECT 'clerk_' || r AS role, 't' || tenant || '-u0' AS sub) AS who;
ANALYZE notes;
