//! A million distinct valid tokens through the verifier's cache: its memory stays inside its bound.

use crate::database::{AUDIENCE, SECRET, claims, token};
use rolescope::JwtVerifier;

const BOUND: usize = 16 * 1024 * 1024;

/// Signs and verifies `count` tokens, with a cache and without one, and tells how the process grew.
pub(crate) fn run(count: usize) -> Result<(), String> {
    println!("\n### {count} distinct tokens through a cache of {BOUND} bytes\n");
    println!("| tokens | cache: entries | bytes | process grew by KiB | without a cache by KiB |");
    println!("|--:|--:|--:|--:|--:|");
    let verifier = |bytes| {
        let builder = JwtVerifier::builder().hs256(SECRET);
        let builder = builder.map_err(|e| e.to_string())?;
        let verifier = builder.audience(AUDIENCE).token_cache(bytes).build();
        verifier.map_err(|e| e.to_string())
    };
    let without = growth(&verifier(0)?, count)?;
    let cached = growth(&verifier(BOUND)?, count)?;
    for (cached, without) in cached.iter().zip(&without) {
        let (tokens, entries, bytes, grown) = cached;
        println!(
            "| {tokens} | {entries} | {bytes} | {grown} | {} |",
            without.3
        );
    }
    let within = cached.iter().all(|&(_, _, bytes, _)| bytes <= BOUND);
    let most = cached.iter().map(|&(_, _, _, grown)| grown).max();
    println!(
        "\nThe cache's own count stays inside its bound: {}. The process grew by {:.2} of it.",
        if within { "yes" } else { "no" },
        most.unwrap_or(0) as f64 * 1024.0 / BOUND as f64,
    );
    Ok(())
}

/// After 1 %, 10 % and all of the tokens: how many, the cache's entries and bytes, and the process's growth in KiB.
fn growth(verifier: &JwtVerifier, count: usize) -> Result<Vec<(usize, usize, usize, u64)>, String> {
    // What the first tokens take is not the cache's.
    for session in 0..100 {
        verify(verifier, count + session)?;
    }
    let before = resident();
    let mut stops = Vec::new();
    for session in 0..count {
        verify(verifier, session)?;
        let done = session + 1;
        if [count / 100, count / 10, count].contains(&done) {
            let status = verifier.cache_status();
            let grown = resident().saturating_sub(before);
            stops.push((done, status.entries, status.bytes, grown));
        }
    }
    Ok(stops)
}

fn verify(verifier: &JwtVerifier, session: usize) -> Result<(), String> {
    let token = token(&claims("alice", "web_user", session), SECRET)?;
    verifier.verify(&token).map(drop).map_err(|e| e.to_string())
}

/// Resident memory in KiB, where Linux tells it.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}
