//! Pages that lead through one task each.

#[doc = include_str!("identity_providers.md")]
pub mod identity_providers {}

#[doc = include_str!("github.md")]
#[doc = "```sql"]
#[doc = include_str!("../../examples/sql/github.sql")]
#[doc = "```"]
pub mod github {}
