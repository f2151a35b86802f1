//! Looks at the authenticator before the first request does: is it as powerless as it should be?

use std::fmt;
use std::time::Duration;

use tokio_postgres::{self, Client};

use super::connect::Connect;
use super::setup_error::SetupError;
use crate::error::Error;

/// PostgreSQL 14 is the oldest server that this crate is made for.
const OLDEST: i32 = 140_000;

/// Names one thing that is wrong with the set-up of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupProblem {
    kind: SetupProblemKind,
    subject: String,
    login: String,
}

/// Tells what is wrong with the set-up of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SetupProblemKind {
    /// The server is older than PostgreSQL 14. Cannot be accepted.
    ServerTooOld,
    /// The anonymous role, or the resting role, does not exist. Cannot be accepted.
    RoleMissing,
    /// The authenticator may not become the anonymous role, or the resting role. Cannot be accepted.
    RoleNotGranted,
    /// The anonymous role, or the resting role, is the authenticator itself. Cannot be accepted.
    RoleIsLogin,
    /// The authenticator is a superuser, or may become one.
    ReachesSuperuser,
    /// The authenticator has `BYPASSRLS`, or may become a role that has.
    ReachesBypassRls,
    /// The authenticator has `CREATEROLE`, or may become a role that has.
    ReachesCreateRole,
    /// The authenticator has the rights of the roles it may become, without becoming them.
    Inherits,
    /// The authenticator owns tables: row-level security does not apply to an owner.
    OwnsTables,
}

const FACTS: &str = "\
    SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4, session_user::pg_catalog.text, \
    pg_catalog.pg_is_in_recovery()";

/// What the login role is or may become. From 16 on, a membership can be without `SET`.
const REACHES: &str = "\
    SELECT r.rolname::pg_catalog.text, r.rolsuper, r.rolbypassrls, r.rolcreaterole \
    FROM pg_catalog.pg_roles r \
    WHERE (r.rolsuper OR r.rolbypassrls OR r.rolcreaterole) \
    AND (r.rolname = session_user OR pg_catalog.pg_has_role(session_user, r.oid, $1)) \
    ORDER BY r.rolname <> session_user, r.rolname";

const INHERITS_UP_TO_15: &str = "\
    SELECT m.roleid::pg_catalog.regrole::pg_catalog.text \
    FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.member \
    WHERE r.rolname = session_user AND r.rolinherit ORDER BY 1";

const INHERITS_FROM_16: &str = "\
    SELECT m.roleid::pg_catalog.regrole::pg_catalog.text \
    FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.member \
    WHERE r.rolname = session_user AND m.inherit_option ORDER BY 1";

const OWNS: &str = "\
    SELECT c.oid::pg_catalog.regclass::pg_catalog.text \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles r ON r.oid = c.relowner \
    WHERE r.rolname = session_user AND c.relkind IN ('r', 'p') \
    AND c.relnamespace::pg_catalog.regnamespace::pg_catalog.text NOT LIKE 'pg\\_%' \
    ORDER BY 1 LIMIT 5";

const MAY_BECOME: &str = "\
    SELECT pg_catalog.pg_has_role(session_user, r.oid, $2) FROM pg_catalog.pg_roles r WHERE r.rolname = $1";

/// What a server is looked at for.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    /// Where the server is, for people.
    pub(super) place: String,
    pub(super) timeout: Duration,
    pub(super) anonymous_role: Option<String>,
    pub(super) resting_role: Option<String>,
    pub(super) accepted: Vec<SetupProblemKind>,
}

/// What was found, where nothing is to be refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// Whether the server is a standby.
    pub(super) in_recovery: bool,
}

impl Expected {
    /// Checks the set-up on a connection of its own, as the URL opens it.
    pub(super) async fn check(&self, connector: &dyn Connect) -> Result<Found, SetupError> {
        let place = &self.place;
        let looking = async {
            let client = connector.connect_plain().await?;
            let (anonymous, resting) = (&self.anonymous_role, &self.resting_role);
            problems(&client, anonymous.as_deref(), resting.as_deref()).await
        };
        let (found, problems) = match tokio::time::timeout(self.timeout, looking).await {
            Ok(Ok(seen)) => seen,
            Ok(Err(error)) => {
                return Err(SetupError::unreachable(Error::with_source(
                    crate::ErrorKind::Unavailable,
                    format!("cannot use the database at {place}"),
                    error,
                )));
            }
            Err(elapsed) => {
                return Err(SetupError::unreachable(Error::with_source(
                    crate::ErrorKind::Unavailable,
                    format!("the database at {place} did not answer in time"),
                    elapsed,
                )));
            }
        };
        let (overridden, refused): (Vec<_>, Vec<_>) = problems.into_iter().partition(|problem| {
            problem.kind.can_be_accepted() && self.accepted.contains(&problem.kind)
        });
        for problem in overridden {
            tracing::warn!("accepted, as the pool was told: {problem}");
        }
        if refused.is_empty() {
            Ok(found)
        } else {
            Err(SetupError::problems_found(refused))
        }
    }
}

async fn problems(
    client: &Client,
    anonymous_role: Option<&str>,
    resting_role: Option<&str>,
) -> Result<(Found, Vec<SetupProblem>), tokio_postgres::Error> {
    use SetupProblemKind as K;

    let facts = client.query_typed_one(FACTS, &[]).await?;
    let version: i32 = facts.try_get(0)?;
    let login: String = facts.try_get(1)?;
    let found_there = Found {
        in_recovery: facts.try_get(2)?,
    };
    let mut problems = Vec::new();
    let mut found = |kind, subject: &str| {
        problems.push(SetupProblem {
            kind,
            subject: subject.to_owned(),
            login: login.clone(),
        });
    };
    if version < OLDEST {
        found(K::ServerTooOld, &(version / 10_000).to_string());
        return Ok((found_there, problems));
    }
    let becoming = if version >= 160_000 { "SET" } else { "MEMBER" };

    let mut roles: Vec<&str> = anonymous_role.into_iter().chain(resting_role).collect();
    roles.dedup();
    for role in roles {
        if role == login {
            found(K::RoleIsLogin, role);
            continue;
        }
        let text = tokio_postgres::types::Type::TEXT;
        let row = client
            .query_typed_opt(MAY_BECOME, &[(&role, text.clone()), (&becoming, text)])
            .await?;
        match row.map(|row| row.try_get::<_, bool>(0)).transpose()? {
            None => found(K::RoleMissing, role),
            Some(false) => found(K::RoleNotGranted, role),
            Some(true) => {}
        }
    }
    let reached = client
        .query_typed(REACHES, &[(&becoming, tokio_postgres::types::Type::TEXT)])
        .await?;
    for row in &reached {
        let role: &str = row.try_get(0)?;
        // Whoever may become a superuser may become everything else: say that once.
        if row.try_get(1)? {
            found(K::ReachesSuperuser, role);
            if role == login {
                return Ok((found_there, problems));
            }
            continue;
        }
        if row.try_get(2)? {
            found(K::ReachesBypassRls, role);
        }
        if row.try_get(3)? {
            found(K::ReachesCreateRole, role);
        }
    }
    let inherits = if version >= 160_000 {
        INHERITS_FROM_16
    } else {
        INHERITS_UP_TO_15
    };
    if let Some(names) = names(client, inherits).await? {
        found(K::Inherits, &names);
    }
    if let Some(names) = names(client, OWNS).await? {
        found(K::OwnsTables, &names);
    }
    Ok((found_there, problems))
}

async fn names(client: &Client, sql: &str) -> Result<Option<String>, tokio_postgres::Error> {
    let names = client
        .query_typed(sql, &[])
        .await?
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<Vec<String>, _>>()?;
    Ok((!names.is_empty()).then(|| names.join(", ")))
}

impl SetupProblem {
    pub(super) fn role_is_login(role: &str) -> Self {
        Self {
            kind: SetupProblemKind::RoleIsLogin,
            subject: role.to_owned(),
            login: role.to_owned(),
        }
    }

    /// Returns what is wrong.
    pub fn kind(&self) -> SetupProblemKind {
        self.kind
    }

    /// Returns the names of the roles or tables that it is about, or the server's version.
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

impl SetupProblemKind {
    fn can_be_accepted(self) -> bool {
        !matches!(
            self,
            Self::ServerTooOld | Self::RoleMissing | Self::RoleNotGranted | Self::RoleIsLogin
        )
    }
}

/// Says the problem and the SQL that cures it.
impl fmt::Display for SetupProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use SetupProblemKind as K;
        let subject = &self.subject;
        let (role, login) = (quoted(subject), quoted(&self.login));
        match self.kind {
            K::ServerTooOld => write!(
                f,
                "the server is PostgreSQL {subject}; 14 is the oldest supported"
            ),
            K::RoleMissing => write!(
                f,
                "role {role} does not exist: CREATE ROLE {role} NOLOGIN; GRANT {role} TO {login};"
            ),
            K::RoleNotGranted => write!(
                f,
                "the authenticator may not become {role}: GRANT {role} TO {login};"
            ),
            K::RoleIsLogin => write!(
                f,
                "{role} is the role that the pool logs in as, and no request may run as it: \
                 name another, CREATE ROLE anon NOLOGIN; GRANT anon TO {login};"
            ),
            K::ReachesSuperuser => write!(
                f,
                "the authenticator is, or may become, the superuser {role}: \
                 log in as a role that is only a member of the roles that requests run as"
            ),
            K::ReachesBypassRls => write!(
                f,
                "the authenticator is, or may become, {role}, which has BYPASSRLS: \
                 REVOKE {role} FROM {login}; or ALTER ROLE {role} NOBYPASSRLS;"
            ),
            K::ReachesCreateRole => write!(
                f,
                "the authenticator is, or may become, {role}, which has CREATEROLE: \
                 REVOKE {role} FROM {login}; or ALTER ROLE {role} NOCREATEROLE;"
            ),
            K::Inherits => write!(
                f,
                "the authenticator has the rights of {subject} without becoming them: \
                 ALTER ROLE {login} NOINHERIT; and from PostgreSQL 16 on GRANT .. TO {login} WITH INHERIT FALSE;"
            ),
            K::OwnsTables => write!(
                f,
                "the authenticator owns {subject}, where row-level security does not bind it: \
                 ALTER TABLE .. OWNER TO another role"
            ),
        }?;
        if self.kind.can_be_accepted() {
            write!(
                f,
                " (a service may accept it, by accept_setup_problem(SetupProblemKind::{:?}))",
                self.kind
            )?;
        }
        Ok(())
    }
}

/// A role's name as SQL has it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
