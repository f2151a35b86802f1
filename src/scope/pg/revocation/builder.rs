//! [`RevocationListenerBuilder`]: every option of a listener, with its default.

use std::fmt;
use std::time::Duration;

use super::super::setup_error::{SetupError, place_of};
use super::super::switch;
use super::super::target::Target;
use super::session::Plan;
use super::task::{self, Listening, Task, Times};
use crate::auth::jwt::{MAX_REVOCATIONS, RevocationFeed, Revocations};

const CHANNEL: &str = "rolescope_revocations";
const QUERY: &str = "SELECT claim, value, issued_before FROM basic_auth.revoked_tokens()";
const APPLICATION_NAME: &str = "rolescope_revocations";
/// PostgreSQL's NAMEDATALEN, less the zero at its end.
const LONGEST_NAME: usize = 63;

/// Keeps [`Revocations`] as they stand in PostgreSQL, on one connection of its own.
///
/// See the [module](crate::scope::revocation) for what it does when, and for its options. It ends with the last clone of its
/// set: that of the verifier, that of the listener, and those that were taken.
#[derive(Clone, Debug)]
pub struct RevocationListener {
    revocations: Revocations,
}

impl RevocationListener {
    /// Starts a listener for the database of this URL, with the login of the pool: the authenticator.
    ///
    /// The URL is read as the pool's is, TLS and files included.
    ///
    /// # Errors
    ///
    /// [`SetupError`] where the URL cannot be read.
    pub fn builder(url: &str) -> Result<RevocationListenerBuilder, SetupError> {
        Ok(RevocationListenerBuilder {
            target: Target::from_url(url)?,
            channel: CHANNEL.to_owned(),
            query: QUERY.to_owned(),
            times: Times {
                heartbeat: Duration::from_secs(1),
                reread_interval: Duration::from_secs(10),
                max_backoff: Duration::from_secs(2),
                max_staleness: Duration::from_secs(10),
            },
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(5),
            max_entries: MAX_REVOCATIONS,
            accept_stale: false,
        })
    }

    /// Returns the set that it keeps: for [`JwtVerifierBuilder::revocations`](crate::auth::jwt::JwtVerifierBuilder::revocations),
    /// and for health endpoints.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }
}

/// Configures a [`RevocationListener`]. [The module](crate::scope::revocation#options) lists all options with their defaults.
#[must_use = "a builder does nothing until `build` is called"]
pub struct RevocationListenerBuilder {
    target: Target,
    channel: String,
    query: String,
    times: Times,
    connect_timeout: Duration,
    answer_timeout: Duration,
    max_entries: usize,
    accept_stale: bool,
}

impl RevocationListenerBuilder {
    /// Sets the channel whose notifications say that something has changed. Defaults to `rolescope_revocations`.
    ///
    /// The name counts as it is written here, as in `NOTIFY "Name"`. What a notification carries is not looked at.
    pub fn channel(mut self, channel: impl Into<String>) -> Self {
        self.channel = channel.into();
        self
    }

    /// Sets the query for all that is revoked. Defaults to
    /// `SELECT claim, value, issued_before FROM basic_auth.revoked_tokens()`.
    ///
    /// It returns three columns: a claim's name and its value as text, both not null, and a `timestamptz` before which a token
    /// must have been issued to be refused, or null for all. It runs as the login role, outside of any request.
    pub fn query(mut self, sql: impl Into<String>) -> Self {
        self.query = sql.into();
        self
    }

    /// Sets how often the listener makes sure that the server is still there. Defaults to 1 s.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.times.heartbeat = interval;
        self
    }

    /// Sets after which time all is read again although nothing was notified. Defaults to 10 s.
    pub fn reread_interval(mut self, interval: Duration) -> Self {
        self.times.reread_interval = interval;
        self
    }

    /// Sets how long connecting may take, with the handshake and `LISTEN`. Defaults to 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long a heartbeat or a read may take before the connection is given up. Defaults to 5 s.
    pub fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.answer_timeout = timeout;
        self
    }

    /// Sets the longest time between two attempts to connect: the first comes after 100 ms, each later one after twice the time
    /// of the one before. Defaults to 2 s.
    pub fn max_backoff(mut self, longest: Duration) -> Self {
        self.times.max_backoff = longest;
        self
    }

    /// Sets for how long tokens are judged by what was read while that cannot be confirmed. Defaults to 10 s.
    ///
    /// After that they are answered 503, until it can.
    pub fn max_staleness(mut self, longest: Duration) -> Self {
        self.times.max_staleness = longest;
        self
    }

    /// Sets how many revocations are held. Defaults to a million.
    ///
    /// Where the database has more, none of it is taken, and the set becomes stale: what does not fit would be let in.
    pub fn max_entries(mut self, entries: usize) -> Self {
        self.max_entries = entries;
        self
    }

    /// Leads to what makes a listener less safe. Each use is to be found by this word.
    pub fn dangerous(self) -> DangerousRevocationListener {
        DangerousRevocationListener(self)
    }

    /// Connects, listens and reads, and keeps doing so.
    ///
    /// # Errors
    ///
    /// [`SetupError`] where an option is unusable, the database cannot be reached, or it refuses what is asked of it: the error
    /// names the cure.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future builds nothing.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use rolescope::JwtVerifier;
    /// use rolescope::scope::revocation::RevocationListener;
    ///
    /// # async fn example(secret: &str) -> Result<(), Box<dyn std::error::Error>> {
    /// let listener = RevocationListener::builder("postgres://authenticator@localhost/app")?
    ///     .build()
    ///     .await?;
    /// let verifier = JwtVerifier::builder()
    ///     .hs256(secret)?
    ///     .audience("todos")
    ///     .revocations(listener.revocations())
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn build(self) -> Result<RevocationListener, SetupError> {
        let (task, revocations) = self.task()?;
        let first = Listening::start(&task.plan, &task.set).await;
        let first = first.map_err(|failure| SetupError::options(failure.reason))?;
        task.spawn(&revocations, Some(first));
        Ok(RevocationListener { revocations })
    }

    /// Builds the listener and connects meanwhile: for a database that is not up yet. Until all was read once, tokens are
    /// answered 503.
    ///
    /// # Errors
    ///
    /// [`SetupError`] where an option is unusable or where no tokio runtime is at hand.
    pub fn build_lazy(self) -> Result<RevocationListener, SetupError> {
        let (task, revocations) = self.task()?;
        task.spawn(&revocations, None);
        Ok(RevocationListener { revocations })
    }

    fn task(self) -> Result<(Task, Revocations), SetupError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(SetupError::no_runtime());
        }
        let listen = listen(&self.channel)?;
        let Times {
            heartbeat,
            reread_interval,
            ..
        } = self.times;
        if heartbeat.is_zero() || reread_interval.is_zero() {
            return Err(SetupError::options(
                "heartbeat and reread_interval of a RevocationListener are longer than nothing"
                    .to_owned(),
            ));
        }
        if self.times.max_staleness <= heartbeat.min(reread_interval) {
            return Err(SetupError::options(format!(
                "max_staleness of a RevocationListener ({:?}) is longer than its heartbeat ({heartbeat:?}), or the set would be \
                 stale between two of them",
                self.times.max_staleness
            )));
        }
        let feed = RevocationFeed::new(self.times.max_staleness, self.accept_stale, task::now);
        let revocations = Revocations::fed(self.max_entries, feed);
        let task = Task {
            plan: Plan {
                place: place_of(self.target.config()),
                connector: self.target.plain_connector(|config| {
                    // The server is to give up with us: what waits there for a lock would wait on, one for each attempt.
                    let timeout = Some(self.answer_timeout);
                    let options =
                        switch::startup_options(config.get_options(), None, timeout, None);
                    // The login role itself may read, whatever ALTER ROLE says that its sessions rest in.
                    config.options(format!("{options} -c role=none"));
                    if config.get_application_name().is_none() {
                        config.application_name(APPLICATION_NAME);
                    }
                }),
                listen,
                query: self.query,
                connect_timeout: self.connect_timeout,
                answer_timeout: self.answer_timeout,
                max_entries: self.max_entries,
            },
            times: self.times,
            set: revocations.downgrade(),
            accept_stale: self.accept_stale,
        };
        Ok((task, revocations))
    }
}

/// `LISTEN` takes no parameter: the name stands in it, in quotes that it cannot leave.
fn listen(channel: &str) -> Result<String, SetupError> {
    if channel.is_empty() || channel.len() > LONGEST_NAME || channel.contains('\0') {
        return Err(SetupError::options(format!(
            "{channel:?} cannot be the name of a channel: it has 1 to {LONGEST_NAME} bytes, and none of them is zero"
        )));
    }
    Ok(format!("LISTEN \"{}\"", channel.replace('"', "\"\"")))
}

impl fmt::Debug for RevocationListenerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationListenerBuilder")
            .field("target", &self.target)
            .field("channel", &self.channel)
            .field("query", &self.query)
            .field("times", &self.times)
            .field("max_staleness", &self.times.max_staleness)
            .field("accept_stale", &self.accept_stale)
            .finish_non_exhaustive()
    }
}

/// Holds the ways around a check of a [`RevocationListenerBuilder`]. Each leads back to it.
#[derive(Debug)]
#[must_use = "nothing is changed until one of the methods is called"]
pub struct DangerousRevocationListener(RevocationListenerBuilder);

impl DangerousRevocationListener {
    /// Accepts tokens although it is not known what is revoked.
    ///
    /// While the listener cannot reach the database, from its start or later, tokens are judged by what was read last: whoever
    /// was revoked meanwhile is let in until the token expires. [`Revocations::is_fresh`] tells.
    pub fn accept_stale_revocations(mut self) -> RevocationListenerBuilder {
        self.0.accept_stale = true;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_stays_within_its_quotes() {
        for (channel, expected) in [
            ("rolescope_revocations", r#"LISTEN "rolescope_revocations""#),
            (
                r#"a"; DROP TABLE t; --"#,
                r#"LISTEN "a""; DROP TABLE t; --""#,
            ),
            ("Ä b", r#"LISTEN "Ä b""#),
        ] {
            assert_eq!(listen(channel).ok().as_deref(), Some(expected));
        }
        for refused in ["", "a\0b", &"x".repeat(64), &"ä".repeat(32)] {
            assert!(listen(refused).is_err(), "{refused:?}");
        }
    }
}
