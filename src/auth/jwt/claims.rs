//! The verified claims of a token.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use serde::Deserialize;

use super::json::{self, Member};

/// Holds the claims of a token that a [`JwtVerifier`](super::JwtVerifier) has accepted.
///
/// Nothing else makes one, so whoever holds a `Claims` holds a proof. Claims keep the text that was signed: a number that
/// fits no machine integer stays exact, and each name stands there once. Cloning is cheap. `Debug` shows no claim.
///
/// ```
/// # use rolescope::JwtVerifier;
/// # use rolescope::auth::jwt::TokenError;
/// #[derive(serde::Deserialize)]
/// struct Mine {
///     role: String,
/// }
///
/// # let verifier = JwtVerifier::builder().hs256("secret")?
/// #     .dangerous().accept_short_secrets().dangerous().accept_missing_exp().build()?;
/// # let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJyb2xlIjoiamRvZTEyMyJ9.X_ZeWSS9qsKDCDczv8C-GE2fccrPQjOh_ALMZJa5jsU";
/// let claims = verifier.verify(token)?;
/// assert_eq!(claims.as_json(), r#"{"role":"jdoe123"}"#);
/// assert_eq!(claims.get::<String>("role")?.as_deref(), Some("jdoe123"));
/// assert_eq!(claims.deserialize::<Mine>()?.role, "jdoe123");
/// assert_eq!(claims.subject(), None);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Claims(Arc<Inner>);

struct Inner {
    json: String,
    index: Index,
    registered: Registered,
    verified_by: VerifiedBy,
    /// The last generation of the verifier's revocations that they were not among. 0 where they were never looked for.
    unrevoked: AtomicU64,
    /// What a later slice has worked out of all this.
    prepared: OnceLock<Box<dyn Any + Send + Sync>>,
}

/// Each claim's name, and where in the text its value stands.
pub(super) type Index = Box<[(Name, Place)]>;

/// A part of the text. Tokens are short.
type Place = Range<u32>;

pub(super) enum Name {
    /// It stands in the text as it is.
    InText(Place),
    /// It was written with an escape.
    Unescaped(Box<str>),
}

/// The claims that RFC 7519 gives a meaning to, as far as they are well-formed.
#[derive(Default)]
pub(super) struct Registered {
    pub(super) issuer: Option<Box<str>>,
    pub(super) subject: Option<Box<str>>,
    pub(super) audience: Option<Vec<Box<str>>>,
    pub(super) expires_at: Option<SystemTime>,
    pub(super) not_before: Option<SystemTime>,
    pub(super) issued_at: Option<SystemTime>,
    pub(super) jwt_id: Option<Box<str>>,
    /// Whether the verifier knows whom tokens may come from.
    pub(super) issuer_checked: bool,
}

/// Whose keys verified a token, and which ones they were then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VerifiedBy {
    /// Which of the verifier's issuers.
    pub(super) issuer: usize,
    pub(super) generation: u64,
}

/// What an allocator adds to each allocation, and an `Arc` to its content.
const ALLOCATION: usize = 16;

impl Registered {
    fn bytes(&self) -> usize {
        let texts = [&self.issuer, &self.subject, &self.jwt_id];
        let texts = texts.into_iter().flatten();
        let audience = self.audience.as_deref().unwrap_or_default();
        let place = size_of::<Box<str>>() + ALLOCATION;
        texts
            .chain(audience)
            .map(|text| text.len() + place)
            .sum::<usize>()
    }
}

impl Claims {
    /// Only [`JwtVerifier`](super::JwtVerifier) calls this, with a payload whose signature and claims it has checked.
    pub(super) fn verified(
        json: String,
        index: Index,
        registered: Registered,
        verified_by: VerifiedBy,
    ) -> Self {
        Self(Arc::new(Inner {
            json,
            index,
            registered,
            verified_by,
            unrevoked: AtomicU64::new(0),
            prepared: OnceLock::new(),
        }))
    }

    /// The most bytes that what is [`prepared`](Self::prepared) takes.
    pub(crate) const PREPARED: usize = 256;

    /// Returns what was made of these claims before, or makes it now and keeps it as long as they live.
    ///
    /// There is place for one thing: `None` where there is something else already.
    pub(crate) fn prepared<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        let prepared = self.0.prepared.get_or_init(|| Box::new(make()));
        (**prepared).downcast_ref()
    }

    pub(super) fn registered(&self) -> &Registered {
        &self.0.registered
    }

    pub(super) fn verified_by(&self) -> VerifiedBy {
        self.0.verified_by
    }

    /// Whether they are known not to be among this generation of the verifier's revocations.
    pub(super) fn is_unrevoked_as_of(&self, generation: u64) -> bool {
        self.0.unrevoked.load(Ordering::Relaxed) == generation
    }

    pub(super) fn unrevoked_as_of(&self, generation: u64) {
        self.0.unrevoked.store(generation, Ordering::Relaxed);
    }

    /// Returns how many bytes of memory it takes, and may take later.
    pub(super) fn bytes(&self) -> usize {
        let Inner {
            json,
            index,
            registered,
            verified_by: _,
            unrevoked: _,
            prepared: _,
        } = &*self.0;
        let names = index.iter().map(|(name, _)| match name {
            Name::InText(_) => 0,
            Name::Unescaped(name) => name.len() + ALLOCATION,
        });
        size_of::<Inner>()
            + json.capacity()
            + size_of_val(&**index)
            + names.sum::<usize>()
            + registered.bytes()
            + 4 * ALLOCATION
            + Self::PREPARED
    }

    /// Returns all claims as JSON text, exactly as they were signed.
    pub fn as_json(&self) -> &str {
        &self.0.json
    }

    /// Returns the JSON text of one claim, exactly as it was signed.
    pub fn raw(&self, name: &str) -> Option<&str> {
        let (_, value) = self.members().find(|(known, _)| *known == name)?;
        Some(value)
    }

    /// Returns one claim as a `T`, or `None` where the token does not have it.
    ///
    /// # Errors
    ///
    /// The claim does not fit into a `T`. That goes for `null` as well, unless `T` has a place for it.
    pub fn get<'a, T: Deserialize<'a>>(&'a self, name: &str) -> Result<Option<T>, ClaimError> {
        let Some(value) = self.raw(name) else {
            return Ok(None);
        };
        match serde_json::from_str(value) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(ClaimError {
                name: Some(name.into()),
            }),
        }
    }

    /// Returns all claims as a type of your own.
    ///
    /// # Errors
    ///
    /// The claims do not fit into a `T`.
    pub fn deserialize<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ClaimError> {
        serde_json::from_str(self.as_json()).map_err(|_| ClaimError { name: None })
    }

    /// Returns the names of all claims, in the token's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members().map(|(name, _)| name)
    }

    /// Returns each claim's name and JSON text.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let Inner { json, index, .. } = &*self.0;
        let text = |place: &Place| {
            let place = place.start as usize..place.end as usize;
            json.get(place).unwrap_or_default()
        };
        index.iter().map(move |(name, value)| {
            let name = match name {
                Name::InText(place) => text(place),
                Name::Unescaped(name) => name,
            };
            (name, text(value))
        })
    }

    /// Returns `iss`, or `None` where it is missing or not a string.
    pub fn issuer(&self) -> Option<&str> {
        self.0.registered.issuer.as_deref()
    }

    /// Returns `iss` where the verifier has checked it, so that it is not only what the signer says.
    pub(crate) fn checked_issuer(&self) -> Option<&str> {
        self.issuer().filter(|_| self.0.registered.issuer_checked)
    }

    /// Returns `sub`, or `None` where it is missing or not a string.
    ///
    /// Some issuers sign a number. [`raw`](Self::raw) has it exactly.
    pub fn subject(&self) -> Option<&str> {
        self.0.registered.subject.as_deref()
    }

    /// Returns each value of `aud`, and none where it is missing.
    pub fn audience(&self) -> impl Iterator<Item = &str> {
        let audience = self.0.registered.audience.as_deref().unwrap_or_default();
        audience.iter().map(|value| &**value)
    }

    /// Returns the scopes that the token grants, each once as it stands there.
    ///
    /// They stand in `scope`, as one string with a space between them (RFC 6749 section 3.3, RFC 9068 section 2.2.3), or
    /// in a claim `scp` of other providers'; either may be an array of strings too. Where there is a `scope`, `scp` is not
    /// looked at. There are none where the claim is something else.
    pub fn scopes(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let claim = self.raw("scope").or_else(|| self.raw("scp"));
        let scopes = match claim.map(|value| (value, json::string(value))) {
            None => Vec::new(),
            Some((_, Some(Cow::Borrowed(text)))) => words(text).map(Cow::Borrowed).collect(),
            Some((_, Some(Cow::Owned(text)))) => words(&text)
                .map(|word| Cow::Owned(word.to_owned()))
                .collect(),
            Some((value, None)) => json::strings(value).unwrap_or_default(),
        };
        scopes.into_iter()
    }

    /// Returns `exp`.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.0.registered.expires_at
    }

    /// Returns `nbf`.
    pub fn not_before(&self) -> Option<SystemTime> {
        self.0.registered.not_before
    }

    /// Returns `iat`.
    pub fn issued_at(&self) -> Option<SystemTime> {
        self.0.registered.issued_at
    }

    /// Returns `jti`, or `None` where it is missing or not a string.
    pub fn jwt_id(&self) -> Option<&str> {
        self.0.registered.jwt_id.as_deref()
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Claims([REDACTED])")
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|word| !word.is_empty())
}

/// Finds the values of `json`'s members in it.
pub(super) fn index(json: &str, members: Vec<Member<'_>>) -> Index {
    let place = |part: &str| {
        let start = (part.as_ptr().addr() - json.as_ptr().addr()) as u32;
        start..start + part.len() as u32
    };
    members
        .into_iter()
        .map(|Member { name, value }| {
            let name = match name {
                Cow::Borrowed(name) => Name::InText(place(name)),
                Cow::Owned(name) => Name::Unescaped(name.into()),
            };
            (name, place(value))
        })
        .collect()
}

pub(super) fn text(members: &[Member<'_>], name: &str) -> Option<Box<str>> {
    json::find(members, name)
        .and_then(json::string)
        .map(|text| match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        })
}

/// Says that a claim does not have the type that was asked for.
///
/// It does not say what the claim is, since errors end up in logs.
#[derive(Clone, Debug)]
pub struct ClaimError {
    name: Option<Box<str>>,
}

impl ClaimError {
    /// Returns the name of the claim, or `None` where all claims were asked for at once.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "the claim `{name}` does not have the expected type"),
            None => f.write_str("the claims do not have the expected shape"),
        }
    }
}

impl std::error::Error for ClaimError {}
