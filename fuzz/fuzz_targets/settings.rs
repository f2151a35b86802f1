#![no_main]

#[path = "../../tests/it/fuzz/settings.rs"]
mod check;
#[allow(dead_code, reason = "no target needs all of it")]
#[path = "../../tests/it/fuzz/reference.rs"]
mod reference;

use std::sync::LazyLock;

use rolescope::fuzzing::{claim_settings, of_token};
use rolescope::{JwtVerifier, RoleName, RoleScope};

static VERIFIER: LazyLock<JwtVerifier> = LazyLock::new(|| {
    let verifier = JwtVerifier::builder().hs256(reference::SECRET);
    let verifier = verifier.expect("the secret is long enough").any_audience();
    let verifier = verifier.dangerous().accept_missing_exp().token_cache(0);
    verifier.build().expect("it is built")
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let token = reference::token(br#"{"alg":"HS256"}"#, data);
    if let Ok(claims) = VERIFIER.verify(&token) {
        check::check(text, &claim_settings(&of_token(&claims)));
    }
    let role = RoleName::parse("web_user").expect("it is a role");
    if let Ok(scope) = RoleScope::for_role(role).with_claims(text) {
        check::check(text, &claim_settings(&scope));
    }
});
