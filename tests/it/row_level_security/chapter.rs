//! The chapter of the guide shows SQL that is tested.

use super::{INVOKER, REAL, SIMULATED};

const CHAPTER: &str = include_str!("../../../src/guide/row_level_security.md");
const POLICIES: &str = include_str!("../../../examples/sql/policies.sql");
const OTHER_POLICIES: &str = include_str!("../../../examples/sql/other_policies.sql");

#[test]
fn the_chapter_shows_what_is_tested() {
    let blocks: Vec<&str> = CHAPTER.split("```sql\n").skip(1).collect();
    assert!(blocks.len() > 5, "{}", blocks.len());
    for block in blocks {
        let (sql, _) = block.split_once("```").expect("it ends");
        let files = [REAL, INVOKER, SIMULATED, POLICIES, OTHER_POLICIES];
        assert!(
            files.iter().any(|file| file.contains(sql)),
            "not tested:\n{sql}"
        );
    }
}
