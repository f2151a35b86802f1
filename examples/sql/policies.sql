-- Row-level security that reads the verified claims of the request: the form to copy.
--
-- Run it after roles.sql, in the same database, as the role that is to own the table:
--
--     psql --set ON_ERROR_STOP=1 --file policies.sql postgres://postgres@localhost/app
--
-- A claim is read as
--
--     (SELECT nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub')
--
-- and each part of it has its reason:
--   * `true`: outside a request the setting does not exist; that gives NULL instead of an error;
--   * `nullif(.., '')`: in a session that served a request before, it reads '' and not NULL, and ''::json is an error;
--   * `(SELECT ..)`: it is evaluated once per statement, without it once per row.
-- A comparison with NULL is never true: whoever has no such claim sees no row.

CREATE TABLE documents (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner     text NOT NULL DEFAULT (nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub'),
    title     text NOT NULL,
    published boolean NOT NULL DEFAULT false
);

-- From here on nobody but the table's owner sees a row, unless a policy lets them.
ALTER TABLE documents ENABLE ROW LEVEL SECURITY;

-- Policies are joined by OR: authors see what is published and what is theirs.
CREATE POLICY published ON documents FOR SELECT TO anon, author
    USING (published);

-- USING says which rows they see and change, WITH CHECK what these may look like afterwards: nobody writes in another's
-- name.
CREATE POLICY own ON documents TO author
    USING (owner = (SELECT nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub'))
    WITH CHECK (owner = (SELECT nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub'));

-- A policy narrows what a GRANT allows; without the GRANT there is nothing to narrow.
GRANT SELECT ON documents TO anon;
-- Not `id`: GENERATED ALWAYS yields to OVERRIDING SYSTEM VALUE, and a key that is taken is an error that tells of a hidden row.
GRANT SELECT, INSERT (owner, title, published), UPDATE (title, published), DELETE ON documents TO author;

-- Without an index on the column of the policy every statement reads the whole table.
CREATE INDEX ON documents (owner);
