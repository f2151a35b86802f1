-- Sign-in with GitHub: which user a GitHub account is, and a session for it.
--
-- Run it after basic_auth.sql and sessions.sql, in the same database, as who ran those. `identity_broker` is a role that it
-- makes:
--
--     psql --set ON_ERROR_STOP=1 --set authenticator=authenticator --set accounts=accounts \
--         --set identity_broker=identity_broker --file github.sql postgres://postgres@localhost/todos
--
-- The service has GitHub's word for who somebody is, and the database has only the service's. So what is said here is
-- believed, and one role alone may say it: not `anon`, as whom everybody may come who reaches the database through
-- PostgREST or a handler.

-- For the service's own transactions. Nobody logs in as it, and no token may name it: no user can have it, the
-- functions refuse whoever comes with a token, and the service's RolePolicy::allow leaves it out.
CREATE ROLE :"identity_broker" NOLOGIN;
GRANT :"identity_broker" TO :"authenticator";

GRANT :"accounts" TO CURRENT_USER;
SET ROLE :"accounts";

-- The number is the key, for it is one account's for ever. Login names and addresses change hands: whoever gets the name of
-- somebody who has left GitHub, or their address, is another person.
CREATE TABLE basic_auth.github_identities (
    github_id    bigint PRIMARY KEY CHECK (github_id > 0),
    -- Checked at COMMIT: a first sign-in writes this row before the user's, so that of two at once the second waits.
    user_id      uuid NOT NULL REFERENCES basic_auth.users ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    login        text NOT NULL,  -- the last that was seen, to show
    signed_in_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON basic_auth.github_identities (user_id);

-- Nor may a user have that role, by whatever mistake.
ALTER TABLE basic_auth.roles ADD CHECK (role <> :'identity_broker');

-- The sign-ins that have been ended, as hashes, for longer than the ten minutes in which they can be.
CREATE TABLE basic_auth.github_states (
    hash    bytea PRIMARY KEY CHECK (length(hash) = 32),
    used_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON basic_auth.github_states (used_at);

-- The service itself comes without a token: all that its claims say is the role.
CREATE FUNCTION basic_auth.refuse_tokens() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF nullif(current_setting('request.jwt.claims', true), '')::jsonb - 'role' <> '{}' THEN
        RAISE insufficient_privilege USING MESSAGE = 'this is not for tokens';
    END IF;
END $$;

-- Uses a state, which can be done once.
CREATE FUNCTION basic_auth.use_github_state(hash bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM basic_auth.refuse_tokens();
    DELETE FROM basic_auth.github_states s WHERE s.hash IN (
        SELECT o.hash FROM basic_auth.github_states o
        WHERE o.used_at < now() - interval '1 hour' FOR UPDATE SKIP LOCKED);
    INSERT INTO basic_auth.github_states AS s VALUES (use_github_state.hash)
    ON CONFLICT ON CONSTRAINT github_states_pkey DO NOTHING;
    IF NOT FOUND THEN
        RAISE SQLSTATE 'PT400' USING MESSAGE = 'this sign-in has ended already', HINT = 'Begin again.';
    END IF;
END $$;

-- The claims of a new session; NULL where the user is disabled. `email` is the primary address if GitHub has verified it:
-- it becomes the account's at the first sign-in, and never changes an account.
CREATE FUNCTION basic_auth.sign_in_with_github(
    github_id bigint, login text, email text, refresh_hash bytea, address inet DEFAULT NULL, user_agent text DEFAULT NULL
) RETURNS basic_auth.jwt_claims
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    owner uuid := gen_random_uuid();
BEGIN
    PERFORM basic_auth.refuse_tokens();
    INSERT INTO basic_auth.github_identities AS i (github_id, user_id, login)
    VALUES (sign_in_with_github.github_id, owner, sign_in_with_github.login)
    ON CONFLICT ON CONSTRAINT github_identities_pkey DO NOTHING;
    IF FOUND THEN
        INSERT INTO basic_auth.users (id, email, role, verified)
        SELECT owner, CASE WHEN basic_auth.is_email(sign_in_with_github.email) THEN sign_in_with_github.email END,
            s.signup_role, true
        FROM basic_auth.settings s
        ON CONFLICT DO NOTHING;
        -- Whoever has the address now need not be who made the account.
        IF NOT FOUND THEN
            RAISE SQLSTATE 'PT409' USING MESSAGE = 'there is an account with your e-mail address already',
                HINT = 'Sign in as you did before: an account is not given away for an address.';
        END IF;
    ELSE
        SELECT i.user_id INTO owner FROM basic_auth.github_identities i WHERE i.github_id = sign_in_with_github.github_id;
        -- The user's row before others, as everywhere.
        PERFORM FROM basic_auth.users u WHERE u.id = owner FOR NO KEY UPDATE;
        UPDATE basic_auth.github_identities i SET login = sign_in_with_github.login, signed_in_at = now()
        WHERE i.github_id = sign_in_with_github.github_id;
    END IF;
    RETURN basic_auth.start_session(owner, refresh_hash, address, user_agent);
END $$;

GRANT USAGE ON SCHEMA basic_auth TO :"identity_broker";
GRANT EXECUTE ON FUNCTION basic_auth.use_github_state, basic_auth.sign_in_with_github TO :"identity_broker";

RESET ROLE;
REVOKE :"accounts" FROM CURRENT_USER;
