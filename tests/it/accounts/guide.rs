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
        let code = blocks(page, "rust,ignore");
        assert!(!code.is_empty());
        for block in code {
            assert!(HANDLERS.contains(block), "not there:\n{block}");
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

/// Every function that somebody may call stands in a table of the chapter of its file, and no other does.
#[test]
fn accounts_guide_has_a_line_for_each_function() {
    for (page, sql) in CHAPTERS {
        let granted: String = sql
            .lines()
            .filter(|line| line.starts_with("GRANT EXECUTE"))
            .collect();
        for line in page
            .lines()
            .filter(|line| line.starts_with("| `") && line.contains('('))
        {
            let cell = line.split('|').nth(1).expect("there is one");
            for name in cell.split('`').filter_map(|code| code.split_once('(')) {
                let name = name.0;
                assert!(sql.contains(&format!("{name}(")), "{name}");
                let named = granted.contains(name) || name == "basic_auth.start_session";
                assert!(named || name == "login", "{name}");
            }
        }
        for name in granted
            .split(&[' ', ','][..])
            .filter(|word| word.contains('.'))
        {
            let name = name.trim_start_matches("public.");
            let elsewhere = name == "login";
            assert!(elsewhere || page.contains(&format!("`{name}(")), "{name}");
        }
    }
}
