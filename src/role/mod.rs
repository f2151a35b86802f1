//! Decides from the claims which database role a request runs as.
//!
//! A [`RolePolicy`] decides. Without a word it takes the token's claim `role`, and the anonymous role where there is none.
//! The result is a [`RoleScope`], the only thing that a transaction can be begun with.
//!
//! | option of [`RolePolicy`] | default | what it sets |
//! |---|---|---|
//! | `claim` | `role` | where in the claims the role stands: a name or a [`RolePath`] |
//! | `from_fn` | none | a function that names the role, in place of a claim |
//! | `prefer` | none: a list is refused | which of several roles in a list goes first |
//! | `map`, `map_with` | none | which roles the names in tokens stand for: a table, or a function |
//! | `for_issuer` | none | another policy for the tokens of one issuer |
//! | `allow` | what the database grants | which roles tokens may name |
//! | `authenticated_role` | the anonymous role | the role of tokens that name none |
//! | `refuse_missing_role` | no | whether such tokens are refused: 403, [`NoRole`](crate::ErrorKind::NoRole) |
//!
//! A claim that is not a string, is no [`RoleName`], names the login role or is not allowed is 403 before the database is
//! asked; a role that does not exist or is not granted is the same 403 by the database's word.
//!
//! # Examples
//!
//! Keycloak writes a list of roles; the first of these that is in it is the database's:
//!
//! ```
//! use rolescope::RolePolicy;
//!
//! let policy = RolePolicy::new()
//!     .claim(".realm_access.roles")?
//!     .prefer(["app_editor", "app_reader"])?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Auth0 puts a role under a name of the service's own; whoever has none is a member:
//!
//! ```
//! use rolescope::RolePolicy;
//!
//! let policy = RolePolicy::new()
//!     .claim("https://example.com/role")?
//!     .authenticated_role("member")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What other providers write, and what to say then: [Connect your identity
//! provider](crate::guide::identity_providers).
//!
//! A job has no token:
//!
//! ```
//! use rolescope::{RoleName, RoleScope};
//!
//! let scope = RoleScope::for_role(RoleName::parse("nightly_job")?);
//! # Ok::<(), rolescope::role::RoleNameError>(())
//! ```

pub(crate) mod decide;
mod name;
mod named;
mod path;
mod pick;
mod scope;

pub use decide::RolePolicy;
pub use name::{RoleName, RoleNameError};
pub use path::{RoleClaimError, RolePath, RolePathError};
pub use scope::{RoleScope, ScopeClaimsError};
