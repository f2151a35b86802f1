//! The page "github" of the guide says what the files that it speaks of do.

const GUIDE: &str = include_str!("../../../src/guide/github.md");
const SETTINGS: &str = include_str!("../../../examples/support/github/settings.rs");
const ROUTES: &str = include_str!("../../../examples/support/github/mod.rs");
const REFUSALS: &str = include_str!("../../../examples/support/github/refusal.rs");
const SQL: &str = include_str!("../../../examples/sql/github.sql");
const EXAMPLE: &str = include_str!("../../../examples/github.rs");

/// The texts in quotes of a file that a test accepts.
fn quoted(file: &'static str, accept: fn(&str) -> bool) -> Vec<&'static str> {
    let quoted: Vec<_> = file.split('"').filter(|text| accept(text)).collect();
    assert!(quoted.len() > 2, "{quoted:?}");
    quoted
}

#[test]
fn each_setting_stands_in_the_guide_with_its_default() {
    let is_variable = |text: &str| {
        text.starts_with("GITHUB_") && text.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    };
    for variable in quoted(SETTINGS, is_variable) {
        assert!(GUIDE.contains(&format!("| `{variable}` | ")), "{variable}");
    }
    let is_default = |text: &str| {
        text.starts_with("https://") && text.contains("github.com") && !text.contains(' ')
    };
    for default in quoted(SETTINGS, is_default) {
        assert!(GUIDE.contains(&format!("| `{default}` |")), "{default}");
    }
}

#[test]
fn each_answer_stands_in_the_guide() {
    let is_code =
        |text: &str| text.contains('_') && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    for code in quoted(REFUSALS, is_code) {
        // Those that say what the service's own log explains, or what the page asks, need no table.
        let is_there = GUIDE.contains(&format!("`{code}`"));
        assert!(
            is_there || ["redirect_uri_mismatch", "sign_in_failed", "no_session"].contains(&code),
            "{code}"
        );
    }
    for state in SQL.split("SQLSTATE '").skip(1) {
        let state = &state[..5];
        assert!(GUIDE.contains(&format!("`{state}`")), "{state}");
    }
}

#[test]
fn the_guides_lines_are_the_examples() {
    let (_, code) = GUIDE.split_once("```text\n").expect("there is one");
    let (code, _) = code.split_once("```").expect("it ends");
    let example: Vec<_> = EXAMPLE.lines().map(str::trim).collect();
    for line in code.lines().map(str::trim).filter(|line| !line.is_empty()) {
        assert!(example.contains(&line), "{line}");
    }
    let (_, command) = GUIDE.split_once("```sh\npsql").expect("there is one");
    let (command, _) = command.split_once("```").expect("it ends");
    let words: Vec<_> = SQL
        .lines()
        .flat_map(|line| line.split_whitespace())
        .collect();
    for word in command.split_whitespace() {
        assert!(words.contains(&word), "{word}");
    }
    for path in ["", "/callback", "/token"] {
        assert!(GUIDE.contains(&format!("/auth/github{path}`")), "{path}");
        assert!(ROUTES.contains(&format!("/auth/github{path}`")), "{path}");
    }
}
