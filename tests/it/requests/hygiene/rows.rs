//! The table: one row for each thing.

/// One thing that a request can leave.
pub(super) struct Row {
    pub(super) sql: &'static [&'static str],
    /// What becomes of the session, where PostgreSQL has not refused the SQL.
    pub(super) fate: Fate,
    /// Whether the request itself sees it in its traces: then the traces would show it to the next one.
    pub(super) seen: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Reset, it serves the next request.
    Kept,
    /// Closed, since the SQL has left its transaction or role.
    Closed,
    /// Closed, whether or not PostgreSQL has refused it: the SQL is about prepared statements.
    ClosedAnyway,
}

const fn kept(sql: &'static [&'static str]) -> Row {
    Row {
        sql,
        fate: Fate::Kept,
        seen: true,
    }
}

/// What no view of the request itself shows, or only what ended with the transaction.
const fn kept_unseen(sql: &'static [&'static str]) -> Row {
    Row {
        sql,
        fate: Fate::Kept,
        seen: false,
    }
}

const fn closed(sql: &'static [&'static str]) -> Row {
    Row {
        sql,
        fate: Fate::Closed,
        seen: false,
    }
}

const fn closed_anyway(sql: &'static [&'static str]) -> Row {
    Row {
        sql,
        fate: Fate::ClosedAnyway,
        seen: false,
    }
}

const TRAP: &[&str] = &[
    "CREATE TEMP TABLE t (x int)",
    "CREATE FUNCTION pg_temp.spy() RETURNS trigger LANGUAGE plpgsql AS \
     'BEGIN RAISE EXCEPTION ''it ran as %'', current_user; END'",
    "CREATE TRIGGER spy BEFORE INSERT ON pg_temp.t FOR EACH ROW EXECUTE FUNCTION pg_temp.spy()",
    "GRANT ALL ON pg_temp.t TO PUBLIC",
];

pub(super) const ROWS: &[Row] = &[
    // Settings.
    kept(&["SET app.kept = 'left'"]),
    kept(&["SELECT set_config('app.kept', 'left', false)"]),
    kept(&[
        "SELECT set_config('app.kept', 'left', false)",
        "SET LOCAL app.kept = 'for now'",
    ]),
    kept(&["SET request.jwt.claims = '{\"sub\":\"mallory\"}'"]),
    kept(&["SELECT set_config('request.jwt.claims', '{\"sub\":\"mallory\"}', false)"]),
    kept(&["SELECT set_config('request.jwt.claim.sub', 'mallory', false)"]),
    kept(&["SELECT set_config('request.headers', '{\"x\":\"y\"}', false)"]),
    kept(&["SET search_path = other"]),
    kept(&["SET plan_cache_mode = force_custom_plan"]),
    kept(&["SET row_security = off"]),
    kept(&["SET statement_timeout = '1h'"]),
    kept(&["SET lock_timeout = '1h'"]),
    kept(&["SET idle_in_transaction_session_timeout = '1h'"]),
    kept(&["SET idle_session_timeout = '1h'"]),
    kept(&["SET default_transaction_read_only = on"]),
    kept(&[
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE",
    ]),
    kept(&["SET client_encoding = 'LATIN1'"]),
    kept(&[
        "SET DateStyle = 'German'",
        "SET TimeZone = 'Asia/Tokyo'",
        "SET IntervalStyle = 'iso_8601'",
    ]),
    kept(&["SET bytea_output = 'escape'", "SET extra_float_digits = -5"]),
    kept(&[
        "SET backslash_quote = off",
        "SET standard_conforming_strings = off",
        "SET escape_string_warning = off",
    ]),
    kept(&[
        "SET work_mem = '1MB'",
        "SET application_name = 'left'",
        "SET enable_seqscan = off",
    ]),
    kept(&[
        "SET check_function_bodies = off",
        "SET client_min_messages = error",
    ]),
    // Roles, hidden from the check at the end.
    kept_unseen(&["SET ROLE author", "SET LOCAL ROLE web_user"]),
    kept_unseen(&[
        "SET SESSION AUTHORIZATION authenticator",
        "SET LOCAL ROLE web_user",
    ]),
    // Temporary objects.
    kept(&[
        "CREATE TEMP TABLE left_behind (x int)",
        "INSERT INTO left_behind VALUES (1)",
    ]),
    kept(&[
        "CREATE TEMP TABLE t AS SELECT 3 AS x",
        "GRANT ALL ON t TO PUBLIC",
    ]),
    kept(&[
        "CREATE TEMP VIEW left_behind AS SELECT 1",
        "GRANT ALL ON left_behind TO PUBLIC",
    ]),
    kept(&[
        "CREATE TEMP SEQUENCE left_behind",
        "SELECT nextval('left_behind')",
    ]),
    kept(&["CREATE FUNCTION pg_temp.left_behind() RETURNS int LANGUAGE sql AS 'SELECT 1'"]),
    kept(&[
        "CREATE TYPE pg_temp.left_behind AS ENUM ('x')",
        "CREATE DOMAIN pg_temp.d AS text",
    ]),
    kept(TRAP),
    // Everything else that a session has.
    kept(&["DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1"]),
    kept_unseen(&[
        "DECLARE left_behind CURSOR FOR SELECT 1",
        "FETCH left_behind",
    ]),
    // Listening begins at COMMIT.
    kept_unseen(&["LISTEN left_behind", "NOTIFY left_behind, 'to itself'"]),
    kept_unseen(&["SELECT pg_notify('left_behind', 'x')"]),
    kept(&["SELECT pg_advisory_lock(1)"]),
    kept(&[
        "SELECT pg_advisory_lock_shared(1, 2)",
        "SELECT pg_try_advisory_lock(3)",
    ]),
    kept(&["SELECT pg_advisory_xact_lock(4)"]),
    kept(&["LOCK TABLE t IN ACCESS EXCLUSIVE MODE"]),
    kept(&["SELECT nextval('numbers')"]),
    kept(&["SELECT setval('numbers', 7)"]),
    kept_unseen(&["SAVEPOINT left_behind", "SAVEPOINT another"]),
    kept_unseen(&["SELECT 1 / 0"]),
    kept_unseen(&["LOAD 'plpgsql'"]),
    kept_unseen(&["SET CONSTRAINTS ALL DEFERRED"]),
    kept_unseen(&[
        "DO 'BEGIN RAISE NOTICE ''%'', repeat(''x'', 5000000); RAISE WARNING ''x''; END'",
    ]),
    // What leaves the transaction or the role.
    closed(&["SET ROLE author"]),
    closed(&["SET ROLE NONE"]),
    closed(&["RESET ROLE"]),
    closed(&["SET SESSION AUTHORIZATION authenticator"]),
    closed(&["RESET ALL"]),
    closed(&["COMMIT"]),
    closed(&["COMMIT AND CHAIN", "SET app.kept = 'left'"]),
    closed(&["ROLLBACK"]),
    closed(&["ROLLBACK AND CHAIN", "SET app.kept = 'left'"]),
    closed(&["COMMIT", "SET app.kept = 'left'"]),
    closed(&["COMMIT", "BEGIN", "SET ROLE author"]),
    closed(&["ROLLBACK", "SELECT pg_advisory_lock(1)"]),
    // Prepared statements.
    closed_anyway(&["PREPARE left_behind AS SELECT 1"]),
    closed_anyway(&["DEALLOCATE ALL"]),
    closed_anyway(&["DISCARD PLANS"]),
    closed_anyway(&["DISCARD SEQUENCES"]),
    closed_anyway(&["DISCARD TEMP"]),
    closed_anyway(&["DISCARD ALL"]),
    closed_anyway(&["PREPARE TRANSACTION 'left_behind'"]),
];
