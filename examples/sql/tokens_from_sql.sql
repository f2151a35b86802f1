-- Tokens whose claims a SQL function says: a sign-in with codes that are good once, sent by mail for example.
--
-- Run it in the service's database, behind roles.sql or todos.sql, with the names of your roles:
--
--     psql --set ON_ERROR_STOP=1 --set anon=anon --set web_user=web_user \
--         --file tokens_from_sql.sql postgres://postgres@localhost/app

-- Nobody but its owner sees what is in here.
CREATE SCHEMA sign_in;

CREATE TABLE sign_in.codes (
    hash       bytea PRIMARY KEY,
    email      text NOT NULL,
    role       name NOT NULL,
    expires_at timestamptz NOT NULL DEFAULT now() + interval '10 minutes'
);

CREATE TABLE sign_in.refusals (
    at timestamptz NOT NULL DEFAULT now()
);

-- What is in a token: each field is a claim, and one that is NULL is none.
CREATE TYPE sign_in.jwt_claims AS (
    role  name,
    sub   text,
    email text
);

-- Callers without a token may try, and see nothing but what comes of it. The function runs as its owner, so it says itself
-- where its names are looked up.
CREATE FUNCTION redeem(code text) RETURNS sign_in.jwt_claims
LANGUAGE plpgsql SECURITY DEFINER SET search_path = sign_in, pg_temp
AS $$
DECLARE
    claims jwt_claims;
BEGIN
    DELETE FROM codes c
        WHERE c.hash = sha256(convert_to(code, 'UTF8')) AND c.expires_at > now()
        RETURNING c.role, c.email, c.email INTO claims;
    IF NOT FOUND THEN
        INSERT INTO refusals DEFAULT VALUES;
        RETURN NULL;
    END IF;
    RETURN claims;
END;
$$;

REVOKE EXECUTE ON FUNCTION redeem(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION redeem(text) TO :"anon";

-- A token with more than the caller's own has: what it has stands in request.jwt.claims, verified.
CREATE FUNCTION elevate() RETURNS sign_in.jwt_claims
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT current_user, claims ->> 'sub', claims ->> 'email'
    FROM (SELECT nullif(current_setting('request.jwt.claims', true), '')::json) AS of_request (claims)
    WHERE claims ->> 'sub' IS NOT NULL
$$;

REVOKE EXECUTE ON FUNCTION elevate() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION elevate() TO :"web_user";
