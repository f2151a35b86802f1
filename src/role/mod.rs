//! Decides from the claims which database role a request runs as.
//!
//! A [`RolePolicy`] decides which role a request runs as. Without a word it takes the token's claim `role`, and the
//! anonymous role where there is none. The result is a [`RoleScope`], the only thing that a transaction can be begun
//! with.
//!
//! # Examples
//!
//! Keycloak writes a list of roles; one of them, by its prefix, is the database's:
//!
//! ```
//! use rolescope::RolePolicy;
//!
//! let policy = RolePolicy::new()
//!     .claim(r#".realm_access.roles[?(@ ^== "app_")]"#)?
//!     .allow(["app_reader", "app_editor"])?;
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
mod path;
mod scope;

pub use decide::RolePolicy;
pub use name::{RoleName, RoleNameError};
pub use path::{RoleClaimError, RolePath, RolePathError};
pub use scope::{RoleScope, ScopeClaimsError};
