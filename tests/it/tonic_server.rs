//! `examples/tonic_server.rs`, with the dialogue that it shows.

use std::path::PathBuf;

use crate::support::example::Example;
use crate::support::files::TemporaryDirectory;
use crate::support::processes::assert_gone;

#[test]
fn tonic_server_shows_each_kind_of_method_and_leaves_nothing() {
    let directory = TemporaryDirectory::new("tonic_server");
    let mut command = Example::command("tonic_server");
    command
        .args(["--port", "0"])
        .env("ROLESCOPE_PG_DIR", directory.path());
    let mut example = Example::start(&mut command);
    let lines = example.lines_until("Ctrl-C ends it.");
    let lines: Vec<_> = lines.iter().filter(|line| !line.is_empty()).collect();
    assert_eq!(
        lines,
        [
            "Without a token, List: read the policies in todos.sql",
            "Alice, List: read the policies in todos.sql, buy a present for bob",
            "Alice, Add: call the plumber",
            "Alice, AddAll, of which one is empty: InvalidArgument: \
             new row for relation \"todos\" violates check constraint \"todos_task_check\"",
            "Alice, AddEach: buy milk, buy bread",
            "Bob, List: read the policies in todos.sql, water the plants",
            "Bob, Add in Alice's name: PermissionDenied: \
             new row violates row-level security policy for table \"todos\"",
            "Somebody else's token, List: Unauthenticated: the signature of the token is not valid",
            "Alice, List: read the policies in todos.sql, buy a present for bob, call the plumber, \
             buy milk, buy bread",
        ]
    );
    assert!(example.end_with("TERM").success());
    assert_gone(directory.path());
    assert_eq!(directory.entries(), Vec::<PathBuf>::new());
}
