//! Reads from PostgreSQL which tokens are revoked, and learns of each change at once.
//!
//! A [`RevocationListener`] keeps a set of [`Revocations`](crate::auth::jwt::Revocations) on one connection of its own, and each
//! [`JwtVerifier`](crate::JwtVerifier) that was given the set asks it about every token, cached ones too. Requests ask no database
//! for it. The [guide](crate::guide::revocation) has the SQL, and a table of what is immediate and what is bounded by what.
//!
//! # What it does
//!
//! | when | then |
//! |---|---|
//! | at the start | `LISTEN`, and then all is read: nothing falls between the two |
//! | a notification comes | all is read again and replaces what was there, at once; reads begin 50 ms apart at least, and rest for as long as the last one took, so that a flood of notifications costs 20 a second at most |
//! | nothing comes for `heartbeat` | a round trip makes sure that the connection lives, and confirms the set |
//! | nothing was read for `reread_interval` | all is read again, so that a change that was not notified counts after that time |
//! | there is no answer within `answer_timeout`, the connection is lost, the query fails | the connection is given up and a new one made, after 100 ms, 200 ms, .. `max_backoff`: `LISTEN`, and all is read |
//! | nothing was confirmed for `max_staleness` | acceptable tokens are answered 503 ([`ErrorKind::RevocationsUnavailable`](crate::ErrorKind::RevocationsUnavailable)), until it is |
//!
//! The set counts as confirmed from when the round trip *began*. What a notification carries is not looked at, since any role can
//! send one: the worst that it does is a read.
//!
//! # Options
//!
//! | option | default | what it sets |
//! |---|---|---|
//! | `channel` | `rolescope_revocations` | the channel that is listened on |
//! | `query` | `SELECT claim, value, issued_before FROM basic_auth.revoked_tokens()` | what is revoked |
//! | `heartbeat` | 1 s | how often the connection is asked for a sign of life |
//! | `reread_interval` | 10 s | how late a change counts that was not notified |
//! | `connect_timeout` | 5 s | how long connecting may take |
//! | `answer_timeout` | 5 s | how long a heartbeat or a read may take |
//! | `max_backoff` | 2 s | the longest time between two attempts to connect |
//! | `max_staleness` | 10 s | for how long tokens are judged by what was last known |
//! | `max_entries` | 1 000 000 | how many revocations are held; where there are more, none is taken and the set becomes stale |
//! | `dangerous().accept_stale_revocations()` | no | whether tokens are accepted although it is not known what is revoked |
//!
//! # What it needs
//!
//! - The login role of the pool, and of it only `EXECUTE` on the function of the query. The listener's session is that role
//!   itself, not the one that its sessions rest in.
//! - A connection to the primary that is PostgreSQL's own. `LISTEN` does not work through PgBouncer in transaction mode, nor on a
//!   standby; a listener that finds a pooler which keeps startup options from PostgreSQL is not built, and says so.
//! - A tokio runtime that lives as long as the verifier. Where it ends first, the set becomes stale.
//!
//! A refusal of the database is one `tracing` event of level ERROR that names the cure, and so is the set's becoming stale; a lost
//! connection is a WARN. [`Revocations::status`](crate::auth::jwt::Revocations::status) and
//! [`JwtVerifier::is_ready`](crate::JwtVerifier::is_ready) tell health endpoints.

pub use super::pg::revocation::{
    DangerousRevocationListener, RevocationListener, RevocationListenerBuilder,
};
