//! TLS to a real PostgreSQL: who is spoken to, who is not, and what is said then.

mod certificate_and_password;
mod certificates;
mod client_certificates;
mod default_roots;
mod impostor;
mod modes;
mod own_process;
mod provider;
mod server;
mod setup_errors;
mod wire;
