//! Who is asking: a request's token → [`Claims`](jwt::Claims).

mod access;
pub mod jwt;

pub use access::Access;
