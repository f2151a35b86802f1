//! What other crates that verify tokens cost a request, beside rolescope: see `benches/peers.rs`.
