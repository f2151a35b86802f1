-- Sessions: short access tokens, refresh tokens that are rotated, sign-out, and what makes an access token worthless at once.
--
-- Run it after basic_auth.sql, in the same way and with the same names:
--
--     psql --set ON_ERROR_STOP=1 --set authenticator=authenticator --set anon=anon --set web_user=web_user \
--         --set accounts=accounts --set mailer=mailer --file sessions.sql postgres://postgres@localhost/todos
--
-- Whoever makes a token first writes to its user's row, and whoever takes something away from a user writes to it too: one
-- of them waits for the other. So no token is made of a row that is being changed, at any isolation level.

GRANT :"accounts" TO CURRENT_USER;
GRANT CREATE ON SCHEMA public TO :"accounts";
SET ROLE :"accounts";

ALTER TABLE basic_auth.settings
    ADD COLUMN access_lifetime   interval NOT NULL DEFAULT '5 min',
    ADD COLUMN idle_lifetime     interval NOT NULL DEFAULT '14 days',
    ADD COLUMN absolute_lifetime interval NOT NULL DEFAULT '90 days',
    -- How long a refresh token may come back as long as none of its successors has: see refresh.
    ADD COLUMN refresh_grace     interval NOT NULL DEFAULT '10 s',
    -- How far the clocks of the services may be behind, their leeway included.
    ADD COLUMN clock_difference  interval NOT NULL DEFAULT '5 min';

-- What the service signs. `exp` is said here, since the database must know how long a token that it revokes lives.
CREATE TYPE basic_auth.jwt_claims AS (role text, sub text, email text, sid text, jti text, exp bigint);

CREATE TABLE basic_auth.sessions (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id      uuid NOT NULL REFERENCES basic_auth.users ON DELETE CASCADE,
    generation   int NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now(),
    rotated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_used_at timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    revoked_at   timestamptz,
    address      inet,
    user_agent   text
);
CREATE INDEX ON basic_auth.sessions (user_id);

-- The SHA-256 of each refresh token that a session has had. A refresh makes a new generation.
CREATE TABLE basic_auth.refresh_tokens (
    hash       bytea PRIMARY KEY CHECK (length(hash) = 32),
    session_id uuid NOT NULL REFERENCES basic_auth.sessions ON DELETE CASCADE,
    generation int NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON basic_auth.refresh_tokens (session_id);

-- A row for each access token, which outlives its session and its user.
CREATE TABLE basic_auth.access_tokens (
    jti        uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    session_id uuid NOT NULL,
    user_id    uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX ON basic_auth.access_tokens (session_id);
CREATE INDEX ON basic_auth.access_tokens (user_id);
CREATE INDEX ON basic_auth.access_tokens (expires_at) WHERE revoked_at IS NOT NULL;

-- Marks what is out of a user or of a session, and wakes those who refuse it. In the order of a key: no deadlocks.
CREATE FUNCTION basic_auth.revoke_access_tokens(of_user uuid, of_session uuid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM basic_auth.access_tokens a
    WHERE (a.user_id = of_user OR a.session_id = of_session) AND a.revoked_at IS NULL
    ORDER BY a.jti FOR UPDATE;
    UPDATE basic_auth.access_tokens a SET revoked_at = now()
    WHERE (a.user_id = of_user OR a.session_id = of_session) AND a.revoked_at IS NULL;
    IF FOUND THEN
        NOTIFY rolescope_revocations;
    END IF;
END $$;

-- Whoever changes users or sessions, by whatever statement, revokes tokens by it.
CREATE FUNCTION basic_auth.user_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.disabled OR NOT NEW.verified OR NEW.pass IS DISTINCT FROM OLD.pass OR NEW.id <> OLD.id THEN
            UPDATE basic_auth.sessions s SET revoked_at = now() WHERE s.user_id = OLD.id AND s.revoked_at IS NULL;
        END IF;
    END IF;
    PERFORM basic_auth.revoke_access_tokens(OLD.id, NULL);
    RETURN NULL;
END $$;
-- A changed role or address ends the access tokens; the session lives on, and refresh gives one that says the new role.
CREATE TRIGGER user_changed AFTER UPDATE ON basic_auth.users FOR EACH ROW
    WHEN ((NEW.id, NEW.role, NEW.email, NEW.pass, NEW.verified, NEW.disabled)
        IS DISTINCT FROM (OLD.id, OLD.role, OLD.email, OLD.pass, OLD.verified, OLD.disabled))
    EXECUTE FUNCTION basic_auth.user_changed();
CREATE TRIGGER user_deleted AFTER DELETE ON basic_auth.users FOR EACH ROW EXECUTE FUNCTION basic_auth.user_changed();

CREATE FUNCTION basic_auth.session_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM basic_auth.revoke_access_tokens(NULL, OLD.id);
    RETURN NULL;
END $$;
CREATE TRIGGER session_revoked AFTER UPDATE ON basic_auth.sessions FOR EACH ROW
    WHEN ((NEW.id, NEW.user_id) IS DISTINCT FROM (OLD.id, OLD.user_id) OR NEW.revoked_at IS NOT NULL
        OR NEW.expires_at < OLD.expires_at)
    EXECUTE FUNCTION basic_auth.session_changed();
CREATE TRIGGER session_deleted AFTER DELETE ON basic_auth.sessions FOR EACH ROW EXECUTE FUNCTION basic_auth.session_changed();

CREATE FUNCTION basic_auth.all_gone() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- TRUNCATE removes rows that a snapshot of before does not show, and fails for none of them.
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE feature_not_supported USING MESSAGE = 'TRUNCATE could miss access tokens at this isolation level',
            HINT = 'Truncate at READ COMMITTED.';
    END IF;
    UPDATE basic_auth.access_tokens a SET revoked_at = now() WHERE a.revoked_at IS NULL;
    NOTIFY rolescope_revocations;
    RETURN NULL;
END $$;
CREATE TRIGGER all_gone AFTER TRUNCATE ON basic_auth.users FOR EACH STATEMENT EXECUTE FUNCTION basic_auth.all_gone();
CREATE TRIGGER all_gone AFTER TRUNCATE ON basic_auth.sessions FOR EACH STATEMENT EXECUTE FUNCTION basic_auth.all_gone();

-- Without these rows every token that was revoked would be good again.
CREATE FUNCTION basic_auth.keep_access_tokens() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE feature_not_supported USING MESSAGE = 'access tokens are not truncated: what they revoke would be good again',
        HINT = 'basic_auth.clean_up() deletes those that have expired.';
END $$;
CREATE TRIGGER keep_access_tokens BEFORE TRUNCATE ON basic_auth.access_tokens
    FOR EACH STATEMENT EXECUTE FUNCTION basic_auth.keep_access_tokens();

-- The claims of a new access token. It writes to the user's row before it reads it, see above.
CREATE FUNCTION basic_auth.new_claims(of_user uuid, of_session uuid) RETURNS basic_auth.jwt_claims
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    owner basic_auth.users;
    session basic_auth.sessions;
    made basic_auth.access_tokens;
BEGIN
    UPDATE basic_auth.users u SET last_seen_at = clock_timestamp() WHERE u.id = of_user RETURNING * INTO owner;
    UPDATE basic_auth.sessions s SET last_used_at = clock_timestamp()
    WHERE s.id = of_session AND s.user_id = of_user AND s.revoked_at IS NULL
    RETURNING * INTO session;
    IF owner.disabled OR NOT owner.verified OR session.id IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO basic_auth.access_tokens (session_id, user_id, expires_at)
    SELECT session.id, owner.id, date_trunc('second', least(clock_timestamp() + s.access_lifetime, session.expires_at))
    FROM basic_auth.settings s
    RETURNING * INTO made;
    RETURN (owner.role, owner.id, owner.email, session.id, made.jti, extract(epoch FROM made.expires_at)::bigint)
        ::basic_auth.jwt_claims;
END $$;

-- For functions in which a user has proved who they are, however that is: login, and sign-in at somebody else's.
CREATE FUNCTION basic_auth.start_session(
    user_id uuid, refresh_hash bytea, address inet DEFAULT NULL, user_agent text DEFAULT NULL
) RETURNS basic_auth.jwt_claims
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    owner basic_auth.users;
    session uuid;
BEGIN
    -- The user's row before the session's, as everywhere.
    SELECT * INTO owner FROM basic_auth.users u WHERE u.id = start_session.user_id FOR NO KEY UPDATE;
    IF owner.id IS NULL OR owner.disabled OR NOT owner.verified THEN
        RETURN NULL;
    END IF;
    INSERT INTO basic_auth.sessions (user_id, expires_at, address, user_agent)
    SELECT owner.id, now() + s.absolute_lifetime, address, left(user_agent, 200) FROM basic_auth.settings s
    RETURNING id INTO session;
    INSERT INTO basic_auth.refresh_tokens (hash, session_id, generation) VALUES (refresh_hash, session, 1);
    RETURN basic_auth.new_claims(owner.id, session);
END $$;

-- NULL where e-mail and password are not those of a user: commit that too, for it has counted the attempt.
CREATE FUNCTION public.login(
    email text, password text, refresh_hash bytea, address inet DEFAULT NULL, user_agent text DEFAULT NULL
) RETURNS basic_auth.jwt_claims
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    owner uuid := basic_auth.check_password(email, password, address);
BEGIN
    IF owner IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN basic_auth.start_session(owner, refresh_hash, address, user_agent);
END $$;

-- New tokens for a refresh token, which is used up. One that comes back was copied: by a thief, or by the one who was
-- robbed. Who of them asks cannot be told, so the session ends (RFC 9700, 4.14.2): NULL, which must be committed.
--
-- But also a client comes back with it whose answer was lost, or of which two parts refresh at once. So for
-- `refresh_grace` a token may be used again as long as no successor of it has been: it gets another successor. Of these
-- the first to be used is the session's, and the others are old ones.
CREATE FUNCTION public.refresh(old_hash bytea, new_hash bytea) RETURNS basic_auth.jwt_claims
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    settings basic_auth.settings := (SELECT s FROM basic_auth.settings s);
    token basic_auth.refresh_tokens;
    session basic_auth.sessions;
BEGIN
    SELECT * INTO token FROM basic_auth.refresh_tokens t WHERE t.hash = old_hash;
    PERFORM FROM basic_auth.users u JOIN basic_auth.sessions s ON s.user_id = u.id
    WHERE s.id = token.session_id FOR NO KEY UPDATE OF u;
    SELECT * INTO session FROM basic_auth.sessions s WHERE s.id = token.session_id FOR UPDATE;
    IF session.id IS NULL OR session.revoked_at IS NOT NULL OR session.expires_at <= clock_timestamp()
        OR session.last_used_at + settings.idle_lifetime <= clock_timestamp() THEN
        RETURN NULL;
    END IF;
    IF token.generation = session.generation THEN
        UPDATE basic_auth.sessions s SET generation = s.generation + 1, rotated_at = clock_timestamp()
        WHERE s.id = session.id RETURNING * INTO session;
    ELSIF token.generation < session.generation - 1
        OR session.rotated_at + settings.refresh_grace <= clock_timestamp() THEN
        UPDATE basic_auth.sessions s SET revoked_at = now() WHERE s.id = session.id;
        RETURN NULL;
    END IF;
    INSERT INTO basic_auth.refresh_tokens (hash, session_id, generation)
    VALUES (new_hash, session.id, session.generation);
    RETURN basic_auth.new_claims(session.user_id, session.id);
END $$;

-- The caller, as the verified token says.
CREATE FUNCTION basic_auth.claimed_id(claim text) RETURNS uuid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN c.value ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN c.value::uuid END
    FROM (SELECT nullif(current_setting('request.jwt.claims', true), '')::json ->> claim) AS c (value)
$$;

CREATE FUNCTION public.sessions()
RETURNS TABLE (id uuid, created_at timestamptz, last_used_at timestamptz, address inet, user_agent text, current boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.id, s.created_at, s.last_used_at, s.address, s.user_agent, s.id = basic_auth.claimed_id('sid')
    FROM basic_auth.sessions s, basic_auth.settings c
    WHERE s.user_id = basic_auth.claimed_id('sub') AND s.revoked_at IS NULL
        AND s.expires_at > now() AND s.last_used_at + c.idle_lifetime > now()
    ORDER BY s.last_used_at DESC, s.id
$$;

-- Ends one of the caller's sessions: whether there was one.
CREATE FUNCTION public.revoke_session(id uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM basic_auth.users u WHERE u.id = basic_auth.claimed_id('sub') FOR NO KEY UPDATE;
    UPDATE basic_auth.sessions s SET revoked_at = now()
    WHERE s.id = revoke_session.id AND s.user_id = basic_auth.claimed_id('sub') AND s.revoked_at IS NULL;
    RETURN FOUND;
END $$;

CREATE FUNCTION public.logout() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT public.revoke_session(basic_auth.claimed_id('sid'))
$$;

CREATE FUNCTION public.logout_everywhere() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM basic_auth.users u WHERE u.id = basic_auth.claimed_id('sub') FOR NO KEY UPDATE;
    UPDATE basic_auth.sessions s SET revoked_at = now()
    WHERE s.user_id = basic_auth.claimed_id('sub') AND s.revoked_at IS NULL;
END $$;

-- The access tokens that are refused now, for the verifiers.
CREATE FUNCTION basic_auth.revoked_tokens() RETURNS TABLE (claim text, value text, issued_before timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'jti', a.jti::text, NULL::timestamptz FROM basic_auth.access_tokens a, basic_auth.settings s
    WHERE a.revoked_at IS NOT NULL AND a.expires_at > now() - s.clock_difference
$$;

-- Deletes what no longer counts. Call it every hour or so: nothing depends on it but the size of the tables.
CREATE FUNCTION basic_auth.clean_up() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM basic_auth.one_time_tokens t WHERE t.expires_at <= now();
    DELETE FROM basic_auth.attempts a WHERE a.count_until <= now();
    DELETE FROM basic_auth.known_addresses k WHERE k.seen_at <= now() - interval '30 days';
    DELETE FROM basic_auth.access_tokens a USING basic_auth.settings s WHERE a.expires_at <= now() - s.clock_difference;
    DELETE FROM basic_auth.sessions x USING basic_auth.settings s
    WHERE least(x.revoked_at, x.expires_at, x.last_used_at + s.idle_lifetime) <= now() - s.access_lifetime;
    -- A token of weeks ago no longer ends the session that it was copied from. It is refused all the same.
    DELETE FROM basic_auth.refresh_tokens t USING basic_auth.sessions x, basic_auth.settings s
    WHERE x.id = t.session_id AND t.generation < x.generation - 1 AND t.created_at <= now() - s.idle_lifetime;
$$;

GRANT EXECUTE ON FUNCTION public.login, public.refresh TO :"anon";
GRANT EXECUTE ON FUNCTION public.sessions, public.revoke_session, public.logout, public.logout_everywhere TO :"web_user";
GRANT USAGE ON SCHEMA basic_auth TO :"authenticator";
GRANT EXECUTE ON FUNCTION basic_auth.revoked_tokens TO :"authenticator";
GRANT EXECUTE ON FUNCTION basic_auth.clean_up TO :"mailer";

RESET ROLE;
REVOKE CREATE ON SCHEMA public FROM :"accounts";
REVOKE :"accounts" FROM CURRENT_USER;
