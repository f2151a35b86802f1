//! Pages that lead through one task each.

#[doc = include_str!("identity_providers.md")]
pub mod identity_providers {}
#[doc = include_str!("row_level_security.md")]
pub mod row_level_security {}
#[doc = include_str!("tls.md")]
pub mod tls {}
