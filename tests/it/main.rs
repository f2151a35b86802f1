//! Every test against a real PostgreSQL or over real HTTP, in one binary.

mod auth;
