//! The checks of the fuzz targets in `fuzz/`, and their corpora as ordinary tests. That of `settings`, which are not public,
//! is beside them in `src`.

mod authorization;
mod jwks;
mod reference;
mod role_path;
mod token;

use std::path::Path;

/// Checks each input of a target's corpus. A package has no fuzz targets.
fn run(target: &str, check: fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    if !fuzz.exists() {
        return;
    }
    let corpus = fuzz.join("corpus").join(target);
    let inputs = std::fs::read_dir(&corpus).unwrap_or_else(|e| panic!("{target}: {e}"));
    let mut checked = 0;
    for input in inputs {
        let path = input.expect("the folder can be read").path();
        let data = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        // On a panic the test's output ends with the input's name.
        println!("{}", path.display());
        check(&data);
        checked += 1;
    }
    assert!(checked > 0, "{target} has no inputs");
}

#[test]
fn authorization_headers() {
    run("authorization", authorization::check);
}

#[test]
fn tokens() {
    run("token", token::check);
}

#[test]
fn jwks_documents() {
    run("jwks", jwks::check);
}

#[test]
fn role_paths() {
    run("role_path", role_path::check);
}
