//! Keeps the house in order: what no compiler checks.

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// All Rust files below a folder, as paths from the root.
fn rust_files(folder: &str) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(root().join(&folder)).expect("the folder can be read");
        for entry in entries {
            let path = folder.join(entry.expect("the entry can be read").file_name());
            if root().join(&path).is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path.to_string_lossy().into_owned());
            }
        }
    }
    assert!(!files.is_empty());
    files
}

/// A file's code, without the unit tests at its end.
fn code(path: &str) -> String {
    let text = read(path);
    match text.find("#[cfg(test)]\nmod tests {") {
        Some(tests) => text[..tests].to_owned(),
        None => text,
    }
}

#[test]
fn files_stay_small() {
    for path in rust_files("src") {
        let lines = code(&path).lines().count();
        let is_tests = path.ends_with("tests.rs") || path.ends_with("testing.rs");
        assert!(lines <= 410 || is_tests, "{path} has {lines} lines");
    }
}

#[test]
fn the_cores_know_no_http() {
    for folder in ["src/auth/jwt", "src/role", "src/scope/pg"] {
        for path in rust_files(folder) {
            for line in code(&path).lines() {
                let imports = ["use http::", "use hyper::", "use tower", "use axum_core::"];
                let found = imports.iter().any(|import| line.starts_with(import));
                assert!(!found, "{path}: {line}");
            }
        }
    }
}

/// The folders are the way of a request, and what comes first knows nothing of what follows.
#[test]
fn imports_point_down_only() {
    let later = [
        (
            "src/error.rs",
            &["auth", "role", "scope", "answer", "wire"][..],
        ),
        ("src/answer", &["auth", "role", "scope", "wire"]),
        ("src/grpc.rs", &["auth", "role", "scope", "wire"]),
        ("src/wire.rs", &["auth", "role", "scope"]),
        ("src/auth", &["issuer", "role", "scope"]),
        ("src/issuer", &["role", "scope"]),
        ("src/role", &["scope"]),
        ("src/scope/pg", &["scope::"]),
    ];
    for (place, forbidden) in later {
        let files = if place.ends_with(".rs") {
            vec![place.to_owned()]
        } else {
            rust_files(place)
        };
        for path in files {
            for line in code(&path).lines() {
                for module in forbidden {
                    let import = format!("use crate::{module}");
                    assert!(!line.contains(&import), "{path}: {line}");
                }
            }
        }
    }
}

#[test]
fn no_text_is_spliced_into_the_sessions_sql() {
    let session = code("src/scope/pg/session.rs");
    for splicing in ["format!", "push_str", "write!", "concat("] {
        assert!(!session.contains(splicing), "{splicing}");
    }
}

#[test]
fn the_changelog_speaks_of_this_version() {
    let version = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    assert!(read("CHANGELOG.md").contains(&version));
}

#[test]
fn the_readme_shows_what_runs() {
    let readme = read("README.md");
    for command in [
        "cargo run --example todos",
        "cargo run --example accounts",
        "cargo run --example oidc",
        "cargo run --example github",
        "cargo run --example tls",
        "cargo run --example hyper_server",
        "cargo run --example tonic_server --features tonic",
        "cargo run --release --example soak",
        "cargo test",
    ] {
        assert!(readme.contains(command), "{command}");
    }
}

#[test]
fn nothing_is_left_undone() {
    for folder in ["src", "examples", "tests"] {
        for path in rust_files(folder) {
            // Spelled so that this file does not find itself.
            for left in ["todo", "unimplemented", "dbg"] {
                let call = format!("{left}!(");
                assert!(!read(&path).contains(&call), "{path}: {call}");
            }
            assert!(!read(&path).contains(concat!("#[", "ignore")), "{path}");
        }
    }
}

/// What can be chosen stands on one page for each who chooses it.
#[test]
fn every_option_stands_in_a_table() {
    for (path, page) in [
        ("src/scope/pg/builder.rs", "src/scope/mod.rs"),
        ("src/scope/layer.rs", "src/scope/mod.rs"),
        (
            "src/scope/pg/revocation/builder.rs",
            "src/scope/revocation.rs",
        ),
        ("src/auth/layer.rs", "src/auth/mod.rs"),
        ("src/auth/jwt/builder.rs", "src/auth/jwt/builder.rs"),
        ("src/auth/jwks/builder.rs", "src/auth/jwks/mod.rs"),
        ("src/auth/jwt/kinds.rs", "src/auth/jwt/builder.rs"),
        ("src/role/decide/mod.rs", "src/role/mod.rs"),
        ("src/issuer/builder.rs", "src/issuer/builder.rs"),
    ] {
        let page = read(page);
        let rows: Vec<&str> = page.lines().filter(|line| line.contains(" | ")).collect();
        let text = code(path);
        let mut options = 0;
        for function in text.split("pub fn ").skip(1) {
            let (name, parameters) = function.split_once('(').expect("it is a function");
            let name = name.split('<').next().unwrap_or(name);
            let parameters = parameters.trim_start();
            let is_option = parameters.starts_with("mut self") || parameters.starts_with("self,");
            if !is_option || name.starts_with("build") {
                continue;
            }
            options += 1;
            let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
            let found = rows.iter().any(|row| {
                row.split(|letter| !is_word(letter))
                    .any(|word| word == name)
            });
            assert!(found, "{path}: no table has {name}");
        }
        assert!(options > 2, "{path}");
    }
}

/// Whoever awaits something of this crate can read what dropping it does.
#[test]
fn every_async_function_says_whether_it_can_be_dropped() {
    for path in rust_files("src") {
        let text = code(&path);
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        for (at, line) in lines.iter().enumerate() {
            if !line.starts_with("pub async fn ") {
                continue;
            }
            let mut above = lines[..at].iter().rev();
            let documented = above
                .by_ref()
                .take_while(|line| line.starts_with("///") || line.starts_with("#["))
                .any(|line| line.contains("# Cancel safety"));
            assert!(documented, "{path}: {line}");
        }
    }
}

/// A package has no fuzz targets.
#[test]
fn every_fuzz_target_has_a_corpus_and_runs_in_ci() {
    if !root().join("fuzz").exists() {
        return;
    }
    let script = read(".ci/fuzz");
    for path in rust_files("fuzz/fuzz_targets") {
        let target = Path::new(&path).file_stem().expect("it has a name");
        let target = target.to_str().expect("it is text");
        let corpus = root().join("fuzz/corpus").join(target);
        let inputs = std::fs::read_dir(&corpus).unwrap_or_else(|e| panic!("{target}: {e}"));
        assert!(inputs.count() > 10, "{target}");
        let words = script.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        assert!(words.clone().any(|word| word == target), "{target}");
    }
}
