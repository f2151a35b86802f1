//! Tokens and their end.
