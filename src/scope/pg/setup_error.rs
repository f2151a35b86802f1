//! [`SetupError`]: why a pool or a listener could not be built, for whoever starts the service.

use std::error::Error as StdError;
use std::fmt;

use tokio_postgres::config::Host;

use super::setup::SetupProblem;
use super::tls;
use crate::error::{Error, chain};
use crate::role::RoleNameError;

/// Says why a pool or a [`RevocationListener`](crate::scope::revocation::RevocationListener) could not be built, and what to
/// do about it.
#[derive(Debug)]
pub struct SetupError(Inner);

#[derive(Debug)]
enum Inner {
    Options {
        message: String,
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
    Unreachable(Error),
    Problems(Vec<SetupProblem>),
}

impl SetupError {
    /// Returns what is wrong with the set-up of the database, where that is why the pool was refused.
    pub fn problems(&self) -> &[SetupProblem] {
        match &self.0 {
            Inner::Problems(problems) => problems,
            _ => &[],
        }
    }

    pub(super) fn role_is_login(role: &str) -> Self {
        Self::problems_found(vec![SetupProblem::role_is_login(role)])
    }

    pub(super) fn problems_found(problems: Vec<SetupProblem>) -> Self {
        Self(Inner::Problems(problems))
    }

    /// Why the database cannot be used now, where it may be another time.
    pub(super) fn unreachable_because(&self) -> Option<&Error> {
        match &self.0 {
            Inner::Unreachable(error) => Some(error),
            _ => None,
        }
    }

    pub(super) fn options(message: String) -> Self {
        Self(Inner::Options {
            message,
            source: None,
        })
    }

    pub(super) fn invalid_url(error: &tokio_postgres::Error) -> Self {
        Self::unreadable_url(&chain(error))
    }

    pub(super) fn unreadable_url(reason: &str) -> Self {
        Self::options(format!(
            "the database URL cannot be read: {reason} (it is postgres://USER:PASSWORD@HOST:5432/DATABASE)"
        ))
    }

    #[cfg(feature = "tls")]
    pub(super) fn tls(
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self(Inner::Options {
            message: message.into(),
            source: Some(source.into()),
        })
    }

    pub(super) fn invalid_role(role: &str, error: RoleNameError) -> Self {
        Self(Inner::Options {
            message: format!("{role:?} cannot be the name of a role"),
            source: Some(error.into()),
        })
    }

    pub(super) fn invalid_setting(name: &str) -> Self {
        Self::options(format!(
            "{name:?} cannot be set in every transaction: \
             it takes two or more parts with dots between, not `request.` or `rolescope.` first, and no NUL in the value"
        ))
    }

    pub(super) fn no_runtime() -> Self {
        let message =
            "a pool or a listener is built inside a tokio runtime, and there is none here";
        Self::options(message.to_owned())
    }

    pub(super) fn unreachable(error: Error) -> Self {
        Self(Inner::Unreachable(error))
    }

    pub(super) fn options_behind_pooler() -> Self {
        Self::options(
            "the URL has `options`, and behind a pooler no startup options are sent: \
             ALTER ROLE of the login role can set them"
                .to_owned(),
        )
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Options { message, source } => {
                f.write_str(message)?;
                if let Some(source) = source {
                    write!(f, ": {}", chain(&**source))?;
                }
                Ok(())
            }
            // Printed whole: this ends a program's start, where nobody walks a chain of sources.
            Inner::Unreachable(error) => {
                let reason = chain(error);
                f.write_str(&reason)?;
                match tls::cure(error).or_else(|| cure(&reason)) {
                    Some(cure) => write!(f, " ({cure})"),
                    None => Ok(()),
                }
            }
            Inner::Problems(problems) => {
                f.write_str("the database is not set up safely")?;
                for problem in problems {
                    write!(f, "\n  - {problem}")?;
                }
                Ok(())
            }
        }
    }
}

// `Display` says the sources too, so that `source` has nothing to add.
impl StdError for SetupError {}

/// Where a configuration leads, for people.
pub(super) fn place_of(config: &tokio_postgres::Config) -> String {
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(at, host)| {
        let port = ports.get(at).or(ports.first()).unwrap_or(&5432);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            #[cfg(unix)]
            Host::Unix(directory) => format!("{}/.s.PGSQL.{port}", directory.display()),
        }
    });
    hosts.collect::<Vec<_>>().join(", ")
}

/// What can be done about the commonest reasons why a database cannot be used.
fn cure(reason: &str) -> Option<&'static str> {
    let cures = [
        (
            "server does not support TLS",
            "set ssl=on there, or say sslmode=disable where the way to it is safe",
        ),
        (
            "no encryption",
            "the server may want TLS: say sslmode=verify-full",
        ),
        (
            "requires a valid client certificate",
            "give sslcert and sslkey",
        ),
        (
            "certificate authentication failed",
            "the common name of the certificate in sslcert has to be the user's name, or mapped to it in pg_ident.conf",
        ),
        (
            "did not use channel binding",
            "channel_binding=require needs TLS, and scram-sha-256 in pg_hba.conf",
        ),
        (
            "password missing",
            "write it into the URL: postgres://USER:PASSWORD@HOST/DATABASE",
        ),
        ("Connection refused", "is it running there?"),
        ("No such file", "is it running there?"),
    ];
    let cure = cures.iter().find(|(sign, _)| reason.contains(sign));
    cure.map(|(_, cure)| *cure)
}
