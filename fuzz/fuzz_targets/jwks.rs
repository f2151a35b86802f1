#![no_main]

#[path = "../../tests/it/fuzz/jwks.rs"]
mod check;
#[allow(dead_code, reason = "no target needs all of it")]
#[path = "../../tests/it/fuzz/reference.rs"]
mod reference;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
