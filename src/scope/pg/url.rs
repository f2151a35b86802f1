//! The TLS options of a connection URL: taken out as libpq reads them, so that the driver, which knows few of them, can
//! read the rest.

use std::borrow::Cow;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::setup_error::SetupError;

/// What a URL says of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TlsOptions {
    pub(super) mode: Option<Mode>,
    pub(super) roots: Option<Roots>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

/// `sslmode`: each is stricter than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// `sslrootcert`: who may vouch for the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    File(PathBuf),
    System,
}

impl Mode {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    fn parse(value: &str) -> Result<Self, SetupError> {
        let all = [
            Self::Disable,
            Self::Prefer,
            Self::Require,
            Self::VerifyCa,
            Self::VerifyFull,
        ];
        if let Some(mode) = all.into_iter().find(|mode| mode.as_str() == value) {
            return Ok(mode);
        }
        Err(SetupError::options(match value {
            "allow" => "sslmode=allow is not supported, since it speaks TLS only where the server insists: \
                        say verify-full, or prefer"
                .to_owned(),
            _ => format!("sslmode={value:?} is none of disable, prefer, require, verify-ca and verify-full"),
        }))
    }
}

impl TlsOptions {
    /// Takes the options out of a URL or a `key=value` string, and returns the rest.
    ///
    /// As with libpq, the last of several counts, and an empty file name is none.
    pub(super) fn take_from(url: &str) -> Result<(Self, String), SetupError> {
        let (taken, rest) = match url_parameters(url) {
            Some((head, parameters)) => take_parameters(head, parameters)?,
            None if SCHEMES.iter().any(|scheme| url.starts_with(scheme)) => {
                (Vec::new(), url.to_owned())
            }
            None => take_pairs(url)?,
        };
        let mut options = Self::default();
        for (key, value) in taken {
            options.set(&key, &value)?;
        }
        Ok((options, rest))
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), SetupError> {
        let file = || (!value.is_empty()).then(|| PathBuf::from(value));
        match key {
            "sslmode" => self.mode = Some(Mode::parse(value)?),
            "sslrootcert" if value == "system" => self.roots = Some(Roots::System),
            "sslrootcert" => self.roots = file().map(Roots::File),
            "sslcert" => self.certificate = file(),
            "sslkey" => self.key = file(),
            _ => {
                let cure = match key {
                    "ssl" | "requiressl" => "say sslmode=verify-full",
                    "sslpassword" => {
                        "give a key without a passphrase, in a file that only its owner can read"
                    }
                    "sslcrl" | "sslcrldir" => "revoked certificates are not looked for",
                    _ => {
                        "sslmode, sslrootcert, sslcert, sslkey, sslnegotiation and channel_binding are"
                    }
                };
                return Err(SetupError::options(format!(
                    "the URL's option {key} is not supported ({cure})"
                )));
            }
        }
        Ok(())
    }
}

/// Unknown ones too, so that none is passed over.
fn is_about_tls(key: &str) -> bool {
    key.starts_with("ssl") && key != "sslnegotiation" || key == "requiressl"
}

type Taken = (Vec<(String, String)>, String);

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// Splits a URL before the `?` of its parameters, which the driver looks for behind the first `@`.
fn url_parameters(url: &str) -> Option<(&str, &str)> {
    let rest = SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme))?;
    let hosts = rest.split_once('@').map_or(rest, |(_, hosts)| hosts);
    let (_, parameters) = hosts.split_once('?')?;
    Some((&url[..url.len() - parameters.len() - 1], parameters))
}

fn take_parameters(head: &str, parameters: &str) -> Result<Taken, SetupError> {
    let mut taken = Vec::new();
    let mut kept = Vec::new();
    for parameter in parameters.split('&') {
        match parameter.split_once('=') {
            Some((key, value)) if is_about_tls(&decode(key)?) => {
                taken.push((decode(key)?.into_owned(), decode(value)?.into_owned()));
            }
            _ => kept.push(parameter),
        }
    }
    let rest = match &kept[..] {
        [] => head.to_owned(),
        kept => format!("{head}?{}", kept.join("&")),
    };
    Ok((taken, rest))
}

fn decode(text: &str) -> Result<Cow<'_, str>, SetupError> {
    percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| SetupError::unreadable_url("a parameter is not UTF-8"))
}

fn take_pairs(text: &str) -> Result<Taken, SetupError> {
    let mut taken = Vec::new();
    let mut kept = String::new();
    let mut rest = text;
    while !rest.trim_start().is_empty() {
        let (key, value, after) =
            pair(rest).ok_or_else(|| SetupError::unreadable_url("a part is not key=value"))?;
        if is_about_tls(key) {
            taken.push((key.to_owned(), value));
        } else {
            kept.push_str(&rest[..rest.len() - after.len()]);
        }
        rest = after;
    }
    Ok((taken, kept))
}

/// Reads one pair and returns key, value and what follows.
fn pair(text: &str) -> Option<(&str, String, &str)> {
    let text = text.trim_start();
    let (key, after) = text.split_at(text.find(|c: char| c == '=' || c.is_whitespace())?);
    let text = after.trim_start().strip_prefix('=')?.trim_start();
    let (quoted, text) = match text.strip_prefix('\'') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut value = String::new();
    let mut chars = text.chars();
    let after = loop {
        let before = chars.as_str();
        match chars.next() {
            Some('\'') if quoted => break chars.as_str(),
            None if quoted => return None,
            Some(c) if !quoted && c.is_whitespace() => break before,
            None => break before,
            Some('\\') => value.extend(chars.next()),
            Some(c) => value.push(c),
        }
    };
    (!key.is_empty() && (quoted || !value.is_empty())).then_some((key, value, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The options in short: what is not said is left out.
    fn short(options: &TlsOptions) -> String {
        let TlsOptions {
            mode,
            roots,
            certificate,
            key,
        } = options;
        let file = |name: &str, file: &Option<PathBuf>| {
            file.as_ref()
                .map(|file| format!("{name}={}", file.display()))
        };
        let roots = roots.as_ref().map(|roots| match roots {
            Roots::File(file) => format!("roots={}", file.display()),
            Roots::System => "roots from the system".to_owned(),
        });
        let mode = mode.map(|mode| mode.as_str().to_owned());
        let all = [mode, roots, file("cert", certificate), file("key", key)];
        all.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn tls_options_are_taken_out_and_the_rest_is_left_as_it_was() {
        for (url, options, rest) in [
            // URLs.
            ("postgres://a@h/db", "", "postgres://a@h/db"),
            ("postgresql://a@h/db?", "", "postgresql://a@h/db?"),
            (
                "postgres://a@h/db?sslmode=verify-full",
                "verify-full",
                "postgres://a@h/db",
            ),
            (
                "postgres://a@h?sslmode=require",
                "require",
                "postgres://a@h",
            ),
            (
                "postgres://?host=h&sslmode=require",
                "require",
                "postgres://?host=h",
            ),
            (
                "postgres://a@h/db?connect_timeout=1&sslmode=verify-ca&options=-c%20a%3D1",
                "verify-ca",
                "postgres://a@h/db?connect_timeout=1&options=-c%20a%3D1",
            ),
            (
                "postgres://a@h/db?sslmode=prefer&channel_binding=require&sslnegotiation=direct",
                "prefer",
                "postgres://a@h/db?channel_binding=require&sslnegotiation=direct",
            ),
            // Percent-encoding, of keys too. A plus is a plus.
            (
                "postgres://a@h/db?sslrootcert=%2Fetc%2Fmy%20ca%26co+1.crt&ssl%6dode=verify%2Dfull",
                "verify-full, roots=/etc/my ca&co+1.crt",
                "postgres://a@h/db",
            ),
            (
                "postgres://a@h/db?sslrootcert=/a=b",
                "roots=/a=b",
                "postgres://a@h/db",
            ),
            (
                "postgres://a@h/db?sslrootcert=system",
                "roots from the system",
                "postgres://a@h/db",
            ),
            (
                "postgres://a@h/db?sslcert=c&sslkey=k",
                "cert=c, key=k",
                "postgres://a@h/db",
            ),
            // What looks like a parameter in a password is none.
            (
                "postgres://a:b?sslmode=disable&c@h/db?sslmode=verify-full",
                "verify-full",
                "postgres://a:b?sslmode=disable&c@h/db",
            ),
            // Several hosts, of all kinds.
            (
                "postgres://a@h1:1,[::1]:2,%2Frun/db?sslmode=disable",
                "disable",
                "postgres://a@h1:1,[::1]:2,%2Frun/db",
            ),
            // The last counts, and an empty name is none.
            (
                "postgres://h?sslmode=disable&sslmode=require",
                "require",
                "postgres://h",
            ),
            (
                "postgres://h?sslcert=c&sslcert=&sslrootcert=",
                "",
                "postgres://h",
            ),
            // What cannot be read is the driver's to say.
            (
                "postgres://h?sslmode=require&host",
                "require",
                "postgres://h?host",
            ),
            // Pairs.
            ("", "", ""),
            ("host=h user=a", "", "host=h user=a"),
            ("host=h sslmode=require user=a", "require", "host=h user=a"),
            ("  sslmode = 'require'host=h", "require", "host=h"),
            (
                r"sslrootcert='/my ca/it\'s\\.crt' sslcert=/my\ cert host=h",
                r"roots=/my ca/it's\.crt, cert=/my cert",
                " host=h",
            ),
            (
                "password='x sslmode=disable' sslmode=verify-full",
                "verify-full",
                "password='x sslmode=disable'",
            ),
            (
                r"password=\'\  sslkey='' host=h",
                "",
                r"password=\'\  host=h",
            ),
            ("sslmode=disable sslmode=verify-ca", "verify-ca", ""),
            ("host=h\n\tsslmode=prefer\n", "prefer", "host=h"),
        ] {
            let (found, left) = TlsOptions::take_from(url).unwrap_or_else(|e| panic!("{url}: {e}"));
            assert_eq!((&*short(&found), &*left), (options, rest), "{url}");
        }
    }

    #[test]
    fn what_is_not_supported_is_refused_and_never_passed_over() {
        for (option, reason) in [
            ("sslmode=allow", "say verify-full, or prefer"),
            ("sslmode=", "is none of disable, prefer"),
            ("sslmode=Require", "is none of disable, prefer"),
            ("sslmode=verify_full", "is none of disable, prefer"),
            ("sslpassword=x", "without a passphrase"),
            ("sslcrl=/x", "sslcrl is not supported"),
            ("sslcrldir=/x", "sslcrldir is not supported"),
            ("sslcompression=0", "sslcompression is not supported"),
            ("sslsni=1", "sslsni is not supported"),
            ("sslcertmode=disable", "sslcertmode is not supported"),
            ("sslkeylogfile=/x", "sslkeylogfile is not supported"),
            (
                "ssl_min_protocol_version=TLSv1.3",
                "ssl_min_protocol_version is not supported",
            ),
            (
                "ssl_max_protocol_version=TLSv1.2",
                "ssl_max_protocol_version is not supported",
            ),
            ("ssl=true", "say sslmode=verify-full"),
            ("requiressl=1", "say sslmode=verify-full"),
        ] {
            let pair = option.replace("=", "='") + "'";
            for url in [
                format!("postgres://a:secret@h/?{option}"),
                format!("password=secret {pair}"),
            ] {
                let error = TlsOptions::take_from(&url).expect_err(&url).to_string();
                assert!(
                    error.contains(reason) && !error.contains("secret"),
                    "{url}: {error}"
                );
            }
        }
        for url in [
            "sslmode",
            "host=h sslmode",
            "host=h sslmode=",
            "host=h =x sslmode=verify-full",
            "host=h sslmode='verify-full",
            r"host=h sslmode='verify-full\'",
            "postgres://h?sslrootcert=%FF",
            "postgres://h?ssl%FF=x",
        ] {
            let error = TlsOptions::take_from(url).expect_err(url).to_string();
            assert!(error.contains("URL cannot be read"), "{url}: {error}");
        }
    }
}
