-- The database of the requests' bench. Each owner has 10 items, and nobody sees another's.
CREATE ROLE authenticator NOINHERIT LOGIN;
CREATE ROLE anon NOLOGIN;
CREATE ROLE web_user NOLOGIN;
GRANT anon, web_user TO authenticator;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE TEMPORARY ON DATABASE postgres FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO anon, web_user;

CREATE TABLE items (id int PRIMARY KEY, owner text NOT NULL, title text NOT NULL, done boolean NOT NULL);
INSERT INTO items
SELECT i, CASE i % 100 WHEN 0 THEN 'alice' WHEN 1 THEN 'bob' ELSE 'user' || i % 100 END, 'item number ' || i, i % 3 = 0
FROM generate_series(0, 999) AS i;
CREATE INDEX ON items (owner, id);
ALTER TABLE items ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON items
    USING (owner = (SELECT nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub'));

-- Each connection of the load generator updates a row of its own, so no request waits for another's lock. `value` has no
-- index and the pages are mostly empty, so an update stays on its page, and what it leaves there the next ones prune.
CREATE TABLE counters (id int PRIMARY KEY, owner text NOT NULL, value int NOT NULL) WITH (fillfactor = 10);
INSERT INTO counters SELECT i, 'alice', 0 FROM generate_series(0, 1023) AS i;
ALTER TABLE counters ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON counters
    USING (owner = (SELECT nullif(current_setting('request.jwt.claims', true), '')::json ->> 'sub'));

GRANT SELECT ON items TO web_user;
GRANT SELECT, UPDATE ON counters TO web_user;
ANALYZE;
