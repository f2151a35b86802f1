//! [`Target`]: where a URL leads, and what is spoken on the way.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use tokio_postgres::config::{ChannelBinding, Host, SslMode, SslNegotiation};
use tokio_postgres::{Config, NoTls};

use super::connect::{Connect, Connector};
use super::setup_error::SetupError;
use super::tls::{self, MakeTls};
use super::url::{Mode, Roots, TlsOptions};

/// Where a URL leads, and what is spoken on the way.
#[derive(Clone)]
pub(super) struct Target {
    config: Config,
    /// `None` where all is sent as it is.
    tls: Option<MakeTls>,
}

impl Target {
    /// Reads a URL, and the files that it names.
    pub(super) fn from_url(url: &str) -> Result<Self, SetupError> {
        let (options, rest) = TlsOptions::take_from(url)?;
        let mut config = Config::from_str(&rest).map_err(|e| SetupError::invalid_url(&e))?;
        // The driver takes the name for the certificate from the host alone.
        if config.get_hosts().is_empty() {
            for address in config.get_hostaddrs().to_vec() {
                config.host(address.to_string());
            }
        }
        let mode = mode(&config, &options)?;
        let tls = match mode {
            Mode::Disable => None,
            _ => Some(tls::make(mode, &options)?),
        };
        config.ssl_mode(match mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
        });
        Ok(Self { config, tls })
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Makes what connects where the URL leads, and changes what is sent there at the start.
    pub(super) fn plain_connector(mut self, change: impl FnOnce(&mut Config)) -> Box<dyn Connect> {
        change(&mut self.config);
        let config = self.config.clone();
        self.connector(config)
    }

    /// Makes what connects: for requests as `requests` says, else as the URL says, and with one kind of TLS for all.
    pub(super) fn connector(self, requests: Config) -> Box<dyn Connect> {
        match self.tls {
            None => Box::new(Connector::new(requests, self.config, NoTls)),
            Some(tls) => Box::new(Connector::new(requests, self.config, tls)),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.config, f)
    }
}

/// How far one of the hosts is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Socket,
    Loopback,
    Network,
}

/// Decides what is spoken: as the URL says, and else as the way needs.
fn mode(config: &Config, options: &TlsOptions) -> Result<Mode, SetupError> {
    let ways = ways(config);
    let binds = config.get_channel_binding() == ChannelBinding::Require;
    let direct = config.get_ssl_negotiation() == SslNegotiation::Direct;
    let speaks_of_tls = options.roots.is_some()
        || options.certificate.is_some()
        || options.key.is_some()
        || binds
        || direct;
    let mode = match options.mode {
        Some(mode) => mode,
        None if speaks_of_tls || ways.contains(&Way::Network) => Mode::VerifyFull,
        None => Mode::Disable,
    };
    let too_weak = |option, least: Mode| {
        let (mode, least) = (mode.as_str(), least.as_str());
        SetupError::options(format!(
            "sslmode={mode} is too weak for {option}: say {least}"
        ))
    };
    if options.roots == Some(Roots::System) && mode < Mode::VerifyFull {
        return Err(too_weak("sslrootcert=system", Mode::VerifyFull));
    }
    if direct && mode < Mode::Require {
        return Err(too_weak("sslnegotiation=direct", Mode::VerifyFull));
    }
    if options.certificate.is_some() != options.key.is_some() {
        return Err(SetupError::options(
            "sslcert and sslkey belong together: give both or none".to_owned(),
        ));
    }
    let sockets = ways.iter().filter(|way| **way == Way::Socket).count();
    if sockets > 0 && sockets == ways.len() {
        // As with libpq: PostgreSQL speaks no TLS on its sockets, which do not leave the machine.
        Ok(Mode::Disable)
    } else if sockets == 0 || mode <= Mode::Prefer {
        Ok(mode)
    } else {
        Err(SetupError::options(format!(
            "sslmode={} is not for Unix sockets, and the URL names both sockets and hosts: name one kind",
            mode.as_str()
        )))
    }
}

fn ways(config: &Config) -> Vec<Way> {
    let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
    let to_address = |address: IpAddr| match address.to_canonical().is_loopback() {
        true => Way::Loopback,
        false => Way::Network,
    };
    (0..hosts.len().max(addresses.len()))
        .map(|at| match (addresses.get(at), hosts.get(at)) {
            (Some(address), _) => to_address(*address),
            #[cfg(unix)]
            (None, Some(Host::Unix(_))) => Way::Socket,
            (None, Some(Host::Tcp(name))) if name.eq_ignore_ascii_case("localhost") => {
                Way::Loopback
            }
            (None, Some(Host::Tcp(name))) => name.parse().map_or(Way::Network, to_address),
            (None, None) => Way::Network,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(url: &str) -> Result<&'static str, String> {
        let (options, rest) = TlsOptions::take_from(url).expect("the options can be read");
        let config = Config::from_str(&rest).expect("the rest can be read");
        let mode = mode(&config, &options).map_err(|e| e.to_string())?;
        Ok(mode.as_str())
    }

    #[test]
    fn without_sslmode_only_sockets_and_loopback_go_without_tls() {
        for (url, mode) in [
            ("postgres://a@db.example.org/db", "verify-full"),
            ("postgres://a@10.0.0.1/db", "verify-full"),
            ("postgres://a@[2001:db8::1]/db", "verify-full"),
            ("postgres://a@localhost.example.org/db", "verify-full"),
            ("postgres://a@0.0.0.0/db", "verify-full"),
            ("host=db user=a", "verify-full"),
            ("postgres://a@localhost/db", "disable"),
            ("postgres://a@LOCALHOST/db", "disable"),
            ("postgres://a@127.0.0.1/db", "disable"),
            ("postgres://a@127.8.9.10/db", "disable"),
            ("postgres://a@[::1]/db", "disable"),
            ("postgres://a@[::ffff:127.0.0.1]/db", "disable"),
            ("postgres://a@%2Frun%2Fpostgresql/db", "disable"),
            ("host=/run/postgresql user=a", "disable"),
            // The strictest host decides, and an address says more than its name.
            ("postgres://a@localhost,db/db", "verify-full"),
            ("postgres://a@127.0.0.1,[::1],localhost/db", "disable"),
            ("postgres://a@%2Frun,localhost/db", "disable"),
            ("host=localhost hostaddr=10.0.0.1", "verify-full"),
            ("host=db hostaddr=127.0.0.1", "disable"),
            ("host=a,b hostaddr=127.0.0.1,10.0.0.1", "verify-full"),
            ("hostaddr=10.0.0.1", "verify-full"),
            ("hostaddr=::1", "disable"),
            // Whoever speaks of TLS wants it.
            ("postgres://a@localhost/db?sslrootcert=/ca", "verify-full"),
            (
                "postgres://a@localhost/db?sslrootcert=system",
                "verify-full",
            ),
            (
                "postgres://a@localhost/db?sslcert=/c&sslkey=/k",
                "verify-full",
            ),
            (
                "postgres://a@localhost/db?channel_binding=require",
                "verify-full",
            ),
            (
                "postgres://a@localhost/db?channel_binding=prefer",
                "disable",
            ),
            (
                "postgres://a@localhost/db?sslnegotiation=direct",
                "verify-full",
            ),
        ] {
            assert_eq!(mode_of(url), Ok(mode), "{url}");
        }
    }

    #[test]
    fn sslmode_is_obeyed_where_it_can_be() {
        for host in ["db", "localhost"] {
            for mode in ["disable", "prefer", "require", "verify-ca", "verify-full"] {
                let url = format!("postgres://a@{host}/db?sslmode={mode}");
                assert_eq!(mode_of(&url), Ok(mode), "{url}");
                // As with libpq, a socket goes without.
                let url = format!("postgres://a@%2Frun/db?sslmode={mode}");
                assert_eq!(mode_of(&url), Ok("disable"), "{url}");
            }
        }
        for (url, reason) in [
            ("postgres://%2Frun,db/", "names both sockets and hosts"),
            (
                "postgres://%2Frun,localhost/?sslmode=require",
                "names both sockets and hosts",
            ),
            (
                "postgres://db/?sslrootcert=system&sslmode=verify-ca",
                "too weak for sslrootcert=system: say verify-full",
            ),
            (
                "postgres://db/?sslrootcert=system&sslmode=disable",
                "too weak for sslrootcert=system: say verify-full",
            ),
            (
                "postgres://db/?sslnegotiation=direct&sslmode=prefer",
                "too weak for sslnegotiation=direct: say verify-full",
            ),
            ("postgres://db/?sslcert=/c", "give both or none"),
            (
                "postgres://db/?sslkey=/k&sslmode=require",
                "give both or none",
            ),
        ] {
            let error = mode_of(url).expect_err(url);
            assert!(error.contains(reason), "{url}: {error}");
        }
    }
}
