//! What they may be: claims → database role.

mod name;
mod path;

pub use name::{RoleName, RoleNameError};
pub use path::{RoleClaimError, RolePath, RolePathError};
