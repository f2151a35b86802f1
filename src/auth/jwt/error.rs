//! Why a token is refused.

use std::fmt;

use crate::error::{Error, ErrorKind};

/// Says why a token was refused.
///
/// [`as_str`](Self::as_str) is what the client reads; it never repeats a part of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenError {
    /// There is a place for a token and nothing in it: `Authorization: Bearer`.
    Empty,
    /// The token is longer than 16 KiB.
    TooLarge,
    /// The token is not three parts of base64url, without padding, separated by dots.
    Malformed,
    /// The token's header is not a JSON object with an `alg`, or a member of it has the wrong type or stands there twice.
    MalformedHeader,
    /// The header asks for something that this verifier does not do: `crit`, `b64`, `zip` or `enc`.
    UnsupportedHeader,
    /// The token says `"alg":"none"`.
    Unsigned,
    /// No key of the verifier is for the token's `alg`.
    AlgorithmNotAllowed,
    /// No key of the verifier has the token's `kid`.
    UnknownKey,
    /// The keys of the token's issuer could not be fetched yet, or not for so long that they are not trusted any more. That is
    /// no fault of the token's: 503.
    KeysUnavailable,
    /// The token has no `kid`, and more keys fit than are tried.
    AmbiguousKey,
    /// The signature was not made with one of the verifier's keys.
    BadSignature,
    /// The payload is not a JSON object, or is nested too deeply.
    MalformedPayload,
    /// An object in the payload has the same member twice, so that two readers could understand it differently.
    DuplicateMember,
    /// A name or a string in the payload has U+0000 in it, which PostgreSQL cannot hold.
    NulCharacter,
    /// `exp`, `nbf` or `iat` is not a number, or not a time that this machine can count to.
    MalformedTime,
    /// `aud` is neither a string nor an array of strings.
    MalformedAudience,
    /// There is no `exp`.
    MissingExpiry,
    /// `exp` has passed.
    Expired,
    /// `nbf` is in the future.
    NotYetValid,
    /// `iat` is in the future.
    IssuedInFuture,
    /// The token has no `aud`, and the verifier wants one.
    MissingAudience,
    /// The token is meant for somebody else.
    WrongAudience,
    /// The token has an `aud`, and the verifier knows none.
    UnexpectedAudience,
    /// The token has no `iss`, and the verifier wants one.
    MissingIssuer,
    /// The token comes from an issuer that the verifier does not know, or `iss` is not a string.
    WrongIssuer,
    /// A claim that the verifier requires is not there.
    MissingClaim,
    /// The token says by its `typ` that it is of another kind: a `logout+jwt`, for example.
    WrongType,
    /// The verifier wants access tokens, and the token does not say by its `typ` that it is one.
    NotAnAccessToken,
    /// A claim does not have the value that the verifier requires.
    WrongClaimValue,
    /// The token was revoked: it is among the verifier's [`Revocations`](super::Revocations).
    Revoked,
    /// What is revoked could not be read yet, or not be confirmed for so long that tokens are not accepted by it any more. That is
    /// no fault of the token's: 503.
    RevocationsUnavailable,
}

impl TokenError {
    /// Returns the text that the client reads as `error_description`.
    ///
    /// It has only those characters that RFC 6750 allows there.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "the token is empty",
            Self::TooLarge => "the token is too large",
            Self::Malformed => "the token is not a signed JSON Web Token",
            Self::MalformedHeader => "the header of the token is malformed",
            Self::UnsupportedHeader => {
                "the header of the token asks for something that is not supported"
            }
            Self::Unsigned => "the token is not signed",
            Self::AlgorithmNotAllowed => "no key is for the algorithm of the token",
            Self::UnknownKey => "no key has the key id of the token",
            Self::KeysUnavailable => "the keys of the issuer are not available",
            Self::AmbiguousKey => "the token has no key id, and too many keys fit",
            Self::BadSignature => "the signature of the token is not valid",
            Self::MalformedPayload => "the payload of the token is not a JSON object",
            Self::DuplicateMember => "the token has the same member twice",
            Self::NulCharacter => "the token has a NUL character in it",
            Self::MalformedTime => "exp, nbf or iat is not a time",
            Self::MalformedAudience => "aud is neither a string nor an array of strings",
            Self::MissingExpiry => "the token has no exp",
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not yet valid",
            Self::IssuedInFuture => "the token was issued in the future",
            Self::MissingAudience => "the token has no aud",
            Self::WrongAudience => "the token is meant for another audience",
            Self::UnexpectedAudience => "the token has an aud, and none is expected",
            Self::MissingIssuer => "the token has no iss",
            Self::WrongIssuer => "the issuer of the token is not known",
            Self::MissingClaim => "a required claim is missing",
            Self::WrongType => "the token is of another type",
            Self::NotAnAccessToken => "the token is not an access token",
            Self::WrongClaimValue => "a claim does not have the required value",
            Self::Revoked => "the token was revoked",
            Self::RevocationsUnavailable => "it is not known which tokens are revoked",
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for TokenError {}

// === in terms of the crate's own error ===

impl Error {
    /// Returns why a token was refused, for [`ErrorKind::InvalidToken`], [`ErrorKind::KeysUnavailable`] and
    /// [`ErrorKind::RevocationsUnavailable`].
    pub fn token_error(&self) -> Option<TokenError> {
        self.source_as::<TokenError>().copied()
    }
}

impl From<TokenError> for Error {
    fn from(reason: TokenError) -> Self {
        let kind = match reason {
            TokenError::KeysUnavailable => ErrorKind::KeysUnavailable,
            TokenError::RevocationsUnavailable => ErrorKind::RevocationsUnavailable,
            _ => ErrorKind::InvalidToken,
        };
        Self::with_source(kind, reason.as_str(), reason)
    }
}
