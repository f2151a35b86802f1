//! What the switch sets: role, claims, and what a pool or a layer adds by choice.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::value::RawValue;

use super::pool::Options;
use super::setup_error::SetupError;
use crate::role::{RoleName, RoleScope};

/// What handlers' SQL can read of the request.
#[derive(Clone, Default)]
pub(crate) struct RequestSettings {
    pub(crate) method: String,
    pub(crate) path: String,
    /// The headers as a JSON object, where the layer was asked for them.
    pub(crate) headers: Option<String>,
}

/// Settings that a service adds to every transaction.
#[derive(Clone, Default)]
pub(crate) struct AppSettings(Vec<(String, String)>);

impl AppSettings {
    pub(crate) fn push(&mut self, name: String, value: String) {
        self.0.push((name, value));
    }

    /// Refuses names that PostgreSQL would refuse in every transaction, and those that the switch itself sets.
    pub(crate) fn check(&self) -> Result<(), SetupError> {
        for (name, value) in &self.0 {
            let lower = name.to_ascii_lowercase();
            let custom = name.contains('.') && name.split('.').all(is_identifier);
            if !custom || lower.starts_with("request.") || lower.starts_with("rolescope.") {
                return Err(SetupError::invalid_setting(name));
            }
            if value.contains('\0') {
                return Err(SetupError::invalid_setting(name));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for AppSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A value can be a secret.
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

/// Names and values in the order in which they are set.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) names: Vec<String>,
    pub(crate) values: Vec<String>,
}

impl Settings {
    fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.names.push(name.into());
        self.values.push(value.into());
    }
}

/// Collects what is set before the switch: by default nothing.
///
/// The role's own settings come first, as the authenticator: a privilege on a parameter is granted to it.
pub(crate) fn settings(
    scope: &RoleScope,
    request: &RequestSettings,
    role_settings: &[(String, String)],
    options: &Options,
) -> Settings {
    let mut settings = Settings::default();
    if !role_settings.is_empty() {
        settings.push("role", "none");
        for (name, value) in role_settings {
            settings.push(name, value);
        }
    }
    for (name, value) in &options.app_settings.0 {
        settings.push(name, value);
    }
    if options.claim_settings {
        push_claims(&mut settings, scope);
    }
    if let Some(headers) = &request.headers {
        settings.push("request.headers", headers);
    }
    settings
}

/// One setting for each claim, as the fuzz targets and their corpora want them.
#[cfg(any(test, fuzzing))]
pub(crate) fn claim_settings(scope: &RoleScope) -> Vec<(String, String)> {
    let mut settings = Settings::default();
    push_claims(&mut settings, scope);
    settings.names.into_iter().zip(settings.values).collect()
}

fn push_claims(settings: &mut Settings, scope: &RoleScope) {
    if let Some(claims) = scope.claims() {
        // The verifier has found them already, and no two of one name.
        push_members(settings, claims.members());
    } else if let Ok(claims) =
        serde_json::from_str::<BTreeMap<String, &RawValue>>(scope.claims_json())
    {
        push_members(
            settings,
            claims.iter().map(|(name, value)| (&**name, value.get())),
        );
    }
}

fn push_members<'a>(
    settings: &mut Settings,
    members: impl Iterator<Item = (&'a str, &'a str)> + Clone,
) {
    let mut lower: Vec<String> = members
        .clone()
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    lower.sort_unstable();
    for (name, value) in members {
        // Setting names are the same in any case: of two claims that differ in it neither can be told.
        let folded = name.to_ascii_lowercase();
        let first = lower.partition_point(|other| *other < folded);
        let ambiguous = lower.get(first + 1) == Some(&folded);
        if ambiguous || !is_identifier(name) {
            continue;
        }
        let text = serde_json::from_str::<String>(value).unwrap_or_else(|_| value.to_owned());
        settings.push(["request.jwt.claim.", name].concat(), text);
    }
}

/// Whether PostgreSQL takes a text as one part of a custom setting's name.
fn is_identifier(part: &str) -> bool {
    let mut bytes = part.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_' || !first.is_ascii())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'$' || !b.is_ascii())
}

/// Adds what every session of the pool starts with to the options of the URL. What comes later wins.
///
/// <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-OPTIONS>
pub(crate) fn startup_options(
    of_url: Option<&str>,
    resting_role: Option<&RoleName>,
    statement_timeout: Option<Duration>,
    idle_in_transaction_timeout: Option<Duration>,
) -> String {
    let mut options = of_url.unwrap_or_default().to_owned();
    let mut add = |name: &str, value: &str| {
        if !options.is_empty() {
            options.push(' ');
        }
        options.push_str("-c ");
        options.push_str(name);
        options.push('=');
        for c in value.chars() {
            // PostgreSQL splits at C's white space, to which the vertical tab belongs.
            if c == '\\' || c == '\x0B' || c.is_ascii_whitespace() {
                options.push('\\');
            }
            options.push(c);
        }
    };
    if let Some(role) = resting_role {
        add("role", role.as_str());
    }
    if let Some(timeout) = statement_timeout {
        add("statement_timeout", &milliseconds(timeout));
    }
    if let Some(timeout) = idle_in_transaction_timeout {
        add(
            "idle_in_transaction_session_timeout",
            &milliseconds(timeout),
        );
    }
    // Tells whether all of this has arrived: a pooler can drop it without a word.
    add("rolescope.startup", "1");
    options
}

/// What each transaction starts with where the session's start could not say it.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) application_name: String,
    pub(crate) statement_timeout: Option<String>,
    pub(crate) idle_in_transaction_timeout: Option<String>,
}

impl Start {
    pub(crate) fn new(
        application_name: &str,
        statement_timeout: Option<Duration>,
        idle_in_transaction_timeout: Option<Duration>,
    ) -> Self {
        Self {
            application_name: application_name.to_owned(),
            statement_timeout: statement_timeout.map(milliseconds),
            idle_in_transaction_timeout: idle_in_transaction_timeout.map(milliseconds),
        }
    }
}

/// PostgreSQL counts timeouts in an `int4` of milliseconds, and 0 means none.
fn milliseconds(timeout: Duration) -> String {
    let millis = if timeout.is_zero() {
        0
    } else {
        timeout.as_millis().clamp(1, 2_147_483_647)
    };
    millis.to_string()
}

#[cfg(test)]
#[path = "../../../tests/it/fuzz/settings.rs"]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn startup_options_join_those_of_the_url_and_escape_names() {
        let role = RoleName::parse(r"odd role\name").expect("a good name");
        assert_eq!(
            startup_options(
                Some("-c work_mem=8MB"),
                Some(&role),
                Some(Duration::from_micros(1)),
                Some(Duration::from_secs(60)),
            ),
            r"-c work_mem=8MB -c role=odd\ role\\name -c statement_timeout=1 -c idle_in_transaction_session_timeout=60000 -c rolescope.startup=1"
        );
        assert_eq!(
            startup_options(None, None, None, None),
            "-c rolescope.startup=1"
        );
    }

    #[test]
    fn claims_become_settings_where_their_names_can() {
        let json = r#"{"sub":"a\"b","n":12345678901234567890123,"https://x/y":1,"Tid":1,"tid":2,"o":{"a":1},"_ok$1":null}"#;
        let role = RoleName::parse("web_user").expect("a good name");
        let of_program = RoleScope::for_role(role).with_claims(json);
        let scopes = [
            of_program.expect("claims"),
            #[cfg(any(feature = "aws-lc-rs", feature = "rust-crypto"))]
            {
                let claims = crate::auth::jwt::testing::claims(json);
                let policy = crate::role::RolePolicy::new().claim("sub").expect("a path");
                let access = crate::auth::Access::verified(claims);
                policy.decide(&access, None, None).expect("a role")
            },
        ];
        let expected = [
            ("request.jwt.claim._ok$1", "null"),
            ("request.jwt.claim.n", "12345678901234567890123"),
            ("request.jwt.claim.o", r#"{"a":1}"#),
            ("request.jwt.claim.sub", r#"a"b"#),
        ];
        for scope in scopes {
            let mut settings = Settings::default();
            push_claims(&mut settings, &scope);
            let mut pairs: Vec<_> = settings.names.iter().zip(&settings.values).collect();
            pairs.sort();
            assert!(
                pairs
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str()))
                    .eq(expected),
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn app_settings_cannot_pose_as_the_request() {
        for (name, accepted) in [
            ("app.tenant", true),
            ("App.Tenant.x", true),
            ("tenant", false),
            ("role", false),
            ("request.jwt.claims", false),
            ("Request.method", false),
            ("rolescope.role", false),
            ("app.", false),
            ("app.a-b", false),
        ] {
            let mut settings = AppSettings::default();
            settings.push(name.into(), "x".into());
            assert_eq!(settings.check().is_ok(), accepted, "{name}");
        }
    }

    /// The corpus of the fuzz target `settings`. Where there is none this is a package, which has no fuzz targets.
    #[test]
    fn no_claim_poses_as_another_setting() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/settings");
        let Ok(inputs) = std::fs::read_dir(corpus) else {
            return;
        };
        let mut checked = 0;
        for input in inputs {
            let path = input.expect("the folder can be read").path();
            let text = std::fs::read_to_string(&path);
            let Ok(text) = text else {
                continue;
            };
            let role = RoleName::parse("web_user").expect("a good name");
            if let Ok(scope) = RoleScope::for_role(role).with_claims(&text) {
                fuzz::check(&text, &claim_settings(&scope));
                checked += 1;
            }
            #[cfg(any(feature = "aws-lc-rs", feature = "rust-crypto"))]
            if let Some(claims) = crate::auth::jwt::testing::acceptable_claims(&text) {
                let scope = crate::role::decide::of_token(&claims);
                fuzz::check(&text, &claim_settings(&scope));
            }
        }
        assert!(checked > 0);
    }
}
