-- The database of the example `todos`: its three roles, one table, and who may see and change which rows.
--
-- Run it in an empty database, with names of your choice for the roles:
--
--     psql --set ON_ERROR_STOP=1 --set authenticator=authenticator --set anon=anon --set web_user=web_user \
--         --file todos.sql postgres://postgres@localhost/todos

CREATE ROLE :"authenticator" NOINHERIT LOGIN;
CREATE ROLE :"anon" NOLOGIN;
CREATE ROLE :"web_user" NOLOGIN;
GRANT :"anon", :"web_user" TO :"authenticator";

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO :"anon", :"web_user";

CREATE TABLE todos (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner  text NOT NULL DEFAULT (nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub'),
    task   text NOT NULL CHECK (task <> ''),
    public boolean NOT NULL DEFAULT false
);
CREATE INDEX ON todos (owner);

INSERT INTO todos (owner, task, public) VALUES
    ('alice', 'read the policies in todos.sql', true),
    ('alice', 'buy a present for bob', false),
    ('bob', 'water the plants', false);

ALTER TABLE todos ENABLE ROW LEVEL SECURITY;

CREATE POLICY public ON todos FOR SELECT TO :"anon", :"web_user"
    USING (public);

CREATE POLICY own ON todos TO :"web_user"
    USING (owner = (SELECT nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub'))
    WITH CHECK (owner = (SELECT nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub'));

GRANT SELECT ON todos TO :"anon";
-- Not `id`: GENERATED ALWAYS yields to OVERRIDING SYSTEM VALUE, and a key that is taken is an error that tells of a hidden row.
GRANT SELECT, INSERT (owner, task, public), UPDATE (task, public), DELETE ON todos TO :"web_user";
