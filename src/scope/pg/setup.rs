//! Looks at the authenticator before the first request does: is it as powerless as it should be? And by choice at what
//! requests may reach, which is in [`super::tables`].

use std::fmt;
use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::connect::Connect;
use super::setup_error::SetupError;
use super::tables;
use crate::error::Error;

/// PostgreSQL 14 is the oldest server that this crate is made for.
const OLDEST: i32 = 140_000;

/// Names one thing that is wrong with the set-up of the database. Its `Display` says the SQL that cures it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupProblem {
    kind: SetupProblemKind,
    subject: String,
    text: String,
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
    /// A table has row-level security and no policy, and is granted to roles that see nothing of it for that.
    RlsWithoutPolicies,
    /// A table has policies, and row-level security is not enabled: they do not count.
    PoliciesWithoutRls,
    /// A table with row-level security that is not forced belongs to a role whose rights requests may have.
    OwnerNotForced,
    /// A table without row-level security is granted to roles that requests may run as. It may be meant.
    TableWithoutRls,
    /// A view without `security_invoker`, or a materialized one, shows rows of tables with row-level security.
    ViewBypassesRls,
    /// A table with row-level security may be emptied by `TRUNCATE`, which does not obey policies.
    TruncateGranted,
    /// A `SECURITY DEFINER` function leaves it to its caller where its names are looked up.
    DefinerWithoutSearchPath,
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
    /// Whether the tables are looked at, too.
    pub(super) tables: bool,
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
        let (found, problems) = self.look(connector, self.tables).await?;
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

    /// Finds all that is wrong, also what is accepted.
    pub(super) async fn look(
        &self,
        connector: &dyn Connect,
        tables: bool,
    ) -> Result<(Found, Vec<SetupProblem>), SetupError> {
        let place = &self.place;
        let looking = async {
            let client = connector.connect_plain().await?;
            self.problems(&client, tables).await
        };
        let unreachable = |message, source: Box<dyn std::error::Error + Send + Sync>| {
            SetupError::unreachable(Error::with_source(
                crate::ErrorKind::Unavailable,
                message,
                source,
            ))
        };
        match tokio::time::timeout(self.timeout, looking).await {
            Ok(Ok(seen)) => Ok(seen),
            Ok(Err(error)) => Err(unreachable(
                format!("cannot use the database at {place}"),
                error.into(),
            )),
            Err(elapsed) => Err(unreachable(
                format!("the database at {place} did not answer in time"),
                elapsed.into(),
            )),
        }
    }

    async fn problems(
        &self,
        client: &Client,
        tables: bool,
    ) -> Result<(Found, Vec<SetupProblem>), tokio_postgres::Error> {
        let facts = client.query_typed_one(FACTS, &[]).await?;
        let version: i32 = facts.try_get(0)?;
        let login: String = facts.try_get(1)?;
        let found = Found {
            in_recovery: facts.try_get(2)?,
        };
        if version < OLDEST {
            let version = (version / 10_000).to_string();
            let text = format!("the server is PostgreSQL {version}; 14 is the oldest supported");
            let problem = SetupProblem::new(SetupProblemKind::ServerTooOld, version, text);
            return Ok((found, vec![problem]));
        }
        let becoming = if version >= 160_000 { "SET" } else { "MEMBER" };
        let mut problems = self.of_the_roles(client, &login, becoming).await?;
        problems.extend(of_the_login(client, &login, becoming, version).await?);
        if tables {
            problems.extend(tables::problems(client, becoming, version).await?);
        }
        Ok((found, problems))
    }

    /// Whether the roles that the pool was told of are there to become.
    async fn of_the_roles(
        &self,
        client: &Client,
        login: &str,
        becoming: &str,
    ) -> Result<Vec<SetupProblem>, tokio_postgres::Error> {
        use SetupProblemKind as K;

        let named = [&self.anonymous_role, &self.resting_role];
        let mut roles: Vec<&str> = named.into_iter().flatten().map(String::as_str).collect();
        roles.dedup();
        let mut problems = Vec::new();
        for role in roles {
            if role == login {
                problems.push(SetupProblem::role_is_login(role));
                continue;
            }
            let params: [(&(dyn ToSql + Sync), Type); 2] =
                [(&role, Type::TEXT), (&becoming, Type::TEXT)];
            let row = client.query_typed_opt(MAY_BECOME, &params).await?;
            let (name, login) = (quoted(role), quoted(login));
            let (kind, text) = match row.map(|row| row.try_get::<_, bool>(0)).transpose()? {
                None => (
                    K::RoleMissing,
                    format!(
                        "role {name} does not exist: CREATE ROLE {name} NOLOGIN; GRANT {name} TO {login};"
                    ),
                ),
                Some(false) => (
                    K::RoleNotGranted,
                    format!("the authenticator may not become {name}: GRANT {name} TO {login};"),
                ),
                Some(true) => continue,
            };
            problems.push(SetupProblem::new(kind, role, text));
        }
        Ok(problems)
    }
}

/// Whether the login role can do more than to become others.
async fn of_the_login(
    client: &Client,
    login: &str,
    becoming: &str,
    version: i32,
) -> Result<Vec<SetupProblem>, tokio_postgres::Error> {
    use SetupProblemKind as K;

    let mut problems = Vec::new();
    let reached = client
        .query_typed(REACHES, &[(&becoming, Type::TEXT)])
        .await?;
    for row in &reached {
        let role: &str = row.try_get(0)?;
        let (name, login_name) = (quoted(role), quoted(login));
        // Whoever may become a superuser may become everything else: say that once.
        if row.try_get(1)? {
            let text = format!(
                "the authenticator is, or may become, the superuser {name}: \
                 log in as a role that is only a member of the roles that requests run as"
            );
            problems.push(SetupProblem::new(K::ReachesSuperuser, role, text));
            if role == login {
                return Ok(problems);
            }
            continue;
        }
        for (kind, has, right) in [
            (K::ReachesBypassRls, row.try_get(2)?, "BYPASSRLS"),
            (K::ReachesCreateRole, row.try_get(3)?, "CREATEROLE"),
        ] {
            if has {
                let text = format!(
                    "the authenticator is, or may become, {name}, which has {right}: \
                     REVOKE {name} FROM {login_name}; or ALTER ROLE {name} NO{right};"
                );
                problems.push(SetupProblem::new(kind, role, text));
            }
        }
    }
    let inherits = if version >= 160_000 {
        INHERITS_FROM_16
    } else {
        INHERITS_UP_TO_15
    };
    if let Some(names) = names(client, inherits).await? {
        let login = quoted(login);
        let text = format!(
            "the authenticator has the rights of {names} without becoming them: \
             ALTER ROLE {login} NOINHERIT; and from PostgreSQL 16 on GRANT .. TO {login} WITH INHERIT FALSE;"
        );
        problems.push(SetupProblem::new(K::Inherits, names, text));
    }
    if let Some(names) = names(client, OWNS).await? {
        let text = format!(
            "the authenticator owns {names}, where row-level security does not bind it: \
             ALTER TABLE .. OWNER TO another role"
        );
        problems.push(SetupProblem::new(K::OwnsTables, names, text));
    }
    Ok(problems)
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
    pub(super) fn new(
        kind: SetupProblemKind,
        subject: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            subject: subject.into(),
            text: text.into(),
        }
    }

    pub(super) fn role_is_login(role: &str) -> Self {
        let login = quoted(role);
        let text = format!(
            "{login} is the role that the pool logs in as, and no request may run as it: \
             name another, CREATE ROLE anon NOLOGIN; GRANT anon TO {login};"
        );
        Self::new(SetupProblemKind::RoleIsLogin, role, text)
    }

    /// Returns what is wrong.
    pub fn kind(&self) -> SetupProblemKind {
        self.kind
    }

    /// Returns the names of the roles, tables or functions that it is about, or the server's version.
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
        f.write_str(&self.text)?;
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
