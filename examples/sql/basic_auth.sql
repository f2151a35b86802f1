-- Users with passwords: sign-up, verified e-mail addresses, forgotten passwords, limited attempts.
--
-- Run it after todos.sql or roles.sql and before sessions.sql, in the same UTF8 database, as a superuser or as the
-- database's owner with CREATEROLE. `accounts` and `mailer` are roles that it makes:
--
--     psql --set ON_ERROR_STOP=1 --set authenticator=authenticator --set anon=anon --set web_user=web_user \
--         --set accounts=accounts --set mailer=mailer --file basic_auth.sql postgres://postgres@localhost/todos
--
-- Passwords are hashed here and not in the service: the hash never leaves the database, so no role, log or bug of the
-- service can show one. The price is bcrypt instead of argon2, and the database's CPU: a login costs it some 50 ms.

-- In a schema that requests' roles have no USAGE of: whoever may call crypt() with a cost of 31 keeps a processor for hours.
CREATE SCHEMA IF NOT EXISTS pgcrypto;
CREATE EXTENSION IF NOT EXISTS pgcrypto SCHEMA pgcrypto;

-- Owns all of it, and nobody logs in as it. SECURITY DEFINER functions run with its rights, not with a superuser's.
CREATE ROLE :"accounts" NOLOGIN;
-- Sends the mails and cleans up. No token may name it: see the table `roles`.
CREATE ROLE :"mailer" NOLOGIN;
GRANT :"mailer" TO :"authenticator";

GRANT :"accounts" TO CURRENT_USER;
CREATE SCHEMA basic_auth AUTHORIZATION :"accounts";
GRANT USAGE ON SCHEMA pgcrypto TO :"accounts";
GRANT CREATE ON SCHEMA public TO :"accounts";
SET ROLE :"accounts";

-- Whatever function it makes, here or later: nobody may call it who is not named.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- The roles that users may have. A role that is not in it never gets into a token, whatever is granted to the authenticator.
CREATE TABLE basic_auth.roles (role text PRIMARY KEY);

CREATE TABLE basic_auth.settings (
    one                 boolean PRIMARY KEY DEFAULT true CHECK (one),
    authenticator       text NOT NULL,
    signup_role         text NOT NULL REFERENCES basic_auth.roles,
    bcrypt_cost         int NOT NULL DEFAULT 10 CHECK (bcrypt_cost BETWEEN 4 AND 20),
    min_password_length int NOT NULL DEFAULT 15 CHECK (min_password_length >= 8),
    verify_lifetime     interval NOT NULL DEFAULT '1 day',
    reset_lifetime      interval NOT NULL DEFAULT '1 hour',
    mail_lease          interval NOT NULL DEFAULT '5 min'
);

-- One line, no quotes or brackets: it goes into the head of a mail.
CREATE FUNCTION basic_auth.is_email(email text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT email ~ '^[^@[:space:][:cntrl:]<>()",;:\\]+@[^@[:space:][:cntrl:]<>()",;:\\]+\.[^@[:space:][:cntrl:]<>()",;:\\.]+$'
        AND length(email) <= 254
$$;

CREATE TABLE basic_auth.users (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email        text CHECK (basic_auth.is_email(email)),  -- NULL: no mail, and no login by password
    pass         text CHECK (pass ~ '^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$'),  -- NULL: no password, another way to sign in
    role         text NOT NULL REFERENCES basic_auth.roles,
    verified     boolean NOT NULL DEFAULT false,
    disabled     boolean NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz
);
-- Only A to Z are folded, whatever the locale: no other letter can be made to look like one of an existing address.
CREATE UNIQUE INDEX users_email ON basic_auth.users (lower(email COLLATE "C"));

CREATE FUNCTION basic_auth.check_role() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    login text := (SELECT s.authenticator FROM basic_auth.settings s);
    wanted pg_catalog.pg_roles;
BEGIN
    SELECT * INTO wanted FROM pg_catalog.pg_roles r WHERE r.rolname = NEW.role;
    IF wanted.oid IS NULL THEN
        RAISE foreign_key_violation USING MESSAGE = format('unknown database role: %s', NEW.role);
    END IF;
    IF wanted.rolsuper OR wanted.rolbypassrls OR wanted.rolcreaterole OR wanted.rolcreatedb OR wanted.rolreplication
        OR wanted.rolname = login OR pg_has_role(wanted.rolname, current_user, 'MEMBER')
        OR NOT pg_has_role(login::name, wanted.rolname, 'MEMBER') THEN
        RAISE insufficient_privilege USING MESSAGE = format('not a role for users: %s', NEW.role),
            HINT = 'It must be granted to the authenticator, and have no rights over roles, databases or this schema.';
    END IF;
    RETURN NEW;
END $$;

-- Mails are asked for here and made by take_mails(): whether an address is known does not change what its caller does.
CREATE TABLE basic_auth.mail_requests (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind  text NOT NULL CHECK (kind IN ('signup', 'reset')),
    email text NOT NULL,
    pass  text,
    taken timestamptz NOT NULL DEFAULT '-infinity'
);

-- What was sent, as SHA-256.
CREATE TABLE basic_auth.one_time_tokens (
    hash       bytea PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('verify', 'reset')),
    email      text NOT NULL,
    pass       text,
    user_id    uuid REFERENCES basic_auth.users ON DELETE CASCADE,
    expires_at timestamptz NOT NULL
);
CREATE INDEX ON basic_auth.one_time_tokens (user_id);
CREATE INDEX ON basic_auth.one_time_tokens (lower(email COLLATE "C"));

-- So many attempts at once, and one more each `refill`.
CREATE TABLE basic_auth.limits (
    kind   text PRIMARY KEY,
    burst  int NOT NULL CHECK (burst > 0),
    refill interval NOT NULL CHECK (refill > '0')
);
INSERT INTO basic_auth.limits VALUES
    ('login: account and address', 5, '1 min'),
    ('login: address', 50, '10 s'),
    ('login: account', 50, '5 min'),  -- not asked for addresses that the account was used from: see check_password
    ('mail: address', 20, '5 min'),
    ('mail: account', 3, '20 min');

-- Until when the attempts of a key count. The key is a hash: people also type passwords where the e-mail belongs.
CREATE TABLE basic_auth.attempts (key bytea PRIMARY KEY, count_until timestamptz NOT NULL);

CREATE TABLE basic_auth.known_addresses (
    user_id uuid REFERENCES basic_auth.users ON DELETE CASCADE,
    address inet,
    seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, address)
);

-- Counts an attempt, or refuses it: rolescope and PostgREST answer 429 with Retry-After. Others with the same key wait until this transaction ends, so that ten at
-- once count as ten. Refused ones are not counted: the transaction is rolled back.
CREATE FUNCTION basic_auth.count_attempt(kind text, key text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
    limits basic_auth.limits;
    until timestamptz;
    wait interval;
BEGIN
    SELECT * INTO STRICT limits FROM basic_auth.limits l WHERE l.kind = count_attempt.kind;
    INSERT INTO basic_auth.attempts AS a
    VALUES (sha256(convert_to(kind || ' ' || key, 'UTF8')), clock_timestamp() + limits.refill)
    ON CONFLICT ON CONSTRAINT attempts_pkey
    DO UPDATE SET count_until = greatest(a.count_until, clock_timestamp()) + limits.refill
    RETURNING a.count_until INTO until;
    wait := until - clock_timestamp() - limits.burst * limits.refill;
    IF wait > '0' THEN
        RAISE SQLSTATE 'PGRST' USING
            MESSAGE = '{"code": "too_many_attempts", "message": "too many attempts, try again later"}',
            DETAIL = format('{"status": 429, "headers": {"Retry-After": "%s"}}', ceil(extract(epoch FROM wait)));
    END IF;
END $$;

CREATE FUNCTION basic_auth.forget_attempt(kind text, key text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    UPDATE basic_auth.attempts a SET count_until = a.count_until - l.refill
    FROM basic_auth.limits l
    WHERE l.kind = forget_attempt.kind AND a.key = sha256(convert_to(forget_attempt.kind || ' ' || forget_attempt.key, 'UTF8'))
$$;

-- Whoever has an IPv6 address has 2^64 of them.
CREATE FUNCTION basic_auth.network(address inet) RETURNS inet
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE family(address) WHEN 6 THEN set_masklen(network(set_masklen(address, 64)), 64) ELSE set_masklen(address, 32) END
$$;

-- bcrypt reads 72 bytes and ignores the rest, hence SHA-256 first. The prefix makes it a hash that no list of stolen
-- SHA-256 hashes holds. Written here with the schema in which pgcrypto is.
DO $$ BEGIN
    EXECUTE format($f$
        CREATE FUNCTION basic_auth.bcrypt(password text, salt text) RETURNS text
        LANGUAGE sql SET search_path = pg_catalog, pg_temp AS
        'SELECT %1$I.crypt(encode(sha256(convert_to(''basic_auth:'' || normalize(password), ''UTF8'')), ''base64''), salt)';
        CREATE FUNCTION basic_auth.new_salt(cost int) RETURNS text
        LANGUAGE sql SET search_path = pg_catalog, pg_temp AS 'SELECT %1$I.gen_salt(''bf'', cost)';
        CREATE FUNCTION basic_auth.new_token() RETURNS text
        LANGUAGE sql SET search_path = pg_catalog, pg_temp AS
        'SELECT translate(encode(%1$I.gen_random_bytes(32), ''base64''), ''+/='', ''-_'')'
    $f$, (SELECT n.nspname FROM pg_catalog.pg_extension e
          JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pgcrypto'));
END $$;

CREATE FUNCTION basic_auth.token_hash(token text) RETURNS bytea
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT sha256(convert_to(token, 'UTF8')) $$;

-- A hash to store, for administrators too: UPDATE basic_auth.users SET pass = basic_auth.hash_password('..') ..
CREATE FUNCTION basic_auth.hash_password(password text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    settings basic_auth.settings := (SELECT s FROM basic_auth.settings s);
BEGIN
    -- Length is the only rule: others make passwords worse (NIST SP 800-63B).
    IF password IS NULL OR length(password) < settings.min_password_length OR length(password) > 1000 THEN
        RAISE SQLSTATE 'PT422' USING MESSAGE = format('a password has %s to 1000 characters', settings.min_password_length);
    END IF;
    RETURN basic_auth.bcrypt(password, basic_auth.new_salt(settings.bcrypt_cost));
END $$;

-- The id of the user, or NULL. It counts the attempt, which the caller's transaction must commit either way.
CREATE FUNCTION basic_auth.check_password(email text, password text, address inet) RETURNS uuid
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    settings basic_auth.settings := (SELECT s FROM basic_auth.settings s);
    account text := lower(left(coalesce(email, ''), 300) COLLATE "C");
    net inet := basic_auth.network(address);
    pair text := concat_ws(' ', coalesce(host(net), '-'), account);
    owner basic_auth.users;
    known boolean;
    hash text;
BEGIN
    SELECT * INTO owner FROM basic_auth.users u WHERE lower(u.email COLLATE "C") = account;
    known := EXISTS (
        SELECT FROM basic_auth.known_addresses k
        WHERE k.user_id = owner.id AND k.address = net AND k.seen_at > now() - interval '30 days');
    IF net IS NOT NULL THEN
        PERFORM basic_auth.count_attempt('login: address', host(net));
    END IF;
    PERFORM basic_auth.count_attempt('login: account and address', pair);
    -- Somebody who guesses from many addresses uses this up; the owner still gets in from where they were before.
    IF NOT known THEN
        PERFORM basic_auth.count_attempt('login: account', account);
    END IF;

    -- One hash, whether there is such a user or not: for those who have none the salt is made up, at the same cost.
    hash := basic_auth.bcrypt(left(coalesce(password, ''), 1001),
        coalesce(owner.pass, format('$2a$%s$', lpad(settings.bcrypt_cost::text, 2, '0')) || repeat('.', 22)));
    -- As it is now: the password may have been changed while the hash was computed.
    PERFORM FROM basic_auth.users u
    WHERE u.id = owner.id AND u.pass = hash AND u.pass = owner.pass AND u.verified AND NOT u.disabled
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;

    IF net IS NOT NULL THEN
        PERFORM basic_auth.forget_attempt('login: address', host(net));
        INSERT INTO basic_auth.known_addresses AS k VALUES (owner.id, net)
        ON CONFLICT ON CONSTRAINT known_addresses_pkey DO UPDATE SET seen_at = now();
    END IF;
    PERFORM basic_auth.forget_attempt('login: account and address', pair);
    IF NOT known THEN
        PERFORM basic_auth.forget_attempt('login: account', account);
    END IF;
    RETURN owner.id;
END $$;

CREATE FUNCTION basic_auth.count_mail(email text, address inet) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF basic_auth.is_email(email) IS NOT TRUE THEN
        RAISE SQLSTATE 'PT422' USING MESSAGE = 'not an e-mail address';
    END IF;
    IF address IS NOT NULL THEN
        PERFORM basic_auth.count_attempt('mail: address', host(basic_auth.network(address)));
    END IF;
    PERFORM basic_auth.count_attempt('mail: account', lower(email COLLATE "C"));
END $$;

-- Always the same answer. Known addresses are sent a mail that says so; a user is made of unknown ones when they are
-- verified, with the password of the sign-up whose mail it was and with no role but the one of the settings.
-- NOTIFY only wakes the mailer: whoever has a session in this database may listen, and hears nothing.
CREATE FUNCTION public.signup(email text, password text, address inet DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM basic_auth.count_mail(email, address);
    INSERT INTO basic_auth.mail_requests (kind, email, pass)
    VALUES ('signup', email, basic_auth.hash_password(password));
    NOTIFY basic_auth_mail;
END $$;

CREATE FUNCTION public.request_password_reset(email text, address inet DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM basic_auth.count_mail(email, address);
    INSERT INTO basic_auth.mail_requests (kind, email) VALUES ('reset', email);
    NOTIFY basic_auth_mail;
END $$;

-- The mails to send, as the role `mailer`: COMMIT, send, and say so by mail_sent. One that is not sent within `mail_lease`
-- is taken again. Tokens are made here, and nothing but their hash stays.
CREATE FUNCTION basic_auth.take_mails(at_most int DEFAULT 100)
RETURNS TABLE (id bigint, kind text, email text, token text, expires_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    settings basic_auth.settings := (SELECT s FROM basic_auth.settings s);
    request basic_auth.mail_requests;
    owner basic_auth.users;
BEGIN
    FOR request IN
        UPDATE basic_auth.mail_requests m SET taken = now() WHERE m.id IN (
            SELECT r.id FROM basic_auth.mail_requests r WHERE r.taken <= now() - settings.mail_lease
            ORDER BY r.id LIMIT at_most FOR UPDATE SKIP LOCKED)
        RETURNING m.*
    LOOP
        id := request.id;
        SELECT * INTO owner FROM basic_auth.users u WHERE lower(u.email COLLATE "C") = lower(request.email COLLATE "C");
        token := basic_auth.new_token();
        IF request.kind = 'signup' AND owner.id IS NULL THEN
            kind := 'verify';
            email := request.email;
            expires_at := now() + settings.verify_lifetime;
            INSERT INTO basic_auth.one_time_tokens (hash, kind, email, pass, expires_at)
            VALUES (basic_auth.token_hash(token), kind, email, request.pass, expires_at);
        ELSIF request.kind = 'signup' THEN
            kind := 'registered';
            email := owner.email;
            token := NULL;
            expires_at := NULL;
        ELSIF owner.id IS NOT NULL AND NOT owner.disabled THEN
            kind := 'reset';
            email := owner.email;
            expires_at := now() + settings.reset_lifetime;
            INSERT INTO basic_auth.one_time_tokens (hash, kind, email, user_id, expires_at)
            VALUES (basic_auth.token_hash(token), kind, email, owner.id, expires_at);
        ELSE
            DELETE FROM basic_auth.mail_requests m WHERE m.id = request.id;
            CONTINUE;
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;

CREATE FUNCTION basic_auth.mail_sent(id bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM basic_auth.mail_requests m WHERE m.id = mail_sent.id
$$;

-- Whether the token was good, which it is once.
CREATE FUNCTION public.verify_email(token text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    address text := (
        SELECT t.email FROM basic_auth.one_time_tokens t
        WHERE t.hash = basic_auth.token_hash(token) AND t.kind = 'verify');
    used basic_auth.one_time_tokens;
BEGIN
    -- All of the address, in one order: two of them at once are used one after the other.
    PERFORM FROM basic_auth.one_time_tokens t
    WHERE t.kind = 'verify' AND lower(t.email COLLATE "C") = lower(address COLLATE "C")
    ORDER BY t.hash FOR UPDATE;
    DELETE FROM basic_auth.one_time_tokens t
    WHERE t.hash = basic_auth.token_hash(token) AND t.kind = 'verify' AND t.expires_at > now()
    RETURNING * INTO used;
    INSERT INTO basic_auth.users (email, pass, role, verified)
    SELECT used.email, used.pass, s.signup_role, true FROM basic_auth.settings s WHERE used.hash IS NOT NULL
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM basic_auth.one_time_tokens t
    WHERE t.kind = 'verify' AND lower(t.email COLLATE "C") = lower(used.email COLLATE "C");
    RETURN true;
END $$;

CREATE FUNCTION public.reset_password(token text, password text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    owner uuid := (
        SELECT t.user_id FROM basic_auth.one_time_tokens t
        WHERE t.hash = basic_auth.token_hash(token) AND t.kind = 'reset');
BEGIN
    -- The user's row first, as everywhere: two tokens of a user at once are used one after the other.
    PERFORM FROM basic_auth.users u WHERE u.id = owner FOR NO KEY UPDATE;
    DELETE FROM basic_auth.one_time_tokens t USING basic_auth.users u
    WHERE t.hash = basic_auth.token_hash(token) AND t.kind = 'reset' AND t.expires_at > now() AND u.id = t.user_id
        -- The address that the mail went to is still the user's.
        AND NOT u.disabled AND lower(u.email COLLATE "C") = lower(t.email COLLATE "C");
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    -- Who has read the mail has the address: verified.
    UPDATE basic_auth.users u SET pass = basic_auth.hash_password(password), verified = true WHERE u.id = owner;
    RETURN true;
END $$;

-- Whoever changes a user's address or password, by whatever statement, ends the mails that are out.
CREATE FUNCTION basic_auth.forget_mails() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM basic_auth.one_time_tokens t WHERE t.user_id = OLD.id;
    RETURN NULL;
END $$;
CREATE TRIGGER forget_mails AFTER UPDATE ON basic_auth.users FOR EACH ROW
    WHEN ((NEW.email, NEW.pass, NEW.disabled) IS DISTINCT FROM (OLD.email, OLD.pass, OLD.disabled))
    EXECUTE FUNCTION basic_auth.forget_mails();

GRANT EXECUTE ON FUNCTION public.signup, public.request_password_reset, public.verify_email, public.reset_password TO :"anon";
GRANT USAGE ON SCHEMA basic_auth TO :"mailer";
GRANT EXECUTE ON FUNCTION basic_auth.take_mails, basic_auth.mail_sent TO :"mailer";

CREATE TRIGGER check_role BEFORE INSERT OR UPDATE OF role ON basic_auth.users
    FOR EACH ROW EXECUTE FUNCTION basic_auth.check_role();
INSERT INTO basic_auth.roles VALUES (:'web_user');
INSERT INTO basic_auth.settings (authenticator, signup_role) VALUES (:'authenticator', :'web_user');

RESET ROLE;
REVOKE CREATE ON SCHEMA public FROM :"accounts";
REVOKE :"accounts" FROM CURRENT_USER;
