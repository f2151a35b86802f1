-- Two other forms of policies, for databases that have them: one role per person, and one setting per claim.
--
-- Run it after roles.sql, in the same database:
--
--     psql --set ON_ERROR_STOP=1 --file other_policies.sql postgres://postgres@localhost/app

-- One role per person. The token's role claim names the person, {"role": "jdoe123"}, and policies ask for current_user.
-- Every person is made once, as
--     CREATE ROLE jdoe123 IN ROLE author; GRANT jdoe123 TO authenticator;
-- This needs no claim at all, and suits dozens of people rather than millions: each role has its own cached statements.

CREATE TABLE articles (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Names of roles have the collation "C", and an index serves a comparison of its own collation alone.
    writer text COLLATE "C" NOT NULL DEFAULT current_user,
    title  text NOT NULL
);
ALTER TABLE articles ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON articles TO author USING (writer = current_user) WITH CHECK (writer = current_user);
GRANT SELECT, INSERT (writer, title), UPDATE (title), DELETE ON articles TO author;
CREATE INDEX ON articles (writer);

-- One setting per claim, as older versions of PostgREST had it. It needs RoleScopedPoolBuilder::claim_settings(true).
-- The policy works for tokens that have the claim. For all others it is an error instead of no rows: 42704 as long as
-- the session has not seen the claim, 22P02 (''::int) once it has.

CREATE TABLE my_table (id int PRIMARY KEY, user_id int NOT NULL);
ALTER TABLE my_table ENABLE ROW LEVEL SECURITY;
CREATE POLICY access_policy ON my_table FOR SELECT
    USING (user_id = current_setting('request.jwt.claim.user_id')::int);
GRANT SELECT ON my_table TO anon, author;

-- The same, safe for everybody, and evaluated once per statement instead of once per row.

CREATE TABLE my_safe_table (id int PRIMARY KEY, user_id int NOT NULL);
ALTER TABLE my_safe_table ENABLE ROW LEVEL SECURITY;
CREATE POLICY access_policy ON my_safe_table FOR SELECT
    USING (user_id = (SELECT nullif(current_setting('request.jwt.claim.user_id', true), '')::int));
GRANT SELECT ON my_safe_table TO anon, author;

-- And without claim_settings, from the one setting that is always there.

CREATE TABLE my_plain_table (id int PRIMARY KEY, user_id int NOT NULL);
ALTER TABLE my_plain_table ENABLE ROW LEVEL SECURITY;
CREATE POLICY access_policy ON my_plain_table FOR SELECT
    USING (user_id = (SELECT (nullif(current_setting('request.jwt.claims', true), '')::json ->> 'user_id')::int));
GRANT SELECT ON my_plain_table TO anon, author;
