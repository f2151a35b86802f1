//! Pages that lead through one task each.

#[doc = include_str!("identity_providers.md")]
pub mod identity_providers {}

#[doc = include_str!("tokens_from_sql.md")]
pub mod tokens_from_sql {}

#[cfg(feature = "issuer")]
#[cfg_attr(docsrs, doc(cfg(feature = "issuer")))]
#[doc = include_str!("basic_auth.md")]
#[doc = "```sql"]
#[doc = include_str!("../../examples/sql/basic_auth.sql")]
#[doc = "```"]
pub mod basic_auth {}

#[cfg(feature = "issuer")]
#[cfg_attr(docsrs, doc(cfg(feature = "issuer")))]
#[doc = include_str!("sessions.md")]
#[doc = "```sql"]
#[doc = include_str!("../../examples/sql/sessions.sql")]
#[doc = "```"]
pub mod sessions {}

#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
#[doc = include_str!("revocation.md")]
pub mod revocation {}

#[doc = include_str!("github.md")]
#[doc = "```sql"]
#[doc = include_str!("../../examples/sql/github.sql")]
#[doc = "```"]
pub mod github {}

#[doc = include_str!("row_level_security.md")]
pub mod row_level_security {}

#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
#[doc = include_str!("tls.md")]
pub mod tls {}
