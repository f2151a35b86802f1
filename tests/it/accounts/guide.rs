//! The chapters `basic_auth` and `sessions` of the guide show what is tested here.

use super::{Accounts, BASIC_AUTH, SESSIONS};

const CHAPTERS: [(&str, &str); 2] = [
    (include_str!("../../../src/guide/basic_auth.md"), BASIC_AUTH),
    (include_str!("../../../src/guide/sessions.md"), SESSIONS),
];
const HANDLERS: &str = include_str!("../../../examples/support/accounts.rs");

fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let start = format!("```{language}\n");
    let blocks = page.split(&start).skip(1);
    blocks
        .map(|block| block.split_once("```").expect("it ends").0)
        .collect()
}

#[test]
fn accounts_guide_has_the_handlers_as_they_are() {
    for (page, _) in CHAPTERS {
        let code = blocks(page, "rust,no_run");
        assert!(!code.is_empty());
        for block in code {
            let shown: Vec<&str> = block
                .lines()
                .filter(|line| !line.starts_with("# "))
                .collect();
            let shown = shown.join("\n");
            assert!(HANDLERS.contains(&shown), "not there:\n{shown}");
        }
    }
}

#[tokio::test]
async fn accounts_guide_has_sql_that_runs() {
    for (page, _) in CHAPTERS {
        let accounts = Accounts::new().await;
        accounts.user("alice@example.com").await;
        if !page.contains("INSERT INTO basic_auth.roles") {
            accounts
                .execute("INSERT INTO basic_auth.roles VALUES ('author')")
                .await;
        }
        let sql = blocks(page, "sql");
        assert!(!sql.is_empty());
        for block in sql {
            accounts.execute(block).await;
        }
        assert_eq!(
            accounts.ask("SELECT role FROM basic_auth.users").await,
            "author"
        );
    }
}

/// Every function that somebody may call stands in a table, and no other does but the one for functions of the owner.
#[test]
fn accounts_guide_has_a_line_for_each_function() {
    let files = CHAPTERS.map(|(_, sql)| sql).concat();
    let mut granted: Vec<_> = files
        .split("GRANT EXECUTE ON FUNCTION ")
        .skip(1)
        .map(|grant| grant.split_once(" TO ").expect("to somebody").0)
        .flat_map(|names| names.split(", "))
        .map(|name| name.trim_start_matches("public."))
        .collect();
    let pages = CHAPTERS.map(|(page, _)| page).concat();
    let mut shown: Vec<_> = pages
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" |"))
        .flat_map(|(cell, _)| cell.split('`').skip(1).step_by(2))
        .filter_map(|code| Some(code.split_once('(')?.0))
        .filter(|name| *name != "basic_auth.start_session")
        .collect();
    shown.sort_unstable();
    granted.sort_unstable();
    assert_eq!(shown, granted);
}
