//! What they may do: the transaction that runs as the decided role.

pub(crate) mod pg;
