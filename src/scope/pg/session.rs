//! All SQL that this crate sends around a handler's own: constants, and nothing is ever spliced into them.

use super::mode::{AccessMode, Isolation};

macro_rules! begin {
    ($isolation:expr, $mode:expr, $then:literal) => {
        match ($isolation, $mode) {
            (Isolation::ReadCommitted, AccessMode::ReadOnly) => {
                concat!("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY", $then)
            }
            (Isolation::ReadCommitted, AccessMode::ReadWrite) => {
                concat!("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", $then)
            }
            (Isolation::RepeatableRead, AccessMode::ReadOnly) => {
                concat!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", $then)
            }
            (Isolation::RepeatableRead, AccessMode::ReadWrite) => {
                concat!("BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE", $then)
            }
            (Isolation::Serializable, AccessMode::ReadOnly) => {
                concat!("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY", $then)
            }
            (Isolation::Serializable, AccessMode::ReadWrite) => {
                concat!("BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE", $then)
            }
        }
    };
}

/// Begins a transaction. The mode is said in full: a role or a database can have other defaults.
pub(crate) const fn begin(isolation: Isolation, mode: AccessMode) -> &'static str {
    begin!(isolation, mode, "")
}

/// Begins a transaction on a pooler's server connection, where others may have left statements of the names that the
/// driver gives.
pub(crate) const fn begin_pooled(isolation: Isolation, mode: AccessMode) -> &'static str {
    begin!(isolation, mode, "; DEALLOCATE ALL")
}

/// Switches to role `$1`: claims `$2`, method `$3`, path `$4`. Says when the transaction began, in column [`BEGAN`]: no later
/// one on this session shares that, and no SQL can set it, so that it tells at the end whether the transaction is still this one.
///
/// As a query, not as `SET LOCAL` statements: once a query has run, the access mode can no longer be changed.
pub(crate) const SWITCH: &str = "\
    SELECT pg_catalog.set_config('role', $1, true), \
           pg_catalog.set_config('request.jwt.claims', $2, true), \
           pg_catalog.set_config('request.method', $3, true), \
           pg_catalog.set_config('request.path', $4, true), \
           pg_catalog.set_config('rolescope.role', $1, true), \
           pg_catalog.now() AS rolescope_began";

pub(crate) const BEGAN: usize = 5;

/// Sets what a pooler keeps from the start of a session: application name `$1`, timeouts `$2` and `$3` where there are any.
pub(crate) const START: &str = "\
    SELECT pg_catalog.set_config('application_name', $1, true), \
           pg_catalog.set_config('statement_timeout', \
               coalesce($2, pg_catalog.current_setting('statement_timeout')), true), \
           pg_catalog.set_config('idle_in_transaction_session_timeout', \
               coalesce($3, pg_catalog.current_setting('idle_in_transaction_session_timeout')), true)";

/// Applies the settings named in `$1` with the values in `$2`, in their order, before the switch.
pub(crate) const SETTINGS: &str = "\
    SELECT pg_catalog.set_config(rolescope.name, rolescope.value, true) \
    FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) \
    AS rolescope (name, value)";

/// Fails, and so makes the `COMMIT` behind it a rollback, unless the transaction is still the one that began at `$1`, where
/// that is not null, the role still `$2`, its settings not `RESET`, and the transaction, where `$3` says `on`, still
/// `READ ONLY`: up to PostgreSQL 15 `RESET` changes that.
///
/// Operators are named with their schema, since the handler may have changed `search_path`.
pub(crate) const CHECK: &str = "\
    SELECT 1 OPERATOR(pg_catalog./) (\
        coalesce(pg_catalog.now() OPERATOR(pg_catalog.=) $1::pg_catalog.timestamptz, true) \
        AND current_user::pg_catalog.text OPERATOR(pg_catalog.=) $2::pg_catalog.text \
        AND coalesce(pg_catalog.current_setting('rolescope.role', true) OPERATOR(pg_catalog.=) $2::pg_catalog.text, false) \
        AND ($3::pg_catalog.text OPERATOR(pg_catalog.=) 'off' \
            OR pg_catalog.current_setting('transaction_read_only') OPERATOR(pg_catalog.=) 'on')\
    )::pg_catalog.int4 AS rolescope";

macro_rules! prepare_end_of_read {
    () => {
        "PREPARE rolescope_end AS \
         SELECT pg_catalog.pg_advisory_unlock_all(), \
                1 OPERATOR(pg_catalog./) (\
                    coalesce(current_user::pg_catalog.text \
                        OPERATOR(pg_catalog.=) pg_catalog.current_setting('rolescope.role', true), false) \
                    AND pg_catalog.current_setting('transaction_read_only') OPERATOR(pg_catalog.=) 'on'\
                )::pg_catalog.int4"
    };
}

/// Prepares what a read ends with, by SQL, so that the message of its `COMMIT` can execute it: one message less. It gives
/// advisory locks back, which nobody can miss before `COMMIT` where nothing can have been changed, and fails where [`CHECK`]
/// does, but that the handler's SQL could have written down another role as its own. Only where all that has run are queries,
/// none of which can end a transaction, and nobody waits for the end.
pub(crate) const PREPARE_END_OF_READ: &str = prepare_end_of_read!();

pub(crate) const COMMIT: &str = "COMMIT";
pub(crate) const ROLLBACK: &str = "ROLLBACK";

macro_rules! reset_of_read {
    () => {
        "CLOSE ALL; \
         SET SESSION AUTHORIZATION DEFAULT; \
         RESET ALL; \
         UNLISTEN *"
    };
}

macro_rules! reset {
    () => {
        concat!(
            reset_of_read!(),
            "; SELECT pg_catalog.pg_advisory_unlock_all(); \
             DISCARD TEMP; \
             DISCARD SEQUENCES"
        )
    };
}

// All of it is said, since what is left behind can have other defaults: a DEFERRABLE transaction waits for those of others,
// and a standby refuses a SERIALIZABLE one.
macro_rules! begin_reset {
    () => {
        "BEGIN NOT DEFERRABLE ISOLATION LEVEL READ COMMITTED; "
    };
}

// Fails where SQL other than ours has prepared a statement, which may have the name of one of ours and be taken for it, and
// where one of our four is gone. All of them say `rolescope`.
macro_rules! nothing_planted {
    () => {
        concat!(
            "; SELECT 1 OPERATOR(pg_catalog./) (\
                 pg_catalog.bool_and(NOT p.from_sql OR p.name OPERATOR(pg_catalog.=) 'rolescope_end' \
                     AND p.statement OPERATOR(pg_catalog.=) $rolescope$",
            prepare_end_of_read!(),
            "$rolescope$) \
                 AND pg_catalog.count(*) FILTER (WHERE p.statement OPERATOR(pg_catalog.~~) '%rolescope%') \
                     OPERATOR(pg_catalog.>=) 4\
             )::pg_catalog.int4 FROM pg_catalog.pg_prepared_statements p"
        )
    };
}

// Whoever has the session next sends `BEGIN` behind the reset without waiting for it. So where a reset fails, it leaves a
// transaction that has failed, in which that `BEGIN` and all behind it fail as well. Only what keeps the reset's own `BEGIN`
// or its last `COMMIT` from running does not: then the next transaction, which reads the reset's answer first, shows nothing
// of its own and is rolled back. A `COMMIT` is never sent along with a `BEGIN` like that.

/// Clears all that a request can leave behind on a session, but for prepared statements.
pub(crate) const RESET: &str = concat!(begin_reset!(), reset!(), "; COMMIT");

/// [`RESET`] behind SQL that may have prepared statements, which fails where it has. It reads the names of all of them.
pub(crate) const RESET_OF_UNKNOWN: &str =
    concat!(begin_reset!(), reset!(), nothing_planted!(), "; COMMIT");

/// [`RESET`] behind a role that was refused: it fails where it is the login role that is no more. No session of that can
/// take another role again, not even once a role of the same name is there.
pub(crate) const RESET_OF_REFUSED: &str = concat!(
    begin_reset!(),
    "SELECT session_user; ",
    reset!(),
    nothing_planted!(),
    "; COMMIT"
);

/// [`ROLLBACK`] and [`RESET`] in one message, for an end that nobody waits for.
pub(crate) const ROLLBACK_AND_RESET: &str =
    concat!("ROLLBACK; ", begin_reset!(), reset!(), "; COMMIT");

/// [`ROLLBACK`] and [`RESET_OF_UNKNOWN`] in one message.
pub(crate) const ROLLBACK_AND_RESET_OF_UNKNOWN: &str = concat!(
    "ROLLBACK; ",
    begin_reset!(),
    reset!(),
    nothing_planted!(),
    "; COMMIT"
);

/// The reset and `COMMIT` of a `READ ONLY` transaction, all in the transaction itself. Where `COMMIT` is refused, the rollback
/// undoes what the reset was to undo.
///
/// The cursors go next: a `WITH HOLD` one would run its query at `COMMIT`, when the locks are given back already. There
/// are neither temporary tables nor values of sequences: `READ ONLY` makes none, and those of before are discarded.
pub(crate) const RESET_AND_COMMIT: &str =
    concat!("EXECUTE rolescope_end; ", reset_of_read!(), "; COMMIT");

/// [`RESET_AND_COMMIT`] up to PostgreSQL 15, where a function can have made the transaction `READ WRITE` and back.
pub(crate) const RESET_AND_COMMIT_UP_TO_15: &str = concat!(
    "EXECUTE rolescope_end; ",
    reset_of_read!(),
    "; DISCARD TEMP; DISCARD SEQUENCES; COMMIT"
);

// Behind a pooler a message is all that is certain to run on one server connection, and a transaction on it keeps that
// from being lent to others: where the reset fails it stays open, and the pooler closes the connection with the session.
// What the driver is told at startup of its encoding the pooler says once, and `RESET ALL` undoes that.
macro_rules! reset_pooled {
    () => {
        concat!(
            "; ",
            begin_reset!(),
            "DEALLOCATE ALL; ",
            reset!(),
            "; SET client_encoding = 'UTF8'; COMMIT"
        )
    };
}

/// Ends a transaction on a pooler's server connection and clears that.
pub(crate) const COMMIT_AND_RESET_POOLED: &str = concat!("COMMIT", reset_pooled!());

/// Ends a transaction on a pooler's server connection and clears that.
pub(crate) const ROLLBACK_AND_RESET_POOLED: &str = concat!("ROLLBACK", reset_pooled!());

/// Clears what a rollback does not undo. A `COMMIT` that is refused takes its message's reset with it.
pub(crate) const CLEAR_BEFORE_COMMIT: &str =
    "SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD SEQUENCES; DEALLOCATE ALL";

/// Who the session is while no transaction runs, who it logged in as, whether its startup options have arrived, and whether
/// a `READ ONLY` transaction stays so.
pub(crate) const WHO: &str = "\
    SELECT current_user::pg_catalog.text, session_user::pg_catalog.text, \
           pg_catalog.current_setting('rolescope.startup', true), \
           pg_catalog.current_setting('server_version_num')::pg_catalog.int4 OPERATOR(pg_catalog.>=) 160000";

/// What the first word of a text says of what it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstWord {
    /// PREPARE, DEALLOCATE, DISCARD: the statement cache can no longer be trusted.
    Prepared,
    /// COPY, which the driver's query functions cannot answer.
    Copy,
    /// What ends a transaction, or a part of it: the reset of a read, which runs in it, can no longer be relied on.
    End,
    /// It reads, or does no more than a read's reset undoes. What the functions do that it calls cannot be told.
    Read,
    /// INSERT, UPDATE, DELETE, MERGE.
    Write,
    /// It can change what the session or the transaction is: SET, DO, CALL, CREATE ..
    Other,
}

const ENDS: [&str; 4] = ["commit", "end", "rollback", "abort"];
const READS: [&str; 15] = [
    "select",
    "with",
    "values",
    "table",
    "show",
    "explain",
    "declare",
    "fetch",
    "move",
    "close",
    "savepoint",
    "release",
    "listen",
    "unlisten",
    "notify",
];
const WRITES: [&str; 4] = ["insert", "update", "delete", "merge"];

/// Classifies SQL by its first word, past white space, comments and opening parentheses.
pub(crate) fn first_word(sql: &str) -> FirstWord {
    let rest = skip_blank(sql);
    let end = rest
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(rest.len());
    let word = &rest[..end];
    if is_one_of(&READS, word) {
        FirstWord::Read
    } else if is_prepared_word(word) {
        FirstWord::Prepared
    } else if word.eq_ignore_ascii_case("copy") {
        FirstWord::Copy
    } else if is_one_of(&WRITES, word) {
        FirstWord::Write
    } else if is_one_of(&ENDS, word) {
        FirstWord::End
    } else {
        FirstWord::Other
    }
}

fn is_one_of(words: &[&str], word: &str) -> bool {
    words.iter().any(|one| word.eq_ignore_ascii_case(one))
}

/// Whether any word of a text of several statements is PREPARE, DEALLOCATE or DISCARD, be it in a comment or a string.
pub(crate) fn mentions_prepared(sql: &str) -> bool {
    sql.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .any(is_prepared_word)
}

fn is_prepared_word(word: &str) -> bool {
    is_one_of(&["prepare", "deallocate", "discard"], word)
}

fn skip_blank(mut sql: &str) -> &str {
    loop {
        sql = sql.trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == '(');
        if let Some(comment) = sql.strip_prefix("--") {
            sql = comment.find(['\n', '\r']).map_or("", |end| &comment[end..]);
        } else if sql.starts_with("/*") {
            sql = skip_block_comment(sql);
        } else {
            return sql;
        }
    }
}

/// Block comments nest in PostgreSQL.
fn skip_block_comment(sql: &str) -> &str {
    let bytes = sql.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return &sql[at..];
                }
            }
            _ => at += 1,
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_word_is_found_behind_blanks_and_nested_comments() {
        for (sql, expected) in [
            ("select 1", FirstWord::Read),
            ("(/* a */ (Values (1)))", FirstWord::Read),
            ("MERGE INTO t", FirstWord::Write),
            ("set role x", FirstWord::Other),
            ("do $$ begin end $$", FirstWord::Other),
            ("-- c\nabort", FirstWord::End),
            ("selection", FirstWord::Other),
            ("DISCARD ALL", FirstWord::Prepared),
            (
                " \n-- c\n /* a /* b */ ü */ deallocate all",
                FirstWord::Prepared,
            ),
            ("Prepare x as select 1", FirstWord::Prepared),
            ("-- c\rdeallocate all", FirstWord::Prepared),
            ("; discard plans", FirstWord::Prepared),
            ("copy t to stdout", FirstWord::Copy),
            ("prepared_at", FirstWord::Other),
            ("/* never closed", FirstWord::Other),
            ("/*/", FirstWord::Other),
            ("", FirstWord::Other),
        ] {
            assert_eq!(first_word(sql), expected, "{sql:?}");
        }
    }

    #[test]
    fn any_mention_of_prepared_statements_counts_in_a_batch() {
        assert!(mentions_prepared("select 1;DEALLOCATE ALL"));
        assert!(mentions_prepared(
            "do $$ begin execute 'discard plans'; end $$"
        ));
        assert!(!mentions_prepared("select prepare_time, discarded from t"));
    }
}
